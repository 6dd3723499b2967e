//! Who someone is and for which tenant he speaks: logins by mail, sessions, API keys.
//!
//! Every change and its audit record are one transaction. **Invariant:** no secret is stored that
//! could be used again (digests alone), and no personal column stands in clear.

#![expect(clippy::unused_async, reason = "the signatures land before what stands behind them")]

mod email;
mod error;
mod types;

use std::sync::Arc;

use secrecy::SecretString;
use tenantry_supervision::spawn::Tasks;

pub use self::email::{EmailAddress, InvalidEmail};
pub use self::error::IdentityError;
pub use self::types::{
    ClientInfo, Credential, IssuedKey, LinkIssued, LinkRequest, Login, Me, Membership, Principal,
    Proof, Role, Scope, Scopes, SessionSummary, UnknownWord, UserSummary,
};
use crate::clock::SharedClock;
use crate::ids::{SessionId, TenantId};
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
    /// The key ring.
    pub keys: KeyRing,
    /// The time.
    pub clock: SharedClock,
    /// The owner of its tasks.
    pub tasks: Tasks,
    /// What is configured.
    pub settings: IdentitySettings,
}

/// The identity plane; a cheap handle.
#[derive(Clone, Debug)]
pub struct Identity {
    inner: Arc<IdentityDeps>,
}

impl Identity {
    /// Starts the identity plane.
    pub async fn start(deps: IdentityDeps) -> Result<Self, IdentityError> {
        Ok(Self { inner: Arc::new(deps) })
    }

    /// Mails a link and a code, and voids the ones before.
    pub async fn request_link(&self, _request: LinkRequest) -> Result<LinkIssued, IdentityError> {
        Err(IdentityError::Unavailable)
    }

    /// Opens a session for whoever shows the mailed token or code, once.
    pub async fn verify(
        &self,
        _proof: Proof,
        _client: &ClientInfo,
    ) -> Result<Login, IdentityError> {
        Err(IdentityError::LinkInvalid)
    }

    /// Rotates the refresh cookie and issues a new access token.
    pub async fn refresh(
        &self,
        _cookie: &str,
        _client: &ClientInfo,
    ) -> Result<Login, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Ends the session.
    pub async fn logout(
        &self,
        _who: &Principal,
        _client: &ClientInfo,
    ) -> Result<(), IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Ends every session of the user.
    pub async fn logout_all(
        &self,
        _who: &Principal,
        _client: &ClientInfo,
    ) -> Result<(), IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Lets the session speak for another of the user's tenants; the cookie stays good.
    pub async fn switch(
        &self,
        _who: &Principal,
        _tenant: TenantId,
        _client: &ClientInfo,
    ) -> Result<Login, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Lists the user's signed-in devices.
    pub async fn sessions(&self, _who: &Principal) -> Result<Vec<SessionSummary>, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Signs one of the user's devices out.
    pub async fn revoke_session(
        &self,
        _who: &Principal,
        _session: SessionId,
        _client: &ClientInfo,
    ) -> Result<(), IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Tells who shows this bearer token or API key; the hot path, without the database on a hit.
    pub async fn authenticate(&self, _bearer: &str) -> Result<Principal, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Tells whose refresh cookie this is, for pages that only read; nothing rotates.
    pub async fn page_session(&self, _cookie: &str) -> Result<Principal, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Tells a signed-in user who he is.
    pub async fn me(&self, _who: &Principal) -> Result<Me, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Replaces the tenant's default API key; the old one is dead at once.
    pub async fn rotate_default_key(
        &self,
        _who: &Principal,
        _client: &ClientInfo,
    ) -> Result<IssuedKey, IdentityError> {
        Err(IdentityError::Unauthenticated)
    }

    /// Returns the public keys of access tokens as a JSON Web Key Set.
    pub fn jwks(&self) -> serde_json::Value {
        let _ = &self.inner;
        serde_json::json!({ "keys": [] })
    }

    /// Makes `count` tenants without members, each with one API key, for programs.
    pub async fn create_tenants(
        &self,
        _name: &str,
        _count: u32,
    ) -> Result<Vec<(TenantId, SecretString)>, IdentityError> {
        Err(IdentityError::Unavailable)
    }
}
