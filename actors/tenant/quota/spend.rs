//! Judges the spend cap.

use super::decide::Decided;
use super::{Decision, Fact, MAX_AMOUNT, Outcome, Quota, Refusal, SpendCap};

impl Quota {
    pub(super) fn decide_spend_cap(&self, amount_minor: u64) -> Decided {
        let terms = self.terms();
        if amount_minor > MAX_AMOUNT {
            return Err(Refusal::InvalidSpendCap { max_minor: MAX_AMOUNT });
        }
        if amount_minor > 0 && terms.meters.iter().all(|meter| meter.overage.is_none()) {
            return Err(Refusal::NoOverage { plan: terms.plan.clone() });
        }
        let cap = SpendCap { amount_minor, currency: terms.currency };
        if self.spend_cap() == cap {
            return Ok(Decision::Answer(Outcome::SpendCap(cap)));
        }
        Ok(Decision::New(Fact::SpendCapSet { amount_minor, currency: terms.currency }))
    }

    /// Returns the spend cap in force: one in another currency than the plan's is none.
    pub fn spend_cap(&self) -> SpendCap {
        let currency = self.terms().currency;
        let cap = self.spend_cap.filter(|cap| cap.currency == currency);
        cap.unwrap_or(SpendCap { amount_minor: 0, currency })
    }
}
