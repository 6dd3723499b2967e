//! What happened to a quota: the immutable facts that the journal keeps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::{Cycle, Period, PeriodName};
use crate::tenant::plan::{MeterName, PlanName, PlanTerms};

/// How one meter was moved by a fact, and where it stood afterwards.
///
/// `used` and `reserved` are those of the period that the movement belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The meter.
    pub meter: MeterName,
    /// Units used, held or freed, as the fact's kind says.
    pub amount: u64,
    /// Units that left a hold, whether they were used or given back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Units used, afterwards.
    pub used: u64,
    /// Units in open holds, afterwards.
    pub reserved: u64,
    /// The limit in force; none is unlimited.
    pub limit: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(units: &u64) -> bool {
    *units == 0
}

impl Charge {
    /// Returns what could still be taken afterwards; none is unlimited.
    pub fn remaining(&self) -> Option<u64> {
        remaining(self.limit, self.used, self.reserved)
    }
}

/// `max(0, limit - reserved - used)`; none is unlimited.
pub(super) fn remaining(limit: Option<u64>, used: u64, reserved: u64) -> Option<u64> {
    limit.map(|limit| limit.saturating_sub(reserved).saturating_sub(used))
}

/// Where a meter stood when its period was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The meter.
    pub meter: MeterName,
    /// Units used in the period so far.
    pub used: u64,
    /// Units still in holds that were opened in the period.
    pub reserved: u64,
}

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
    },
    /// A plan waits for the period's end.
    PlanScheduled {
        /// Its terms, copied.
        terms: Arc<PlanTerms>,
        /// The rule of the periods from then on, if it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cycle: Option<Cycle>,
        /// When the open period ends.
        at: Timestamp,
    },
    /// A period ended and another began.
    PeriodRolled {
        /// The period that ended.
        from: Period,
        /// The period that began; those without any entry in between may be skipped.
        to: Period,
        /// Where the counters stood.
        closed: Vec<Closed>,
        /// The plan that had waited for this, and is in force from here on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<PlanName>,
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
            Self::PlanSet { .. } => "plan_set",
            Self::PlanScheduled { .. } => "plan_scheduled",
            Self::PeriodRolled { .. } => "period_rolled",
            Self::ThresholdReached { .. } => "threshold_reached",
            Self::ClockStarted { .. } => "clock_started",
            Self::ClockAdvanced { .. } => "clock_advanced",
        }
    }
}
