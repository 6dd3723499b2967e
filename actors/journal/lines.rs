//! A tenant's own lines in order, projected or not, in pages of bounded size.

use super::entry::EntryError;
use super::{Journal, JournalError};
use crate::clock::Timestamp;
use crate::database::chunks;
use crate::ids::TenantId;

/// Runs of lines that are read at once: each is a quarter of a mebibyte, or older and larger.
const PAGE_CHUNKS: i64 = 4;

impl Journal {
    /// Reads a tenant's committed lines after `seq`, with their numbers: some of them, at least
    /// one if there is one.
    pub async fn lines_after(
        &self,
        tenant: TenantId,
        seq: u64,
    ) -> Result<Vec<(u64, String)>, JournalError> {
        // No database counts further, and what follows can be counted.
        let seq = seq.min(i64::MAX.unsigned_abs());
        let mut lines = self.projected_after(tenant, seq).await?;
        if lines.is_empty() {
            // First the tail, then the tables: a row leaves the tail after it came into them.
            let tail = self.inner.tail.lines_of(tenant, |line| line.seq > seq);
            lines = self.projected_after(tenant, seq).await?;
            if lines.is_empty() {
                lines = tail.into_iter().map(|line| (line.seq, line.text)).collect();
            }
        }
        for (expected, (found, _)) in (seq + 1..).zip(&lines) {
            if expected != *found {
                let source = EntryError::Gap { expected, found: *found };
                return Err(JournalError::Broken { tenant, source });
            }
        }
        Ok(lines)
    }

    async fn projected_after(
        &self,
        tenant: TenantId,
        seq: u64,
    ) -> Result<Vec<(u64, String)>, JournalError> {
        let mut reader = self.inner.database.reader().await?;
        let runs = chunks::some_after(&mut reader, tenant, seq, PAGE_CHUNKS).await?;
        let numbered = runs.iter().flat_map(|(first, body)| (*first..).zip(body.lines()));
        let wanted = numbered.filter(|(number, _)| *number > seq);
        Ok(wanted.map(|(number, text)| (number, text.to_owned())).collect())
    }

    /// Finds the number of a tenant's first entry at or after a time; the number after its last
    /// if there is none. Times never go back, so it looks at a few entries only.
    pub async fn first_since(&self, tenant: TenantId, at: Timestamp) -> Result<u64, JournalError> {
        let is_before = async |seq| {
            let entry = self.find_entry(tenant, seq).await?;
            Ok::<_, JournalError>(entry.is_some_and(|entry| entry.at < at))
        };
        let mut known = 0;
        let mut step = 1;
        while is_before(known + step).await? {
            known += step;
            step *= 2;
        }
        // The wanted number is in (known, known + step].
        while step > 1 {
            step /= 2;
            if is_before(known + step).await? {
                known += step;
            }
        }
        Ok(known + 1)
    }
}
