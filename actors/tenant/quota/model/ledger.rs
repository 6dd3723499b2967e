//! What the model knows of units: every movement there ever was, summed anew for every question.

use super::{Model, ModelGrant, ModelHold};
use crate::clock::Timestamp;
use crate::ids::GrantId;
use crate::tenant::period::Period;
use crate::tenant::plan::{MeterKind, MeterName, MeterTerms};
use crate::tenant::quota::ReservationState;

/// Whom a unit is taken for: a use, or the hold at this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Use,
    Hold(usize),
}

impl Model {
    pub(super) fn of(&self, meter: &MeterName) -> Option<&MeterTerms> {
        self.terms.meter(meter.as_str())
    }

    pub(super) fn is_level(&self, meter: &MeterName) -> bool {
        self.of(meter).is_some_and(|terms| terms.kind == MeterKind::Level)
    }

    fn counts(&self, at: Period, period: Period, meter: &MeterName) -> bool {
        self.is_level(meter) || at == period
    }

    pub(in super::super) fn used(&self, period: Period, meter: &MeterName) -> u64 {
        let uses =
            self.uses.iter().filter(|(at, of, _)| of == meter && self.counts(*at, period, of));
        u64::try_from(uses.map(|(_, _, units)| units).sum::<i128>()).unwrap()
    }

    fn open_holds(&self) -> impl Iterator<Item = &ModelHold> {
        self.holds.iter().filter(|hold| hold.state == ReservationState::Held)
    }

    pub(in super::super) fn reserved(&self, period: Period, meter: &MeterName) -> u64 {
        let counted = self.open_holds().filter(|hold| self.counts(hold.period, period, meter));
        counted.flat_map(|hold| &hold.items).filter(|i| i.meter == *meter).map(|i| i.amount).sum()
    }

    pub(super) fn total(&self, period: Period, meter: &MeterName) -> u64 {
        self.used(period, meter) + self.reserved(period, meter)
    }

    /// What open holds, of one period or of all, have of a grant.
    fn held_of(&self, grant: GrantId, period: Option<Period>) -> u64 {
        let holds = self.open_holds().filter(|hold| period.is_none_or(|p| p == hold.period));
        let units = holds.flat_map(|hold| &hold.granted).filter(|(_, id)| *id == grant);
        u64::try_from(units.count()).unwrap()
    }

    /// What uses, of one period or of all, have of a grant.
    fn used_of(&self, grant: GrantId, period: Option<Period>) -> u64 {
        let burns = self
            .burns
            .iter()
            .filter(|(at, id, _)| *id == grant && period.is_none_or(|period| period == *at));
        u64::try_from(burns.map(|(_, _, units)| units).sum::<i64>()).unwrap()
    }

    pub(in super::super) fn left(&self, grant: &ModelGrant) -> u64 {
        if grant.ended {
            return 0;
        }
        if self.is_level(&grant.meter) {
            return grant.amount;
        }
        grant.amount - self.used_of(grant.id, None) - self.held_of(grant.id, None)
    }

    /// Says whether nothing is left of a grant and nothing can come back to it.
    pub(super) fn is_used_up(&self, grant: &ModelGrant) -> bool {
        self.left(grant) == 0 && self.held_of(grant.id, None) == 0
    }

    fn taken(&self, period: Period, grant: &ModelGrant) -> u64 {
        if self.is_level(&grant.meter) {
            return 0;
        }
        self.used_of(grant.id, Some(period)) + self.held_of(grant.id, Some(period))
    }

    /// A meter's grants in the order in which they burn.
    pub(super) fn grants_of(&self, meter: &MeterName) -> Vec<&ModelGrant> {
        let mut grants: Vec<_> = self.grants.iter().filter(|g| g.meter == *meter).collect();
        let never = Timestamp::MAX;
        grants.sort_by_key(|grant| (grant.priority, grant.expires_at.unwrap_or(never), grant.id));
        grants
    }

