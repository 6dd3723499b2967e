//! Judges a command on the state as it is: nothing here changes anything.

use super::account::{Account, EarlierPeriod, MAX_TOTAL};
use super::fact::{Charge, Fact, remaining};
use super::{
    Command, Decision, Held, Hold, Item, MAX_AMOUNT, MAX_HOLD_S, MAX_ITEMS, MAX_OPEN_HOLDS, Quota,
    Refusal, Reservation, ReservationState,
};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::PeriodName;
use crate::tenant::plan::{MeterKind, MeterName};

type Decided = Result<Decision, Refusal>;

impl Quota {
    pub(super) fn decide(&self, command: &Command, now: Timestamp) -> Decided {
        match command {
            Command::Consume { items } => {
                let items = self.consume_charges(items)?;
                Ok(Decision::New(Fact::Consumed { items, period: self.period_name() }))
            }
            Command::Reserve { id, items, ttl_s } => self.decide_reserve(*id, items, *ttl_s, now),
            Command::Commit { id, items } => self.decide_commit(*id, items.as_deref(), now),
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
            Command::SetPlan { terms } => Ok(Decision::New(Fact::PlanSet { terms: terms.clone() })),
            Command::Tick => Ok(Decision::Nothing),
        }
    }

    /// Adds up items of the same meter, in the order in which each meter first appears.
    fn merged(items: &[Item], min: u64) -> Result<Vec<Held>, Refusal> {
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

    fn listed(&self, meter: &MeterName) -> Result<&Account, Refusal> {
        self.book
            .get(meter)
            .filter(|account| account.is_listed)
            .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })
    }

    fn consume_charges(&self, items: &[Item]) -> Result<Vec<Charge>, Refusal> {
        let charge = |Held { meter, amount }| {
            let account = self.listed(&meter)?;
            self.check_available(account, amount)?;
            Ok(Charge {
                used: account.used.saturating_add(amount),
                reserved: account.reserved,
                limit: account.limit,
                held: 0,
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
            self.check_available(account, amount)?;
            Ok(Charge {
                used: account.used,
                reserved: account.reserved.saturating_add(amount),
                limit: account.limit,
                held: 0,
                meter,
                amount,
            })
        };
        items.into_iter().map(charge).collect()
    }

    fn check_available(&self, account: &Account, requested: u64) -> Result<(), Refusal> {
        if requested <= account.available() {
            return Ok(());
        }
        Err(self.exceeded(account, requested))
    }

    fn exceeded(&self, account: &Account, requested: u64) -> Refusal {
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
        if let Some(known) = self.reservation(reservation, now) {
            return Err(Refusal::ReservationSettled { settled: Box::new(known) });
        }
        Ok(Decision::New(Fact::Reserved {
            reservation,
            items,
            expires_at: now.plus_s(ttl_s),
            period: self.period_name(),
        }))
    }

    /// Finds an open hold, or says what became of it.
    fn held(&self, id: ReservationId) -> Result<&Hold, Refusal> {
        if let Some(hold) = self.holds.get(&id) {
            return Ok(hold);
        }
        let settled = self.settled.get(&id).ok_or(Refusal::ReservationNotFound)?;
        Err(match settled.state {
            ReservationState::Expired => {
                Refusal::ReservationExpired { expired_at: settled.expires_at }
            }
            _ => Refusal::ReservationSettled { settled: Box::new(settled.view(id)) },
        })
    }

    fn decide_commit(&self, id: ReservationId, items: Option<&[Item]>, now: Timestamp) -> Decided {
        let used = items.map(|items| Self::merged(items, 0)).transpose()?;
        let hold = match self.held(id) {
            Ok(hold) => hold,
            Err(Refusal::ReservationSettled { settled }) => {
                return if was_committed_as(&settled, used.as_deref()) {
                    Ok(Decision::Again(*settled))
                } else {
                    Err(Refusal::ReservationSettled { settled })
                };
            }
            Err(refusal) => return Err(refusal),
        };
        debug_assert!(hold.expires_at > now, "what lapsed was expired before");
        let used = used.unwrap_or_else(|| hold.items.clone());
        // First what is held, whether it was used or not, then what was used beside it.
        let mut charges = Vec::with_capacity(hold.items.len());
        for held in &hold.items {
            let amount = amount_of(&used, &held.meter);
            charges.push(self.settling(hold.period, &held.meter, held.amount, amount)?);
        }
        for extra in &used {
            if extra.amount > 0 && !hold.items.iter().any(|held| held.meter == extra.meter) {
                charges.push(self.settling(hold.period, &extra.meter, 0, extra.amount)?);
            }
        }
        Ok(Decision::New(Fact::Committed {
            reservation: id,
            items: charges,
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }))
    }

    /// Works out one meter of a commit: `held` leaves the hold, `amount` is used, and what goes
    /// beyond the hold must be available.
    fn settling(
        &self,
        period: Timestamp,
        meter: &MeterName,
        held: u64,
        amount: u64,
    ) -> Result<Charge, Refusal> {
        let account = self
            .account(period, meter)
            .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })?;
        if amount.saturating_sub(held) > account.available() {
            return Err(Refusal::ExceedsReservation {
                meter: meter.to_string(),
                held,
                remaining: account.available(),
                requested: amount,
            });
        }
        Ok(Charge {
            meter: meter.clone(),
            amount,
            held,
            used: account.used.saturating_add(amount),
            reserved: account.reserved.saturating_sub(held),
            limit: account.limit,
        })
    }

    fn decide_release(&self, id: ReservationId, now: Timestamp) -> Decided {
        let hold = match self.held(id) {
            Ok(hold) => hold,
            Err(Refusal::ReservationSettled { settled })
                if settled.state == ReservationState::Released =>
            {
                return Ok(Decision::Again(*settled));
            }
            Err(refusal) => return Err(refusal),
        };
        debug_assert!(hold.expires_at > now, "what lapsed was expired before");
        Ok(Decision::New(Fact::Released {
            reservation: id,
            items: self.returned(hold.period, &hold.items),
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }))
    }

    pub(super) fn expired(&self, id: ReservationId, hold: &Hold) -> Fact {
        Fact::Expired {
            reservation: id,
            items: self.returned(hold.period, &hold.items),
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }
    }

    /// Works out what a hold gives back.
    fn returned(&self, period: Timestamp, items: &[Held]) -> Vec<Charge> {
        let charge = |held: &Held| {
            let account = self.account(period, &held.meter)?;
            Some(Charge {
                meter: held.meter.clone(),
                amount: 0,
                held: held.amount,
                used: account.used,
                reserved: account.reserved.saturating_sub(held.amount),
                limit: account.limit,
            })
        };
        items.iter().filter_map(charge).collect()
    }

    fn decide_extend(&self, id: ReservationId, ttl_s: u64, now: Timestamp) -> Decided {
        let hold = self.held(id)?;
        let last = hold.opened_at.plus_s(MAX_HOLD_S);
        let expires_at = now.plus_s(ttl_s).max(hold.expires_at);
        if ttl_s == 0 || ttl_s > MAX_HOLD_S || expires_at > last {
            return Err(Refusal::InvalidTtl { max_s: last.since(now).as_secs() });
        }
        let charge = |held: &Held| {
            let account = self.account(hold.period, &held.meter)?;
            Some(Charge {
                meter: held.meter.clone(),
                amount: held.amount,
                held: 0,
                used: account.used,
                reserved: account.reserved,
                limit: account.limit,
            })
        };
        Ok(Decision::New(Fact::Extended {
            reservation: id,
            items: hold.items.iter().filter_map(charge).collect(),
            expires_at,
            period: self.name_of(hold.period),
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

    /// Decides to use a part of a job's hold; an excess must be available.
    pub(in crate::tenant) fn part_committed(
        &self,
        job: JobId,
        items: &[Item],
    ) -> Result<Fact, Refusal> {
        let hold = self.job_holds.get(&job).ok_or(Refusal::JobNotFound)?;
        let items = if items.is_empty() { Vec::new() } else { Self::merged(items, 1)? };
        let charge = |Held { meter, amount }| {
            let held = amount_of(&hold.items, &meter).min(amount);
            let account = self
                .account(hold.period, &meter)
                .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })?;
            if amount.saturating_sub(held) > account.available() {
                return Err(self.exceeded(account, amount.saturating_sub(held)));
            }
            self.settling(hold.period, &meter, held, amount)
        };
        let items = items.into_iter().map(charge).collect::<Result<_, _>>()?;
        Ok(Fact::PartCommitted { job, items, period: self.name_of(hold.period) })
    }

    /// Decides to give back what a job still holds; none if it holds nothing any more.
    pub(in crate::tenant) fn job_closed(&self, job: JobId) -> Option<Fact> {
        let hold = self.job_holds.get(&job)?;
        let items = self.returned(hold.period, &hold.items);
        Some(Fact::JobClosed { job, items, period: self.name_of(hold.period) })
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
                })
            };
        Self::merged(items, 1)?.into_iter().map(charge).collect()
    }

    /// Finds the account that a hold's meter is kept in: its own period's, or the level's.
    pub(super) fn account(&self, period: Timestamp, meter: &MeterName) -> Option<&Account> {
        let open = self.book.get(meter);
        if self.is_open(period) || open.is_some_and(|account| account.kind == MeterKind::Level) {
            return open;
        }
        self.earlier(period)?.get(meter)
    }

    pub(super) fn is_open(&self, start: Timestamp) -> bool {
        self.period.is_some_and(|period| period.start == start)
    }

    pub(super) fn earlier(&self, start: Timestamp) -> Option<&EarlierPeriod> {
        self.earlier.iter().find(|earlier| earlier.start == start)
    }

    fn name_of(&self, start: Timestamp) -> PeriodName {
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
                !is_admission || charge.limit.is_none_or(|limit| total <= limit),
                "no admission exceeds a hard limit"
            );
        }
    }
}

fn amount_of(items: &[Held], meter: &MeterName) -> u64 {
    items.iter().find(|item| item.meter == *meter).map_or(0, |item| item.amount)
}

/// Says whether a commit asks for just what an earlier one did.
fn was_committed_as(settled: &Reservation, used: Option<&[Held]>) -> bool {
    settled.state == ReservationState::Committed
        && match used {
            None => settled.items.iter().all(|item| item.charged == Some(item.amount)),
            Some(used) => {
                settled.items.iter().all(|item| item.charged == Some(amount_of(used, &item.meter)))
                    && used.iter().all(|used| {
                        used.amount == 0
                            || settled.items.iter().any(|item| item.meter == used.meter)
                    })
            }
        }
}

/// `max(0, limit - reserved - used)` of an account, as answers show it.
pub(super) fn shown(account: &Account) -> Option<u64> {
    remaining(account.limit, account.used, account.reserved)
}
