//! How facts move a meter, and where it stands afterwards.

use serde::{Deserialize, Serialize};

use super::accrual::text;
use super::grant::GrantStand;
use crate::tenant::plan::MeterName;

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
    /// The limit in force, grants included; none is unlimited.
    pub limit: Option<u64>,
    /// The grants that it moved, and where they stand afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantStand>,
    /// It was not available: a fact that did not ask, or an admission in shadow mode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub would_refuse: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(units: &u64) -> bool {
    *units == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Charge {
    /// Returns what could still be taken afterwards; none is unlimited.
    pub fn remaining(&self) -> Option<u64> {
        remaining(self.limit, self.used, self.reserved)
    }

    /// Returns how far beyond the limit the meter is afterwards.
    pub fn over(&self) -> u64 {
        over(self.limit, self.used, self.reserved)
    }
}

/// `max(0, limit - reserved - used)`; none is unlimited.
pub(super) fn remaining(limit: Option<u64>, used: u64, reserved: u64) -> Option<u64> {
    limit.map(|limit| limit.saturating_sub(reserved).saturating_sub(used))
}

/// `max(0, reserved + used - limit)`.
pub(super) fn over(limit: Option<u64>, used: u64, reserved: u64) -> u64 {
    limit.map_or(0, |limit| used.saturating_add(reserved).saturating_sub(limit))
}

/// What a meter's overage came to so far when another plan came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The meter.
    pub meter: MeterName,
    /// In millionths of the currency of both plans.
    #[serde(with = "text")]
    pub micros: u128,
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
    /// Units of both beyond the limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub over: u64,
    /// What they cost, as the bill has it, in minor units of the plan's currency.
    #[serde(default, skip_serializing_if = "is_free")]
    pub amount_minor: i64,
}

/// What a level came to over a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedLevel {
    /// The meter.
    pub meter: MeterName,
    /// Units there at the end.
    pub used: u64,
    /// Units times seconds, in whole numbers.
    #[serde(with = "text")]
    pub unit_seconds: u128,
    /// What of them was beyond the limit.
    #[serde(default, with = "text", skip_serializing_if = "is_nothing")]
    pub over_unit_seconds: u128,
    /// What that costs, as the bill has it, in minor units of the plan's currency.
    #[serde(default, skip_serializing_if = "is_free")]
    pub amount_minor: i64,
}

fn is_nothing(sum: &u128) -> bool {
    *sum == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_free(amount_minor: &i64) -> bool {
    *amount_minor == 0
}
