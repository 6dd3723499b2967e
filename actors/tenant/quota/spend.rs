//! Money: what overage costs, and how much of it a tenant allows.
//!
//! What a period is *committed* to is the exact price of everything beyond a limit, over all
//! meters, what is held included, and a level as if it stayed until the period ends. An admission
//! never lifts it above the spend cap. Facts may; so what a tenant *owes* is kept beside it: never
//! more than it is committed to, never more than the cap allowed at the time, and never less
//! because the cap was lowered afterwards.

use super::account::Account;
use super::decide::Decided;
use super::{Decision, Fact, MAX_AMOUNT, Outcome, Quota, Refusal, SpendCap};
use crate::clock::Timestamp;
use crate::tenant::plan::{MeterKind, OveragePrice};

/// What the items of one command have spent so far, worked out when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Purse {
    committed: Option<u128>,
}

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

    fn cap_micros(&self) -> u128 {
        let SpendCap { amount_minor, currency } = self.spend_cap();
        u128::from(amount_minor).saturating_mul(currency.micros_per_minor().into())
    }

    /// Says whether units beyond the limit are covered: paid for under the spend cap.
    pub(super) fn covers(
        &self,
        account: &Account,
        units: u64,
        purse: &mut Purse,
        now: Timestamp,
    ) -> bool {
        let cap = self.cap_micros();
        let Some(price) = account.price.filter(|_| cap > 0) else { return false };
        let committed = *purse.committed.get_or_insert_with(|| self.committed_micros(now));
        let before = self.overage_micros(account, account.over(), now);
        let Some(total) = account.total().checked_add(units) else { return false };
        let over = account.limit.map_or(0, |limit| total.saturating_sub(limit));
        let after = self.overage_micros(account, over, now);
        let committed = committed.saturating_sub(before).saturating_add(after);
        let is_covered = committed <= cap || price.price_micros.as_micros() == 0;
        if is_covered {
            purse.committed = Some(committed);
        }
        is_covered
    }

    /// Returns what the open period is committed to, in millionths.
    pub(super) fn committed_micros(&self, now: Timestamp) -> u128 {
        let accounts = self.book.accounts().iter();
        let cost = |account| self.overage_micros(account, account.over(), now);
        accounts.map(cost).fold(0, u128::saturating_add)
    }

    /// Says whether what the open period is committed to is within the spend cap.
    pub(super) fn is_within_cap(&self, now: Timestamp) -> bool {
        self.committed_micros(now) <= self.cap_micros()
    }

    /// Prices what goes beyond an account's limit, if `over` units do from now on.
    fn overage_micros(&self, account: &Account, over: u64, now: Timestamp) -> u128 {
        let Some(price) = account.price else { return 0 };
        match account.kind {
            MeterKind::Counter => price.micros(over),
            MeterKind::Level => {
                let end = self.period.map_or(now, |period| period.end);
                price.level_micros(account.accrued(now).over_by(over, end))
            }
        }
    }

    /// Works out anew what is owed, after a fact.
    pub(super) fn record_owed(&mut self, at: Timestamp) {
        // Most tenants never set a cap, and owe nothing.
        if self.spend_cap.is_some() || self.owed_micros > 0 {
            let cap = self.cap_micros();
            self.owed_micros = self.committed_micros(at).min(self.owed_micros.max(cap));
        }
    }

    /// Returns each meter's line of the bill so far, in minor units and in the book's order:
    /// rounded once, and in all no more than is owed.
    pub(super) fn bill(&self, now: Timestamp) -> Vec<i64> {
        let currency = self.terms().currency;
        let owed = self.owed_micros.div_ceil(currency.micros_per_minor().into());
        let mut left = i64::try_from(owed).unwrap_or(i64::MAX);
        let line = |account: &Account| {
            let amount = account.price.map_or(0, |price| self.line(account, price, now)).min(left);
            left = left.saturating_sub(amount);
            amount
        };
        self.book.accounts().iter().map(line).collect()
    }

    /// Prices what went beyond an account's limit so far.
    fn line(&self, account: &Account, price: OveragePrice, now: Timestamp) -> i64 {
        let currency = self.terms().currency;
        let money = match account.kind {
            MeterKind::Counter => price.price(account.over(), currency),
            MeterKind::Level => {
                price.price_level(account.accrued(now).over_unit_seconds(), currency)
            }
        };
        money.map_or(i64::MAX, |money| money.amount_minor)
    }

    /// Refuses what the spend cap does not pay for.
    pub(super) fn cap_reached(&self, account: &Account, requested: u64, now: Timestamp) -> Refusal {
        let SpendCap { amount_minor, currency } = self.spend_cap();
        let spent = self.committed_micros(now).div_ceil(currency.micros_per_minor().into());
        let is_counter = account.kind == MeterKind::Counter;
        Refusal::SpendCapReached {
            meter: account.meter.to_string(),
            limit: account.limit.unwrap_or(0),
            used: account.used,
            reserved: account.reserved,
            requested,
            cap_minor: amount_minor,
            spent_minor: u64::try_from(spent).unwrap_or(u64::MAX),
            currency,
            resets_at: self.period.filter(|_| is_counter).map(|period| period.end),
            plan: self.terms().plan.clone(),
        }
    }
}
