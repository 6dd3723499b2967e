//! The rule by which one period follows another.
//!
//! **Invariant:** every instant belongs to exactly one period of a cycle. The n-th boundary is
//! counted from the anchor and never from the boundary before: an anchor on the 31st ends
//! February on its last day and March on the 31st again.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::num::NonZeroU8;

use jiff::civil::{Date, DateTime};
use jiff::{Span, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{Period, PeriodName, Zone};
use crate::clock::Timestamp;

/// The rule by which one period follows another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cycle {
    /// From the first of a month to the first of the next.
    CalendarMonth {
        /// Whose midnight it is.
        #[serde(default)]
        zone: Zone,
    },
    /// Counted from the instant at which a subscription began.
    Anchored {
        /// The first boundary.
        anchor: Timestamp,
        /// Whose clock says the time of day of the others.
        #[serde(default)]
        zone: Zone,
        /// How many months a period lasts.
        months: NonZeroU8,
    },
}

impl Default for Cycle {
    fn default() -> Self {
        Self::CalendarMonth { zone: Zone::utc() }
    }
}

impl Cycle {
    /// Makes monthly periods from an anchor.
    pub fn monthly(anchor: Timestamp, zone: Zone) -> Self {
        Self::Anchored { anchor, zone, months: NonZeroU8::MIN }
    }

    /// Says whether this is what tenants have who were never given another one.
    pub fn is_default(&self) -> bool {
        matches!(self, Self::CalendarMonth { zone } if zone.as_str() == "UTC")
    }

    /// Returns the period that contains an instant. The last one of all ends with time.
    pub fn period_of(&self, at: Timestamp) -> Period {
        match self {
            Self::CalendarMonth { .. } if self.is_default() => Period::month_of(at),
            Self::CalendarMonth { zone } => month_of(zone, at),
            Self::Anchored { anchor, zone, months } => {
                Anchored { anchor: *anchor, local: zone.local(*anchor), zone, months: *months }
                    .period_of(at)
            }
        }
    }

    /// Returns the period that `at` is in when `ended` has ended by then, or none before its end.
    ///
    /// What lies between two cycles is never lost: the first period of the new one begins where
    /// the last of the old one ended.
    pub fn period_after(&self, ended: Period, at: Timestamp) -> Option<Period> {
        let is_over = at >= ended.end && ended.end < Timestamp::MAX;
        is_over.then(|| self.period_of(at).starting_at_earliest(ended.end))
    }

    /// Returns the period that begins at this very instant because a plan came into force.
    pub fn period_from(&self, now: Timestamp) -> Period {
        self.period_of(now).starting_at_earliest(now)
    }

    /// Returns the short name of a period, which entries and answers carry: `2026-11` for months
    /// of the calendar, `2026-11-23` for others, and for what a change of cycle left of a month.
    pub fn name_of(&self, period: &Period) -> PeriodName {
        match self {
            Self::CalendarMonth { zone } => {
                let begins = zone.local(period.start).date();
                let is_whole = zone.midnight_of(begins.first_of_month()) == period.start;
                if is_whole { PeriodName::of_month(begins) } else { PeriodName::of_day(begins) }
            }
            Self::Anchored { zone, .. } => PeriodName::of_day(zone.local(period.start).date()),
        }
    }
}

fn month_of(zone: &Zone, at: Timestamp) -> Period {
    let first = zone.local(at).date().first_of_month();
    let next = first.checked_add(1.month()).map_or(Timestamp::MAX, |next| zone.midnight_of(next));
    Period { start: zone.midnight_of(first), end: next }
}

/// An anchor with the local time that it falls on.
struct Anchored<'a> {
    anchor: Timestamp,
    local: DateTime,
    zone: &'a Zone,
    months: NonZeroU8,
}

impl Anchored<'_> {
    fn period_of(&self, at: Timestamp) -> Period {
        let mut n = self.near(at);
        // The guess is by whole months: days, hours and offsets move it by one at the most.
        while self.boundary(n) > at && self.boundary(n) > Timestamp::MIN {
            n = n.saturating_sub(1);
        }
        while let next = self.boundary(n.saturating_add(1))
            && next <= at
            && next < Timestamp::MAX
        {
            n = n.saturating_add(1);
        }
        Period { start: self.boundary(n), end: self.boundary(n.saturating_add(1)) }
    }

    /// The n-th boundary; those before the anchor are negative.
    fn boundary(&self, n: i32) -> Timestamp {
        if n == 0 {
            return self.anchor;
        }
        let months = n.saturating_mul(i32::from(self.months.get()));
        let span = Span::new().try_months(months);
        // A day that the month lacks becomes its last one.
        let local = span.and_then(|span| self.local.checked_add(span));
        let out_of_range = if n < 0 { Timestamp::MIN } else { Timestamp::MAX };
        local.map_or(out_of_range, |local| self.zone.instant_of(local))
    }

    fn near(&self, at: Timestamp) -> i32 {
        let months = |date: Date| {
            i32::from(date.year()).saturating_mul(12).saturating_add(i32::from(date.month()))
        };
        let between = months(self.zone.local(at).date()).saturating_sub(months(self.local.date()));
        between.div_euclid(i32::from(self.months.get()))
    }
}
