//! The quota machine: a tenant's exact, integer accounting. Command and time in, facts or a
//! refusal out; no I/O, no clock, no randomness.
//!
//! `limit = available + reserved + used`, per meter and period, and no admission makes
//! `used + reserved` exceed the limit. A command is decided on the state without touching it;
//! the decision is a [`Fact`], and facts alone change the state, live and in replay alike.
//!
//! A hold belongs to the period in which it was opened. When that period ends, the hold stays
//! open there: its units leave `reserved` of the new period, are shown as `reserved_earlier`, and
//! count as used in the old period if they are committed later.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod account;
mod answer;
mod check;
mod command;
mod decide;
mod event;
mod fact;
mod grant;
mod grants;
mod past;
mod plan_change;
mod record;
mod refusal;
mod report;
mod settle;
mod spend;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::account::{Book, EarlierPeriod};
pub use self::answer::{
    Adjusted, ClockMoved, Consumed, ConsumedItem, GrantEnded, Granted, MeterUsage, Outcome,
    Overage, Recorded, Reservation, ReservationState, ReservedItem, SpendCap, UsageReport,
};
pub use self::command::{
    Command, DEFAULT_HOLD_S, Digest, EVENT_GRACE_S, Enforcement, Item, MAX_AMOUNT,
    MAX_EVENT_AHEAD_S, MAX_EVENTS, MAX_GRANTS, MAX_HOLD_S, MAX_ITEMS, MAX_OPEN_HOLDS,
};
pub use self::event::{
    Event, EventDigest, EventRejection, InvalidDigest, LateUsage, RecordedEvent,
};
pub use self::fact::{Charge, Closed, Fact, GrantEnd};
pub use self::grant::{GrantSource, GrantStand, GrantTerms, GrantView};
use self::grants::Grant;
pub use self::plan_change::PlanChange;
use self::plan_change::Scheduled;
pub use self::record::Inconsistent;
pub use self::refusal::Refusal;
#[cfg(test)]
pub(in crate::tenant) use self::tests::fixture;
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::{Cycle, Period, PeriodName};
use crate::tenant::plan::{MeterName, PlanTerms};

/// The most expiries in one turn, so that a turn's entries stay small. More follow in the next.
pub const MAX_EXPIRIES_PER_TURN: usize = 256;
/// How many ended holds are remembered to answer a repetition; the oldest are forgotten first.
const MAX_SETTLED: usize = 10_000;
/// Parts of a limit at which an alert is due, highest first.
const THRESHOLDS_PERCENT: [u8; 3] = [100, 80, 50];

/// A tenant's quota: plan, counters and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// What a tenant without a plan of its own lives under; comes from the catalogue at start.
    #[serde(skip, default = "account::no_terms")]
    default_terms: Arc<PlanTerms>,
    /// The plan that was put in force for this tenant.
    assigned: Option<Arc<PlanTerms>>,
    /// The plan that comes into force when the open period ends.
    scheduled: Option<Scheduled>,
    cycle: Cycle,
    /// None until the first fact, whose time says the first period.
    period: Option<Period>,
    name: Option<PeriodName>,
    /// Whether limits refuse; none leaves it to the plan.
    enforcement: Option<Enforcement>,
    /// How much overage a period may cost, in minor units of the currency beside it.
    spend_cap: Option<SpendCap>,
    /// In the order in which they burn.
    grants: Vec<Grant>,
    book: Book,
    earlier: Vec<EarlierPeriod>,
    holds: BTreeMap<ReservationId, Hold>,
    /// The holds by the time at which they lapse.
    expiries: BTreeSet<(Timestamp, ReservationId)>,
    job_holds: BTreeMap<JobId, JobHold>,
    settled: BTreeMap<ReservationId, Settled>,
    settled_order: VecDeque<ReservationId>,
}

/// `Held => (Committed | Released | Expired)`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    /// The start of the period that it belongs to.
    period: Timestamp,
    opened_at: Timestamp,
    expires_at: Timestamp,
    items: Vec<Held>,
}

