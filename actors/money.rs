//! Money in integers: minor units where it is billed, micro-units where it is priced.
//!
//! Rounding happens once, half up, when a bill's line is made; nothing before that rounds.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Currencies whose smallest unit is the whole one.
const ZERO_DECIMAL: [&[u8; 3]; 15] = [
    b"bif", b"clp", b"djf", b"gnf", b"jpy", b"kmf", b"krw", b"mga", b"pyg", b"rwf", b"vnd", b"vuv",
    b"xaf", b"xof", b"xpf",
];
/// Currencies with a thousand of the smallest unit in the whole one.
const THREE_DECIMAL: [&[u8; 3]; 5] = [b"bhd", b"jod", b"kwd", b"omr", b"tnd"];

/// An ISO 4217 currency in lower case, as payment providers write it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The United States dollar.
    pub const USD: Self = Self(*b"usd");

    /// Returns the code, `usd`.
    pub fn code(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("usd")
    }

    /// Returns how many micro-units one minor unit is: 10,000 for a cent.
    pub fn micros_per_minor(self) -> u32 {
        if ZERO_DECIMAL.contains(&&self.0) {
            1_000_000
        } else if THREE_DECIMAL.contains(&&self.0) {
            1_000
        } else {
            10_000
        }
    }
}

/// The text is not a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a currency of three lower-case letters")]
pub struct InvalidCurrency;

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| InvalidCurrency)?;
        if code.iter().all(u8::is_ascii_lowercase) { Ok(Self(code)) } else { Err(InvalidCurrency) }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount that can be billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Cents of a dollar, whole yen.
    pub amount_minor: i64,
    /// What they are cents of.
    pub currency: Currency,
}

/// Millionths of a currency's whole unit: what a price is made of.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroMoney(u64);

impl MicroMoney {
    /// Wraps an amount of millionths.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the millionths.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Prices `units` at this much per `per_units`, rounded once, half up, to minor units.
    ///
    /// None if the bill would not fit into 64 bits, or `per_units` is zero.
    pub fn price(self, units: u128, per_units: u128, currency: Currency) -> Option<Money> {
        self.price_on_top(0, units, per_units, currency)
    }

    /// Prices `units` likewise on top of an amount in millionths, both rounded as one.
    pub fn price_on_top(
        self,
        amount_micros: u128,
        units: u128,
        per_units: u128,
        currency: Currency,
    ) -> Option<Money> {
        let micros = units.checked_mul(u128::from(self.0))?;
        let micros = micros.checked_add(amount_micros.checked_mul(per_units)?)?;
        let divisor = per_units.checked_mul(u128::from(currency.micros_per_minor()))?;
        let rounded = micros.checked_add(divisor.checked_div(2)?)?.checked_div(divisor)?;
        Some(Money { amount_minor: i64::try_from(rounded).ok()?, currency })
    }

    /// Prices `units` in millionths, the last of them rounded up: what is compared with a cap must
    /// not be less than what it costs. More than fits is the largest number.
    pub fn of(self, units: u128, per_units: u128) -> u128 {
        let (Some(whole), Some(rest)) =
            (units.checked_div(per_units), units.checked_rem(per_units))
        else {
            return u128::MAX;
        };
        let price = u128::from(self.0);
        let part = rest.saturating_mul(price).div_ceil(per_units);
        whole.saturating_mul(price).saturating_add(part)
    }
}

#[cfg(test)]
mod tests;
