//! The periods that have closed not long ago, and since when the open one counts.
//!
//! Keys and events are promised to be known for some time after their period's end, however long
//! that period was; and an event of the period before is taken for a day, whatever the rule of
//! the periods was then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::EVENTS_KNOWN_FOR_S;
use crate::clock::Timestamp;
use crate::tenant::period::{Period, PeriodName};

/// How long closed periods are remembered: as long as anything of them is.
const KEEP_FOR: Duration = Duration::from_secs(EVENTS_KNOWN_FOR_S);
/// How many: more than end in that time by the calendar. Of more the oldest become one.
const MAX_CLOSED: usize = 8;

/// A period that has closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClosedPeriod {
    /// Since when its counters had counted.
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) name: PeriodName,
}

/// The periods before the open one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PastPeriods {
    /// Since when the open period's counters count: its start, or that of a period which gave way
    /// to it in the middle. None before the first.
    pub(super) since: Option<Timestamp>,
    /// The oldest first.
    closed: Vec<ClosedPeriod>,
}

impl PastPeriods {
    /// Notes that a period closed and another one begins.
    pub(super) fn roll(&mut self, from: Period, name: PeriodName, to: Period) {
        let start = self.since.replace(to.start).unwrap_or(from.start);
        self.closed.retain(|closed| is_within(closed.end, to.start, KEEP_FOR));
        self.closed.push(ClosedPeriod { start, end: from.end, name });
        if self.closed.len() > MAX_CLOSED {
            let oldest = self.closed.remove(0);
            if let Some(next) = self.closed.first_mut() {
                next.start = oldest.start;
            }
        }
    }

    /// Returns the last one that closed.
    pub(super) fn last(&self) -> Option<&ClosedPeriod> {
        self.closed.last()
    }

    /// Returns the start of the first period that ended less than `keep_for` ago, or is open.
    pub(super) fn kept_since(&self, now: Timestamp, keep_for: Duration) -> Option<Timestamp> {
        let kept = self.closed.iter().filter(|closed| is_within(closed.end, now, keep_for));
        kept.map(|closed| closed.start).chain(self.since).min()
    }
}

fn is_within(end: Timestamp, now: Timestamp, keep_for: Duration) -> bool {
    end.checked_add(keep_for).is_none_or(|until| now < until)
}
