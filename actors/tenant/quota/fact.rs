//! What happened to a quota: the immutable facts that the journal keeps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::charge::{Charge, Closed, ClosedLevel, Owed};
use super::command::{Digest, Item};
use super::event::{EventDigest, EventRejection, LateUsage, RecordedEvent};
use super::grant::{GrantEnd, GrantStand, GrantTerms};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::money::Currency;
use crate::tenant::period::{Cycle, Period, PeriodName};
use crate::tenant::plan::{Enforcement, MeterName, PlanName, PlanTerms};

/// One change of a quota. Facts alone rebuild it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// Units were used.
    Consumed {
        /// `amount` was used.
        items: Vec<Charge>,
        /// The open period.
        period: PeriodName,
    },
    /// Units were held.
    Reserved {
        /// The hold.
        reservation: ReservationId,
        /// `amount` was held.
        items: Vec<Charge>,
        /// When it lapses.
        expires_at: Timestamp,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// A hold ended with use.
    Committed {
        /// The hold.
        reservation: ReservationId,
        /// `amount` was used, `held` left the hold.
        items: Vec<Charge>,
        /// When it would have lapsed.
        expires_at: Timestamp,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// A hold was given back.
    Released {
        /// The hold.
        reservation: ReservationId,
        /// `held` left the hold.
        items: Vec<Charge>,
        /// When it would have lapsed.
        expires_at: Timestamp,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// A hold may live longer.
    Extended {
        /// The hold.
        reservation: ReservationId,
        /// `amount` is held, unchanged.
        items: Vec<Charge>,
        /// When it lapses now.
        expires_at: Timestamp,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// A hold lapsed.
    Expired {
        /// The hold.
        reservation: ReservationId,
        /// `held` left the hold.
        items: Vec<Charge>,
        /// When it lapsed.
        expires_at: Timestamp,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// A job's upper bounds were held.
    JobHeld {
        /// The job.
        job: JobId,
        /// `amount` was held.
        items: Vec<Charge>,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// A part of a job's hold was used.
    PartCommitted {
        /// The job.
        job: JobId,
        /// `amount` was used, `held` left the hold.
        items: Vec<Charge>,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// What a job still held was given back.
    JobClosed {
        /// The job.
        job: JobId,
        /// `held` left the hold.
        items: Vec<Charge>,
        /// The period that it belongs to.
        period: PeriodName,
    },
    /// Level meters went down.
    Freed {
        /// `amount` is gone.
        items: Vec<Charge>,
        /// The open period.
        period: PeriodName,
    },
    /// A hold that had lapsed was charged all the same.
    CommittedLate {
        /// The hold.
        reservation: ReservationId,
        /// `amount` was used; nothing was held any more.
        items: Vec<Charge>,
        /// What had been held.
        held: Vec<Item>,
        /// When it lapsed.
        expires_at: Timestamp,
        /// The open period, which is charged.
        period: PeriodName,
        /// The period that it belonged to, if that has closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_period: Option<PeriodName>,
    },
    /// Usage that had already happened was recorded.
    Recorded {
        /// `amount` was used, by meter.
        items: Vec<Charge>,
        /// The events that were counted.
        events: Vec<RecordedEvent>,
        /// What of it was used in a period that has closed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        late: Vec<LateUsage>,
        /// The events that were not counted, and why.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejected: Vec<(EventDigest, EventRejection)>,
        /// The open period.
        period: PeriodName,
    },
    /// Usage was corrected.
    Adjusted {
        /// One meter; `amount` is how far it moved.
        items: Vec<Charge>,
        /// `amount` with its sign.
        delta: i64,
        /// Why, as a digest.
        reason: Digest,
        /// What it refers to, as a digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<Digest>,
        /// The open period.
        period: PeriodName,
    },
    /// Another amount of overage may be spent.
    SpendCapSet {
        /// In minor units; 0 makes every limit hard.
        amount_minor: u64,
        /// What it is in.
        currency: Currency,
    },
    /// Units were put on top of a limit.
    Granted {
        /// The grant.
        grant: GrantTerms,
        /// The meter's limit afterwards.
        limit: Option<u64>,
        /// The meter's grants that took over what was beyond the limit.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        grants: Vec<GrantStand>,
        /// The open period.
        period: PeriodName,
    },
    /// What was left of a grant was taken back.
    GrantRevoked {
        /// Which, and how.
        #[serde(flatten)]
        end: GrantEnd,
    },
    /// What was left of a grant was lost.
    GrantExpired {
        /// Which, and how.
        #[serde(flatten)]
        end: GrantEnd,
    },
    /// Limits refuse from now on, or only say that they would.
    EnforcementSet {
        /// Which of the two.
        mode: Enforcement,
    },
    /// A feature was switched on or off, whatever the plan says.
    FeatureSet {
        /// The feature, as the catalogue names it.
        feature: String,
        /// None leaves it to the plan again.
        allowed: Option<bool>,
    },
    /// A plan came into force.
    PlanSet {
        /// Its terms, copied.
        terms: Arc<PlanTerms>,
        /// The rule of the periods from now on, if it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cycle: Option<Cycle>,
        /// The period that begins now, because the rule is another one: it has the counters and
        /// the open holds of the one that it ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        period: Option<Period>,
        /// What stays owed for overage under the plans before, whatever this one sells. Entries of
        /// earlier versions have none: there, a period's money was judged by its last plan alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owed: Option<Vec<Owed>>,
        /// When the tenant has to be woken if it sleeps: when a period ends that is billed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wakes_at: Option<Timestamp>,
    },
    /// A plan waits for the period's end.
    PlanScheduled {
        /// Its terms, copied.
        terms: Arc<PlanTerms>,
        /// The rule of the periods from then on, if it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cycle: Option<Cycle>,
        /// When the open period ends. Not `at`: that is the entry's own time in the same line.
        comes_at: Timestamp,
    },
    /// A period ended and another began.
    PeriodRolled {
        /// The period that ended.
        from: Period,
        /// The period that began; those without any entry in between may be skipped.
        to: Period,
        /// Where the counters stood.
        closed: Vec<Closed>,
        /// What the levels came to.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        levels: Vec<ClosedLevel>,
        /// The grants that took over what was beyond a plan's limit.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        grants: Vec<GrantStand>,
        /// The plan that had waited for this, and is in force from here on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<PlanName>,
        /// When the tenant has to be woken if it sleeps: when a period ends that is billed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wakes_at: Option<Timestamp>,
    },
    /// Usage reached a part of its limit, for the first time in the period.
    ThresholdReached {
        /// The meter.
        meter: MeterName,
        /// 50, 80 or 100; a jump over several is one fact with the highest.
        percent: u8,
        /// Units used.
        used: u64,
        /// The limit.
        limit: u64,
        /// The open period.
        period: PeriodName,
    },
    /// From here on the tenant's time stands still until it is advanced.
    ClockStarted {},
    /// The tenant's time was advanced. What fell due on the way stands before this.
    ClockAdvanced {
        /// Where it stood.
        from: Timestamp,
        /// Where it stands.
        to: Timestamp,
        /// The first entry that was made on the way, if there is any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<u64>,
    },
}

impl Fact {
    /// Returns the kind as the journal writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Consumed { .. } => "consumed",
            Self::Reserved { .. } => "reserved",
            Self::Committed { .. } => "committed",
            Self::Released { .. } => "released",
            Self::Extended { .. } => "extended",
            Self::Expired { .. } => "expired",
            Self::JobHeld { .. } => "job_held",
            Self::PartCommitted { .. } => "part_committed",
            Self::JobClosed { .. } => "job_closed",
            Self::Freed { .. } => "freed",
            Self::CommittedLate { .. } => "committed_late",
            Self::Recorded { .. } => "recorded",
            Self::Adjusted { .. } => "adjusted",
            Self::SpendCapSet { .. } => "spend_cap_set",
            Self::Granted { .. } => "granted",
            Self::GrantRevoked { .. } => "grant_revoked",
            Self::GrantExpired { .. } => "grant_expired",
            Self::EnforcementSet { .. } => "enforcement_set",
            Self::FeatureSet { .. } => "feature_set",
            Self::PlanSet { .. } => "plan_set",
            Self::PlanScheduled { .. } => "plan_scheduled",
            Self::PeriodRolled { .. } => "period_rolled",
            Self::ThresholdReached { .. } => "threshold_reached",
            Self::ClockStarted { .. } => "clock_started",
            Self::ClockAdvanced { .. } => "clock_advanced",
        }
    }
}
