//! What a check of the log found.

use std::fmt;

use serde::Serialize;

use crate::ids::TenantId;
use crate::journal::entry::EntryError;
use crate::tenant::quota::EventDigest;

/// What was checked, and the first thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Rows of the log.
    pub rows: u64,
    /// Entries in them.
    pub entries: u64,
    /// Tenants that have entries.
    pub tenants: u64,
    /// Signed heads that a known key verifies.
    pub signatures: u64,
    /// The first fault; none if everything is as it was committed.
    pub fault: Option<Fault>,
}

impl VerifyReport {
    pub(super) fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }
}

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The shard of the log.
    pub shard: Option<u16>,
    /// The row in it.
    pub row: Option<i64>,
    /// The tenant and its entry's number.
    pub entry: Option<(TenantId, u64)>,
    /// What is wrong.
    #[serde(serialize_with = "as_text")]
    pub wrong: Wrong,
}

impl Fault {
    /// A fault of an entry, whichever row it stands in.
    pub(super) fn of_entry(tenant: TenantId, seq: u64, wrong: Wrong) -> Self {
        Self { shard: None, row: None, entry: Some((tenant, seq)), wrong }
    }
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A row's number is skipped.
    #[error("the row is missing")]
    RowMissing,
    /// A row's hash is not that of its text and its predecessor.
    #[error("the row is not the one that was committed: its hash does not match")]
    RowChanged,
    /// A row is there and cannot be read.
    #[error("the row cannot be read: {reason}")]
    RowUnreadable {
        /// Why.
        reason: String,
    },
    /// The log ends before a row that is known to have been there.
    #[error("the log ends here, but row {known} was signed or projected")]
    TailMissing {
        /// The last row that is known.
        known: i64,
    },
    /// A line is no entry.
    #[error("the line cannot be read: {reason}")]
    EntryUnreadable {
        /// Why.
        reason: String,
    },
    /// An entry was changed, or is not the next of its chain.
    #[error("{0}")]
    Entry(EntryError),
    /// An entry stands in a shard that is not its tenant's.
    #[error("the entry belongs to another shard")]
    OtherShard,
    /// A signed head has another hash.
    #[error("the row is not the one that was signed")]
    NotAsSigned,
    /// A head's signature is not that of its key.
    #[error("the signature of this position is forged")]
    SignatureForged,
    /// A head names a key that is not known.
    #[error("this position is signed with a key that is not known")]
    SignerUnknown,
    /// An event counts that an earlier entry counted, and that was not to be forgotten yet.
    #[error("it counts event {event}, which entry {first} counts already")]
    CountedTwice {
        /// The event.
        event: EventDigest,
        /// The earlier entry.
        first: u64,
    },
    /// An entry could not be projected when it was committed.
    #[error("the entry could not be projected: {reason}")]
    Unprojected {
        /// Why.
        reason: String,
    },
    /// The projections saw another row.
    #[error("the row is not the one that was projected")]
    NotAsProjected,
    /// A projection says something else than the log.
    #[error("{table} differs from the log: {detail}")]
    Projection {
        /// The table.
        table: &'static str,
        /// What differs.
        detail: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(shard), Some(row)) = (self.shard, self.row) {
            write!(f, "shard {shard}, row {row}: ")?;
        }
        if let Some((tenant, seq)) = self.entry {
            write!(f, "{tenant}, entry {seq}: ")?;
        }
        write!(f, "{}", self.wrong)
    }
}

fn as_text<S: serde::Serializer>(wrong: &Wrong, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(wrong)
}
