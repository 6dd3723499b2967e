//! The shapes of operators' calls.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};
use tenantry_actors::clock::Timestamp;
use tenantry_actors::identity::TenantSummary;
use tenantry_actors::tenant::inspect::TenantReport;
use tenantry_actors::tenant::period::{Cycle, InvalidZone};
use tenantry_actors::tenant::quota::{Enforcement, GrantView, UsageReport};
use utoipa::ToSchema;

use super::UsageAnswer;
use crate::problem::{Problem, Result};

/// A tenant in the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantListedAnswer {
    /// Who it is.
    #[serde(flatten)]
    #[schema(inline, value_type = TenantShape)]
    pub tenant: TenantSummary,
    /// Where its levels stand, storage among them.
    pub levels: Vec<LevelAnswer>,
}

/// Who a tenant is.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantShape {
    /// Its id.
    pub id: String,
    /// Its name; null once its key is destroyed.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
}

/// Where a level stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct LevelAnswer {
    /// The meter.
    pub meter: String,
    /// Units that are there now.
    pub used: u64,
}

/// A tenant in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantDetailAnswer {
    /// Who it is.
    #[serde(flatten)]
    #[schema(inline, value_type = TenantShape)]
    pub tenant: TenantSummary,
    /// Where it stands.
    #[schema(value_type = UsageAnswer)]
    pub usage: UsageReport,
    /// The rule of its periods.
    #[schema(value_type = CycleBody)]
    pub cycle: Cycle,
    /// Units on top of its limits, in the order in which they are used.
    #[schema(value_type = Vec<GrantListedAnswer>)]
    pub grants: Vec<GrantView>,
    /// Whether its limits refuse: `enforced` or `shadow`.
    #[schema(value_type = String)]
    pub enforcement: Enforcement,
    /// Features that are switched on or off for it, whatever its plan says.
    pub features: BTreeMap<String, bool>,
    /// Its actor.
    #[schema(value_type = ActorAnswer)]
    pub actor: TenantReport,
}

/// Units on top of a limit of which something is left.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantListedAnswer {
    /// The grant's name.
    pub id: String,
    /// The meter.
    pub meter: String,
    /// Units.
    pub amount: u64,
    /// Of several grants the one with the lowest is used first.
    pub priority: u8,
    /// When what is left of it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether what is left of it outlives the period.
    pub rollover: bool,
    /// `operator`, `extension` or `top_up`.
    pub source: String,
    /// Units that can still be taken.
    pub left: u64,
}

/// A tenant's actor.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorAnswer {
    /// The tenant.
    pub tenant: String,
    /// The last entry that was decided.
    pub seq: u64,
    /// The last entry that is on disk.
    pub durable_seq: u64,
    /// Steps that wait or run, open jobs, and open streams.
    pub busy: u64,
    /// Idempotency keys that are kept exactly.
    pub recent_keys: u64,
    /// Bytes of the filter of older keys.
    pub filter_bytes: u64,
    /// When something is due by itself.
    pub next_due: Option<String>,
}

/// The tenants of this node.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeAnswer {
    /// Tenants that are awake.
    pub awake: u64,
    /// Calls between the gate and their answer.
    pub in_flight: u32,
    /// Entries that wait for the journal.
    pub queued: u64,
}

/// A plan to put in force.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// The plan's name in the catalogue.
    pub plan: String,
    /// `now` (if not given) or `period_end`.
    #[serde(default)]
    pub when: PlanChangeBody,
    /// The rule of its periods from then on; the same as before if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<CycleBody>,
}

/// The most months of one period.
const CYCLE_MONTHS_MAX: u8 = 36;

/// The rule by which one period follows another.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum CycleBody {
    /// From the first of a month to the first of the next.
    CalendarMonth {
        /// Whose midnight it is, `Europe/Berlin`; UTC if not given.
        #[serde(default = "utc")]
        zone: String,
    },
    /// Counted from an instant.
    Anchored {
        /// The first boundary.
        #[schema(value_type = String)]
        anchor: Timestamp,
        /// Whose clock says the time of day of the others; UTC if not given.
        #[serde(default = "utc")]
        zone: String,
        /// How many months a period lasts, 1 to 36; one if not given.
        #[serde(default = "one")]
        #[schema(minimum = 1, maximum = 36)]
        months: u8,
    },
}

fn utc() -> String {
    "UTC".to_owned()
}

const fn one() -> u8 {
    1
}

impl CycleBody {
    /// Returns the rule, if there are such a zone and such periods.
    pub fn checked(self) -> Result<Cycle> {
        let parsed = |zone: String| {
            let known = zone.parse();
            known.map_err(|error: InvalidZone| Problem::invalid("/cycle/zone", error.to_string()))
        };
        match self {
            Self::CalendarMonth { zone } => Ok(Cycle::CalendarMonth { zone: parsed(zone)? }),
            Self::Anchored { anchor, zone, months } => {
                let months = Some(months).filter(|months| *months <= CYCLE_MONTHS_MAX);
                let months = months.and_then(NonZeroU8::new).ok_or_else(|| {
                    let text = format!("expected 1 to {CYCLE_MONTHS_MAX}");
                    Problem::invalid("/cycle/months", text)
                })?;
                Ok(Cycle::Anchored { anchor, zone: parsed(zone)?, months })
            }
        }
    }
}

/// Whether a tenant may use a feature.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureBody {
    /// Whether it may, whatever its plan says; `null` leaves it to the plan.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    pub allowed: Option<bool>,
}

/// When a plan comes into force.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanChangeBody {
    /// At once; what is used stays used.
    #[default]
    Now,
    /// When the open period ends.
    PeriodEnd,
}

/// Units to put on top of a limit.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// The tenant.
    pub tenant_id: String,
    /// The meter.
    pub meter: String,
    /// Units.
    #[schema(minimum = 1)]
    pub amount: u64,
    /// Of several grants the one with the lowest is used first; 100 if not given.
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// When what is left of it is lost; without it, with the period, unless it rolls over.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// Whether what is left of it outlives the period.
    #[serde(default)]
    pub rollover: bool,
    /// Whether it was bought.
    #[serde(default)]
    pub is_top_up: bool,
}

const fn default_priority() -> u8 {
    100
}

/// Units that raise a limit until the open period ends.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtensionBody {
    /// The tenant.
    pub tenant_id: String,
    /// The meter.
    pub meter: String,
    /// Units.
    #[schema(minimum = 1)]
    pub amount: u64,
}

/// Whose grant is taken back.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// The tenant.
    pub tenant_id: String,
}

/// Units that were put on top of a limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantedAnswer {
    /// The grant's name.
    pub id: String,
    /// The meter.
    pub meter: String,
    /// Units.
    pub amount: u64,
    /// Of several grants the one with the lowest is used first.
    pub priority: u8,
    /// When what is left of it is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether what is left of it outlives the period.
    pub rollover: bool,
    /// `operator`, `extension` or `top_up`.
    pub source: String,
    /// The meter's limit from now on; null is unlimited.
    pub limit: Option<u64>,
}

/// A grant that was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantEndedAnswer {
    /// The grant's name.
    pub id: String,
    /// The meter.
    pub meter: String,
    /// Units that can no longer be taken.
    pub lost: u64,
    /// The meter's limit from now on; null is unlimited.
    pub limit: Option<u64>,
}

/// Whether limits refuse.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnforcementBody {
    /// `enforced`, or `shadow`: what would be refused is admitted and marked.
    #[schema(value_type = String)]
    pub mode: Enforcement,
}
