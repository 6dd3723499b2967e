//! What can be wrong with a call to the store.

use std::error::Error;
use std::io;

use tenantry_supervision::retry::Retryable;

/// Why a call to the store was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// The key is not one; see [`super::is_valid_key`].
    #[error("not a valid key")]
    InvalidKey,
    /// The range lies outside the file.
    #[error("the range lies outside the file")]
    InvalidRange {
        /// Length of the file, which a 416 tells.
        size_bytes: u64,
    },
    /// The file was replaced while it was being opened.
    #[error("the file has changed")]
    Changed,
    /// The file is larger than the caller takes.
    #[error("larger than {limit_bytes} bytes")]
    TooLarge {
        /// The most that was wanted.
        limit_bytes: u64,
    },
    /// The disk, or the quota on it, is full. Nothing of the new file remains.
    #[error("the store is full")]
    Full,
    /// The caller's own stream failed.
    #[error("the upload broke off")]
    Source(#[source] io::Error),
    /// The store fails, or its breaker is open.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl Retryable for StorageError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Changed)
    }
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            object_store::Error::Precondition { .. } => Self::Changed,
            other if is_full(&other) => Self::Full,
            other => Self::Unavailable(Box::new(other)),
        }
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            _ if is_full(&error) => Self::Full,
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

/// Looks for "no space left", "quota exceeded" or "file too large" anywhere in the chain.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io_error) = error.downcast_ref::<io::Error>() {
            let full = matches!(
                io_error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            );
            if full {
                return true;
            }
            // An io::Error that wraps another shows it only through `get_ref`.
            if let Some(inner) = io_error.get_ref()
                && is_full(inner)
            {
                return true;
            }
        }
        next = error.source();
    }
    false
}
