//! Usage of past days and months, as the projections have it.

use serde::{Deserialize, Serialize};

use super::plan::MeterName;
use crate::clock::Timestamp;

/// What is asked of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The meter.
    pub meter: MeterName,
    /// The first moment.
    pub from: Timestamp,
    /// The first moment that is no longer asked for.
    pub to: Timestamp,
    /// How much of it makes one point.
    pub by: HistoryStep,
}

/// How much of the history makes one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryStep {
    /// A day in UTC.
    #[default]
    Day,
    /// A month of the calendar in UTC.
    Month,
}

/// One point of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryPoint {
    /// Where it begins.
    pub start: Timestamp,
    /// What was used.
    pub amount: u64,
}
