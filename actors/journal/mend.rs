//! Mends a tenant: what could not be projected of it is projected once more.
//!
//! An entry that cannot be projected keeps its tenant from running, and is still in the log. Once
//! the reason is gone an operator has it projected, in one transaction with the note that it was;
//! what came after it and was projected meanwhile is not projected twice.

use std::collections::HashSet;

use super::changes::Changes;
use super::read::committed_row;
use super::{Journal, JournalError, Line};
use crate::database::projections::{self, Unprojected};
use crate::database::{Reader, chunks, journal, marks};
use crate::ids::TenantId;

/// Rows of the log that are read at once.
const PAGE_ROWS: i64 = 256;
/// How often lifting begins again because the projector moved on: a look takes less than a turn.
const LIFT_TRIES: u32 = 20;

impl Journal {
    /// Projects once more what could not be projected of a tenant, and lets the tenant run again.
    /// Returns for how many failures it had been kept. An error leaves everything as it was.
    pub async fn lift_quarantine(&self, tenant: TenantId) -> Result<usize, JournalError> {
        for _ in 0..LIFT_TRIES {
            if let Some(lifted) = self.try_lifting(tenant).await? {
                return Ok(lifted);
            }
        }
        Err(JournalError::Quarantined { tenant })
    }

    /// Lifts a quarantine; none if the projector moved on meanwhile, so that what was missing
    /// might not be any more.
    async fn try_lifting(&self, tenant: TenantId) -> Result<Option<usize>, JournalError> {
        let database = &self.inner.database;
        let mut reader = database.reader().await?;
        let failures = projections::failures_of(&mut reader, tenant).await?;
        let Some(failure) = failures.first() else { return Ok(Some(0)) };
        let projected = self.inner.tail.watermark(failure.shard);
        let changes = self.missing(&mut reader, tenant, &failures).await?;
        drop(reader);
        let mut tx = database.system_tx().await?;
        if !projections::hold_watermark(&mut tx, failure.shard, projected).await? {
            return Ok(None);
        }
        // Two operators may ask at once: whoever removes the notes projects what they are about.
        let removed = projections::drop_failures(&mut tx, tenant).await?;
        if removed != u64::try_from(failures.len()).unwrap_or(u64::MAX) {
            return Err(JournalError::Quarantined { tenant });
        }
        projections::apply(&mut tx, &[&changes]).await?;
        let first = changes.chunks.iter().map(|chunk| chunk.first_seq).min().unwrap_or(1);
        marks::rebuild(&mut tx, tenant, first).await?;
        tx.commit().await?;
        self.inner.quarantine.remove(tenant);
        Ok(Some(failures.len()))
    }

    /// Computes what the tenant's lines change that are in the log and not in the projections.
    async fn missing(
        &self,
        reader: &mut Reader,
        tenant: TenantId,
        failures: &[Unprojected],
    ) -> Result<Changes, JournalError> {
        let first = failures.iter().map(|failure| failure.seq).min().unwrap_or(0);
        let runs = chunks::between(reader, tenant, &(first.saturating_sub(1)..=u64::MAX)).await?;
        let known: HashSet<u64> = runs
            .iter()
            .flat_map(|(first, body)| (*first..).zip(body.lines()).map(|(seq, _)| seq))
            .collect();
        let lines = self.lines_since(tenant, failures).await?;
        let (mut all, mut missing) = (Changes::new(tenant), Changes::new(tenant));
        for line in lines.iter().filter(|line| line.seq >= first) {
            // What has no meaning to this version cannot be projected by it.
            let meaningless = |_| JournalError::Quarantined { tenant };
            all.add(line).map_err(meaningless)?;
            if !known.contains(&line.seq) {
                missing.add(line).map_err(meaningless)?;
            }
        }
        let is_found = |failure: &Unprojected| {
            lines.iter().any(|line| line.seq == failure.seq) && !known.contains(&failure.seq)
        };
        if !failures.iter().all(is_found) {
            return Err(JournalError::Quarantined { tenant });
        }
        // Where the last word counts, it is that of the newest line, projected or not.
        missing.jobs = all.jobs;
        missing.wakeups = all.wakeups;
        Ok(missing)
    }

    /// Reads the tenant's lines from the first failed row on, as far as rows are projected.
    async fn lines_since(
        &self,
        tenant: TenantId,
        failures: &[Unprojected],
    ) -> Result<Vec<Line>, JournalError> {
        let mut lines = Vec::new();
        let Some(first) = failures.iter().min_by_key(|failure| failure.row_seq) else {
            return Ok(lines);
        };
        let mut reader = self.inner.database.journal_reader().await?;
        let until = self.inner.tail.watermark(first.shard);
        let mut after = first.row_seq.saturating_sub(1);
        loop {
            let page = journal::after(&mut reader, first.shard, after, PAGE_ROWS).await?;
            let Some(last) = page.last() else { return Ok(lines) };
            after = last.seq;
            for row in page.iter().filter(|row| row.seq <= until) {
                let committed = committed_row(row).lines.into_iter();
                lines.extend(committed.filter(|line| line.tenant == tenant));
            }
            if after >= until {
                return Ok(lines);
            }
        }
    }
}
