//! The text of an API key: `tk_live_<id>_<secret>_<crc32>`.
//!
//! The id finds the row, the secret proves, and the checksum refuses mistyped and made-up keys
//! before anything is looked up. It also lets secret scanners tell a key from chance.

use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding, Specification};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::ids::KeyId;

/// What every key begins with.
pub(super) const PREFIX: &str = "tk_live_";
/// Length of the secret, in bytes.
pub(super) const SECRET_BYTES: usize = 32;
/// The last characters of a key, which a list may show.
const HINT_CHARS: usize = 4;

/// A key whose checksum holds; whether it is known is another question.
#[derive(Debug)]
pub(super) struct ParsedKey {
    pub(super) id: KeyId,
    pub(super) secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// Writes a key.
pub(super) fn format(id: KeyId, secret: &[u8; SECRET_BYTES]) -> SecretString {
    let id = id.to_string();
    let suffix = id.strip_prefix("key_").unwrap_or(&id);
    let body = Zeroizing::new(format!("{PREFIX}{suffix}_{}", lower().encode(secret)));
    let check = lower().encode(&crc32(body.as_bytes()).to_be_bytes());
    SecretString::from(format!("{}_{check}", body.as_str()))
}

/// Reads a key; a wrong checksum is no key.
pub(super) fn parse(text: &str) -> Option<ParsedKey> {
    let (body, check) = text.rsplit_once('_')?;
    let check = lower().decode(check.as_bytes()).ok()?;
    if check != crc32(body.as_bytes()).to_be_bytes() {
        return None;
    }
    let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
    let id = KeyId::from_str(&format!("key_{id}")).ok()?;
    let bytes = Zeroizing::new(lower().decode(secret.as_bytes()).ok()?);
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    if bytes.len() != SECRET_BYTES {
        return None;
    }
    secret.copy_from_slice(&bytes);
    Some(ParsedKey { id, secret })
}

/// Returns what a list of keys may show of one.
pub(super) fn hint(key: &SecretString) -> String {
    let key = key.expose_secret();
    key.get(key.len().saturating_sub(HINT_CHARS)..).unwrap_or_default().to_owned()
}

fn lower() -> Encoding {
    let mut specification: Specification = BASE32_NOPAD.specification();
    specification.symbols = specification.symbols.to_ascii_lowercase();
    specification.encoding().expect("the alphabet of base32 in lower case is one too")
}

/// The CRC-32 of zip and PNG, bit by bit: keys are short and checked once per cache miss.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_checksum_is_the_usual_crc32() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn one_changed_character_is_no_key() {
        let key = format(KeyId::generate(&SystemClock), &[7; SECRET_BYTES]);
        let key = key.expose_secret();
        for place in 0..key.len() {
            let mut bytes = key.as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(parse(&changed).is_none(), "{changed}");
        }
    }

    proptest! {
        #[test]
        fn a_written_key_reads_back(secret in any::<[u8; SECRET_BYTES]>()) {
            let id = KeyId::generate(&SystemClock);
            let parsed = parse(format(id, &secret).expose_secret()).unwrap();
            prop_assert_eq!(parsed.id, id);
            prop_assert_eq!(*parsed.secret, secret);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,120}|tk_live_[ -~]{0,100}") {
            prop_assert!(parse(&text).is_none());
        }
    }
}
