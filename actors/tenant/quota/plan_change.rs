//! Plans and cycles that come into force: at once, or when the open period ends.
//!
//! A plan that comes at once carries over what was used and held, so it grants nothing twice. If
//! its cycle is another one too, the open period ends at that instant and the new one takes its
//! counters and open holds with it. What is owed so far stays owed, and what is beyond the new
//! limits is not billed: see [`super::spend`]. A plan for the period's end is kept until the period
//! is rolled, and comes into force inside the roll; a later plan of either kind replaces it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::decide::Decided;
use super::{Decision, Fact, Owed, Quota};
use crate::clock::Timestamp;
use crate::tenant::period::{Cycle, Period, PeriodName};
use crate::tenant::plan::{PlanName, PlanTerms};

/// When a plan comes into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanChange {
    /// At once: what an upgrade does.
    #[default]
    Now,
    /// When the open period ends: what a downgrade does.
    PeriodEnd,
}

/// A plan that waits for the period's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scheduled {
    terms: Arc<PlanTerms>,
    /// None keeps the one in force.
    cycle: Option<Cycle>,
}

impl Quota {
    pub(super) fn decide_plan(
        &self,
        terms: &Arc<PlanTerms>,
        cycle: Option<&Cycle>,
        when: PlanChange,
        now: Timestamp,
    ) -> Decided {
        let cycle = cycle.filter(|cycle| **cycle != self.cycle).cloned();
        let terms = Arc::clone(terms);
        Ok(Decision::New(match when {
            PlanChange::Now => {
                let owed = self.owed_lines(now);
                self.check_currency(&terms, &owed)?;
                let period = cycle.as_ref().map(|cycle| cycle.period_from(now));
                let ends_at = period.or(self.period).map(|period| period.end);
                let wakes_at = ends_at.filter(|_| is_billed(&terms) || !owed.is_empty());
                Fact::PlanSet { terms, cycle, period, owed: Some(owed), wakes_at }
            }
            PlanChange::PeriodEnd => {
                let at = self.period.map_or(now, |period| period.end);
                Fact::PlanScheduled { terms, cycle, comes_at: at }
            }
        }))
    }

    /// Puts terms and their cycle in force. `period` is the one that begins with them, `owed` what
    /// is owed under those before; none leaves all of the period's money to these.
    pub(super) fn record_plan(
        &mut self,
        terms: &Arc<PlanTerms>,
        cycle: Option<&Cycle>,
        period: Option<Period>,
        owed: Option<&[Owed]>,
    ) {
        self.scheduled = None;
        if let Some(owed) = owed {
            self.close_money(owed, terms);
        }
        self.adopt(terms, cycle);
        if owed.is_some() {
            self.book.withhold();
        }
        if let Some(to) = period {
            self.move_to(to);
        }
    }

    pub(super) fn record_schedule(&mut self, terms: &Arc<PlanTerms>, cycle: Option<&Cycle>) {
        self.scheduled = Some(Scheduled { terms: Arc::clone(terms), cycle: cycle.cloned() });
    }

    /// Puts the plan that waited for this roll in force.
    pub(super) fn adopt_scheduled(&mut self) {
        if let Some(Scheduled { terms, cycle }) = self.scheduled.take() {
            self.adopt(&terms, cycle.as_ref());
        }
    }

    fn adopt(&mut self, terms: &Arc<PlanTerms>, cycle: Option<&Cycle>) {
        self.book.adopt(terms);
        self.regrant_all();
        self.assigned = Some(Arc::clone(terms));
        if let Some(cycle) = cycle {
            self.cycle = cycle.clone();
        }
    }

    /// Ends the open period in favour of another one that has its counters and holds.
    fn move_to(&mut self, to: Period) {
        let Some(from) = self.period else { return self.open(to) };
        let holds = self.holds.values_mut().map(|hold| &mut hold.period);
        let job_holds = self.job_holds.values_mut().map(|hold| &mut hold.period);
        for period in holds.chain(job_holds).filter(|period| **period == from.start) {
            *period = to.start;
        }
        self.open(to);
    }

    /// Returns the period that follows the open one, if that is over by `now`.
    ///
    /// A tenant that pays nothing for usage may sleep through any number of periods and rolls
    /// once. Where usage is billed, or another plan waits, each period is closed by itself.
    pub(super) fn next_period(&self, now: Timestamp) -> Option<Period> {
        let open = self.period?;
        let waiting = self.scheduled.as_ref();
        let cycle = waiting.and_then(|waiting| waiting.cycle.as_ref()).unwrap_or(&self.cycle);
        let closes_each = is_billed(self.terms()) || self.owes_before() || waiting.is_some();
        let until = if closes_each { now.min(open.end) } else { now };
        cycle.period_after(open, until)
    }

    /// Returns when a tenant that sleeps has to be woken after its next period began: at that one's
    /// end, if it is billed.
    pub(super) fn wakes_after(&self, next: Period) -> Option<Timestamp> {
        let terms = self.scheduled.as_ref().map_or(self.terms(), |scheduled| &scheduled.terms);
        is_billed(terms).then_some(next.end)
    }

    /// Returns the plan that comes into force when the open period ends.
    pub fn scheduled_plan(&self) -> Option<&PlanName> {
        self.scheduled.as_ref().map(|scheduled| &scheduled.terms.plan)
    }

    /// Returns the rule by which periods follow each other.
    pub fn cycle(&self) -> &Cycle {
        &self.cycle
    }

    pub(super) fn open(&mut self, period: Period) {
        self.past.since.get_or_insert(period.start);
        self.period = Some(period);
        self.name = Some(self.cycle.name_of(&period));
    }

    /// The open period's name; a quota is opened before anything is decided on it.
    pub(super) fn period_name(&self) -> PeriodName {
        self.name.clone().expect("a period is open before anything is decided")
    }
}

/// Says whether usage is billed: then the end of a period is due also for a tenant that sleeps.
fn is_billed(terms: &PlanTerms) -> bool {
    terms.meters.iter().any(|terms| terms.overage.is_some())
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod tests;
