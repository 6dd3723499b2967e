//! The shapes of operators' calls.

use serde::{Deserialize, Serialize};
use tenantry_actors::identity::TenantSummary;
use tenantry_actors::tenant::inspect::TenantReport;
use tenantry_actors::tenant::quota::UsageReport;
use utoipa::ToSchema;

use super::UsageAnswer;

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
    /// Its actor.
    #[schema(value_type = ActorAnswer)]
    pub actor: TenantReport,
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
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// The plan's name in the catalogue.
    pub plan: String,
}
