//! The naive reference: lists that are searched and summed anew for every question, and units
//! that are taken and given back one by one. Slow, and simple enough to be believed.

mod holds;
mod ledger;
mod money;
mod past;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::ledger::For;
use super::{Command, Enforcement, Item, PlanChange, Refusal, ReservationState};
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
    /// What of a counter is beyond the limit and was so when a plan came into force.
    unsold: BTreeMap<MeterName, u64>,
    /// What of a level's time beyond its limit was under plans that ended, in whole seconds.
    closed_over: BTreeMap<MeterName, u128>,
    /// What plans that ended in the period left to be paid.
    pub(super) owed_before: BTreeMap<MeterName, u128>,
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
            unsold: BTreeMap::new(),
            closed_over: BTreeMap::new(),
            owed_before: BTreeMap::new(),
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
                        self.close_plan();
                        self.terms = Arc::clone(terms);
                        self.scheduled = None;
                        self.withhold();
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
