//! The value of the refresh cookie, and how one follows from the one before.
//!
//! A successor is derived from its predecessor and a key outside the database. So every request
//! that raced with the same cookie is given the very same successor, and nothing has to be kept in
//! clear to do so. A tag tells our own values from made-up ones: one that is old but ours is a
//! theft, and one that is not ours says nothing about the session that it names.

use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::ids::SessionId;
use crate::privacy::keys::{KeyError, KeyRing, equal, sha256_hex};

const VERSION: u8 = 1;
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const ID_BYTES: usize = 16;
const GENERATION_BYTES: usize = 4;
const TOTAL_BYTES: usize = 1 + ID_BYTES + GENERATION_BYTES + SECRET_BYTES + TAG_BYTES;

/// One value of a session's cookie.
pub(super) struct RefreshToken {
    pub(super) session: SessionId,
    pub(super) generation: u32,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl RefreshToken {
    /// Makes the first value of a session.
    pub(super) fn first(keys: &KeyRing, session: SessionId) -> Result<Self, KeyError> {
        Ok(Self { session, generation: 1, secret: Zeroizing::new(keys.random()?) })
    }

    /// Reads a cookie; a value that this server did not write is nothing.
    pub(super) fn parse(keys: &KeyRing, text: &str) -> Option<Self> {
        if text.len() != BASE64URL_NOPAD.encode_len(TOTAL_BYTES) {
            return None;
        }
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
        let (version, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let (generation, rest) = rest.split_first_chunk::<GENERATION_BYTES>()?;
        let (secret, tag) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let token = Self {
            session: SessionId::from_bits(u128::from_be_bytes(*id)),
            generation: u32::from_be_bytes(*generation),
            secret: Zeroizing::new(*secret),
        };
        (*version == VERSION && equal(&token.tag(keys), tag)).then_some(token)
    }

    /// Derives the value that follows.
    pub(super) fn successor(&self, keys: &KeyRing) -> Self {
        let generation = self.generation.saturating_add(1);
        let (id, number) = (self.session.bits().to_be_bytes(), generation.to_be_bytes());
        let secret = keys.refresh_mac(&[b"successor", &id, &number, self.secret.as_slice()]);
        Self { session: self.session, generation, secret: Zeroizing::new(secret) }
    }

    /// Returns what the database keeps of it.
    pub(super) fn digest(&self) -> String {
        sha256_hex(self.secret.as_slice())
    }

    /// Writes it as the cookie has it.
    pub(super) fn to_cookie(&self, keys: &KeyRing) -> SecretString {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TOTAL_BYTES));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.session.bits().to_be_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(self.secret.as_slice());
        bytes.extend_from_slice(&self.tag(keys));
        SecretString::from(BASE64URL_NOPAD.encode(&bytes))
    }

    fn tag(&self, keys: &KeyRing) -> [u8; TAG_BYTES] {
        let (id, number) = (self.session.bits().to_be_bytes(), self.generation.to_be_bytes());
        let mac = keys.refresh_mac(&[b"tag", &id, &number, self.secret.as_slice()]);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&mac[..TAG_BYTES]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::clock::SystemClock;

    fn ring() -> KeyRing {
        KeyRing::open(tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[test]
    fn a_cookie_reads_back_and_has_one_successor() {
        let keys = ring();
        let first = RefreshToken::first(&keys, SessionId::generate(&SystemClock)).unwrap();

        let read = RefreshToken::parse(&keys, first.to_cookie(&keys).expose_secret()).unwrap();

        assert_eq!((read.session, read.generation), (first.session, 1));
        assert_eq!(read.digest(), first.digest());
        assert_eq!(read.successor(&keys).digest(), first.successor(&keys).digest());
        assert_ne!(first.successor(&keys).digest(), first.digest());
        assert_eq!(first.successor(&keys).generation, 2);
    }

    #[test]
    fn a_cookie_of_another_key_ring_is_nothing() {
        let (keys, other) = (ring(), ring());
        let first = RefreshToken::first(&keys, SessionId::generate(&SystemClock)).unwrap();

        assert!(RefreshToken::parse(&other, first.to_cookie(&keys).expose_secret()).is_none());
    }

    #[test]
    fn one_changed_character_is_nothing() {
        let keys = ring();
        let first = RefreshToken::first(&keys, SessionId::generate(&SystemClock)).unwrap();
        let cookie = first.to_cookie(&keys).expose_secret().to_owned();

        for place in 0..cookie.len() {
            let mut bytes = cookie.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(RefreshToken::parse(&keys, &changed).is_none(), "changed at {place}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,100}|[A-Za-z0-9_-]{92}") {
            static KEYS: LazyLock<KeyRing> = LazyLock::new(ring);
            prop_assert!(RefreshToken::parse(&KEYS, &text).is_none());
        }
    }
}
