//! What a reader of a quota is told: where each meter stands, and what that costs.

use serde::{Deserialize, Serialize};

use super::charge::is_zero;
use crate::money::Currency;
use crate::tenant::period::Period;
use crate::tenant::plan::{MeterKind, MeterName, PlanName};

/// Where a tenant stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// The plan in force.
    pub plan: PlanName,
    /// The open period.
    pub period: Period,
    /// Every meter of the plan.
    pub meters: Vec<MeterUsage>,
    /// What overage costs; none where the plan sells none, and none before it in the period did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<SpendReport>,
}

/// What overage costs in the open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendReport {
    /// How much it may cost, in minor units; 0 makes every limit hard.
    pub cap_minor: u64,
    /// What the bill comes to so far.
    pub spent_minor: i64,
    /// What it comes to if everything that is held is used and every level stays as it is until
    /// the period ends; rounded up.
    pub committed_minor: u64,
    /// What all are in.
    pub currency: Currency,
}

/// Where one meter stands: `limit = remaining + reserved + used`, unless usage is over the limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterUsage {
    /// The meter.
    pub meter: MeterName,
    /// What one unit is.
    pub unit: String,
    /// Whether it resets.
    pub kind: MeterKind,
    /// Units used in the open period.
    pub used: u64,
    /// Units in holds that were opened in the open period.
    pub reserved: u64,
    /// Units in open holds of an earlier period: they press on that period's limit, not on this.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reserved_earlier: u64,
    /// The limit; none is unlimited.
    pub limit: Option<u64>,
    /// What can still be taken; none is unlimited.
    pub remaining: Option<u64>,
    /// `used` in hundredths of the limit, rounded down; none is unlimited.
    pub percent: Option<u64>,
    /// What is beyond the limit.
    pub overage: Overage,
    /// Of a level: units times seconds in the open period, in whole numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_seconds: Option<String>,
}

/// Usage beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overage {
    /// Whether more than the limit may be taken: with a spend cap above zero alone.
    pub allowed: bool,
    /// `max(0, reserved + used - limit)`, be it for sale or not.
    pub units: u64,
    /// What it costs so far; a level costs by the time that it was there.
    pub amount_minor: i64,
    /// What it is billed in.
    pub currency: Currency,
}
