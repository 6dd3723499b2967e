//! Signs the journal's heads with the system's own key.

use data_encoding::BASE64URL_NOPAD;

use crate::journal::HeadSigner;
use crate::privacy::keys::{KeyError, KeyRing, SigningKey};

/// The purpose of the key: one that leaks tells nothing of the others.
const PURPOSE: &str = "journal-head";

/// The generation in use; a rotation counts it up.
const GENERATION: u32 = 0;

/// Ed25519 under a key of the ring.
pub(super) struct Ed25519Signer {
    key: SigningKey,
}

impl Ed25519Signer {
    pub(super) fn new(keys: &KeyRing) -> Result<Self, KeyError> {
        Ok(Self { key: keys.signing_key(PURPOSE, GENERATION)? })
    }
}

impl std::fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ed25519Signer").field("kid", &self.key.kid()).finish_non_exhaustive()
    }
}

impl HeadSigner for Ed25519Signer {
    fn key_id(&self) -> String {
        self.key.kid().to_owned()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        BASE64URL_NOPAD.decode(self.key.sign(message).as_bytes()).unwrap_or_default()
    }

    fn verify(&self, key_id: &str, message: &[u8], signature: &[u8]) -> bool {
        let signature = BASE64URL_NOPAD.encode(signature);
        key_id == self.key.kid() && self.key.public().verifies(message, &signature)
    }
}