    fn taken_of(&self, period: Period, meter: &MeterName) -> u64 {
        self.grants_of(meter).into_iter().map(|grant| self.taken(period, grant)).sum()
    }

    fn plan_limit(&self, period: Period, meter: &MeterName) -> Option<u64> {
        let closed = self.closed.iter().find(|(at, _)| *at == period);
        let terms = closed.filter(|_| !self.is_level(meter)).map_or(&self.terms, |(_, t)| t);
        terms.meter(meter.as_str()).unwrap().limit
    }

    pub(in super::super) fn limit(&self, period: Period, meter: &MeterName) -> Option<u64> {
        let is_open = period == self.open || self.is_level(meter);
        let left = self.grants_of(meter).into_iter().map(|grant| self.left(grant)).sum::<u64>();
        let granted = self.taken_of(period, meter) + if is_open { left } else { 0 };
        self.plan_limit(period, meter).map(|limit| limit + granted)
    }

    pub(super) fn over(&self, period: Period, meter: &MeterName) -> u64 {
        let total = self.total(period, meter);
        self.limit(period, meter).map_or(0, |limit| total.saturating_sub(limit))
    }

    pub(super) fn available(&self, period: Period, meter: &MeterName) -> u64 {
        let total = self.total(period, meter);
        self.limit(period, meter).map_or(u64::MAX, |limit| limit.saturating_sub(total))
    }

    fn of_plan(&self, period: Period, meter: &MeterName) -> u64 {
        self.total(period, meter).saturating_sub(self.taken_of(period, meter))
    }

    fn first_with_rest(&self, meter: &MeterName) -> Option<GrantId> {
        let grants = self.grants_of(meter);
        grants.into_iter().find(|grant| self.left(grant) > 0).map(|grant| grant.id)
    }

    /// Takes units one by one: the plan's, then of the first grant that has any, then beyond.
    pub(super) fn take(&mut self, meter: &MeterName, units: u64, whom: For) {
        for _ in 0..units {
            let has_room = self
                .plan_limit(self.open, meter)
                .is_none_or(|limit| self.of_plan(self.open, meter) < limit);
            if !has_room
                && !self.is_level(meter)
                && let Some(grant) = self.first_with_rest(meter)
            {
                match whom {
                    For::Use => self.burns.push((self.open, grant, 1)),
                    For::Hold(index) => self.holds[index].granted.push((meter.clone(), grant)),
                }
            }
            match whom {
                For::Use => self.uses.push((self.open, meter.clone(), 1)),
                For::Hold(index) => self.holds[index].add(meter),
            }
        }
        self.settle(meter);
    }

    /// Gives back used units one by one: those beyond the limit, then of the last grant that was
    /// used, then the plan's.
    pub(super) fn give_back(&mut self, meter: &MeterName, units: u64) {
        for _ in 0..units {
            if self.over(self.open, meter) == 0 {
                self.unburn(meter);
            }
            self.uses.push((self.open, meter.clone(), -1));
        }
        self.settle(meter);
    }

    fn unburn(&mut self, meter: &MeterName) -> bool {
        let grants = self.grants_of(meter);
        let used = |grant: &&&ModelGrant| self.used_of(grant.id, Some(self.open)) > 0;
        let last = grants.iter().rev().find(used).map(|grant| grant.id);
        if let Some(grant) = last {
            self.burns.push((self.open, grant, -1));
        }
        last.is_some()
    }

    /// What is beyond the plan's limit moves into grants that have room, one by one.
    pub(super) fn settle(&mut self, meter: &MeterName) {
        if self.is_level(meter) || self.of(meter).is_none() {
            return;
        }
        while self.taken_of(self.open, meter) > self.total(self.open, meter) && self.unburn(meter) {
        }
        let beyond = |model: &Self| {
            let limit = model.plan_limit(model.open, meter);
            limit.is_some_and(|limit| model.of_plan(model.open, meter) > limit)
        };
        while beyond(self)
            && let Some(grant) = self.first_with_rest(meter)
        {
            self.burns.push((self.open, grant, 1));
        }
    }
}
