//! Signatures in the form of Standard Webhooks, and the secrets that make them.
//!
//! Signed is `<id>.<seconds>.<body>` with HMAC-SHA256. While a secret is being replaced, a message
//! carries a signature of each, so that a receiver may change over whenever it likes.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::privacy::keys::{Cipher, KeyError, KeyRing, Place};

/// What a secret's text begins with.
const PREFIX: &str = "whsec_";
/// Bytes of chance in a secret.
const SECRET_BYTES: usize = 32;
/// How many replaced secrets still sign at most; the oldest goes first.
const REPLACED_MAX: usize = 4;

/// The secrets of one endpoint, newest first.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets(Vec<Kept>);

#[derive(Serialize, Deserialize)]
struct Kept {
    /// `whsec_` and base64.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    secret: Zeroizing<String>,
    /// Until when it still signs, once it was replaced.
    until: Option<Timestamp>,
}

impl Secrets {
    /// Makes the first secret.
    pub(super) fn generate(keys: &KeyRing) -> Result<Self, KeyError> {
        Ok(Self(vec![Kept { secret: fresh(keys)?, until: None }]))
    }

    /// Puts a new secret in front; the one before still signs until `until`.
    pub(super) fn rotate(
        &mut self,
        keys: &KeyRing,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), KeyError> {
        let secret = fresh(keys)?;
        if let Some(replaced) = self.0.first_mut() {
            replaced.until = Some(until);
        }
        self.0.retain(|kept| kept.until.is_some_and(|until| until > now));
        self.0.truncate(REPLACED_MAX);
        self.0.insert(0, Kept { secret, until: None });
        Ok(())
    }

    /// Shows the newest secret, once.
    pub(super) fn newest(&self) -> SecretString {
        self.0.first().map_or_else(SecretString::default, |kept| kept.secret.as_str().into())
    }

    /// Signs a message with every secret that is good at `now`: the value of the header.
    pub(super) fn sign(&self, id: &str, now: Timestamp, body: &str) -> String {
        let signed = format!("{id}.{}.{body}", seconds(now));
        let mut header = String::new();
        for kept in self.0.iter().filter(|kept| kept.until.is_none_or(|until| until > now)) {
            let Some(key) = key(&kept.secret) else { continue };
            if !header.is_empty() {
                header.push(' ');
            }
            header.push_str("v1,");
            STANDARD.encode_string(hmac::sign(&key, signed.as_bytes()), &mut header);
        }
        header
    }

    /// Seals the secrets for an endpoint's row.
    pub(super) fn seal(&self, cipher: &Cipher, endpoint: &str) -> Result<String, KeyError> {
        let text = Zeroizing::new(serde_json::to_vec(self).map_err(|_| KeyError::Sealed)?);
        cipher.seal(place(endpoint), &text)
    }

    /// Opens what was sealed for an endpoint's row.
    pub(super) fn open(cipher: &Cipher, endpoint: &str, sealed: &str) -> Result<Self, KeyError> {
        let text = Zeroizing::new(cipher.open(place(endpoint), sealed)?);
        serde_json::from_slice(&text).map_err(|_| KeyError::Sealed)
    }
}

/// The whole seconds that are signed and sent.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000
}

fn write<S: Serializer>(secret: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret)
}

fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

fn fresh(keys: &KeyRing) -> Result<Zeroizing<String>, KeyError> {
    let chance = Zeroizing::new(keys.random::<SECRET_BYTES>()?);
    let mut text = Zeroizing::new(PREFIX.to_owned());
    STANDARD.encode_string(chance.as_slice(), &mut text);
    Ok(text)
}

fn key(secret: &str) -> Option<hmac::Key> {
    let bytes = Zeroizing::new(STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?);
    Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn place(endpoint: &str) -> Place<'_> {
    Place { table: "webhook_endpoints", column: "secrets", row: endpoint }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret as _;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_614_265_330_000_000);

    fn known() -> Secrets {
        let secret = Zeroizing::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        Secrets(vec![Kept { secret, until: None }])
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        let header = known().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, r#"{"test": 2432232314}"#);

        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_replaced_secret_signs_until_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyRing::open(folder.path()).unwrap();
        let mut secrets = known();
        let until = NOW.checked_add(Duration::from_secs(10)).unwrap();

        secrets.rotate(&keys, NOW, until).unwrap();
        let both = secrets.sign("msg", NOW, "{}");
        let alone = secrets.sign("msg", until, "{}");

        assert_eq!(both.split(' ').count(), 2);
        assert_eq!(alone.split(' ').count(), 1);
        assert!(both.starts_with("v1,"));
        assert!(both.ends_with(&known().sign("msg", NOW, "{}")));
        assert_eq!(secrets.newest().expose_secret().len(), PREFIX.len() + 44);
    }

    #[test]
    fn however_often_a_secret_is_replaced_few_sign() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyRing::open(folder.path()).unwrap();
        let mut secrets = Secrets::generate(&keys).unwrap();
        let until = NOW.checked_add(Duration::from_secs(10)).unwrap();

        for _ in 0..20 {
            secrets.rotate(&keys, NOW, until).unwrap();
        }

        assert_eq!(secrets.sign("msg", NOW, "{}").split(' ').count(), 1 + REPLACED_MAX);
    }
}
