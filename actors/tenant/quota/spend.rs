//! Money: what overage costs, and how much of it a tenant allows.
//!
//! What a period is *committed* to is the exact price of everything beyond a limit, over all
//! meters, what is held included, and a level as if it stayed until the period ends. An admission
//! never lifts it above the spend cap. Facts may; so what a tenant *owes* is kept beside it: never
//! more than it is committed to, never more than the cap allowed at the time, and never less
//! because the cap was lowered afterwards.
//!
//! **A plan that comes at once closes the money** as a period's end does, while the counters go on:
//! what is owed so far stays owed, and what is beyond the new plan's limit at that moment is not for
//! sale, be it that it was free or that it is paid for. So no unit is billed twice, and none that
//! was admitted for nothing is billed afterwards.

use super::account::Account;
use super::decide::Decided;
use super::{Decision, Fact, MAX_AMOUNT, Outcome, Owed, Quota, Refusal, SpendCap};
use crate::clock::Timestamp;
use crate::money::{Currency, MicroMoney};
use crate::tenant::plan::{MeterKind, PlanTerms};

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
        let cost = |account: &Account| {
            let overage = self.overage_micros(account, account.over(), now);
            account.owed_before.saturating_add(overage)
        };
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
            MeterKind::Counter => price.micros(account.sold(over)),
            MeterKind::Level => {
                let end = self.period.map_or(now, |period| period.end);
                price.level_micros(account.accrued(now).sold_by(over, end))
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

    /// Works out what each meter's overage comes to so far, where it comes to anything: no more in
    /// all than is owed, and in the bill's order.
    pub(super) fn owed_lines(&self, now: Timestamp) -> Vec<Owed> {
        let mut left = self.owed_micros;
        let line = |account: &Account| {
            let micros = account.owed_before.saturating_add(so_far_micros(account, now)).min(left);
            left = left.saturating_sub(micros);
            (micros > 0).then(|| Owed { meter: account.meter.clone(), micros })
        };
        self.book.accounts().iter().filter_map(line).collect()
    }

    /// Refuses a plan in another currency at once while something is owed: what is owed in one and
    /// a cap in the other cannot be compared.
    pub(super) fn check_currency(&self, terms: &PlanTerms, owed: &[Owed]) -> Result<(), Refusal> {
        let currency = self.terms().currency;
        if owed.is_empty() || terms.currency == currency {
            return Ok(());
        }
        let micros = owed.iter().fold(0u128, |sum, line| sum.saturating_add(line.micros));
        let minor = micros.div_ceil(currency.micros_per_minor().into());
        Err(Refusal::OwedInOtherCurrency {
            owed_minor: u64::try_from(minor).unwrap_or(u64::MAX),
            currency,
            plan: terms.plan.clone(),
            plan_currency: terms.currency,
        })
    }

    /// Closes what is owed under the plan in force, in favour of one in `terms`' currency.
    pub(super) fn close_money(&mut self, owed: &[Owed], terms: &PlanTerms) {
        self.book.close_money(owed);
        if terms.currency != self.terms().currency {
            // Nothing is owed: what a level would have come to is another currency's.
            self.owed_micros = 0;
        }
    }

    /// Says whether something is owed that plans before the one in force sold.
    pub(super) fn owes_before(&self) -> bool {
        self.book.accounts().iter().any(|account| account.owed_before > 0)
    }

    /// Returns each meter's line of the bill so far, in minor units and in the book's order:
    /// rounded once, and in all no more than is owed.
    pub(super) fn bill(&self, now: Timestamp) -> Vec<i64> {
        let currency = self.terms().currency;
        let owed = self.owed_micros.div_ceil(currency.micros_per_minor().into());
        let mut left = i64::try_from(owed).unwrap_or(i64::MAX);
        let line = |account: &Account| {
            let amount = line(account, currency, now).min(left);
            left = left.saturating_sub(amount);
            amount
        };
        self.book.accounts().iter().map(line).collect()
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

/// Prices what went beyond an account's limit so far, under the plan in force.
fn so_far_micros(account: &Account, now: Timestamp) -> u128 {
    let Some(price) = account.price else { return 0 };
    match account.kind {
        MeterKind::Counter => price.micros(account.sold(account.over())),
        MeterKind::Level => price.level_micros(account.accrued(now).sold_unit_seconds()),
    }
}

/// Prices what went beyond an account's limit so far, under all of the period's plans.
fn line(account: &Account, currency: Currency, now: Timestamp) -> i64 {
    let before = account.owed_before;
    let money = match (account.price, account.kind) {
        (None, _) => MicroMoney::default().price_on_top(before, 0, 1, currency),
        (Some(price), MeterKind::Counter) => {
            price.price(before, account.sold(account.over()), currency)
        }
        (Some(price), MeterKind::Level) => {
            price.price_level(before, account.accrued(now).sold_unit_seconds(), currency)
        }
    };
    money.map_or(i64::MAX, |money| money.amount_minor)
}
