//! How one setting is declared, read from text, shown and documented.
//!
//! Environment variables are always text, files are typed: every value type here reads both.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One documented setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The section's name, empty at the top level.
    pub section: &'static str,
    /// The setting's name.
    pub name: &'static str,
    /// The name that the ecosystem knows, if there is one.
    pub env: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
}

impl Field {
    /// The setting's own environment variable.
    pub fn variable(&self) -> String {
        let path = if self.section.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}__{}", self.section, self.name)
        };
        format!("TENANTRY__{}", path.to_uppercase())
    }
}

/// Declares a section: the struct, its defaults and its documentation in one place.
macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident in $section:literal {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, env $env:literal)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $default,)+ } }
        }

        impl $name {
            /// The section's settings, in the order of their declaration.
            pub const FIELDS: &'static [crate::config::field::Field] = &[$(
                crate::config::field::Field {
                    section: $section,
                    name: stringify!($field),
                    env: crate::config::field::known_as!($($env)?),
                    about: concat!($($doc),+),
                },
            )+];
        }
    };
}

/// The ecosystem's name of a setting, or none.
macro_rules! known_as {
    () => {
        None
    };
    ($env:literal) => {
        Some($env)
    };
}

pub(crate) use {known_as, section};

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u64);

/// A length of time, written `250ms`, `15s`, `15m`, `24h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A size in bytes, written `512`, `64KiB`, `1MiB` or `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// A value that is never printed.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The secret itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text).map(Self::new)
    }
}

const UNITS_OF_TIME: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const UNITS_OF_SIZE: [(&str, u64); 4] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn shown(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .filter(|(_, factor)| value > 0 && value.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .map_or_else(|| format!("{value}{}", units[0].0), |(u, f)| format!("{}{u}", value / f))
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.replace('_', "").parse().map(Self).map_err(|_| "expected a whole number".to_owned())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        with_unit(text, &UNITS_OF_TIME)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| "expected a time such as `250ms`, `15s` or `24h`".to_owned())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        with_unit(text, &UNITS_OF_SIZE)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| "expected a size such as `512`, `64KiB` or `1MiB`".to_owned())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| "expected an address such as `127.0.0.1:8080`".to_owned())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        f.write_str(&shown(ms, &UNITS_OF_TIME))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0 as u64, &UNITS_OF_SIZE))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a text or a whole number as text.
struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

macro_rules! textual {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Text)?.parse().map_err(D::Error::custom)
            }
        }
    )+};
}

textual!(Number, Span, Size, Listen);
