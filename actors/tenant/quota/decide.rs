//! Judges a command on the state as it is: nothing here changes anything.

use super::account::{Account, EarlierPeriod, MAX_TOTAL};
use super::fact::{Charge, Fact, remaining};
use super::{
    Command, Decision, Enforcement, GrantTerms, Held, Item, MAX_AMOUNT, MAX_HOLD_S, MAX_ITEMS,
    MAX_OPEN_HOLDS, Quota, Refusal,
};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::PeriodName;
use crate::tenant::plan::{MeterKind, MeterName};

pub(super) type Decided = Result<Decision, Refusal>;

impl Quota {
    pub(super) fn decide(&self, command: &Command, now: Timestamp) -> Decided {
        match command {
            Command::Consume { items } => {
                let items = self.consume_charges(items)?;
                Ok(Decision::New(Fact::Consumed { items, period: self.period_name() }))
            }
            Command::Reserve { id, items, ttl_s } => self.decide_reserve(*id, items, *ttl_s, now),
            Command::Commit { id, items, late } => {
                self.decide_commit(*id, items.as_deref(), *late, now)
            }
            Command::Release { id } => self.decide_release(*id, now),
            Command::Extend { id, ttl_s } => self.decide_extend(*id, *ttl_s, now),
            Command::HoldJob { job, items } => Ok(Decision::New(self.job_held(*job, items)?)),
            Command::CommitPart { job, items } => {
                Ok(Decision::New(self.part_committed(*job, items)?))
            }
            Command::CloseJob { job } => match self.job_closed(*job) {
                Some(fact) => Ok(Decision::New(fact)),
                None => Ok(Decision::Nothing),
            },
            Command::Free { items } => {
                let items = self.freed(items)?;
                Ok(Decision::New(Fact::Freed { items, period: self.period_name() }))
            }
            Command::Record { events } => self.decide_record(events, now),
            Command::Adjust { meter, delta, reason, reference } => {
                self.decide_adjust(meter, *delta, reason, reference.as_ref())
            }
            Command::SetSpendCap { amount_minor } => self.decide_spend_cap(*amount_minor),
            Command::Grant { id, meter, amount, priority, expires_at, rollover, source } => self
                .decide_grant(
                    GrantTerms {
                        id: *id,
                        meter: meter.clone(),
                        amount: *amount,
                        priority: *priority,
                        expires_at: *expires_at,
                        rollover: *rollover,
                        source: *source,
                    },
                    now,
                ),
            Command::RevokeGrant { id } => self.decide_revoke(*id),
            Command::SetEnforcement { mode } => Ok(self.decide_enforcement(*mode)),
            Command::SetPlan { terms, cycle, when } => {
                Ok(Decision::New(self.decide_plan(terms, cycle.as_ref(), *when, now)))
            }
            Command::StartTestClock { .. } | Command::AdvanceClock { .. } => {
                Err(Refusal::NotInTestMode)
            }
            Command::Tick => Ok(Decision::Nothing),
        }
    }

    /// Adds up items of the same meter, in the order in which each meter first appears.
    pub(super) fn merged(items: &[Item], min: u64) -> Result<Vec<Held>, Refusal> {
        if items.is_empty() || items.len() > MAX_ITEMS {
            return Err(Refusal::InvalidItems { max: MAX_ITEMS });
        }
        let mut sums: Vec<Held> = Vec::with_capacity(items.len());
        for Item { meter, amount } in items {
            let out_of_range =
                || Refusal::InvalidAmount { meter: meter.to_string(), min, max: MAX_AMOUNT };
            if *amount < min {
                return Err(out_of_range());
            }
            let former = sums.iter().position(|sum| sum.meter == *meter);
            let before = former.and_then(|at| sums.get(at)).map_or(0, |sum| sum.amount);
            let amount = before
                .checked_add(*amount)
                .filter(|sum| *sum <= MAX_AMOUNT)
                .ok_or_else(out_of_range)?;
            match former.and_then(|at| sums.get_mut(at)) {
                Some(sum) => sum.amount = amount,
                None => sums.push(Held { meter: meter.clone(), amount }),
            }
        }
        Ok(sums)
    }

