//! Usage that already happened, as other systems report it.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::tenant::period::PeriodName;
use crate::tenant::plan::MeterName;

/// 16 bytes in base64.
const DIGEST_LENGTH: usize = 22;

/// The keyed digest of an event's source and id, 128 bits; 22 letters as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventDigest([u8; 16]);

impl EventDigest {
    /// Wraps the bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Writes the text into a fixed buffer.
    fn encode(self) -> [u8; DIGEST_LENGTH] {
        let mut text = [0; DIGEST_LENGTH];
        BASE64URL_NOPAD.encode_mut(&self.0, &mut text);
        text
    }
}

/// The text is not an event's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event's digest of 22 letters")]
pub struct InvalidDigest;

impl FromStr for EventDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidDigest)?;
        bytes.try_into().map(Self).map_err(|_| InvalidDigest)
    }
}

impl fmt::Display for EventDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.encode()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for EventDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EventDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.encode();
        serializer.serialize_str(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for EventDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A use that already happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which one: it counts once.
    pub digest: EventDigest,
    /// The meter.
    pub meter: MeterName,
    /// Units used, at least 1.
    pub amount: u64,
    /// When.
    pub at: Timestamp,
}

/// An event that was counted; in a line `[digest, item, amount, microseconds since 1970]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EventRow", into = "EventRow")]
pub struct RecordedEvent {
    /// Which one.
    pub digest: EventDigest,
    /// Its meter's place among the fact's items.
    pub item: u16,
    /// Units used.
    pub amount: u64,
    /// When.
    pub at: Timestamp,
}

type EventRow = (EventDigest, u16, u64, i64);

impl From<EventRow> for RecordedEvent {
    fn from((digest, item, amount, at): EventRow) -> Self {
        Self { digest, item, amount, at: Timestamp::from_micros(at) }
    }
}

impl From<RecordedEvent> for EventRow {
    fn from(event: RecordedEvent) -> Self {
        (event.digest, event.item, event.amount, event.at.as_micros())
    }
}

/// Usage of a period that has closed, counted in the open one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateUsage {
    /// The meter.
    pub meter: MeterName,
    /// Units, contained in the fact's items.
    pub amount: u64,
    /// The period in which they were used.
    pub original_period: PeriodName,
}

/// Why an event was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventRejection {
    /// The plan has no such meter.
    UnknownMeter,
    /// It is of a period that takes no more events.
    EventTooOld,
    /// It is more than five minutes ahead of the clock.
    EventInFuture,
    /// Its amount, or the sum that it leads to, is out of range.
    InvalidAmount,
}

impl EventRejection {
    /// Returns the slug.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownMeter => "unknown-meter",
            Self::EventTooOld => "event-too-old",
            Self::EventInFuture => "event-in-future",
            Self::InvalidAmount => "invalid-amount",
        }
    }
}
