//! The counters of one period, in the order of the plan's meters.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::accrual::{Accrual, text};
use super::charge::{Closed, Owed, over, remaining};
use super::fact::Fact;
use crate::clock::Timestamp;
use crate::money::Currency;
use crate::planted::{self, Bug};
use crate::tenant::period::{Period, PeriodName};
use crate::tenant::plan::{Enforcement, MeterKind, MeterName, OveragePrice, PlanTerms};

/// Sums of one period stay below this, so that a day's, on which periods may end and begin, fits a
/// signed column of a database.
pub(super) const MAX_TOTAL: u64 = i64::MAX as u64 / 4;

/// One meter's counters in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) meter: MeterName,
    pub(super) kind: MeterKind,
    pub(super) used: u64,
    pub(super) reserved: u64,
    /// The highest threshold that was reported in the period.
    pub(super) alerted_percent: u8,
    /// The plan's limit; none is unlimited.
    pub(super) plan_limit: Option<u64>,
    /// What grants add to it: what is left of them, and what was taken of them in the period.
    pub(super) granted: u64,
    /// Both together.
    pub(super) limit: Option<u64>,
    /// What more than the limit costs; none is a hard limit.
    pub(super) price: Option<OveragePrice>,
    /// Counted units beyond the limit that are not for sale: they were free, or are paid for, under
    /// a plan that ended in the period.
    pub(super) unsold: u64,
    /// What its overage came to under plans that ended in the period, in millionths.
    #[serde(with = "text")]
    pub(super) owed_before: u128,
    /// What a level comes to over time.
    pub(super) accrual: Accrual,
    /// Whether the plan in force has the meter; what a former plan had can only be wound up.
    pub(super) is_listed: bool,
}

impl Account {
    fn new(meter: MeterName, kind: MeterKind) -> Self {
        Self {
            meter,
            kind,
            used: 0,
            reserved: 0,
            alerted_percent: 0,
            plan_limit: Some(0),
            granted: 0,
            limit: Some(0),
            price: None,
            unsold: 0,
            owed_before: 0,
            accrual: Accrual::default(),
            is_listed: false,
        }
    }

    /// Puts the plan's limit and what grants add to it in force.
    pub(super) fn set_limit(&mut self, plan_limit: Option<u64>, granted: u64) {
        self.plan_limit = plan_limit;
        self.granted = granted;
        self.limit = plan_limit.map(|limit| limit.saturating_add(granted).min(MAX_TOTAL));
    }

    /// Returns what is used and held.
    pub(super) fn total(&self) -> u64 {
        self.used.saturating_add(self.reserved)
    }

    /// Returns how far used and held units go beyond the limit.
    pub(super) fn over(&self) -> u64 {
        over(self.limit, self.used, self.reserved)
    }

    /// Returns what can still be taken; an unlimited meter ends where sums no longer fit.
    pub(super) fn available(&self) -> u64 {
        let room = self.room();
        let held = if planted::is(Bug::CheckThenAdd) { 0 } else { self.reserved };
        remaining(self.limit, self.used, held).map_or(room, |left| left.min(room))
    }

    /// Returns what can be added before sums no longer fit.
    pub(super) fn room(&self) -> u64 {
        MAX_TOTAL.saturating_sub(self.used).saturating_sub(self.reserved)
    }

    /// Counts a level's units over the time since its last change.
    fn accrue(&mut self, at: Timestamp) {
        if self.kind == MeterKind::Level {
            let over = over(self.limit, self.used, 0);
            self.accrual.advance(self.used, over, at);
        }
    }

    /// Returns how many counted units beyond the limit are for sale, if `over` are beyond it.
    pub(super) fn sold(&self, over: u64) -> u64 {
        over.saturating_sub(self.unsold)
    }

    /// Returns what a level comes to by `at`.
    pub(super) fn accrued(&self, at: Timestamp) -> Accrual {
        let mut accrual = self.accrual;
        accrual.advance(self.used, over(self.limit, self.used, 0), at);
        accrual
    }
}

/// The accounts of the open period: first the plan's meters in its order, then former ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    accounts: Vec<Account>,
    /// How many open holds belong to the period.
    pub(super) open_holds: usize,
}

impl Book {
    pub(super) fn new(terms: &PlanTerms) -> Self {
        let mut book = Self { accounts: Vec::new(), open_holds: 0 };
        book.adopt(terms);
        book
    }

    /// Puts other terms in force; what is used and held carries over. What grants add to a meter
    /// that is listed again is for the caller to say.
    pub(super) fn adopt(&mut self, terms: &PlanTerms) {
        let mut former = std::mem::take(&mut self.accounts);
        for meter in &terms.meters {
            let known = former.iter().position(|account| account.meter == meter.meter);
            let mut account = match known {
                Some(index) => former.remove(index),
                None => Account::new(meter.meter.clone(), meter.kind),
            };
            account.kind = meter.kind;
            account.set_limit(meter.limit, account.granted);
            account.price = meter.overage;
            account.is_listed = true;
            self.accounts.push(account);
        }
        // A former meter whose account is at rest needs no place any more.
        former.retain(|account| {
            account.total() > 0 || account.owed_before > 0 || !account.accrual.is_empty()
        });
        for mut account in former {
            account.set_limit(Some(0), 0);
            account.price = None;
            account.is_listed = false;
            self.accounts.push(account);
        }
    }

