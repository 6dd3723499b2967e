//! A month of the calendar, as an export is asked for.

use std::str::FromStr;

use super::time_of;
use crate::clock::{Date, Timestamp};
use crate::tenant::period::Period;

/// A calendar month in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month(Period);

impl Month {
    /// Its first instant.
    pub fn start(self) -> Timestamp {
        self.0.start
    }

    /// Whether a line was made in it.
    pub(super) fn holds(self, line: &str) -> bool {
        time_of(line).is_some_and(|at| self.0.contains(at))
    }
}

/// The text is not a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a month, as `2026-11`")]
pub struct InvalidMonth;

impl FromStr for Month {
    type Err = InvalidMonth;

    fn from_str(text: &str) -> Result<Self, InvalidMonth> {
        let (year, month) = text.split_once('-').ok_or(InvalidMonth)?;
        let date = Date { year: digits(year, 4)?, month: digits(month, 2)?, day: 1 };
        if !(1970..=9999).contains(&date.year) || !(1..=12).contains(&date.month) {
            return Err(InvalidMonth);
        }
        Ok(Self(Period::month_of(Timestamp::from_date(date))))
    }
}

/// Reads a number of exactly so many digits.
pub(super) fn digits<T: FromStr>(text: &str, count: usize) -> Result<T, InvalidMonth> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().map_err(|_| InvalidMonth) } else { Err(InvalidMonth) }
}
