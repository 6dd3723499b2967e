//! Usage of past days and months, as the projections have it.

use serde::{Deserialize, Serialize};

use super::call::TenantError;
use super::plan::MeterName;
use crate::clock::{Date, Timestamp};
use crate::database::{Database, listings};
use crate::ids::TenantId;

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

/// Reads the history; what was decided in the last second may not be in it yet.
pub(super) async fn read(
    database: &Database,
    tenant: TenantId,
    query: &HistoryQuery,
) -> Result<Vec<HistoryPoint>, TenantError> {
    let unavailable = |error| {
        tracing::warn!(tenant.id = %tenant, %error, "usage by day cannot be read");
        TenantError::Unavailable
    };
    let mut reader = database.reader().await.map_err(unavailable)?;
    let from = Timestamp::from_date(query.from.date());
    let days = listings::usage(&mut reader, tenant, query.meter.as_str(), from, query.to)
        .await
        .map_err(unavailable)?;
    let mut points: Vec<HistoryPoint> = Vec::new();
    for day in days {
        let start = match query.by {
            HistoryStep::Day => day.start,
            HistoryStep::Month => Timestamp::from_date(Date { day: 1, ..day.start.date() }),
        };
        let amount = u64::try_from(day.amount).unwrap_or(0);
        match points.last_mut() {
            Some(last) if last.start == start => last.amount = last.amount.saturating_add(amount),
            _ => points.push(HistoryPoint { start, amount }),
        }
    }
    Ok(points)
}
