//! The hot path: who shows this bearer token or API key?
//!
//! What was verified once is cached by the digest of its text, with the number up to which
//! revocations are known not to concern it. So a request with a known credential costs one digest
//! and two comparisons; signature, look-up and database are for the first one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use tenantry_supervision::gate::Gate;

use super::revocations::Subject;
use super::types::{Credential, Principal, Scopes};
use super::{Identity, IdentityError, Inner, api_key};
use crate::clock::Timestamp;
use crate::database::{api_keys, sessions};
use crate::privacy::keys::{equal, sha256_hex};

/// How many verified credentials are remembered; each takes about 300 bytes.
const CACHED: usize = 65_536;
/// How many well-formed keys that do not exist are remembered, so that trying one again is cheap.
const REFUSED: usize = 8_192;
/// How many look-ups may run or wait at once: the readers of the database are few.
const LOOKUPS: u32 = 1_024;
/// Longest bearer text that is looked at, in bytes.
const MAX_BYTES: usize = 2_048;

type Digest = [u8; 32];

/// What was verified before.
pub(super) struct Credentials {
    verified: Cache<Digest, Arc<Entry>>,
    // With the number of the last revocation then: whatever was changed since may let it in.
    refused: Cache<Digest, u64>,
    lookups: Gate,
}

struct Entry {
    principal: Principal,
    subjects: [Subject; 3],
    expires_at: Timestamp,
    checked: AtomicU64,
}

impl Credentials {
    pub(super) fn new() -> Self {
        Self {
            verified: Cache::new(CACHED),
            refused: Cache::new(REFUSED),
            lookups: Gate::new("credential_lookups", LOOKUPS),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("verified", &self.verified.len())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Tells who shows this bearer token or API key; without the database if it is known.
    pub async fn authenticate(&self, bearer: &str) -> Result<Principal, IdentityError> {
        let inner = &self.inner;
        if bearer.len() > MAX_BYTES {
            return Err(IdentityError::Unauthenticated);
        }
        let digest = text_digest(bearer);
        let now = inner.clock.now();
        if let Some(entry) = inner.credentials.verified.get(&digest) {
            if inner.still_good(&entry, now) {
                return Ok(entry.principal.clone());
            }
            inner.credentials.verified.remove(&digest);
        }
        let entry = if bearer.starts_with(api_key::PREFIX) {
            inner.look_up_key(bearer, digest, now).await?
        } else {
            inner.look_up_session(bearer, now).await?
        };
        let principal = entry.principal.clone();
        inner.credentials.verified.insert(digest, Arc::new(entry));
        Ok(principal)
    }
}

impl Inner {
    fn still_good(&self, entry: &Entry, now: Timestamp) -> bool {
        // Read before asking: what is added meanwhile is looked at next time.
        let latest = self.revocations.latest();
        let checked = entry.checked.load(Ordering::Acquire);
        if now >= entry.expires_at || self.revocations.concern(&entry.subjects, checked) {
            return false;
        }
        entry.checked.fetch_max(latest, Ordering::AcqRel);
        true
    }

    async fn look_up_session(&self, bearer: &str, now: Timestamp) -> Result<Entry, IdentityError> {
        let token = self.tokens.verify(bearer, now).ok_or(IdentityError::Unauthenticated)?;
        let _place =
            self.credentials.lookups.try_enter().map_err(|_| IdentityError::Unavailable)?;
        // Before the read: a revocation that commits during it has a higher number.
        let checked = AtomicU64::new(self.revocations.latest());
        let mut reader = self.db.reader().await?;
        let (tenant, session, user) = (token.tenant, token.session, token.user);
        let standing = sessions::standing(&mut reader, tenant, session, user, now).await?;
        let standing = standing.ok_or(IdentityError::Unauthenticated)?;
        let principal = Principal {
            tenant,
            credential: Credential::Session { session, user },
            role: Some(standing.role),
            scopes: Scopes::ALL,
            authenticated_at: Some(standing.authenticated_at),
        };
        let subjects = [Subject::Session(session), Subject::User(user), Subject::Tenant(tenant)];
        let expires_at = token.expires_at.min(standing.expires_at);
        Ok(Entry { principal, subjects, expires_at, checked })
    }

    async fn look_up_key(
        &self,
        bearer: &str,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Entry, IdentityError> {
        let key = api_key::parse(bearer).ok_or(IdentityError::Unauthenticated)?;
        let latest = self.revocations.latest();
        if self.credentials.refused.get(&digest).is_some_and(|refused| refused >= latest) {
            return Err(IdentityError::Unauthenticated);
        }
        let _place =
            self.credentials.lookups.try_enter().map_err(|_| IdentityError::Unavailable)?;
        let checked = AtomicU64::new(latest);
        let mut reader = self.db.reader().await?;
        let standing = api_keys::standing(&mut reader, key.id, now).await?;
        let found = standing.filter(|standing| {
            let shown = sha256_hex(key.secret.as_slice());
            equal(shown.as_bytes(), standing.secret_digest.as_bytes())
        });
        let Some(standing) = found else {
            self.credentials.refused.insert(digest, latest);
            return Err(IdentityError::Unauthenticated);
        };
        let principal = Principal {
            tenant: standing.tenant,
            credential: Credential::ApiKey { key: key.id },
            role: None,
            scopes: standing.scopes,
            authenticated_at: None,
        };
        let key = Subject::Key(key.id);
        let subjects = [key, key, Subject::Tenant(standing.tenant)];
        let expires_at = standing.expires_at.unwrap_or(Timestamp::MAX);
        Ok(Entry { principal, subjects, expires_at, checked })
    }
}

fn text_digest(text: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}
