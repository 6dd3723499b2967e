//! The naive reference: lists that are searched and summed anew for every question. Slow, and
//! simple enough to be believed.

use std::sync::Arc;

use super::{Command, Item, MAX_HOLD_S, Refusal, ReservationState};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::Period;
use crate::tenant::plan::{MeterKind, MeterName, PlanTerms};

#[derive(Clone, Debug, PartialEq, Eq)]
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
    state: ReservationState,
    ended_at: Option<Timestamp>,
    charged: Vec<Item>,
}

/// What a command came to: done, done before, or the refusal's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelVerdict {
    Done,
    Again,
    Refused(&'static str),
}

pub(super) struct Model {
    terms: Arc<PlanTerms>,
    now: Timestamp,
    /// Every use there ever was, with its period; frees are negative.
    uses: Vec<(Period, MeterName, i128)>,
    holds: Vec<ModelHold>,
    /// The limits with which each period ended.
    closed: Vec<(Period, Arc<PlanTerms>)>,
}

use ModelVerdict::{Again, Done, Refused};

impl Model {
    pub(super) fn new(terms: Arc<PlanTerms>, now: Timestamp) -> Self {
        Self { terms, now, uses: Vec::new(), holds: Vec::new(), closed: Vec::new() }
    }

    fn kind(&self, meter: &MeterName) -> Option<MeterKind> {
        self.terms.meter(meter.as_str()).map(|terms| terms.kind)
    }

    fn counts(&self, at: Period, period: Period, meter: &MeterName) -> bool {
        self.kind(meter) == Some(MeterKind::Level) || at == period
    }

    pub(super) fn used(&self, period: Period, meter: &MeterName) -> u64 {
        let uses =
            self.uses.iter().filter(|(at, of, _)| of == meter && self.counts(*at, period, of));
        u64::try_from(uses.map(|(_, _, units)| units).sum::<i128>()).unwrap()
    }

    pub(super) fn reserved(&self, period: Period, meter: &MeterName) -> u64 {
        let open = self.holds.iter().filter(|hold| hold.state == ReservationState::Held);
        let counted = open.filter(|hold| self.counts(hold.period, period, meter));
        counted.flat_map(|hold| &hold.items).filter(|i| i.meter == *meter).map(|i| i.amount).sum()
    }

    fn limit(&self, period: Period, meter: &MeterName) -> Option<u64> {
        let closed = self.closed.iter().find(|(at, _)| *at == period);
        let is_level = self.kind(meter) == Some(MeterKind::Level);
        let terms = closed.filter(|_| !is_level).map_or(&self.terms, |(_, terms)| terms);
        terms.meter(meter.as_str()).unwrap().limit
    }

    fn available(&self, period: Period, meter: &MeterName) -> u64 {
        match self.limit(period, meter) {
            None => u64::MAX,
            Some(limit) => limit
                .saturating_sub(self.used(period, meter))
                .saturating_sub(self.reserved(period, meter)),
        }
    }

    pub(super) fn state(&self, id: ReservationId) -> Option<ReservationState> {
        self.holds.iter().find(|h| h.owner == Owner::Reservation(id)).map(|h| h.state)
    }

    pub(super) fn period(&self) -> Period {
        Period::month_of(self.now)
    }

    fn advance(&mut self, now: Timestamp) {
        if self.period() != Period::month_of(now) {
            let closed = self.period();
            self.closed.push((closed, Arc::clone(&self.terms)));
            // What ended before the period that closes now is forgotten.
            self.holds.retain(|hold| hold.ended_at.is_none_or(|at| at >= closed.start));
        }
        self.now = now;
        for hold in &mut self.holds {
            if hold.state == ReservationState::Held && hold.expires_at.is_some_and(|at| at <= now) {
                hold.state = ReservationState::Expired;
                hold.ended_at = hold.expires_at;
            }
        }
    }

