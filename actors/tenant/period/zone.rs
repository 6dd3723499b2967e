//! Time zones: where local midnight is, also on the days on which clocks change.
//!
//! The rules are compiled in: nothing is read from the machine, so every node and every replay
//! come to the same instants.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::Timestamp;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its IANA name, `Europe/Berlin`; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Zone(Arc<str>);

/// There is no such time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the IANA name of a time zone, such as `Europe/Berlin`")]
pub struct InvalidZone;

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self("UTC".into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what the clock on the wall shows at an instant.
    pub(super) fn local(&self, at: Timestamp) -> DateTime {
        self.rules().to_datetime(instant(at))
    }

    /// Returns the instant of a local time: the first valid one after a gap, the first of two.
    pub(super) fn instant_of(&self, local: DateTime) -> Timestamp {
        let rules = self.rules();
        let found = match rules.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local),
            AmbiguousOffset::Gap { after, .. } => after.to_timestamp(local).map(|earlier| {
                // Read with the later offset, the local time lies just before the clocks change.
                let change = rules.following(earlier).next();
                change.map_or(earlier, |change| change.timestamp())
            }),
        };
        let out_of_range = if local.year() < 2_000 { Timestamp::MIN } else { Timestamp::MAX };
        found.map_or(out_of_range, |found| Timestamp::from_micros(found.as_microsecond()))
    }

    /// Returns the instant at which a local day begins.
    pub(super) fn midnight_of(&self, date: Date) -> Timestamp {
        self.instant_of(DateTime::from_parts(date, Time::midnight()))
    }

    fn rules(&self) -> TimeZone {
        // The name was looked up when it was read, and what is compiled in loses none.
        ZONES.get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

/// The calendar of the zones ends a day before ours.
fn instant(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX)
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl FromStr for Zone {
    type Err = InvalidZone;

    fn from_str(text: &str) -> Result<Self, InvalidZone> {
        let rules = ZONES.get(text).map_err(|_| InvalidZone)?;
        rules.iana_name().map(|name| Self(name.into())).ok_or(InvalidZone)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
