//! The part of a login mail that nobody else may read: address, link and code.

use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

use crate::identity::EmailAddress;
use crate::privacy::keys::{KeyError, KeyRing, Place};

/// What a login mail carries, before it is sealed into its outbox row.
#[derive(Serialize)]
pub(crate) struct LoginSecret<'a> {
    pub(crate) email: &'a EmailAddress,
    pub(crate) link: &'a str,
    pub(crate) code: &'a str,
}

/// What a login mail carries, opened for sending.
#[derive(Deserialize)]
pub(crate) struct OpenedSecret {
    pub(crate) email: String,
    pub(crate) link: String,
    pub(crate) code: String,
}

impl LoginSecret<'_> {
    /// Seals it for the row `id`.
    pub(crate) fn seal(&self, keys: &KeyRing, id: &str) -> Result<String, KeyError> {
        let text = serde_json::to_vec(self).map_err(|_| KeyError::Sealed)?;
        keys.system_cipher().seal(place(id), &Zeroizing::new(text))
    }
}

impl OpenedSecret {
    /// Opens what was sealed for the row `id`.
    pub(crate) fn open(keys: &KeyRing, id: &str, sealed: &str) -> Result<Self, KeyError> {
        let text = Zeroizing::new(keys.system_cipher().open(place(id), sealed)?);
        serde_json::from_slice(&text).map_err(|_| KeyError::Sealed)
    }
}

fn place(id: &str) -> Place<'_> {
    Place { table: "mail_outbox", column: "secret", row: id }
}
