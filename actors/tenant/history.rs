//! Usage of past days and months, as the projections have it.

use serde::{Deserialize, Serialize};

use super::call::TenantError;
use super::plan::{MeterKind, MeterName};
use crate::clock::{Date, Timestamp};
use crate::database::listings::UsedOnDay;
use crate::database::{Database, StoreError, listings, tenants};
use crate::ids::TenantId;

/// What is asked of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The meter.
    pub meter: MeterName,
    /// Whether it resets.
    pub kind: MeterKind,
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
    /// What was used, less what was taken back; of a level, where it stood at the end.
    pub amount: i64,
}

/// Reads the history; what was decided in the last second may not be in it yet.
///
/// Of a counter a point is what was used, of a level where it stood at the point's end.
pub(super) async fn read(
    database: &Database,
    tenant: TenantId,
    query: &HistoryQuery,
) -> Result<Vec<HistoryPoint>, TenantError> {
    let unavailable = |error: StoreError| unavailable(&error, "usage by day cannot be read");
    let mut reader = database.reader().await.map_err(unavailable)?;
    // A level's days are its changes, so it is the sum of them from its first day on.
    let first = match query.kind {
        MeterKind::Counter => Timestamp::from_date(query.from.date()),
        MeterKind::Level => Timestamp::MIN,
    };
    let days = listings::usage(&mut reader, tenant, query.meter.as_str(), first, query.to)
        .await
        .map_err(unavailable)?;
    Ok(points(&days, query))
}

/// Reads where a level stands for the tenants of a range.
pub(super) async fn levels(
    database: &Database,
    (first, last): (TenantId, TenantId),
    meter: &MeterName,
) -> Result<Vec<(TenantId, u64)>, TenantError> {
    let unavailable = |error: StoreError| unavailable(&error, "levels cannot be read");
    let mut reader = database.reader().await.map_err(unavailable)?;
    let levels = tenants::levels(&mut reader, first, last, meter.as_str()).await;
    let levels = levels.map_err(unavailable)?.into_iter();
    Ok(levels.map(|(tenant, level)| (tenant, u64::try_from(level).unwrap_or(0))).collect())
}

/// Adds days up to points. A correction may take a day below nothing, but no level.
fn points(days: &[UsedOnDay], query: &HistoryQuery) -> Vec<HistoryPoint> {
    let from = Timestamp::from_date(query.from.date());
    let mut points: Vec<HistoryPoint> = Vec::new();
    let mut level = 0_i64;
    for day in days {
        level = level.saturating_add(day.amount);
        if day.start < from {
            continue;
        }
        let start = match query.by {
            HistoryStep::Day => day.start,
            HistoryStep::Month => Timestamp::from_date(Date { day: 1, ..day.start.date() }),
        };
        let last = points.last_mut().filter(|last| last.start == start);
        let amount = match (query.kind, &last) {
            (MeterKind::Level, _) => level.max(0),
            (MeterKind::Counter, Some(last)) => last.amount.saturating_add(day.amount),
            (MeterKind::Counter, None) => day.amount,
        };
        match last {
            Some(last) => last.amount = amount,
            None => points.push(HistoryPoint { start, amount }),
        }
    }
    points
}

fn unavailable(error: &StoreError, what: &'static str) -> TenantError {
    tracing::warn!(%error, "{what}");
    TenantError::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn read(kind: MeterKind, by: HistoryStep, from: &str, days: &[(&str, i64)]) -> Vec<String> {
        let query = HistoryQuery {
            meter: "images".parse().unwrap(),
            kind,
            from: at(from),
            to: Timestamp::MAX,
            by,
        };
        let days: Vec<UsedOnDay> = days
            .iter()
            .map(|(start, amount)| UsedOnDay { start: at(start), amount: *amount })
            .collect();
        let shown =
            |point: &HistoryPoint| format!("{} {}", &point.start.to_string()[..10], point.amount);
        points(&days, &query).iter().map(shown).collect()
    }

    const DAYS: &[(&str, i64)] = &[
        ("2026-10-30T00:00:00Z", 10),
        ("2026-11-02T00:00:00Z", 7),
        ("2026-11-20T00:00:00Z", -3),
        ("2026-12-01T00:00:00Z", 1),
    ];

    #[test]
    fn a_counters_months_are_the_sums_of_their_days() {
        let months = read(MeterKind::Counter, HistoryStep::Month, "2026-10-01T00:00:00Z", DAYS);

        assert_eq!(months, ["2026-10-01 10", "2026-11-01 4", "2026-12-01 1"]);
    }

    #[test]
    fn a_levels_point_is_where_it_stood_at_its_end_also_when_the_history_begins_later() {
        let from = "2026-11-01T12:00:00Z";

        let months = read(MeterKind::Level, HistoryStep::Month, from, DAYS);
        let days = read(MeterKind::Level, HistoryStep::Day, from, DAYS);

        assert_eq!(months, ["2026-11-01 14", "2026-12-01 15"]);
        assert_eq!(days, ["2026-11-02 17", "2026-11-20 14", "2026-12-01 15"]);
    }

    #[test]
    fn a_day_may_take_back_more_than_it_used() {
        let days = read(MeterKind::Counter, HistoryStep::Day, "2026-11-20T00:00:00Z", &DAYS[2..]);

        assert_eq!(days, ["2026-11-20 -3", "2026-12-01 1"]);
    }
}
