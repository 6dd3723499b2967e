//! What happens by itself: holds and grants that lapse, and the period's end.

use super::{Closed, ClosedLevel, Fact, MAX_EXPIRIES_PER_TURN, Quota};
use crate::clock::Timestamp;
use crate::planted::{self, Bug};
use crate::tenant::period::Period;
use crate::tenant::plan::MeterKind;

impl Quota {
    /// Opens the first period, so that something can be decided.
    pub(in crate::tenant) fn open_at(&mut self, now: Timestamp) {
        if self.period.is_none() {
            self.open(self.cycle.period_of(now));
        }
    }

    /// Opens the first period anew: nothing was recorded in it yet.
    pub(in crate::tenant) fn reopen_at(&mut self, now: Timestamp) {
        self.period = None;
        self.past.since = None;
        self.open_at(now);
    }

    /// Records expiries and the period's end, each at the time at which it was due.
    ///
    /// Says whether nothing more is due: a turn records [`MAX_EXPIRIES_PER_TURN`], and what the
    /// last of them reached.
    pub fn record_due(&mut self, now: Timestamp, facts: &mut Vec<(Timestamp, Fact)>) -> bool {
        self.open_at(now);
        let mut left = MAX_EXPIRIES_PER_TURN;
        while let Some((at, fact)) = self.due(now) {
            let Some(fewer) = left.checked_sub(1) else { return false };
            self.admit(&fact, at);
            let crossed = self.crossings_due(&fact, at);
            left = fewer.saturating_sub(crossed.len());
            facts.push((at, fact));
            facts.extend(crossed.into_iter().map(|fact| (at, fact)));
        }
        true
    }

    /// Returns the next thing that is due and when it was, without recording it.
    ///
    /// Holds that lapsed before the next period began are expired first, then the period is rolled,
    /// in one step however long the tenant slept unless its plan is billed, then the others.
    pub(in crate::tenant) fn due(&self, now: Timestamp) -> Option<(Timestamp, Fact)> {
        let period = self.period?;
        let next = self.next_period(now);
        let grant = self.next_grant_end().filter(|(at, _)| *at <= now);
        if let Some((at, id)) = self.expiries.first()
            && *at <= now
            && !planted::is(Bug::LostExpiry)
            && next.is_none_or(|next| *at < next.start)
            && grant.is_none_or(|(grant_at, _)| *at <= grant_at)
        {
            let hold = self.holds.get(id)?;
            return Some((*at, self.expired(*id, hold)));
        }
        if let Some((at, grant)) = grant
            && next.is_none_or(|next| at <= next.start)
        {
            return Some((at, Fact::GrantExpired { end: self.grant_end(grant) }));
        }
        Some(self.rolled(period, next?))
    }

    fn rolled(&self, from: Period, to: Period) -> (Timestamp, Fact) {
        let bill = self.bill(to.start);
        let lines = || self.book.accounts().iter().zip(&bill);
        let closed = lines().filter(|(account, _)| account.kind == MeterKind::Counter);
        let closed = closed.map(|(account, line)| Closed {
            meter: account.meter.clone(),
            used: account.used,
            reserved: account.reserved,
            over: account.over(),
            amount_minor: *line,
        });
        let levels = lines().filter(|(account, _)| account.kind == MeterKind::Level);
        let levels = levels.map(|(account, line)| {
            let accrued = account.accrued(to.start);
            ClosedLevel {
                meter: account.meter.clone(),
                used: account.used,
                unit_seconds: accrued.unit_seconds(),
                over_unit_seconds: accrued.over_unit_seconds(),
                amount_minor: *line,
            }
        });
        let fact = Fact::PeriodRolled {
            from,
            to,
            closed: closed.collect(),
            levels: levels
                .filter(|level| level.unit_seconds > 0 || level.amount_minor > 0)
                .collect(),
            grants: self.settled_grants(),
            plan: self.scheduled_plan().cloned(),
            wakes_at: self.wakes_after(to),
        };
        (to.start, fact)
    }

    /// Returns the open period; none before the first fact.
    pub fn period(&self) -> Option<Period> {
        self.period
    }

    /// Returns when something will be due by itself: the next expiry, or the period's end.
    pub fn next_due(&self) -> Option<Timestamp> {
        let lapsing = self.expiries.first().filter(|_| !planted::is(Bug::LostExpiry));
        let expiry = lapsing.map(|(at, _)| *at);
        let end = self.period.map(|period| period.end);
        let grant = self.next_grant_end().map(|(at, _)| at);
        expiry.into_iter().chain(end).chain(grant).min()
    }

    /// Returns when the next hold lapses.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Says whether any hold is open, a job's included.
    pub fn has_open_holds(&self) -> bool {
        !self.holds.is_empty() || !self.job_holds.is_empty()
    }
}
