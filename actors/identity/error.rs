//! Why identity refuses or fails, grouped by what the caller can do.

use super::email::InvalidEmail;
use crate::database::StoreError;
use crate::privacy::keys::KeyError;

/// A refusal or failure of the identity plane.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The address is malformed.
    #[error(transparent)]
    InvalidEmail(#[from] InvalidEmail),
    /// The link or code is used, expired, void or unknown: which one is not told.
    #[error("the link or code does not work")]
    LinkInvalid,
    /// This address got its share of mails.
    #[error("too many links were requested for this address")]
    TooManyLinks {
        /// When the next one may be requested, in seconds.
        retry_after_s: u64,
    },
    /// There is no valid credential.
    #[error("no valid credential")]
    Unauthenticated,
    /// The credential is valid, and its kind or role does not allow this.
    #[error("the credential does not allow this")]
    Forbidden,
    /// There is no such object that the credential may see.
    #[error("not found")]
    NotFound,
    /// A name is empty, too long or has control characters.
    #[error("not a valid name")]
    InvalidName,
    /// The device is full: nothing was changed.
    #[error("the disk is full")]
    StorageFull,
    /// The database does not answer now; try again.
    #[error("identity is unavailable")]
    Unavailable,
    /// A key cannot be had.
    #[error("a key cannot be used")]
    Key(#[from] KeyError),
    /// A stored row or a statement is wrong, or the device failed.
    #[error("the identity store failed")]
    Inconsistent(#[source] StoreError),
}

impl From<StoreError> for IdentityError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::StorageFull,
            // Another node was faster with the same row: the next try finds what it wrote.
            StoreError::Duplicate | StoreError::Changed { .. } => Self::Unavailable,
            transient if transient.is_transient() => Self::Unavailable,
            other => Self::Inconsistent(other),
        }
    }
}
