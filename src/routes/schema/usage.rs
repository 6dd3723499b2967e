//! The shapes of usage and reservations.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An amount of one meter, in its base unit.
#[derive(Debug, ToSchema)]
pub struct ItemBody {
    /// The meter.
    pub meter: String,
    /// The amount.
    #[schema(minimum = 1)]
    pub amount: u64,
}

/// What is used, all or nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemsBody {
    /// Amounts by meter.
    #[schema(min_items = 1, max_items = 64)]
    pub items: Vec<ItemBody>,
}

/// What is held before the work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveBody {
    /// Amounts by meter.
    #[schema(min_items = 1, max_items = 64)]
    pub items: Vec<ItemBody>,
    /// How long the hold lives, in seconds.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400, default = 300)]
    pub ttl_s: Option<u64>,
}

/// What of a hold was used; without `items` all of it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitBody {
    /// Amounts by meter.
    #[serde(default)]
    pub items: Option<Vec<ItemBody>>,
    /// Charges a hold that has expired all the same, because the work was done. What is not
    /// available any more is recorded and marked `would_refuse`.
    #[serde(default)]
    pub late: bool,
}

/// How long a hold lives from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// Seconds from now.
    #[schema(minimum = 1, maximum = 86400)]
    pub ttl_s: u64,
}

/// An admitted consume.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumedAnswer {
    /// Always true.
    pub admitted: bool,
    /// Where each meter stands.
    pub items: Vec<ConsumedItemAnswer>,
    /// The period that was charged.
    pub period: String,
    /// The entry's number in the tenant's journal.
    pub seq: u64,
}

/// One meter of a consume.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumedItemAnswer {
    /// The meter.
    pub meter: String,
    /// Units used by this call.
    pub charged: u64,
    /// Units used in the period.
    pub used: u64,
    /// What is left; null is unlimited.
    pub remaining: Option<u64>,
    /// The limit; null is unlimited.
    pub limit: Option<u64>,
    /// Units beyond the limit; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
    /// It went beyond what was available, in shadow mode; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub would_refuse: bool,
}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservationAnswer {
    /// The id.
    pub id: String,
    /// `held`, `committed`, `released` or `expired`.
    pub state: String,
    /// When it lapses, or would have.
    pub expires_at: String,
    /// What was held, and what of it was used.
    pub items: Vec<ReservedItemAnswer>,
    /// What was left of each meter after the last change; null is unlimited.
    #[schema(value_type = std::collections::BTreeMap<String, Option<u64>>)]
    pub remaining: Value,
    /// It was committed after it had expired; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// One meter of a hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservedItemAnswer {
    /// The meter.
    pub meter: String,
    /// Units held.
    pub amount: u64,
    /// Units used, once the hold has ended.
    pub charged: Option<u64>,
    /// It went beyond what was available: in shadow mode, or late; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub would_refuse: bool,
}

/// Where a tenant stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageAnswer {
    /// The plan in force.
    pub plan: String,
    /// The open period.
    pub period: PeriodAnswer,
    /// Every meter of the plan.
    pub meters: Vec<MeterAnswer>,
    /// What overage costs; absent where the plan sells none, and none before it in the period did.
    pub spend: Option<SpendAnswer>,
}

/// What overage costs in the open period.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpendAnswer {
    /// How much it may cost; 0 makes every limit hard.
    pub cap_minor: u64,
    /// What the bill comes to so far.
    pub spent_minor: i64,
    /// What it comes to if all that is held is used, and levels stay as they are.
    pub committed_minor: u64,
    /// What all are in.
    pub currency: String,
}

/// A period, from `start` to before `end`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PeriodAnswer {
    /// Its first instant.
    pub start: String,
    /// The first instant after it.
    pub end: String,
}

/// Where one meter stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeterAnswer {
    /// The meter.
    pub meter: String,
    /// What one unit is.
    pub unit: String,
    /// `counter` or `level`.
    pub kind: String,
    /// Units used.
    pub used: u64,
    /// Units in open holds.
    pub reserved: u64,
    /// The limit; null is unlimited.
    pub limit: Option<u64>,
    /// What can still be taken; null is unlimited.
    pub remaining: Option<u64>,
    /// `used` in hundredths of the limit; null is unlimited.
    pub percent: Option<u64>,
    /// What is beyond the limit.
    pub overage: OverageAnswer,
    /// Of a level: units times seconds in the open period, a whole number as text.
    pub unit_seconds: Option<String>,
}

/// Usage beyond a limit.
#[derive(Debug, Serialize, ToSchema)]
pub struct OverageAnswer {
    /// Whether more than the limit may be taken.
    pub allowed: bool,
    /// Units beyond the limit.
    pub units: u64,
    /// What they cost so far.
    pub amount_minor: i64,
    /// The currency.
    pub currency: String,
}

/// Usage over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryAnswer {
    /// Oldest first.
    pub data: Vec<HistoryPoint>,
}

/// Usage of one day or month.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryPoint {
    /// Where it begins.
    pub start: String,
    /// Units used, less what was taken back; of a level, where it stood at the end.
    pub amount: i64,
}

/// Whether the plan in force includes a feature.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeatureAnswer {
    /// The feature.
    pub feature: String,
    /// Whether it may be used.
    pub allowed: bool,
    /// The plan in force.
    pub plan: String,
    /// Who says so: `plan`, or `operator` if it was switched on or off for this tenant.
    pub source: FeatureSource,
    /// Where to get it, if the plan does not include it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_url: Option<String>,
}

/// Who says whether a feature may be used.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureSource {
    /// The plan in force.
    Plan,
    /// The operator, whatever the plan says.
    Operator,
}