/// Ends with its job, and has no time to live of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct JobHold {
    period: Timestamp,
    opened_at: Timestamp,
    /// What is still held of each meter.
    items: Vec<Held>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    meter: MeterName,
    amount: u64,
}

/// What a hold came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settled {
    /// The start of the period that it belonged to.
    period: Timestamp,
    period_name: PeriodName,
    state: ReservationState,
    /// It was committed after it had lapsed.
    is_late: bool,
    expires_at: Timestamp,
    ended_at: Timestamp,
    items: Vec<Charge>,
}

/// What came of one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What happened, in order and with its time; also beside a refusal.
    pub facts: Vec<(Timestamp, Fact)>,
    /// Which of the facts is the command's own.
    pub own: Option<usize>,
    /// What the caller is told.
    pub verdict: Verdict<Outcome>,
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It is done.
    Admitted(T),
    /// It changed nothing, and why.
    Refused(Refusal),
    /// So much was due that nothing was judged yet: apply the same command again.
    MoreDue,
}

/// What a command came to.
pub(in crate::tenant) enum Judged {
    /// It happened, and reached thresholds.
    New {
        /// What is recorded.
        fact: Fact,
        /// What is recorded after it.
        crossed: Vec<Fact>,
    },
    /// It already had happened, or there was nothing to do.
    Already(Outcome),
}

/// What a command comes to, before anything changes.
enum Decision {
    /// It happens.
    New(Fact),
    /// It already happened; the same answer again.
    Again(Reservation),
    /// Nothing happens, and this is the answer.
    Answer(Outcome),
    /// There is nothing to do.
    Nothing,
}

impl Quota {
    /// Makes an empty quota under the catalogue's default plan.
    pub fn new(default_terms: Arc<PlanTerms>) -> Self {
        let book = Book::new(&default_terms);
        Self {
            default_terms,
            assigned: None,
            scheduled: None,
            cycle: Cycle::default(),
            period: None,
            name: None,
            enforcement: None,
            spend_cap: None,
            grants: Vec::new(),
            book,
            earlier: Vec::new(),
            holds: BTreeMap::new(),
            expiries: BTreeSet::new(),
            job_holds: BTreeMap::new(),
            settled: BTreeMap::new(),
            settled_order: VecDeque::new(),
        }
    }

    /// Gives a quota that was read from a snapshot the catalogue's present default plan.
    #[must_use]
    pub fn with_default_terms(mut self, default_terms: Arc<PlanTerms>) -> Self {
        self.default_terms = default_terms;
        let terms = Arc::clone(self.terms());
        self.book.adopt(&terms);
        self
    }

    /// Returns the terms in force.
    pub fn terms(&self) -> &Arc<PlanTerms> {
        self.assigned.as_ref().unwrap_or(&self.default_terms)
    }

    /// Records what is due, then judges the command and records what it comes to.
    ///
    /// `now` must not be earlier than in the call before.
    pub fn apply(&mut self, command: &Command, now: Timestamp) -> Applied {
        let mut facts = Vec::with_capacity(1);
        if !self.record_due(now, &mut facts) {
            return Applied { facts, own: None, verdict: Verdict::MoreDue };
        }
        match self.judge(command, now) {
            Err(refusal) => Applied { facts, own: None, verdict: Verdict::Refused(refusal) },
            Ok(Judged::Already(outcome)) => {
                Applied { facts, own: None, verdict: Verdict::Admitted(outcome) }
            }
            Ok(Judged::New { fact, crossed }) => {
                let verdict = Verdict::Admitted(Outcome::of(&fact, 0));
                let own = Some(facts.len());
                facts.push((now, fact));
                facts.extend(crossed.into_iter().map(|fact| (now, fact)));
                Applied { facts, own, verdict }
            }
        }
    }

