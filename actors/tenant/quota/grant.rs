//! Units on top of a plan's limit: top-ups, extensions by the operator.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::GrantId;
use crate::tenant::period::PeriodName;
use crate::tenant::plan::MeterName;

/// Where a grant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    /// It was bought.
    TopUp,
    /// The operator gave it.
    Operator,
    /// The operator raised a quota with it.
    Extension,
}

/// What a grant was given with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTerms {
    /// Its name.
    pub id: GrantId,
    /// The meter.
    pub meter: MeterName,
    /// Units.
    pub amount: u64,
    /// 0 burns first.
    pub priority: u8,
    /// When what is left of it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether what is left of it outlives the period.
    pub rollover: bool,
    /// Where it comes from.
    pub source: GrantSource,
}

/// Where a grant stands after a fact moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantStand {
    /// The grant.
    pub id: GrantId,
    /// Units that can still be taken.
    pub left: u64,
    /// Units of the open period that were used.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub used: u64,
    /// Units in open holds of the open period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(units: &u64) -> bool {
    *units == 0
}

/// A grant as callers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// What it was given with.
    #[serde(flatten)]
    pub terms: GrantTerms,
    /// Units that can still be taken.
    pub left: u64,
}

/// The end of a grant. What was taken of it stays taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnd {
    /// The grant.
    pub id: GrantId,
    /// The meter.
    pub meter: MeterName,
    /// Units that can no longer be taken.
    pub lost: u64,
    /// The meter's limit afterwards.
    pub limit: Option<u64>,
    /// The meter's grants that took over what was beyond the plan's limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantStand>,
    /// The open period.
    pub period: PeriodName,
}
