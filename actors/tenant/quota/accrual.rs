//! What a level comes to over time: units times seconds, exact to the microsecond.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Microseconds of a second.
const MICROS: u128 = 1_000_000;

/// A level's units times the time that they were there, since the period began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accrual {
    /// None before the level's first use.
    since: Option<Timestamp>,
    /// In units times microseconds.
    #[serde(with = "text")]
    total: u128,
    /// What of it was beyond the limit.
    #[serde(with = "text")]
    over: u128,
    /// What of that was there under plans that ended in the period, in whole seconds.
    #[serde(with = "text")]
    closed: u128,
}

impl Accrual {
    /// Says whether nothing was counted yet.
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Counts `used` units, `over` of them beyond the limit, from the last change until `at`.
    pub(super) fn advance(&mut self, used: u64, over: u64, at: Timestamp) {
        let since = self.since.replace(at.max(self.since.unwrap_or(at)));
        if used == 0 {
            return;
        }
        let micros = since.map_or(0, |since| at.since(since).as_micros());
        self.total = self.total.saturating_add(u128::from(used).saturating_mul(micros));
        self.over = self.over.saturating_add(u128::from(over).saturating_mul(micros));
    }

    /// Returns the units times whole seconds.
    pub(super) fn unit_seconds(&self) -> u128 {
        self.total / MICROS
    }

    /// Returns the units beyond the limit times whole seconds.
    pub(super) fn over_unit_seconds(&self) -> u128 {
        self.over / MICROS
    }

    /// Returns what of [`Self::over_unit_seconds`] was there under the plan in force.
    pub(super) fn sold_unit_seconds(&self) -> u128 {
        self.over.saturating_sub(self.closed) / MICROS
    }

    /// Returns what [`Self::sold_unit_seconds`] will be, rounded up, if `over` units stay beyond
    /// the limit until `end`.
    pub(super) fn sold_by(&self, over: u64, end: Timestamp) -> u128 {
        let micros = self.since.map_or(0, |since| end.since(since).as_micros());
        let ahead = u128::from(over).saturating_mul(micros);
        self.over.saturating_sub(self.closed).saturating_add(ahead).div_ceil(MICROS)
    }

    /// Ends a plan within the period: whole seconds so far are its own.
    pub(super) fn close(&mut self) {
        let whole = self.sold_unit_seconds().saturating_mul(MICROS);
        self.closed = self.closed.saturating_add(whole);
    }

    /// Begins the next period. The part of a second that was not closed is closed with it.
    pub(super) fn begin_anew(&mut self) {
        self.total %= MICROS;
        self.over %= MICROS;
        self.closed = 0;
    }
}

/// Numbers of 128 bits as text: a JSON number of that size is read as a float.
pub(super) mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(n: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(n)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
