//! The naive reference: lists that are searched and summed anew for every question, and units
//! that are taken and given back one by one. Slow, and simple enough to be believed.

mod ledger;
mod money;
mod past;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::ledger::For;
use super::{Command, Enforcement, Item, MAX_HOLD_S, PlanChange, Refusal, ReservationState};
use crate::clock::Timestamp;
use crate::ids::{GrantId, JobId, ReservationId};
use crate::tenant::period::Period;
use crate::tenant::plan::{MeterKind, MeterName, PlanTerms};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Reservation(ReservationId),
    Job(JobId),
}

#[derive(Clone, Debug)]
struct ModelHold {
    owner: Owner,
    period: Period,
    opened_at: Timestamp,
    expires_at: Option<Timestamp>,
    items: Vec<Item>,
    /// Each unit that comes from a grant, first taken first.
    granted: Vec<(MeterName, GrantId)>,
    state: ReservationState,
    ended_at: Option<Timestamp>,
    charged: Vec<Item>,
}

impl ModelHold {
    fn add(&mut self, meter: &MeterName) {
        match self.items.iter_mut().find(|item| item.meter == *meter) {
            Some(item) => item.amount += 1,
            None => self.items.push(Item { meter: meter.clone(), amount: 1 }),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct ModelGrant {
    pub(super) id: GrantId,
    meter: MeterName,
    amount: u64,
    priority: u8,
    expires_at: Option<Timestamp>,
    rollover: bool,
    ended: bool,
}

/// What a command came to: done, done before, or the refusal's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelVerdict {
    /// And whether any of it was beyond what is available.
    Done(bool),
    Again,
    Refused(&'static str),
}

pub(super) struct Model {
    terms: Arc<PlanTerms>,
    scheduled: Option<Arc<PlanTerms>>,
    now: Timestamp,
    until: Timestamp,
    pub(super) open: Period,
    enforcement: Option<Enforcement>,
    cap_minor: u64,
    pub(super) owed: u128,
    /// Every use there ever was, with its period; frees are negative.
    uses: Vec<(Period, MeterName, i128)>,
    /// Every use of a grant there ever was, with its period; what came back is negative.
    burns: Vec<(Period, GrantId, i64)>,
    pub(super) grants: Vec<ModelGrant>,
    holds: Vec<ModelHold>,
    /// The limits with which each period ended.
    closed: Vec<(Period, Arc<PlanTerms>)>,
    /// How far each level was beyond its limit from when on.
    levels: Vec<(Timestamp, MeterName, u64)>,
    carried: BTreeMap<MeterName, u128>,
    forgotten: u128,
}

use ModelVerdict::{Again, Done, Refused};

type Judged<T> = Result<T, &'static str>;

impl Model {
    pub(super) fn new(terms: Arc<PlanTerms>, now: Timestamp) -> Self {
        Self {
            terms,
            scheduled: None,
            now,
            until: now,
            open: Period::month_of(now),
            enforcement: None,
            cap_minor: 0,
            owed: 0,
            uses: Vec::new(),
            burns: Vec::new(),
            grants: Vec::new(),
            holds: Vec::new(),
            closed: Vec::new(),
            levels: Vec::new(),
            carried: BTreeMap::new(),
            forgotten: 0,
        }
    }

    pub(super) fn state(&self, id: ReservationId) -> Option<ReservationState> {
        self.holds.iter().find(|h| h.owner == Owner::Reservation(id)).map(|h| h.state)
    }

    pub(super) fn apply(&mut self, command: &Command, now: Timestamp) -> ModelVerdict {
        self.advance(now);
        let verdict = self.judge(command);
        match verdict {
            Ok(verdict @ Done(_)) => {
                self.note();
                verdict
            }
            Ok(verdict) => verdict,
            Err(code) => Refused(code),
        }
    }

    fn judge(&mut self, command: &Command) -> Judged<ModelVerdict> {
        match command {
            Command::Consume { items } => self.consume(items),
            Command::Reserve { id, items, ttl_s } => {
                self.hold(Owner::Reservation(*id), items, Some(self.now.plus_s(*ttl_s)))
            }
            Command::Commit { id, items, late } => self.commit(*id, items.as_deref(), *late),
            Command::Release { id } => self.release(*id),
            Command::Extend { id, ttl_s } => self.extend(*id, *ttl_s),
            Command::HoldJob { job, items } => self.hold(Owner::Job(*job), items, None),
            Command::CommitPart { job, items } => self.commit_part(*job, items),
            Command::CloseJob { job } => {
                let Some(index) = self.open_job(*job) else { return Ok(Again) };
                self.end(index, ReservationState::Released, &[]);
                Ok(Done(false))
            }
            Command::Free { items } => self.free(items),
            Command::SetPlan { terms, when, .. } => {
                match when {
                    PlanChange::Now => {
                        self.terms = Arc::clone(terms);
                        self.scheduled = None;
                    }
                    PlanChange::PeriodEnd => self.scheduled = Some(Arc::clone(terms)),
                }
                Ok(Done(false))
            }
            Command::SetEnforcement { mode } => {
                let is_new = self.enforcement.replace(*mode) != Some(*mode);
                Ok(if is_new { Done(false) } else { Again })
            }
            Command::StartTestClock { .. } | Command::AdvanceClock { .. } => {
                Err("not-in-test-mode")
            }
            Command::Tick => Ok(Again),
            told => self.told(told),
        }
    }

    fn sum(items: &[Item], meter: &MeterName) -> u64 {
        items.iter().filter(|item| item.meter == *meter).map(|item| item.amount).sum()
    }

    /// Each meter once, in the order in which it first appears.
    fn merged(items: &[Item]) -> Vec<Item> {
        let mut merged: Vec<Item> = Vec::new();
        for item in items {
            if merged.iter().all(|known| known.meter != item.meter) {
                let amount = Self::sum(items, &item.meter);
                merged.push(Item { meter: item.meter.clone(), amount });
            }
        }
        merged
    }

    /// Says whether units are beyond what is available and paid for, `spent` being what the
    /// command's other items add to what is committed.
    fn is_beyond(&self, period: Period, item: &Item, spent: &mut u128) -> bool {
        if item.amount <= self.available(period, &item.meter) {
            return false;
        }
        if period != self.open && !self.is_level(&item.meter) {
            return true;
        }
        let Some(added) = self.added(&item.meter, item.amount) else { return true };
        if self.committed() + *spent + added > self.cap_micros() {
            return true;
        }
        *spent += added;
        false
    }

    fn is_shadow(&self) -> bool {
        self.enforcement == Some(Enforcement::Shadow)
    }

    /// Says whether what is beyond a meter's limit is for sale.
    fn is_sold(&self, period: Period, meter: &MeterName) -> bool {
        let is_open = period == self.open || self.is_level(meter);
        is_open && self.cap_minor > 0 && self.of(meter).is_some_and(|t| t.overage.is_some())
    }

    /// Judges what is asked for; says whether shadow mode admits what is beyond.
    fn admits(&self, items: &[Item]) -> Judged<bool> {
        if items.iter().any(|item| item.amount == 0) {
            return Err("invalid-amount");
        }
        let (mut spent, mut flagged) = (0, false);
        for item in Self::merged(items) {
            self.of(&item.meter).ok_or("unknown-meter")?;
            if self.is_beyond(self.open, &item, &mut spent) {
                let is_sold = self.is_sold(self.open, &item.meter);
                if !self.is_shadow() {
                    return Err(if is_sold { "spend-cap-reached" } else { "quota-exceeded" });
                }
                flagged = true;
            }
        }
        Ok(flagged)
    }

    fn consume(&mut self, items: &[Item]) -> Judged<ModelVerdict> {
        let flagged = self.admits(items)?;
        for item in Self::merged(items) {
            self.take(&item.meter, item.amount, For::Use);
        }
        Ok(Done(flagged))
    }

    fn hold(
        &mut self,
        owner: Owner,
        items: &[Item],
        expires_at: Option<Timestamp>,
    ) -> Judged<ModelVerdict> {
        let known = self.holds.iter().find(|hold| hold.owner == owner);
        let is_job = matches!(owner, Owner::Job(_));
        if is_job && known.is_some_and(|hold| hold.state == ReservationState::Held) {
            return Err("job-state");
        }
        let flagged = self.admits(items)?;
        if !is_job && known.is_some() {
            return Err("reservation-settled");
        }
        self.holds.retain(|hold| hold.owner != owner);
        self.holds.push(ModelHold {
            owner,
            period: self.open,
            opened_at: self.now,
            expires_at,
            items: Vec::new(),
            granted: Vec::new(),
            state: ReservationState::Held,
            ended_at: None,
            charged: Vec::new(),
        });
        let index = self.holds.len() - 1;
        for item in Self::merged(items) {
            self.take(&item.meter, item.amount, For::Hold(index));
        }
        Ok(Done(flagged))
    }

    fn open_hold(&self, id: ReservationId) -> Result<usize, (&'static str, Option<usize>)> {
        let place = self.holds.iter().position(|hold| hold.owner == Owner::Reservation(id));
        let index = place.ok_or(("reservation-not-found", None))?;
        match self.holds[index].state {
            ReservationState::Held => Ok(index),
            ReservationState::Expired => Err(("reservation-expired", Some(index))),
            _ => Err(("reservation-settled", Some(index))),
        }
    }

    fn open_job(&self, job: JobId) -> Option<usize> {
        self.holds
            .iter()
            .position(|h| h.owner == Owner::Job(job) && h.state == ReservationState::Held)
    }

    fn commit(
        &mut self,
        id: ReservationId,
        items: Option<&[Item]>,
        late: bool,
    ) -> Judged<ModelVerdict> {
        let index = match self.open_hold(id) {
            Ok(index) => index,
            Err(("reservation-settled", Some(index))) => {
                let hold = &self.holds[index];
                let asked = items.unwrap_or(&hold.items);
                let is_same = hold.state == ReservationState::Committed
                    && self.terms.meters.iter().all(|terms| {
                        Self::sum(asked, &terms.meter) == Self::sum(&hold.charged, &terms.meter)
                    });
                return if is_same { Ok(Again) } else { Err("reservation-settled") };
            }
            Err((_, Some(index))) if late => return self.commit_late(index, items),
            Err((code, _)) => return Err(code),
        };
        let hold = self.holds[index].clone();
        let used = Self::merged(items.unwrap_or(&hold.items));
        let flagged = self.admits_excess(&hold, &used, true)?;
        self.holds[index].charged.clone_from(&used);
        self.end(index, ReservationState::Committed, &used);
        Ok(Done(flagged))
    }

    /// Judges what goes beyond a hold: first of what is held, then of what is not.
    fn admits_excess(&self, hold: &ModelHold, used: &[Item], is_whole: bool) -> Judged<bool> {
        let is_held = |meter: &MeterName| hold.items.iter().any(|held| held.meter == *meter);
        let of_hold = hold
            .items
            .iter()
            .map(|held| Item { meter: held.meter.clone(), amount: Self::sum(used, &held.meter) });
        let others = used.iter().filter(|item| !is_held(&item.meter)).cloned();
        let ordered: Vec<Item> =
            if is_whole { of_hold.chain(others).collect() } else { used.to_vec() };
        let (mut spent, mut flagged) = (0, false);
        for item in ordered {
            self.of(&item.meter).ok_or("unknown-meter")?;
            let held = Self::sum(&hold.items, &item.meter);
            let amount = item.amount.saturating_sub(held);
            let excess = Item { meter: item.meter.clone(), amount };
            if excess.amount > 0 && self.is_beyond(hold.period, &excess, &mut spent) {
                let is_sold = self.is_sold(hold.period, &item.meter);
                if !self.is_shadow() {
                    return Err(match (is_whole, is_sold) {
                        (true, _) => "exceeds-reservation",
                        (false, true) => "spend-cap-reached",
                        (false, false) => "quota-exceeded",
                    });
                }
                flagged = true;
            }
        }
        Ok(flagged)
    }

    /// Ends a hold with what was used of it and beside it.
    fn end(&mut self, index: usize, state: ReservationState, used: &[Item]) {
        self.holds[index].state = state;
        self.holds[index].ended_at = Some(self.now);
        let hold = self.holds[index].clone();
        for held in &hold.items {
            self.use_held(&hold, &held.meter, held.amount, Self::sum(used, &held.meter));
        }
        for item in used.iter().filter(|item| hold.items.iter().all(|i| i.meter != item.meter)) {
            self.use_held(&hold, &item.meter, 0, item.amount);
        }
    }

    /// Of `leaves` units that leave a hold, `amount` are used, or all and more: the plan's first,
    /// then those of grants as they were taken.
    fn use_held(&mut self, hold: &ModelHold, meter: &MeterName, leaves: u64, amount: u64) {
        let held = Self::sum(&hold.items, meter);
        let granted: Vec<GrantId> =
            hold.granted.iter().filter(|(of, _)| of == meter).map(|(_, id)| *id).collect();
        let of_plan = held - u64::try_from(granted.len()).unwrap();
        let of_grants = usize::try_from(amount.min(leaves).saturating_sub(of_plan)).unwrap();
        for grant in granted.into_iter().take(of_grants) {
            self.burns.push((hold.period, grant, 1));
        }
        let within = amount.min(leaves);
        self.uses.push((hold.period, meter.clone(), i128::from(within)));
        if hold.period == self.open {
            self.take(meter, amount - within, For::Use);
        } else {
            self.uses.push((hold.period, meter.clone(), i128::from(amount - within)));
        }
    }

    fn release(&mut self, id: ReservationId) -> Judged<ModelVerdict> {
        match self.open_hold(id) {
            Ok(index) => {
                self.end(index, ReservationState::Released, &[]);
                Ok(Done(false))
            }
            Err((_, Some(index))) if self.holds[index].state == ReservationState::Released => {
                Ok(Again)
            }
            Err((code, _)) => Err(code),
        }
    }

    fn extend(&mut self, id: ReservationId, ttl_s: u64) -> Judged<ModelVerdict> {
        let now = self.now;
        let index = self.open_hold(id).map_err(|(code, _)| code)?;
        let hold = &mut self.holds[index];
        let until = now.plus_s(ttl_s).max(hold.expires_at.unwrap());
        if until > hold.opened_at.plus_s(MAX_HOLD_S) {
            return Err("invalid-ttl");
        }
        hold.expires_at = Some(until);
        Ok(Done(false))
    }

    fn commit_part(&mut self, job: JobId, items: &[Item]) -> Judged<ModelVerdict> {
        let index = self.open_job(job).ok_or("job-not-found")?;
        if items.iter().any(|item| item.amount == 0) {
            return Err("invalid-amount");
        }
        let used = Self::merged(items);
        let flagged = self.admits_excess(&self.holds[index].clone(), &used, false)?;
        for item in used {
            let hold = self.holds[index].clone();
            let leaves = item.amount.min(Self::sum(&hold.items, &item.meter));
            self.shrink(index, &item.meter, leaves);
            self.use_held(&hold, &item.meter, leaves, item.amount);
        }
        Ok(Done(flagged))
    }

    /// Takes used units out of a hold that stays open: the plan's first.
    fn shrink(&mut self, index: usize, meter: &MeterName, leaves: u64) {
        let hold = &mut self.holds[index];
        let granted = hold.granted.iter().filter(|(of, _)| of == meter).count();
        let held = hold.items.iter_mut().find(|held| held.meter == *meter);
        let Some(held) = held else { return };
        let of_plan = held.amount - u64::try_from(granted).unwrap();
        held.amount -= leaves;
        for _ in 0..leaves.saturating_sub(of_plan) {
            let place = hold.granted.iter().position(|(of, _)| of == meter).unwrap();
            hold.granted.remove(place);
        }
    }

    fn free(&mut self, items: &[Item]) -> Judged<ModelVerdict> {
        if items.iter().any(|item| item.amount == 0) {
            return Err("invalid-amount");
        }
        for item in items {
            match self.of(&item.meter).map(|terms| terms.kind) {
                None => return Err("unknown-meter"),
                Some(MeterKind::Counter) => return Err("not-a-level"),
                Some(MeterKind::Level) => {}
            }
            if Self::sum(items, &item.meter) > self.used(self.open, &item.meter) {
                return Err("invalid-amount");
            }
        }
        for item in items {
            self.uses.push((self.open, item.meter.clone(), -i128::from(item.amount)));
        }
        Ok(Done(false))
    }
}

/// Compares a refusal with the model's code.
pub(super) fn code(refusal: &Refusal) -> ModelVerdict {
    Refused(refusal.code())
}
