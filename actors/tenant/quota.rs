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
mod accrual;
mod answer;
mod charge;
mod check;
mod command;
mod decide;
mod due;
mod event;
mod fact;
mod features;
mod grant;
mod grants;
mod invariants;
mod lots;
mod past;
mod past_periods;
mod plan_change;
mod record;
mod record_holds;
mod refusal;
mod report;
mod settle;
mod settle_job;
mod spend;
mod standing;
mod threshold;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::account::{Book, EarlierPeriod};
pub use self::answer::{
    Adjusted, ClockMoved, Consumed, ConsumedItem, GrantEnded, Granted, Outcome, Recorded,
    Reservation, ReservationState, ReservedItem, SpendCap,
};
pub use self::charge::{Charge, Closed, ClosedLevel, Owed};
pub use self::command::{
    Command, DEFAULT_HOLD_S, Digest, EVENT_GRACE_S, EVENTS_KNOWN_FOR_S, Item, MAX_AMOUNT,
    MAX_EVENT_AHEAD_S, MAX_EVENTS, MAX_GRANTS, MAX_HOLD_S, MAX_ITEMS, MAX_OPEN_HOLDS,
};
pub use self::event::{
    Event, EventDigest, EventRejection, InvalidDigest, LateUsage, RecordedEvent,
};
pub use self::fact::Fact;
pub use self::grant::{GrantEnd, GrantSource, GrantStand, GrantTerms, GrantView};
use self::grants::Grant;
use self::lots::Held;
use self::past_periods::PastPeriods;
pub use self::plan_change::PlanChange;
use self::plan_change::Scheduled;
pub use self::record::Inconsistent;
pub use self::refusal::Refusal;
pub use self::standing::{MeterUsage, Overage, SpendReport, UsageReport};
#[cfg(test)]
pub(in crate::tenant) use self::tests::fixture;
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::{Cycle, Period, PeriodName};
pub use crate::tenant::plan::Enforcement;
use crate::tenant::plan::PlanTerms;

/// The most expiries in one turn, so that a turn's entries stay small. More follow in the next.
pub const MAX_EXPIRIES_PER_TURN: usize = 256;
/// How many ended holds are remembered to answer a repetition; the oldest are forgotten first.
const MAX_SETTLED: usize = 10_000;

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
    past: PastPeriods,
    /// Whether limits refuse; none leaves it to the plan.
    enforcement: Option<Enforcement>,
    /// What the operator switched on or off, whatever the plan says.
    features: BTreeMap<String, bool>,
    /// How much overage a period may cost, in minor units of the currency beside it.
    spend_cap: Option<SpendCap>,
    /// In the order in which they burn.
    grants: Vec<Grant>,
    /// What the open period's overage is billed at the most, in millionths.
    #[serde(with = "accrual::text")]
    owed_micros: u128,
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

/// What a hold came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settled {
    /// The start of the period that it belonged to.
    period: Timestamp,
    period_name: PeriodName,
    state: ReservationState,
    /// What had been held, if it was committed after it had lapsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held_late: Vec<Item>,
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
            past: PastPeriods::default(),
            enforcement: None,
            features: BTreeMap::new(),
            spend_cap: None,
            grants: Vec::new(),
            owed_micros: 0,
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
        self.regrant_all();
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

    /// Records a fact that was just decided on this very state.
    pub(in crate::tenant) fn admit(&mut self, fact: &Fact, at: Timestamp) {
        self.replay_fact(fact, at).expect("a fact fits the state that it was decided on");
        self.assert_recorded(fact, at);
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
