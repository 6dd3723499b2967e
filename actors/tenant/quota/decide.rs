//! Judges a command on the state as it is: nothing here changes anything.

use super::account::{Account, EarlierPeriod, MAX_TOTAL};
use super::charge::remaining;
use super::lots::{Held, Lots, Take};
use super::spend::Purse;
use super::{
    Charge, Command, Decision, Enforcement, Fact, GrantStand, GrantTerms, Item, MAX_AMOUNT,
    MAX_HOLD_S, MAX_ITEMS, MAX_OPEN_HOLDS, Quota, Refusal,
};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::planted::{self, Bug};
use crate::tenant::period::PeriodName;
use crate::tenant::plan::{MeterKind, MeterName};

pub(super) type Decided = Result<Decision, Refusal>;

impl Quota {
    pub(super) fn decide(&self, command: &Command, now: Timestamp) -> Decided {
        match command {
            Command::Consume { items } => {
                let items = self.consume_charges(items, now)?;
                Ok(Decision::New(Fact::Consumed { items, period: self.period_name() }))
            }
            Command::Reserve { id, items, ttl_s } => self.decide_reserve(*id, items, *ttl_s, now),
            Command::Commit { id, items, late } => {
                self.decide_commit(*id, items.as_deref(), *late, now)
            }
            Command::Release { id } => self.decide_release(*id, now),
            Command::Extend { id, ttl_s } => self.decide_extend(*id, *ttl_s, now),
            Command::HoldJob { job, items } => Ok(Decision::New(self.job_held(*job, items, now)?)),
            Command::CommitPart { job, items } => {
                Ok(Decision::New(self.part_committed(*job, items, now)?))
            }
            Command::CloseJob { job } => match self.job_closed(*job, &[]) {
                Some(fact) => Ok(Decision::New(fact)),
                None => Ok(Decision::Nothing),
            },
            Command::Free { items } => {
                let items = self.freed(items)?;
                Ok(Decision::New(Fact::Freed { items, period: self.period_name() }))
            }
            Command::Record { events } => self.decide_record(events, now),
            Command::Adjust { meter, delta, reason, reference } => {
                self.decide_adjust(meter, *delta, reason.clone(), reference.clone(), now)
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
            Command::SetFeature { feature, allowed } => Ok(self.decide_feature(feature, *allowed)),
            Command::SetEnforcement { mode } => Ok(self.decide_enforcement(*mode)),
            Command::SetPlan { terms, cycle, when } => {
                self.decide_plan(terms, cycle.as_ref(), *when, now)
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
                None => sums.push(Held::new(meter.clone(), amount)),
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

    fn consume_charges(&self, items: &[Item], now: Timestamp) -> Result<Vec<Charge>, Refusal> {
        let mut purse = Purse::default();
        let mut charge = |meter: &MeterName, amount: u64| {
            let account = self.listed(meter)?;
            let would_refuse = self.check_available(account, amount, &mut purse, now)?;
            Ok(self.used_charge(account, amount, would_refuse))
        };
        // Most uses are of one meter: they need no list of sums.
        if let [Item { meter, amount: amount @ 1..=MAX_AMOUNT }] = items {
            return Ok(vec![charge(meter, *amount)?]);
        }
        let merged = Self::merged(items, 1)?;
        merged.iter().map(|held| charge(&held.meter, held.amount)).collect()
    }

    /// Works out a use of units.
    pub(super) fn used_charge(&self, account: &Account, amount: u64, would_refuse: bool) -> Charge {
        let (grants, limit) = self.moved(account, |lots| lots.take(amount, Take::Used));
        Charge {
            meter: account.meter.clone(),
            amount,
            held: 0,
            used: account.used.saturating_add(amount),
            reserved: account.reserved,
            limit,
            grants,
            would_refuse,
        }
    }

    /// Works out which grants a change of an account moves, and the limit afterwards.
    pub(super) fn moved(
        &self,
        account: &Account,
        change: impl FnOnce(Lots) -> Lots,
    ) -> (Vec<GrantStand>, Option<u64>) {
        if self.grants.is_empty() || account.kind == MeterKind::Level {
            return (Vec::new(), account.limit);
        }
        let lots = change(self.lots(account));
        let limit = lots.limit();
        (lots.moved(), limit)
    }

    fn hold_charges(&self, items: Vec<Held>, now: Timestamp) -> Result<Vec<Charge>, Refusal> {
        let open = self.holds.len().saturating_add(self.job_holds.len());
        if open >= MAX_OPEN_HOLDS {
            return Err(Refusal::TooManyReservations { max: MAX_OPEN_HOLDS });
        }
        let mut purse = Purse::default();
        let charge = |Held { meter, amount, .. }| {
            let account = self.listed(&meter)?;
            let would_refuse = self.check_available(account, amount, &mut purse, now)?;
            let (grants, limit) = self.moved(account, |lots| lots.take(amount, Take::Held));
            Ok(Charge {
                used: account.used,
                reserved: account.reserved.saturating_add(amount),
                held: 0,
                meter,
                amount,
                limit,
                grants,
                would_refuse,
            })
        };
        items.into_iter().map(charge).collect()
    }

    /// Says whether an amount is beyond what is available, if that is admitted all the same.
    pub(super) fn check_available(
        &self,
        account: &Account,
        requested: u64,
        purse: &mut Purse,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        if requested <= account.available() {
            return Ok(false);
        }
        if requested > account.room() {
            // Only where sums would no longer fit does an unlimited meter refuse.
            let meter = account.meter.to_string();
            return Err(match account.limit {
                None => Refusal::InvalidAmount { meter, min: 1, max: account.room() },
                Some(_) => self.exceeded(account, requested, now),
            });
        }
        if self.covers(account, requested, purse, now) {
            return Ok(false);
        }
        match self.enforcement() {
            Enforcement::Shadow => Ok(true),
            Enforcement::Enforced => Err(self.exceeded(account, requested, now)),
        }
    }

    pub(super) fn exceeded(&self, account: &Account, requested: u64, now: Timestamp) -> Refusal {
        if account.price.is_some() && self.spend_cap().amount_minor > 0 {
            return self.cap_reached(account, requested, now);
        }
        let is_counter = account.kind == MeterKind::Counter;
        Refusal::QuotaExceeded {
            meter: account.meter.to_string(),
            limit: account.limit.unwrap_or(MAX_TOTAL),
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
        let items = self.hold_charges(Self::merged(items, 1)?, now)?;
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
    pub(in crate::tenant) fn job_held(
        &self,
        job: JobId,
        items: &[Item],
        now: Timestamp,
    ) -> Result<Fact, Refusal> {
        if self.job_holds.contains_key(&job) {
            return Err(Refusal::JobState { state: "held" });
        }
        let items = if items.is_empty() { Vec::new() } else { Self::merged(items, 1)? };
        let items = self.hold_charges(items, now)?;
        Ok(Fact::JobHeld { job, items, period: self.period_name() })
    }

    /// Decides to lower levels.
    pub(in crate::tenant) fn freed(&self, items: &[Item]) -> Result<Vec<Charge>, Refusal> {
        let charge =
            |Held { meter, amount, .. }| {
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
        let earlier = self.earlier(period).filter(|_| !planted::is(Bug::ResetRace));
        let earlier = earlier.and_then(|earlier| earlier.get(meter));
        earlier.or_else(|| self.book.get(meter))
    }

    /// Says whether that account is of a period that has closed.
    pub(super) fn is_earlier(&self, period: Timestamp, meter: &MeterName) -> bool {
        self.earlier(period).is_some_and(|earlier| earlier.get(meter).is_some())
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
}

/// `max(0, limit - reserved - used)` of an account, as answers show it.
pub(super) fn shown(account: &Account) -> Option<u64> {
    remaining(account.limit, account.used, account.reserved)
}
