//! Periods: the half-open spans of time in which usage is counted against a plan.
//!
//! A [`Cycle`] is the rule by which one follows another: months of the calendar, or months from
//! the day of a subscription. The journal carries every period that was opened in full, so replay
//! never asks a rule, nor the tables of a time zone, again.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod cycle;
mod zone;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::cycle::Cycle;
pub use self::zone::{InvalidZone, Zone};
use crate::clock::{Date, Timestamp};

/// A half-open span of time, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    /// The first instant that belongs to it.
    pub start: Timestamp,
    /// The first instant that no longer does.
    pub end: Timestamp,
}

impl Period {
    /// Returns the calendar month (UTC) that contains an instant.
    pub fn month_of(at: Timestamp) -> Self {
        let date = at.date();
        let first = Date { day: 1, ..date };
        let (next_year, next_month) = match date.month {
            12.. => (date.year.saturating_add(1), 1),
            month => (date.year, month.saturating_add(1)),
        };
        // The month after December 9999 cannot be written: the last period ends with time.
        let end = match next_year {
            10_000.. => Timestamp::MAX,
            year => Timestamp::from_date(Date { year, month: next_month, day: 1 }),
        };
        Self { start: Timestamp::from_date(first), end }
    }

    /// Says whether an instant belongs to it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Returns the same period, begun no earlier than `earliest`.
    #[must_use]
    pub fn starting_at_earliest(self, earliest: Timestamp) -> Self {
        Self { start: self.start.max(earliest), ..self }
    }

    /// Returns the short name of a calendar month in UTC: `2026-11`. See [`Cycle::name_of`].
    pub fn name(&self) -> PeriodName {
        let date = self.start.date();
        PeriodName(format!("{:04}-{:02}", date.year, date.month).into())
    }
}

/// A period's short name, `2026-11` or `2026-11-23`; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeriodName(Arc<str>);

impl PeriodName {
    fn of_month(date: jiff::civil::Date) -> Self {
        Self(format!("{:04}-{:02}", date.year(), date.month()).into())
    }

    fn of_day(date: jiff::civil::Date) -> Self {
        Self(format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()).into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeriodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeriodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
