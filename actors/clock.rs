//! Time: a point in it, where it comes from, and its one text form.
//!
//! Only this file reads the system's clock. Everything else is handed a [`Clock`], so a test or
//! a tenant in test mode can live in its own time.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Length of `2026-11-23T09:14:03.120482Z`.
const TEXT_LENGTH: usize = 27;
/// 9999-12-31T23:59:59.999999Z: the last instant whose year has four digits.
const MAX_MICROS: i64 = 253_402_300_799_999_999;

/// A point in time: microseconds since 1970 in UTC, from 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first point in time that can be written.
    pub const MIN: Self = Self(0);
    /// The last point in time that can be written.
    pub const MAX: Self = Self(MAX_MICROS);

    /// Makes a point in time; what lies outside of 1970 to 9999 becomes the nearer end.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < 0 {
            Self(0)
        } else if micros > MAX_MICROS {
            Self(MAX_MICROS)
        } else {
            Self(micros)
        }
    }

    /// Makes the point in time at which a day of the calendar begins, in UTC.
    pub const fn from_date(date: Date) -> Self {
        Self::from_micros(days_from_civil(date) * SECONDS_PER_DAY * MICROS_PER_SECOND)
    }

    /// Returns the microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the day of the calendar, in UTC.
    pub const fn date(self) -> Date {
        civil_from_days(self.0.div_euclid(SECONDS_PER_DAY * MICROS_PER_SECOND))
    }

    /// Adds a duration; none if that would pass the year 9999.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        let sum = self.0.checked_add(micros)?;
        (sum <= MAX_MICROS).then_some(Self(sum))
    }

    /// Adds seconds, stopping at the end of the year 9999.
    #[must_use]
    pub const fn plus_s(self, seconds: u64) -> Self {
        self.plus_ms(seconds.saturating_mul(1000))
    }

    /// Adds milliseconds, stopping at the end of the year 9999.
    #[must_use]
    pub const fn plus_ms(self, millis: u64) -> Self {
        // The cap keeps the product far inside of 64 bits.
        let cap = MAX_MICROS / 1000;
        let millis = if millis > cap.cast_unsigned() { cap } else { millis.cast_signed() };
        Self::from_micros(self.0.saturating_add(millis * 1000))
    }

    /// Returns how much later this is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Writes RFC 3339 with six digits into a fixed buffer.
    fn encode(self) -> [u8; TEXT_LENGTH] {
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let date = self.date();
        let micros = self.0.rem_euclid(SECONDS_PER_DAY * MICROS_PER_SECOND);
        let seconds = micros / MICROS_PER_SECOND;
        put(&mut text[0..4], i64::from(date.year));
        put(&mut text[5..7], i64::from(date.month));
        put(&mut text[8..10], i64::from(date.day));
        put(&mut text[11..13], seconds / 3600);
        put(&mut text[14..16], seconds / 60 % 60);
        put(&mut text[17..19], seconds % 60);
        put(&mut text[20..26], micros % MICROS_PER_SECOND);
        text
    }

    /// Reads the form that [`Timestamp::encode`] writes; any other goes the general way.
    fn decode_own(text: &[u8]) -> Option<Self> {
        let shape = text.len() == TEXT_LENGTH
            && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')]
                .iter()
                .all(|(at, mark)| text[*at] == *mark);
        if !shape {
            return None;
        }
        let date = Date {
            year: u16::try_from(take(&text[0..4])?).ok()?,
            month: u8::try_from(take(&text[5..7])?).ok()?,
            day: u8::try_from(take(&text[8..10])?).ok()?,
        };
        let (hour, minute) = (take(&text[11..13])?, take(&text[14..16])?);
        let second = take(&text[17..19])?;
        if date.year < 1970 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days_from_civil(date);
        // A date that the calendar lacks does not come back as itself.
        if civil_from_days(days) != date {
            return None;
        }
        let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
        Some(Self(seconds * MICROS_PER_SECOND + take(&text[20..26])?))
    }
}

fn put(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

fn take(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0'))
    })
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.encode()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an RFC 3339 time between 1970 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time between 1970 and 9999")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Some(own) = Self::decode_own(text.as_bytes()) {
            return Ok(own);
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        let micros = instant.as_microsecond();
        if (0..=MAX_MICROS).contains(&micros) { Ok(Self(micros)) } else { Err(InvalidTimestamp) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.encode();
        serializer.serialize_str(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Four digits.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// Counts days since 1970-01-01 (Howard Hinnant's `days_from_civil`, for years after 0).
const fn days_from_civil(date: Date) -> i64 {
    let (month, day) = (date.month as i64, date.day as i64);
    let year = date.year as i64 - (month <= 2) as i64;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "the algorithm yields years 1970 to 9999, months to 12 and days to 31"
)]
const fn civil_from_days(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    Date { year: year as u16, month: month as u8, day: day as u8 }
}

/// Where the present comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the present.
    fn now(&self) -> Timestamp;
}

/// A clock that many parts hold.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at the given point in time.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves to the given point in time, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves forwards.
    pub fn advance(&self, duration: Duration) {
        let now = self.now();
        self.set(now.checked_add(duration).unwrap_or(Timestamp::MAX));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests;
