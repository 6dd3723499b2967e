//! Public keys in the form that other programs read.

use data_encoding::BASE64;
use serde::Serialize;

use crate::privacy::keys::PublicKey;

/// What stands before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key as it is handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishedKey {
    /// What it signs.
    pub purpose: &'static str,
    /// Its name: the first half of the digest of its bytes.
    pub key_id: String,
    /// How it signs.
    pub algorithm: &'static str,
    /// The key, for `openssl`.
    pub public_key_pem: String,
}

impl PublishedKey {
    pub(super) fn new(purpose: &'static str, key: &PublicKey) -> Self {
        let text = BASE64.encode(&[&SPKI_HEAD[..], &key.bytes].concat());
        let public_key_pem =
            format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
        Self { purpose, key_id: key.kid.clone(), algorithm: "Ed25519", public_key_pem }
    }
}
