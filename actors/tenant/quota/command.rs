//! What can be asked of a tenant's quota.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PlanChange;
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::Cycle;
use crate::tenant::plan::{MeterName, PlanTerms};

/// The largest amount of one item: integers up to here are exact in every JSON reader.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;
/// The most items in one command; more meters than that no catalogue has.
pub const MAX_ITEMS: usize = 64;
/// How long a hold may live in all, extensions included.
pub const MAX_HOLD_S: u64 = 86_400;
/// How long a hold lives unless it is said otherwise.
pub const DEFAULT_HOLD_S: u64 = 300;
/// The most holds of one tenant that are open at once, those of jobs included.
pub const MAX_OPEN_HOLDS: usize = 10_000;

/// An amount of one meter, in its base unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The meter.
    pub meter: MeterName,
    /// At least 1, except in a commit, where 0 gives everything back.
    pub amount: u64,
}

/// What can be asked of a quota. Several items are taken all or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Uses units at once.
    Consume {
        /// What is used.
        items: Vec<Item>,
    },
    /// Holds units before the work.
    Reserve {
        /// The hold's name, made by the caller.
        id: ReservationId,
        /// What is held.
        items: Vec<Item>,
        /// When it lapses, 1 to 86,400 seconds from now.
        ttl_s: u64,
    },
    /// Uses held units and gives back the rest.
    Commit {
        /// The hold.
        id: ReservationId,
        /// What was used, unless all: a meter that is left out was not used at all.
        items: Option<Vec<Item>>,
    },
    /// Gives back a hold.
    Release {
        /// The hold.
        id: ReservationId,
    },
    /// Lets a hold live longer; never shorter.
    Extend {
        /// The hold.
        id: ReservationId,
        /// When it lapses, in seconds from now; at most 24 h after it was opened.
        ttl_s: u64,
    },
    /// Holds a job's upper bounds; such a hold ends with its job.
    HoldJob {
        /// The job.
        job: JobId,
        /// What is held; may be nothing.
        items: Vec<Item>,
    },
    /// Uses a part of a job's hold; what goes beyond it is taken if it is available.
    CommitPart {
        /// The job.
        job: JobId,
        /// What was used; may be nothing.
        items: Vec<Item>,
    },
    /// Gives back what a job still holds.
    CloseJob {
        /// The job.
        job: JobId,
    },
    /// Lowers level meters.
    Free {
        /// What is no longer there.
        items: Vec<Item>,
    },
    /// Puts a plan in force.
    SetPlan {
        /// The plan's terms, copied.
        terms: Arc<PlanTerms>,
        /// The rule of the periods from then on; none keeps the one in force.
        cycle: Option<Cycle>,
        /// When it comes into force.
        when: PlanChange,
    },
    /// Puts the tenant in test mode: its time stands still until it is advanced.
    StartTestClock {
        /// Where it stands; no earlier than the last entry.
        at: Timestamp,
    },
    /// Advances the time of a tenant in test mode, and lets everything happen on the way.
    AdvanceClock {
        /// Where it shall stand.
        to: Timestamp,
    },
    /// Only records what is due: expiries and the period's end.
    Tick,
}