    /// Judges a command when nothing is due any more, and records what it comes to.
    pub(in crate::tenant) fn judge(
        &mut self,
        command: &Command,
        now: Timestamp,
    ) -> Result<Judged, Refusal> {
        match self.decide(command, now)? {
            Decision::Nothing => Ok(Judged::Already(Outcome::Done {})),
            Decision::Answer(outcome) => Ok(Judged::Already(outcome)),
            Decision::Again(reservation) => Ok(Judged::Already(Outcome::Reservation(reservation))),
            Decision::New(fact) => {
                self.admit(&fact, now);
                let crossed = self.crossings(&fact);
                Ok(Judged::New { fact, crossed })
            }
        }
    }

    /// Opens the first period, so that something can be decided.
    pub(in crate::tenant) fn open_at(&mut self, now: Timestamp) {
        if self.period.is_none() {
            self.open(self.cycle.period_of(now));
        }
    }

    /// Opens the first period anew: nothing was recorded in it yet.
    pub(in crate::tenant) fn reopen_at(&mut self, now: Timestamp) {
        self.period = None;
        self.open_at(now);
    }

    /// Records expiries and the period's end, each at the time at which it was due.
    ///
    /// Says whether nothing more is due: a turn records at most [`MAX_EXPIRIES_PER_TURN`].
    pub fn record_due(&mut self, now: Timestamp, facts: &mut Vec<(Timestamp, Fact)>) -> bool {
        self.open_at(now);
        let mut left = MAX_EXPIRIES_PER_TURN;
        while let Some((at, fact)) = self.due(now) {
            let Some(fewer) = left.checked_sub(1) else { return false };
            left = fewer;
            self.admit(&fact, at);
            facts.push((at, fact));
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
        let grant = self.next_grant_expiry().filter(|(at, _)| *at <= now);
        if let Some((at, id)) = self.expiries.first()
            && *at <= now
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
        let to = next?;
        let plan = self.scheduled_plan().cloned();
        Some((to.start, Fact::PeriodRolled { from: period, to, closed: self.book.closed(), plan }))
    }

    /// Returns the open period; none before the first fact.
    pub fn period(&self) -> Option<Period> {
        self.period
    }

    /// Returns when something will be due by itself: the next expiry, or the period's end.
    pub fn next_due(&self) -> Option<Timestamp> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let end = self.period.map(|period| period.end);
        let grant = self.next_grant_expiry().map(|(at, _)| at);
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

    /// Records a fact that was just decided on this very state.
    pub(in crate::tenant) fn admit(&mut self, fact: &Fact, at: Timestamp) {
        self.replay_fact(fact, at).expect("a fact fits the state that it was decided on");
        self.assert_admitted(fact);
    }

    /// Finds the thresholds that a fact reached first, and records them.
    pub(in crate::tenant) fn crossings(&mut self, fact: &Fact) -> Vec<Fact> {
        let facts = match fact {
            Fact::Consumed { items, .. }
            | Fact::Committed { items, .. }
            | Fact::CommittedLate { items, .. }
            | Fact::Recorded { items, .. }
            | Fact::Adjusted { items, .. }
            | Fact::PartCommitted { items, .. } => {
                items.iter().filter_map(|charge| self.crossing(&charge.meter)).collect()
            }
            Fact::PlanSet { terms, .. } => {
                terms.meters.iter().filter_map(|terms| self.crossing(&terms.meter)).collect()
            }
            Fact::GrantRevoked { end } | Fact::GrantExpired { end } => {
                self.crossing(&end.meter).into_iter().collect()
            }
            _ => Vec::new(),
        };
        for fact in &facts {
            self.book.alert(fact);
        }
        facts
    }

    fn crossing(&self, meter: &MeterName) -> Option<Fact> {
        let account = self.book.get(meter)?;
        let limit = account.limit?;
        let reaches = |percent: u8| {
            let used = u128::from(account.used).saturating_mul(100);
            used > 0 && used >= u128::from(limit).saturating_mul(u128::from(percent))
        };
        let percent = THRESHOLDS_PERCENT.into_iter().find(|percent| reaches(*percent))?;
        (percent > account.alerted_percent).then(|| Fact::ThresholdReached {
            meter: meter.clone(),
            percent,
            used: account.used,
            limit,
            period: self.period_name(),
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod model;
#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod properties;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that panics has failed")]
mod tests;
