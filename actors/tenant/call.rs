//! What a caller hands in with a command, and what comes back.

use serde::{Deserialize, Serialize};
use tenantry_supervision::Deadline;

use crate::ids::RequestId;
use crate::journal::{AppendError, Overloaded};
use crate::privacy::keys::KeyRing;
use crate::tenant::quota::Refusal;

/// Who asks, under which request, how long they wait, and whether the call may be repeated.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// `usr_…`, `key_…` or `system`.
    pub by: String,
    /// The request that the entry will name.
    pub request: RequestId,
    /// The caller's name for this operation, if it gave one.
    pub idempotency: Option<Idempotency>,
    /// When the caller stops waiting.
    pub deadline: Deadline,
}

impl CallContext {
    /// A call that the system makes for itself.
    pub fn system(request: RequestId, deadline: Deadline) -> Self {
        Self { by: "system".to_owned(), request, idempotency: None, deadline }
    }

    /// The same call under an idempotency key.
    #[must_use]
    pub fn with_idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = Some(idempotency);
        self
    }
}

/// Who chose an idempotency key: what one of them calls an operation says nothing about the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The tenant, for all of its calls together.
    Tenant,
    /// The operators of the installation.
    Operator,
    /// The relay of intents.
    Intents,
}

impl KeyOwner {
    /// What its keys are digested under; it stands behind digests in the journal for ever.
    const fn scope(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Operator => "operator",
            Self::Intents => "intent",
        }
    }
}

/// An idempotency key as it stands in the journal: two keyed digests, never the client's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Digest of owner and key; the tenant is the scope that every lookup has anyway. The route is
    /// no part of it: one key at two routes is one key with two requests.
    pub idem: String,
    /// Digest of route and canonical body (with the ids of the path, where the route has any).
    pub fp: String,
}

impl Idempotency {
    /// Digests a key and the request that came with it.
    ///
    /// `canonical_body` is the parsed request written again, so that white space does not matter;
    /// for a route with an id in its path the id belongs in front of it.
    pub fn new(
        keys: &KeyRing,
        owner: KeyOwner,
        route: &'static str,
        key: &str,
        canonical_body: &[u8],
    ) -> Self {
        Self {
            idem: keys.scoped_digest("idempotency-key", owner.scope(), key.as_bytes()),
            fp: keys.scoped_digest("idempotency-fingerprint", route, canonical_body),
        }
    }
}

/// A result, and whether it is the first answer given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// What the command came to.
    pub value: T,
    /// The same key had this answer before; nothing was done now.
    pub replayed: bool,
}

impl<T> Answer<T> {
    /// An answer given for the first time.
    pub fn first(value: T) -> Self {
        Self { value, replayed: false }
    }

    pub(super) fn try_map<U>(
        self,
        map: impl FnOnce(T) -> Result<U, TenantError>,
    ) -> Result<Answer<U>, TenantError> {
        Ok(Answer { value: map(self.value)?, replayed: self.replayed })
    }
}

/// Why a tenant's call has no result, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TenantError {
    /// The request is understood and refused; nothing changed.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The key was used before for another request.
    #[error("idempotency key used for another request")]
    KeyReused,
    /// The first call under this key has not ended yet.
    #[error("a call under this idempotency key is still running")]
    InFlight,
    /// Too much is waiting, for this tenant or for the node.
    #[error("too many calls in flight")]
    Overloaded {
        /// Seconds after which another try makes sense.
        retry_after_s: u64,
    },
    /// The tenant's actor failed too often in a short time.
    #[error("tenant is quarantined")]
    Quarantined {
        /// Seconds until the next start is tried.
        retry_after_s: u64,
    },
    /// It may have happened; the same key tells.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The disk, or the tenant's store, has no room.
    #[error("storage is full")]
    StorageFull,
    /// Something that this call needs is away.
    #[error("unavailable")]
    Unavailable,
    /// The caller's time was over before anything was done.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The catalogue has no such plan.
    #[error("no such plan")]
    UnknownPlan,
    /// A cursor that no list gave.
    #[error("not a cursor of this list")]
    InvalidCursor,
}

impl From<AppendError> for TenantError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::DiskFull => Self::StorageFull,
            AppendError::Failed | AppendError::Fenced => Self::Unavailable,
            AppendError::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

impl From<Overloaded> for TenantError {
    fn from(refused: Overloaded) -> Self {
        match refused {
            Overloaded::DiskFull => Self::StorageFull,
            Overloaded::Unavailable => Self::Unavailable,
            Overloaded::Queue | Overloaded::Tenant | Overloaded::Projector => {
                Self::Overloaded { retry_after_s: refused.retry_after().as_secs().max(1) }
            }
        }
    }
}
