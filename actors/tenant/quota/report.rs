//! What can be read from a quota without changing it.

use std::borrow::Cow;
use std::time::Duration;

use super::account::Account;
use super::decide::shown;
use super::{
    GrantView, MeterUsage, Overage, Quota, Reservation, ReservationState, ReservedItem, Settled,
    SpendCap, SpendReport, UsageReport,
};
use crate::clock::Timestamp;
use crate::ids::ReservationId;
use crate::tenant::period::PeriodName;
use crate::tenant::plan::{MeterKind, MeterName, MeterTerms};

impl Quota {
    /// Reports where the tenant stands, as if everything due by now had been recorded.
    pub fn report(&self, now: Timestamp) -> UsageReport {
        self.ahead(now).report_as_is(now)
    }

    /// Returns the quota as it is once everything due by now is recorded.
    fn ahead(&self, now: Timestamp) -> Cow<'_, Self> {
        if self.period.is_some() && self.next_due().is_none_or(|due| due > now) {
            return Cow::Borrowed(self);
        }
        let mut ahead = self.clone();
        let mut facts = Vec::new();
        while !ahead.record_due(now, &mut facts) {
            facts.clear();
        }
        Cow::Owned(ahead)
    }

    fn report_as_is(&self, now: Timestamp) -> UsageReport {
        let terms = self.terms();
        let bill = self.bill(now);
        // The book has the plan's meters first, in the plan's order.
        let accounts = self.book.accounts().iter().zip(&bill);
        let usage = |(terms, (account, line)): (&MeterTerms, (&Account, &i64))| {
            self.usage(terms, account, *line, now)
        };
        UsageReport {
            plan: terms.plan.clone(),
            period: self.period.unwrap_or_else(|| self.cycle.period_of(now)),
            meters: terms.meters.iter().zip(accounts).map(usage).collect(),
            spend: self.spend_report(&bill, now),
        }
    }

    /// Reports money, where the plan sells overage or one before it in the period did.
    fn spend_report(&self, bill: &[i64], now: Timestamp) -> Option<SpendReport> {
        let is_sold = self.terms().meters.iter().any(|terms| terms.overage.is_some());
        let SpendCap { amount_minor, currency } = self.spend_cap();
        let committed = self.committed_micros(now).div_ceil(currency.micros_per_minor().into());
        (is_sold || self.owes_before()).then(|| SpendReport {
            cap_minor: amount_minor,
            spent_minor: bill.iter().fold(0, |sum, line| sum.saturating_add(*line)),
            committed_minor: u64::try_from(committed).unwrap_or(u64::MAX),
            currency,
        })
    }

    fn usage(
        &self,
        terms: &MeterTerms,
        account: &Account,
        line_minor: i64,
        now: Timestamp,
    ) -> MeterUsage {
        let is_level = account.kind == MeterKind::Level;
        let reserved_earlier = self
            .earlier
            .iter()
            .filter_map(|earlier| earlier.get(&account.meter))
            .fold(0u64, |sum, account| sum.saturating_add(account.reserved));
        MeterUsage {
            meter: account.meter.clone(),
            unit: terms.unit.to_string(),
            kind: account.kind,
            used: account.used,
            reserved: account.reserved,
            reserved_earlier,
            limit: account.limit,
            remaining: shown(account),
            percent: account.limit.map(|limit| percent(account.used, limit)),
            overage: Overage {
                // Every limit is hard while there is no spend cap above zero.
                allowed: account.price.is_some() && self.spend_cap().amount_minor > 0,
                units: account.over(),
                amount_minor: line_minor,
                currency: self.terms().currency,
            },
            unit_seconds: is_level.then(|| account.accrued(now).unit_seconds().to_string()),
        }
    }

    /// Lists the grants of which something can still be taken, in the order in which they burn.
    pub fn grants(&self) -> Vec<GrantView> {
        let in_force = self.grants.iter().filter(|grant| !grant.is_ended);
        in_force.map(|grant| GrantView { terms: grant.terms.clone(), left: grant.left }).collect()
    }

    /// Returns where a level stands; 0 for a counter, or if there is no such meter.
    pub fn level(&self, meter: &MeterName) -> u64 {
        let account = self.book.get(meter).filter(|account| account.kind == MeterKind::Level);
        account.map_or(0, |account| account.used)
    }

    /// Returns when the open period began; the beginning of time while none is open.
    pub(in crate::tenant) fn opened_at(&self) -> Timestamp {
        self.period.map_or(Timestamp::MIN, |period| period.start)
    }

    /// Returns the start of the first period that is open or ended less than `keep_for` ago.
    pub(in crate::tenant) fn kept_since(&self, now: Timestamp, keep_for: Duration) -> Timestamp {
        self.past.kept_since(now, keep_for).unwrap_or(Timestamp::MIN)
    }

    /// Returns the open period's name.
    pub(in crate::tenant) fn open_period_name(&self) -> PeriodName {
        self.period_name()
    }

    /// Describes a hold, open or ended, as if everything due by now had been recorded; none if it
    /// never was, or is forgotten.
    pub fn reservation(&self, id: ReservationId, now: Timestamp) -> Option<Reservation> {
        self.ahead(now).reservation_as_is(id)
    }

    /// Describes a hold when nothing is due any more.
    pub(super) fn reservation_as_is(&self, id: ReservationId) -> Option<Reservation> {
        let Some(hold) = self.holds.get(&id) else {
            return self.settled.get(&id).map(|settled| settled.view(id));
        };
        let accounts = hold.items.iter().filter_map(|held| self.account(hold.period, &held.meter));
        Some(Reservation {
            id,
            state: ReservationState::Held,
            expires_at: hold.expires_at,
            items: hold
                .items
                .iter()
                .map(|held| ReservedItem {
                    meter: held.meter.clone(),
                    amount: held.amount,
                    charged: None,
                    would_refuse: false,
                })
                .collect(),
            remaining: accounts.map(|a| (a.meter.clone(), shown(a))).collect(),
            late: false,
        })
    }
}

impl Settled {
    pub(super) fn view(&self, id: ReservationId) -> Reservation {
        if self.held_late.is_empty() {
            return Reservation::of(id, self.state, self.expires_at, &self.items);
        }
        Reservation::late(id, self.expires_at, &self.items, &self.held_late)
    }
}

/// Hundredths of a limit, rounded down; a limit of nothing is always reached.
fn percent(used: u64, limit: u64) -> u64 {
    let hundredfold = u128::from(used).saturating_mul(100);
    let percent = hundredfold.checked_div(u128::from(limit)).unwrap_or(100);
    u64::try_from(percent).unwrap_or(u64::MAX)
}
