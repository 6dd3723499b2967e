//! Authenticated sealing of short texts, bound to the place where they stand.
//!
//! AES-256-GCM-SIV with a random nonce: should a nonce ever repeat, only the equality of two texts
//! shows. The place is authenticated, so a sealed text moved to another row does not open.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use super::{KEY_BYTES, KeyError, keyed};

/// What a sealed text of this form begins with.
const PREFIX: &str = "v1.";
/// Length of the authentication tag, in bytes.
const TAG_BYTES: usize = 16;

/// Names where a sealed text stands: it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table, or the kind of file.
    pub table: &'a str,
    /// The column, or the part of the file.
    pub column: &'a str,
    /// The row's id, or the file's name.
    pub row: &'a str,
}

/// Seals and opens texts of one owner: a tenant, a user or the system.
#[derive(Clone)]
pub struct Cipher {
    keys: Arc<Keys>,
}

struct Keys {
    aead: RandomizedNonceKey,
    digest: hmac::Key,
    owner: String,
}

impl Cipher {
    pub(super) fn new(key: &[u8; KEY_BYTES], owner: &str) -> Result<Self, KeyError> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let data = keyed(&root, &[b"data"]);
        let digest = keyed(&root, &[b"digest"]);
        let aead = RandomizedNonceKey::new(&AES_256_GCM_SIV, data.as_ref())
            .map_err(|_| KeyError::Random)?;
        let digest = hmac::Key::new(hmac::HMAC_SHA256, digest.as_ref());
        Ok(Self { keys: Arc::new(Keys { aead, digest, owner: owner.to_owned() }) })
    }

    /// Seals bytes for one place.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<String, KeyError> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .keys
            .aead
            .seal_in_place_append_tag(Aad::from(self.context(place)), &mut sealed)
            .map_err(|_| KeyError::Random)?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        Ok(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&sealed)))
    }

    /// Opens what was sealed for the same place by the same owner.
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<Vec<u8>, KeyError> {
        let text = sealed.strip_prefix(PREFIX).ok_or(KeyError::Sealed)?;
        let mut bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError::Sealed)?;
        if bytes.len() < NONCE_LEN + TAG_BYTES {
            return Err(KeyError::Sealed);
        }
        let mut body = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| KeyError::Sealed)?;
        let plain = self
            .keys
            .aead
            .open_in_place(nonce, Aad::from(self.context(place)), &mut body)
            .map_err(|_| KeyError::Sealed)?;
        Ok(plain.to_vec())
    }

    /// Opens a sealed text that is known to be UTF-8.
    pub fn open_text(&self, place: Place<'_>, sealed: &str) -> Result<String, KeyError> {
        String::from_utf8(self.open(place, sealed)?).map_err(|_| KeyError::Sealed)
    }

    /// Returns the owner's keyed digest as hex; it dies with the owner's key.
    pub fn digest(&self, domain: &str, bytes: &[u8]) -> String {
        HEXLOWER.encode(keyed(&self.keys.digest, &[domain.as_bytes(), bytes]).as_ref())
    }

    fn context(&self, place: Place<'_>) -> Vec<u8> {
        [&*self.keys.owner, place.table, place.column, place.row].join("\u{1f}").into_bytes()
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cipher").field("owner", &self.keys.owner).finish_non_exhaustive()
    }
}