    pub(super) fn apply(&mut self, command: &Command, now: Timestamp) -> ModelVerdict {
        self.advance(now);
        match command {
            Command::Consume { items } => self.consume(items),
            Command::Reserve { id, items, ttl_s } => {
                self.hold(Owner::Reservation(*id), items, Some(now.plus_s(*ttl_s)))
            }
            Command::Commit { id, items, .. } => self.commit(*id, items.as_deref()),
            Command::Release { id } => self.release(*id),
            Command::Extend { id, ttl_s } => self.extend(*id, *ttl_s),
            Command::HoldJob { job, items } => self.hold(Owner::Job(*job), items, None),
            Command::CommitPart { job, items } => self.commit_part(*job, items),
            Command::CloseJob { job } => match self.open_job(*job) {
                None => Again,
                Some(index) => {
                    self.end(index, ReservationState::Released);
                    Done
                }
            },
            Command::Free { items } => self.free(items),
            Command::SetPlan { terms, .. } => {
                self.terms = Arc::clone(terms);
                Done
            }
            Command::StartTestClock { .. } | Command::AdvanceClock { .. } => {
                Refused("not-in-test-mode")
            }
            Command::Tick => Again,
            _ => Refused("not modelled"),
        }
    }

    fn total(items: &[Item], meter: &MeterName) -> u64 {
        items.iter().filter(|item| item.meter == *meter).map(|item| item.amount).sum()
    }

