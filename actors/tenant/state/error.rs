//! Why a state cannot be rebuilt.

use crate::tenant::quota::Inconsistent;

/// An entry cannot be replayed: the tenant must not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Its number is not the next one.
    #[error("entry {expected} is missing, and {found} is there")]
    Gap {
        /// The next number.
        expected: u64,
        /// The number that was found.
        found: u64,
    },
    /// It does not follow the entry before it.
    #[error("entry {seq} does not follow the one before it")]
    Unchained {
        /// Its number.
        seq: u64,
    },
    /// It says what cannot have happened.
    #[error("entry {seq} does not fit")]
    Inconsistent {
        /// Its number.
        seq: u64,
        /// What does not fit.
        source: Inconsistent,
    },
}

/// A snapshot cannot be read: replay the journal instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not what this version writes.
    #[error("the snapshot is malformed: {0}")]
    Malformed(String),
    /// It has another version's form.
    #[error("the snapshot has version {0}, which this program does not read")]
    Version(u32),
}