    pub(super) fn listed(&self, meter: &MeterName) -> Result<&Account, Refusal> {
        self.book
            .get(meter)
            .filter(|account| account.is_listed)
            .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })
    }

    fn consume_charges(&self, items: &[Item]) -> Result<Vec<Charge>, Refusal> {
        let charge = |Held { meter, amount }| {
            let account = self.listed(&meter)?;
            let would_refuse = self.check_available(account, amount)?;
            Ok(Charge {
                used: account.used.saturating_add(amount),
                reserved: account.reserved,
                limit: account.limit,
                held: 0,
                grants: Vec::new(),
                would_refuse,
                meter,
                amount,
            })
        };
        Self::merged(items, 1)?.into_iter().map(charge).collect()
    }

    fn hold_charges(&self, items: Vec<Held>) -> Result<Vec<Charge>, Refusal> {
        let open = self.holds.len().saturating_add(self.job_holds.len());
        if open >= MAX_OPEN_HOLDS {
            return Err(Refusal::TooManyReservations { max: MAX_OPEN_HOLDS });
        }
        let charge = |Held { meter, amount }| {
            let account = self.listed(&meter)?;
            let would_refuse = self.check_available(account, amount)?;
            Ok(Charge {
                used: account.used,
                reserved: account.reserved.saturating_add(amount),
                limit: account.limit,
                held: 0,
                grants: Vec::new(),
                would_refuse,
                meter,
                amount,
            })
        };
        items.into_iter().map(charge).collect()
    }

    /// Says whether an amount is beyond what is available, if that is admitted all the same.
    fn check_available(&self, account: &Account, requested: u64) -> Result<bool, Refusal> {
        if requested <= account.available() {
            return Ok(false);
        }
        if self.enforcement() == Enforcement::Shadow && requested <= account.room() {
            return Ok(true);
        }
        Err(self.exceeded(account, requested))
    }

    pub(super) fn exceeded(&self, account: &Account, requested: u64) -> Refusal {
        let Some(limit) = account.limit else {
            // Only where sums would no longer fit does an unlimited meter refuse.
            let max = account.available();
            return Refusal::InvalidAmount { meter: account.meter.to_string(), min: 1, max };
        };
        let is_counter = account.kind == MeterKind::Counter;
        Refusal::QuotaExceeded {
            meter: account.meter.to_string(),
            limit,
            used: account.used,
            reserved: account.reserved,
            remaining: account.available(),
            requested,
            resets_at: self.period.filter(|_| is_counter).map(|period| period.end),
            plan: self.terms().plan.clone(),
        }
    }

    fn decide_reserve(
        &self,
        reservation: ReservationId,
        items: &[Item],
        ttl_s: u64,
        now: Timestamp,
    ) -> Decided {
        if !(1..=MAX_HOLD_S).contains(&ttl_s) {
            return Err(Refusal::InvalidTtl { max_s: MAX_HOLD_S });
        }
        let items = self.hold_charges(Self::merged(items, 1)?)?;
        // An id is used once, whatever became of its hold.
        if let Some(known) = self.reservation_as_is(reservation) {
            return Err(Refusal::ReservationSettled { settled: Box::new(known) });
        }
        Ok(Decision::New(Fact::Reserved {
            reservation,
            items,
            expires_at: now.plus_s(ttl_s),
            period: self.period_name(),
        }))
    }

    /// Decides to hold a job's upper bounds.
    pub(in crate::tenant) fn job_held(&self, job: JobId, items: &[Item]) -> Result<Fact, Refusal> {
        if self.job_holds.contains_key(&job) {
            return Err(Refusal::JobState { state: "held" });
        }
        let items = if items.is_empty() { Vec::new() } else { Self::merged(items, 1)? };
        let items = self.hold_charges(items)?;
        Ok(Fact::JobHeld { job, items, period: self.period_name() })
    }

    /// Decides to lower levels.
    pub(in crate::tenant) fn freed(&self, items: &[Item]) -> Result<Vec<Charge>, Refusal> {
        let charge =
            |Held { meter, amount }| {
                let account = self
                    .book
                    .get(&meter)
                    .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })?;
                if account.kind != MeterKind::Level {
                    return Err(Refusal::NotALevel { meter: meter.to_string() });
                }
                let used = account.used.checked_sub(amount).ok_or_else(|| {
                    Refusal::InvalidAmount { meter: meter.to_string(), min: 1, max: account.used }
                })?;
                Ok(Charge {
                    meter,
                    amount,
                    held: 0,
                    used,
                    reserved: account.reserved,
                    limit: account.limit,
                    grants: Vec::new(),
                    would_refuse: false,
                })
            };
        Self::merged(items, 1)?.into_iter().map(charge).collect()
    }

    /// Finds the account that a hold's meter is kept in: its own period's, or the level's.
    pub(super) fn account(&self, period: Timestamp, meter: &MeterName) -> Option<&Account> {
        let earlier = self.earlier(period).and_then(|earlier| earlier.get(meter));
        earlier.or_else(|| self.book.get(meter))
    }

    pub(super) fn is_open(&self, start: Timestamp) -> bool {
        self.period.is_some_and(|period| period.start == start)
    }

    pub(super) fn earlier(&self, start: Timestamp) -> Option<&EarlierPeriod> {
        self.earlier.iter().find(|earlier| earlier.start == start)
    }

    pub(super) fn name_of(&self, start: Timestamp) -> PeriodName {
        match self.earlier(start) {
            Some(earlier) => earlier.name.clone(),
            None => self.period_name(),
        }
    }

    /// Invariants that cost little, asserted in release builds too: a broken one must never be
    /// written on top of.
    pub(super) fn assert_admitted(&self, fact: &Fact) {
        assert_eq!(self.holds.len(), self.expiries.len(), "each hold lapses once");
        let (items, takes_more) = match fact {
            Fact::Consumed { items, .. }
            | Fact::Reserved { items, .. }
            | Fact::JobHeld { items, .. } => (items, true),
            Fact::Committed { items, .. } | Fact::PartCommitted { items, .. } => (items, false),
            _ => return,
        };
        for charge in items {
            let total = charge.used.checked_add(charge.reserved).expect("sums fit");
            assert!(total <= MAX_TOTAL, "sums fit");
            let is_admission = takes_more || charge.amount > charge.held;
            assert!(
                !is_admission
                    || charge.would_refuse
                    || charge.limit.is_none_or(|limit| total <= limit),
                "no admission exceeds a hard limit"
            );
        }
    }
}

/// `max(0, limit - reserved - used)` of an account, as answers show it.
pub(super) fn shown(account: &Account) -> Option<u64> {
    remaining(account.limit, account.used, account.reserved)
}