    /// The first reason, in the order of the items, for which they cannot be taken.
    fn refuses(&self, items: &[Item]) -> Option<&'static str> {
        if items.iter().any(|item| item.amount == 0) {
            return Some("invalid-amount");
        }
        items.iter().find_map(|item| {
            if self.kind(&item.meter).is_none() {
                return Some("unknown-meter");
            }
            let total = Self::total(items, &item.meter);
            (total > self.available(self.period(), &item.meter)).then_some("quota-exceeded")
        })
    }

    fn consume(&mut self, items: &[Item]) -> ModelVerdict {
        if let Some(code) = self.refuses(items) {
            return Refused(code);
        }
        let period = self.period();
        self.uses
            .extend(items.iter().map(|item| (period, item.meter.clone(), i128::from(item.amount))));
        Done
    }

    fn hold(
        &mut self,
        owner: Owner,
        items: &[Item],
        expires_at: Option<Timestamp>,
    ) -> ModelVerdict {
        let known = self.holds.iter().find(|hold| hold.owner == owner);
        let is_job = matches!(owner, Owner::Job(_));
        if is_job && known.is_some_and(|hold| hold.state == ReservationState::Held) {
            return Refused("job-state");
        }
        if let Some(code) = self.refuses(items) {
            return Refused(code);
        }
        if !is_job && known.is_some() {
            return Refused("reservation-settled");
        }
        self.holds.retain(|hold| hold.owner != owner);
        self.holds.push(ModelHold {
            owner,
            period: self.period(),
            opened_at: self.now,
            expires_at,
            items: items.to_vec(),
            state: ReservationState::Held,
            ended_at: None,
            charged: Vec::new(),
        });
        Done
    }

    fn open(&self, id: ReservationId) -> Result<usize, (&'static str, Option<usize>)> {
        let place = self.holds.iter().position(|hold| hold.owner == Owner::Reservation(id));
        let index = place.ok_or(("reservation-not-found", None))?;
        match self.holds[index].state {
            ReservationState::Held => Ok(index),
            ReservationState::Expired => Err(("reservation-expired", None)),
            _ => Err(("reservation-settled", Some(index))),
        }
    }

    fn open_job(&self, job: JobId) -> Option<usize> {
        self.holds
            .iter()
            .position(|h| h.owner == Owner::Job(job) && h.state == ReservationState::Held)
    }

    fn commit(&mut self, id: ReservationId, items: Option<&[Item]>) -> ModelVerdict {
        let index = match self.open(id) {
            Ok(index) => index,
            Err((_, Some(index))) => {
                let hold = &self.holds[index];
                let asked = items.unwrap_or(&hold.items);
                let is_same = hold.state == ReservationState::Committed
                    && self.terms.meters.iter().all(|terms| {
                        Self::total(asked, &terms.meter) == Self::total(&hold.charged, &terms.meter)
                    });
                return if is_same { Again } else { Refused("reservation-settled") };
            }
            Err((code, None)) => return Refused(code),
        };
        let hold = self.holds[index].clone();
        let used = items.unwrap_or(&hold.items).to_vec();
        let is_held = |item: &&Item| hold.items.iter().any(|held| held.meter == item.meter);
        let (known, extra): (Vec<_>, Vec<_>) = used.iter().partition(is_held);
        for item in known.into_iter().chain(extra) {
            let held = Self::total(&hold.items, &item.meter);
            let excess = Self::total(&used, &item.meter).saturating_sub(held);
            if self.kind(&item.meter).is_none() && (item.amount > 0 || !is_held(&item)) {
                return Refused("unknown-meter");
            }
            if excess > 0 && excess > self.available(hold.period, &item.meter) {
                return Refused("exceeds-reservation");
            }
        }
        self.end(index, ReservationState::Committed);
        self.holds[index].charged.clone_from(&used);
        self.use_in(hold.period, &used);
        Done
    }

    fn end(&mut self, index: usize, state: ReservationState) {
        self.holds[index].state = state;
        self.holds[index].ended_at = Some(self.now);
    }

    fn use_in(&mut self, period: Period, items: &[Item]) {
        let uses = items.iter().map(|i| (period, i.meter.clone(), i128::from(i.amount)));
        self.uses.extend(uses);
    }

    fn release(&mut self, id: ReservationId) -> ModelVerdict {
        match self.open(id) {
            Ok(index) => {
                self.end(index, ReservationState::Released);
                Done
            }
            Err((_, Some(index))) if self.holds[index].state == ReservationState::Released => Again,
            Err((code, _)) => Refused(code),
        }
    }

    fn extend(&mut self, id: ReservationId, ttl_s: u64) -> ModelVerdict {
        let now = self.now;
        match self.open(id) {
            Ok(index) => {
                let hold = &mut self.holds[index];
                let until = now.plus_s(ttl_s).max(hold.expires_at.unwrap());
                if until > hold.opened_at.plus_s(MAX_HOLD_S) {
                    return Refused("invalid-ttl");
                }
                hold.expires_at = Some(until);
                Done
            }
            Err((code, _)) => Refused(code),
        }
    }

    fn commit_part(&mut self, job: JobId, items: &[Item]) -> ModelVerdict {
        let Some(index) = self.open_job(job) else { return Refused("job-not-found") };
        if items.iter().any(|item| item.amount == 0) {
            return Refused("invalid-amount");
        }
        let hold = self.holds[index].clone();
        for item in items {
            if self.kind(&item.meter).is_none() {
                return Refused("unknown-meter");
            }
            let held = Self::total(&hold.items, &item.meter);
            let excess = Self::total(items, &item.meter).saturating_sub(held);
            if excess > 0 && excess > self.available(hold.period, &item.meter) {
                return Refused("quota-exceeded");
            }
        }
        for item in items {
            let mut left = item.amount;
            for held in &mut self.holds[index].items {
                if held.meter == item.meter {
                    let taken = left.min(held.amount);
                    held.amount -= taken;
                    left -= taken;
                }
            }
        }
        self.use_in(hold.period, items);
        Done
    }

    fn free(&mut self, items: &[Item]) -> ModelVerdict {
        let period = self.period();
        for item in items {
            if item.amount == 0 {
                return Refused("invalid-amount");
            }
        }
        for item in items {
            match self.kind(&item.meter) {
                None => return Refused("unknown-meter"),
                Some(MeterKind::Counter) => return Refused("not-a-level"),
                Some(MeterKind::Level) => {}
            }
            if Self::total(items, &item.meter) > self.used(period, &item.meter) {
                return Refused("invalid-amount");
            }
        }
        for item in items {
            self.uses.push((period, item.meter.clone(), -i128::from(item.amount)));
        }
        Done
    }
}

/// Compares a refusal with the model's code.
pub(super) fn code(refusal: &Refusal) -> ModelVerdict {
    Refused(refusal.code())
}
