//! Ed25519 keys that sign access tokens and journal heads.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use secrecy::zeroize::Zeroizing;

use super::{KEY_BYTES, KeyError, sha256_hex};

/// How many hex digits of the public key's digest name the key: 128 bits.
const KID_DIGITS: usize = 32;

/// Signs with Ed25519; named by a digest of its public half.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    kid: String,
}

/// The half of a signing key that anyone may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The key's name.
    pub kid: String,
    /// The 32 bytes of the key.
    pub bytes: Vec<u8>,
}

impl SigningKey {
    pub(super) fn from_seed(seed: &Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| KeyError::Random)?;
        let mut kid = sha256_hex(pair.public_key().as_ref());
        kid.truncate(KID_DIGITS);
        Ok(Self { pair, kid })
    }

    /// Returns the key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs a message; the signature is base64url.
    pub fn sign(&self, message: &[u8]) -> String {
        BASE64URL_NOPAD.encode(self.pair.sign(message).as_ref())
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey { kid: self.kid.clone(), bytes: self.pair.public_key().as_ref().to_vec() }
    }

    /// Returns the private key as PKCS#8, the form that token libraries take.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| KeyError::Random)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }
}

impl PublicKey {
    /// Tells whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        BASE64URL_NOPAD.decode(signature.as_bytes()).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, &signature).is_ok()
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}
