//! Identifiers: a prefix that says what is named, and a `UUIDv7` that sorts by time.
//!
//! The text form is `<prefix>_<26 characters>` (TypeID): lower-case Crockford base32 of the
//! 128 bits. Two kinds can never be confused, neither by the compiler nor by a reader of a log.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Clock, Timestamp};

/// 128 bits in base32 are 26 characters; the first one carries three bits.
const SUFFIX_LENGTH: usize = 26;
/// Three letters, an underscore and the suffix.
pub const TEXT_LENGTH: usize = 30;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The text is not an identifier of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid `{prefix}_` identifier")]
pub struct InvalidId {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

/// Writes `prefix_suffix` into a fixed buffer, so that the hot path allocates nothing.
fn encode(prefix: &str, bits: u128) -> [u8; TEXT_LENGTH] {
    let mut text = [b'_'; TEXT_LENGTH];
    text[..3].copy_from_slice(prefix.as_bytes());
    let mut rest = bits;
    for place in text[TEXT_LENGTH - SUFFIX_LENGTH..].iter_mut().rev() {
        *place = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

fn decode(prefix: &str, text: &str) -> Option<u128> {
    let suffix = text.strip_prefix(prefix)?.strip_prefix('_')?.as_bytes();
    // More than `7` in the first place would be more than 128 bits.
    if suffix.len() != SUFFIX_LENGTH || suffix[0] > b'7' {
        return None;
    }
    suffix.iter().try_fold(0u128, |bits, letter| {
        let value = ALPHABET.iter().position(|candidate| candidate == letter)?;
        Some(bits << 5 | value as u128)
    })
}

/// A fresh `UUIDv7`: the clock's milliseconds, then bits from the system's generator.
fn generate(clock: &dyn Clock) -> u128 {
    let mut random = [0u8; 10];
    SystemRandom::new().fill(&mut random).expect("the system's random generator works");
    timed(clock.now(), &random)
}

fn timed(at: Timestamp, chance: &[u8; 10]) -> u128 {
    let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, chance).into_uuid().as_u128()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a fresh identifier, ordered by the clock's time.
            pub fn generate(clock: &dyn Clock) -> Self {
                Self(generate(clock))
            }

            /// Derives an identifier: the same time and bytes always give the same one, so that
            /// what is done twice is named once.
            pub fn derived(at: Timestamp, bytes: &[u8; 10]) -> Self {
                Self(timed(at, bytes))
            }

            /// Writes the text form into a fixed buffer.
            pub fn encode(self) -> [u8; TEXT_LENGTH] {
                encode($prefix, self.0)
            }

            /// Wraps the 128 bits as they are.
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// Returns the 128 bits.
            pub const fn bits(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = encode($prefix, self.0);
                f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                decode($prefix, text).map(Self).ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = encode($prefix, self.0);
                let text = str::from_utf8(&text).map_err(serde::ser::Error::custom)?;
                serializer.serialize_str(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(IdVisitor::<Self>::new($prefix))
            }
        }
    };
}

/// Reads any identifier from borrowed text, without a copy.
struct IdVisitor<T> {
    prefix: &'static str,
    kind: std::marker::PhantomData<T>,
}

impl<T> IdVisitor<T> {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, kind: std::marker::PhantomData }
    }
}

impl<T: FromStr<Err = InvalidId>> serde::de::Visitor<'_> for IdVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an identifier that begins with `{}_`", self.prefix)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

id!(/// Names a tenant.
    TenantId, "tnt");
id!(/// Names a user.
    UserId, "usr");
id!(/// Names an invitation.
    InvitationId, "inv");
id!(/// Names an API key (its row, not its secret).
    KeyId, "key");
id!(/// Names a session.
    SessionId, "ses");
id!(/// Names a reservation.
    ReservationId, "rsv");
id!(/// Names a grant: units on top of a plan.
    GrantId, "grt");
id!(/// Names a render job.
    JobId, "job");
id!(/// Names an export of a tenant's or a person's data.
    ExportId, "exp");
id!(/// Names an event.
    EventId, "evt");
id!(/// Names an address that webhooks go to.
    EndpointId, "wep");
id!(/// Names one event on its way to one address.
    DeliveryId, "dlv");
id!(/// Names one request, for logs and support.
    RequestId, "req");

#[cfg(test)]
mod tests;
