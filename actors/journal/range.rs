//! Reads a stretch of one tenant's entries, projected or not.

use super::entry::{Entry, Head};
use super::recover::{chained, gather};
use super::{Journal, JournalError};
use crate::ids::TenantId;

/// The most entries that are read at once.
pub const MAX_RANGE: u64 = 1_000;

impl Journal {
    /// Reads a tenant's entries from `first` on, up to `last` and at most [`MAX_RANGE`] of them.
    /// They are chained to each other; the first one's predecessor is taken at its word.
    pub async fn entries(
        &self,
        tenant: TenantId,
        first: u64,
        last: u64,
    ) -> Result<Vec<Entry>, JournalError> {
        let last = last.min(first.saturating_add(MAX_RANGE - 1));
        let tail = self.inner.tail.lines_of(tenant, |line| (first..=last).contains(&line.seq));
        let mut reader = self.inner.database.reader().await?;
        let texts = gather(&mut reader, tenant, first.saturating_sub(1)..=last, &tail).await?;
        let Some(text) = texts.values().next() else { return Ok(Vec::new()) };
        let oldest =
            Entry::parse(text).map_err(|source| JournalError::Broken { tenant, source })?;
        let head = Head { seq: first.saturating_sub(1), hash: oldest.prev, at: oldest.at };
        chained(tenant, head, texts.values())
    }
}
