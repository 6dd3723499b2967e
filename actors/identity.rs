//! Who someone is and for which tenant he speaks: logins by mail, sessions, API keys.
//!
//! Every change and its audit record are one transaction. **Invariant:** no secret is stored that
//! could be used again (digests alone), and no personal column stands in clear.

mod access_token;
mod accounts;
mod api_key;
pub(crate) mod audit;
mod credentials;
mod email;
mod error;
mod links;
mod login;
mod next_path;
mod refresh_token;
mod revocations;
mod secrets;
mod sessions;
mod tenants;
mod types;
mod upkeep;

use std::sync::Arc;

use secrecy::SecretString;
use tenantry_supervision::spawn::Tasks;

use self::access_token::AccessTokens;
use self::credentials::Credentials;
pub use self::email::{EmailAddress, InvalidEmail};
pub use self::error::IdentityError;
use self::revocations::Revocations;
pub use self::tenants::TenantSummary;
pub use self::types::{
    ClientInfo, Credential, IssuedKey, LinkIssued, LinkRequest, Login, Me, Membership, Principal,
    Proof, Role, Scope, Scopes, SessionSummary, UnknownWord, UserSummary,
};
use crate::clock::SharedClock;
use crate::database::{self, Database};
use crate::mail::Wake;
use crate::privacy::keys::KeyRing;

/// Whether the server may be generous to the one who tries it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Answers carry the login link.
    Development,
    /// They never do.
    Production,
}

/// What is configured about logins.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// What links in mails begin with, without a slash at the end; issuer and audience of tokens.
    pub public_url: String,
    /// Development or production.
    pub mode: Mode,
    /// Signs access tokens with HS256 if set, else they are EdDSA.
    pub jwt_secret: Option<SecretString>,
    /// How many login mails an address gets in 15 minutes.
    pub links_per_address: u32,
}

/// What identity stands on.
#[derive(Clone, Debug)]
pub struct IdentityDeps {
    /// The database.
    pub db: Database,
    /// The key ring.
    pub keys: KeyRing,
    /// The time.
    pub clock: SharedClock,
    /// The owner of its tasks.
    pub tasks: Tasks,
    /// Wakes the relay of mails after a transaction that owes one.
    pub mail: Wake,
    /// What is configured.
    pub settings: IdentitySettings,
}

/// The identity plane; a cheap handle.
#[derive(Clone, Debug)]
pub struct Identity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Database,
    keys: KeyRing,
    clock: SharedClock,
    mail: Wake,
    settings: IdentitySettings,
    tokens: AccessTokens,
    revocations: Revocations,
    credentials: Credentials,
}

impl Identity {
    /// Starts the identity plane and its tasks.
    pub async fn start(deps: IdentityDeps) -> Result<Self, IdentityError> {
        let IdentityDeps { db, keys, clock, tasks, mail, settings } = deps;
        let tokens = AccessTokens::new(&keys, settings.jwt_secret.as_ref(), &settings.public_url)?;
        let mut reader = db.reader().await?;
        let latest = database::revocations::last(&mut reader).await?;
        drop(reader);
        let (revocations, credentials) = (Revocations::new(latest), Credentials::new());
        let inner = Inner { db, keys, clock, mail, settings, tokens, revocations, credentials };
        let inner = Arc::new(inner);
        upkeep::start(&inner, &tasks);
        Ok(Self { inner })
    }

    /// Returns the public keys of access tokens as a JSON Web Key Set.
    pub fn jwks(&self) -> serde_json::Value {
        self.inner.tokens.jwks()
    }
}

#[cfg(test)]
mod tests;
