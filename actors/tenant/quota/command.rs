//! What can be asked of a tenant's quota.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PlanChange;
use super::event::Event;
use super::grant::GrantSource;
use crate::clock::Timestamp;
use crate::ids::{GrantId, JobId, ReservationId};
use crate::tenant::period::Cycle;
use crate::tenant::plan::{Enforcement, MeterName, PlanTerms};

/// The largest amount of one item: integers up to here are exact in every JSON reader.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;
/// The most items in one command; more meters than that no catalogue has.
pub const MAX_ITEMS: usize = 64;
/// How long a hold may live in all, extensions included.
pub const MAX_HOLD_S: u64 = 86_400;
/// How long a hold lives unless it is said otherwise.
pub const DEFAULT_HOLD_S: u64 = 300;
/// The most events in one command.
pub const MAX_EVENTS: usize = 1_000;
/// How far ahead of the clock an event may be, in seconds: clocks differ.
pub const MAX_EVENT_AHEAD_S: u64 = 300;
/// How long after its end a period still takes events, in seconds.
pub const EVENT_GRACE_S: u64 = 86_400;
/// How long after its period's end an event is known, so that it counts once: 35 days.
pub const EVENTS_KNOWN_FOR_S: u64 = 35 * 86_400;
/// The most grants of one tenant that are in force, or ended in the open period.
pub const MAX_GRANTS: usize = 100;
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

/// A keyed digest of a client's text: what a journal's line has in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

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
        /// Charges a hold that lapsed all the same: the work was done. What is not available is
        /// recorded as a fact, and flagged.
        late: bool,
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
    /// Records usage that already happened, 1 to 1,000 events. It may go beyond a limit.
    Record {
        /// What happened; a digest that stands there twice counts once.
        events: Vec<Event>,
    },
    /// Corrects what is used, up or down, never below nothing.
    Adjust {
        /// The meter.
        meter: MeterName,
        /// Units to add.
        delta: i64,
        /// Why.
        reason: Digest,
        /// What it refers to.
        reference: Option<Digest>,
    },
    /// Says how much overage a period may cost; nothing, the default, makes every limit hard.
    SetSpendCap {
        /// In minor units of the plan's currency.
        amount_minor: u64,
    },
    /// Puts units on top of the plan's limit.
    Grant {
        /// The grant's name, made by the caller.
        id: GrantId,
        /// The meter.
        meter: MeterName,
        /// Units.
        amount: u64,
        /// 0 burns first.
        priority: u8,
        /// When what is left of it is lost.
        expires_at: Option<Timestamp>,
        /// Whether what is left of it outlives the period.
        rollover: bool,
        /// Where it comes from.
        source: GrantSource,
    },
    /// Takes back what is left of a grant.
    RevokeGrant {
        /// The grant.
        id: GrantId,
    },
    /// Switches a feature on or off, whatever the plan says.
    SetFeature {
        /// The feature, one of the catalogue's.
        feature: String,
        /// None leaves it to the plan again.
        allowed: Option<bool>,
    },
    /// Says whether limits refuse.
    SetEnforcement {
        /// From now on.
        mode: Enforcement,
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