    pub(super) fn get(&self, meter: &MeterName) -> Option<&Account> {
        self.accounts.iter().find(|account| account.meter == *meter)
    }

    /// Returns the account, made if the plan in force does not have the meter: what the journal
    /// says happened under a former catalogue. Until a period that closes it says that it is a
    /// counter, it is kept as a level: a level that is reset once is lost, also when the catalogue
    /// has it again.
    pub(super) fn get_mut(&mut self, meter: &MeterName) -> Option<&mut Account> {
        let known = self.accounts.iter().position(|account| account.meter == *meter);
        let index = known.unwrap_or(self.accounts.len());
        if known.is_none() {
            self.accounts.push(Account::new(meter.clone(), MeterKind::Level));
        }
        self.accounts.get_mut(index)
    }

    /// Returns the account, if there is one.
    pub(super) fn find_mut(&mut self, meter: &MeterName) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.meter == *meter)
    }

    pub(super) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Counts the levels over the time that has passed, before anything about them changes.
    pub(super) fn accrue(&mut self, at: Timestamp) {
        for account in &mut self.accounts {
            account.accrue(at);
        }
    }

    /// Closes what is owed under a plan that ends within the period.
    pub(super) fn close_money(&mut self, owed: &[Owed]) {
        for account in &mut self.accounts {
            let line = owed.iter().find(|line| line.meter == account.meter);
            account.owed_before = line.map_or(0, |line| line.micros);
            account.accrual.close();
        }
    }

    /// Takes what is beyond the limits of a plan that has just come into force off the market.
    pub(super) fn withhold(&mut self) {
        for account in self.accounts.iter_mut().filter(|a| a.kind == MeterKind::Counter) {
            account.unsold = account.over();
        }
    }

    /// Forgets unsold units that are no longer beyond the limit: the last taken go first, but what
    /// is taken anew is for sale.
    pub(super) fn trim_unsold(&mut self) {
        for account in self.accounts.iter_mut().filter(|account| account.unsold > 0) {
            account.unsold = account.unsold.min(account.over());
        }
    }

    /// Notes that a threshold was reported.
    pub(super) fn alert(&mut self, fact: &Fact) {
        if let Fact::ThresholdReached { meter, percent, .. } = fact
            && let Some(account) = self.get_mut(meter)
        {
            account.alerted_percent = *percent;
        }
    }

    /// Begins the next period: counters at zero, levels as they are and counted over time anew.
    /// Returns the old counters, if open holds still belong to the period.
    ///
    /// Which meters are counters is what the fact says: the catalogue may have changed since.
    pub(super) fn roll(
        &mut self,
        period: Period,
        name: PeriodName,
        closed: &[Closed],
    ) -> Result<Option<EarlierPeriod>, String> {
        let mut accounts = Vec::with_capacity(closed.len());
        for closed in closed {
            let account = self.get_mut(&closed.meter).ok_or("there is no such account")?;
            if account.used != closed.used || account.reserved != closed.reserved {
                return Err(format!("{} does not close as the entry says", closed.meter));
            }
            if !account.is_listed {
                account.kind = MeterKind::Counter;
            }
            // What is beyond a closed period's limit is not for sale any more.
            accounts.push(Account { price: None, ..account.clone() });
            account.used = 0;
            account.reserved = 0;
            account.accrual = Accrual::default();
        }
        for account in &mut self.accounts {
            account.alerted_percent = 0;
            account.unsold = 0;
            account.owed_before = 0;
            account.accrual.begin_anew();
        }
        let open_holds = std::mem::take(&mut self.open_holds);
        let earlier = EarlierPeriod { start: period.start, name, accounts, open_holds };
        Ok((open_holds > 0).then_some(earlier))
    }
}

/// Counters of a period that ended while holds of it were open; kept until the last one ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EarlierPeriod {
    pub(super) start: Timestamp,
    pub(super) name: PeriodName,
    pub(super) accounts: Vec<Account>,
    pub(super) open_holds: usize,
}

impl EarlierPeriod {
    pub(super) fn get(&self, meter: &MeterName) -> Option<&Account> {
        self.accounts.iter().find(|account| account.meter == *meter)
    }

    pub(super) fn get_mut(&mut self, meter: &MeterName) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.meter == *meter)
    }
}

/// Stands in until a snapshot's reader gives the catalogue's default plan.
pub(super) fn no_terms() -> Arc<PlanTerms> {
    Arc::new(PlanTerms {
        plan: "none".parse().expect("a valid name"),
        currency: Currency::USD,
        meters: Vec::new(),
        features: BTreeSet::new(),
        enforcement: Enforcement::default(),
    })
}
