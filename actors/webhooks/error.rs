//! Why a change of endpoints is refused or fails.

use super::target::UrlFault;
use crate::database::StoreError;
use crate::identity::IdentityError;
use crate::privacy::keys::KeyError;

/// A refusal or failure of the webhooks' plane.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address is not one that webhooks may go to.
    #[error(transparent)]
    Url(#[from] UrlFault),
    /// The tenant has as many endpoints as it may.
    #[error("at most {max} webhook endpoints are possible")]
    TooMany {
        /// The limit.
        max: u32,
    },
    /// The tenant has no such endpoint or delivery.
    #[error("not found")]
    NotFound,
    /// The endpoint is switched off.
    #[error("the endpoint is switched off")]
    Disabled,
    /// The overlap of two secrets is too long.
    #[error("expected at most {max_s} seconds")]
    Overlap {
        /// The limit.
        max_s: u64,
    },
    /// The place in a list is not one of it.
    #[error("not a place in this list")]
    InvalidCursor,
    /// The sender cannot be made.
    #[error("the sender of webhooks cannot be made")]
    Sender(#[source] reqwest::Error),
    /// The store or the key ring failed, as they fail for identity.
    #[error(transparent)]
    Store(IdentityError),
}

impl WebhookError {
    /// Whether another writer was in the way, so that the same change may succeed a moment later.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Store(IdentityError::Unavailable))
    }
}

impl From<StoreError> for WebhookError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl From<KeyError> for WebhookError {
    fn from(error: KeyError) -> Self {
        Self::Store(error.into())
    }
}

impl From<IdentityError> for WebhookError {
    fn from(error: IdentityError) -> Self {
        Self::Store(error)
    }
}
