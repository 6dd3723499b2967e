//! The projector: follows the log and keeps what is read in other shapes, with its watermark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::commit::chain_of;
use super::metrics;
use super::quarantine::Quarantine;
use super::room::Admission;
use super::tail::{CommittedRow, Tail, Waiting};
use crate::clock::SharedClock;
use crate::database::projections::{self, Failure};
use crate::database::{Backend, Database, Fatal, StoreError, SystemTx};
use crate::ids::TenantId;
use crate::planted::{self, Bug};

/// Lines that nobody waits for are projected at most so much later than committed: the more of a
/// tenant's share one transaction, the fewer pages are written for each.
const LINGER: Duration = Duration::from_secs(1);
/// While so much waits that the pages are what counts, at most so much later.
const LINGER_BUSY: Duration = Duration::from_secs(2);
/// Bytes that wait after [`LINGER`] when it is busy: some 6,000 lines.
const BUSY_FROM_BYTES: usize = 4 * 1024 * 1024;
/// Lines that somebody is told of, at most so much later: a mail, a job's place in a list.
const LINGER_WITH_NEWS: Duration = Duration::from_millis(100);
/// Bytes of lines that one transaction projects, and that end the lingering.
pub(super) const MAX_TURN_BYTES: usize = 32 * 1024 * 1024;
/// Tries of one transaction before the process is ended; a full disk is waited for without end.
const MAX_TRIES: u32 = 10;
/// How long one transaction may take before its connection is given up: a server that was cut off
/// without a word never answers.
const TURN_WITHIN: Duration = Duration::from_mins(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Follows the log.
#[derive(Debug)]
pub(super) struct Projector {
    pub(super) database: Database,
    pub(super) clock: SharedClock,
    pub(super) tail: Arc<Tail>,
    pub(super) admission: Arc<Admission>,
    pub(super) quarantine: Arc<Quarantine>,
}

impl Projector {
    /// Projects until `stop` is cancelled and nothing waits any more.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.follow(&stop).await;
                    return;
                }
                () = self.tail.arrived() => {}
            }
            self.linger(&stop).await;
            if !self.follow(&stop).await {
                return;
            }
        }
    }

    /// Waits for more lines to share the transaction, unless somebody waits for it.
    async fn linger(&self, stop: &CancellationToken) {
        let began = Instant::now();
        loop {
            let Waiting { bytes, is_urgent, has_news, .. } = self.look();
            if is_urgent || bytes >= MAX_TURN_BYTES {
                return;
            }
            let until = began
                + match has_news {
                    true => LINGER_WITH_NEWS,
                    false if bytes >= BUSY_FROM_BYTES => LINGER_BUSY,
                    false => LINGER,
                };
            tokio::select! {
                () = sleep_until(until) => return,
                () = stop.cancelled() => return,
                () = self.tail.arrived() => {}
            }
        }
    }

    /// Looks at what waits, and shows it in the metrics.
    fn look(&self) -> Waiting {
        let waiting = self.tail.waiting();
        metrics::waiting(self.admission.queued(), waiting.rows, waiting.bytes);
        waiting
    }

    /// Projects what waits; false once it gave up for good.
    async fn follow(&self, stop: &CancellationToken) -> bool {
        let (mut wait, mut tries) = (RETRY_FIRST, 0);
        loop {
            let Err(error) = self.drain().await else { return true };
            tries = if self.will_mend(&error) { 0 } else { tries + 1 };
            let is_lost = matches!(error, StoreError::Io(_)) || tries >= MAX_TRIES;
            tracing::warn!(error = chain_of(&error), tries, "projecting is tried again");
            if is_lost {
                self.database.raise(&Fatal::Projector { reason: chain_of(&error) });
            }
            // What is left is projected at the next start.
            if is_lost || stop.is_cancelled() {
                return false;
            }
            sleep(wait).await;
            wait = RETRY_MAX.min(wait * 2);
        }
    }

    /// Projects all rows that wait, turn by turn.
    pub(super) async fn drain(&self) -> Result<(), StoreError> {
        let mut stride = Stride::default();
        loop {
            let rows = self.tail.pending(stride.bytes);
            if rows.is_empty() {
                return Ok(());
            }
            match timeout(TURN_WITHIN, self.project(&rows)).await {
                Ok(projected) => {
                    if projected? {
                        self.tail.advance(rows.len());
                    }
                }
                // The same rows at once would take as long again, and again.
                Err(_) if stride.shorten(&rows) => {
                    tracing::warn!(bytes = stride.bytes, "a slow projection is tried in parts");
                }
                Err(_) => return Err(StoreError::timed_out()),
            }
            // Without this a gauge would show, all through an idle night, what once waited.
            self.look();
        }
    }

    /// Whether the database only has to be waited for.
    fn will_mend(&self, error: &StoreError) -> bool {
        match self.database.backend() {
            Backend::Sqlite => matches!(error, StoreError::DiskFull),
            // A server that is away comes back; until then nothing new is admitted for long.
            Backend::Postgres => error.is_transient(),
        }
    }

    /// Starts a transaction that projects these rows and no row before them a second time. None
    /// when the tables are not where we left them: then they are asked where they are.
    async fn begin(&self, rows: &[Arc<CommittedRow>]) -> Result<Option<SystemTx>, StoreError> {
        let mut last = BTreeMap::new();
        for row in rows {
            last.insert(row.shard, row);
        }
        let mut tx = self.database.projector_tx().await?;
        for (shard, row) in last {
            let (from, hash) = (self.tail.watermark(shard), row.hash.to_string());
            if !projections::move_watermark(&mut tx, shard, from, (row.seq, &hash)).await? {
                drop(tx);
                self.reconcile().await?;
                return Ok(None);
            }
        }
        Ok(Some(tx))
    }

    /// Goes on from where the tables are: a transaction of ours was committed without an answer,
    /// or another server has projected our rows after it took the shard.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let mut reader = self.database.reader().await?;
        let mut is_ahead = false;
        for (shard, seq, _) in projections::watermarks(&mut reader).await? {
            let shard = u16::try_from(shard).unwrap_or(u16::MAX);
            if seq > self.tail.watermark(shard) {
                self.tail.settle(shard, seq);
                is_ahead = true;
            }
        }
        self.quarantine.refresh(&mut reader).await?;
        if is_ahead { Ok(()) } else { Err(StoreError::Changed { table: "journal_watermarks" }) }
    }

    /// Projects the rows; false when somebody had done it for some of them already.
    async fn project(&self, rows: &[Arc<CommittedRow>]) -> Result<bool, StoreError> {
        let (changes, mut failures) = changes_of(rows);
        let changes: Vec<&Changes> = changes.values().collect();
        let Some(mut tx) = self.begin(rows).await? else { return Ok(false) };
        if let Err(error) = projections::apply(&mut tx, &changes).await {
            if !is_of_one(&error) {
                return Err(error);
            }
            // Find out whose, so that the others go on.
            drop(tx);
            let Some(again) = self.begin(rows).await? else { return Ok(false) };
            tx = again;
            apply_one_by_one(&mut tx, &changes, rows, &mut failures).await?;
        }
        for failure in &failures {
            tracing::error!(
                tenant.id = failure.tenant.map(tracing::field::display),
                row = failure.row_seq,
                reason = failure.reason,
                "an entry cannot be projected"
            );
            projections::add_failure(&mut tx, failure, self.clock.now().as_micros()).await?;
        }
        tx.commit().await?;
        for failure in failures {
            metrics::projection_failed();
            if let Some(tenant) = failure.tenant {
                self.quarantine.add(tenant);
            }
        }
        Ok(true)
    }
}

/// How much one turn takes.
#[derive(Debug)]
struct Stride {
    bytes: usize,
}

impl Default for Stride {
    fn default() -> Self {
        Self { bytes: MAX_TURN_BYTES }
    }
}

impl Stride {
    /// Takes half of a turn that took too long; false when that was one row.
    fn shorten(&mut self, rows: &[Arc<CommittedRow>]) -> bool {
        self.bytes = rows.iter().map(|row| row.bytes).sum::<usize>() / 2;
        rows.len() > 1
    }
}

/// Whether it is somebody's lines that cannot be stored: the others' can.
fn is_of_one(error: &StoreError) -> bool {
    matches!(error, StoreError::Statement(_) | StoreError::Duplicate | StoreError::Corrupt { .. })
}

/// The line that a planted bug passes over.
const SKIPPED_SEQ: u64 = 3;

/// Sorts the lines by tenant and says what they change.
fn changes_of(rows: &[Arc<CommittedRow>]) -> (BTreeMap<TenantId, Changes>, Vec<Failure>) {
    let mut changes = BTreeMap::new();
    let mut failures = Vec::new();
    for row in rows {
        for line in &row.lines {
            if planted::is(Bug::SkippedProjection) && line.seq == SKIPPED_SEQ {
                continue;
            }
            let tenant = line.tenant;
            let change = changes.entry(tenant).or_insert_with(|| Changes::new(tenant));
            if let Err(reason) = change.add(line) {
                failures.push(Failure {
                    tenant: Some(tenant),
                    seq: line.seq,
                    shard: row.shard,
                    row_seq: row.seq,
                    reason: reason.to_string(),
                });
            }
        }
        failures.extend(row.unreadable.iter().map(|found| Failure {
            tenant: found.tenant,
            seq: found.seq,
            shard: row.shard,
            row_seq: row.seq,
            reason: found.reason.clone(),
        }));
    }
    (changes, failures)
}

async fn apply_one_by_one(
    tx: &mut SystemTx,
    changes: &[&Changes],
    rows: &[Arc<CommittedRow>],
    failures: &mut Vec<Failure>,
) -> Result<(), StoreError> {
    for change in changes {
        match projections::apply_alone(tx, change).await {
            Ok(()) => {}
            Err(error) if is_of_one(&error) => {
                let first = change.chunks.first().map_or(0, |chunk| chunk.first_seq);
                let row = rows
                    .iter()
                    .find(|row| row.lines.iter().any(|line| line.tenant == change.tenant));
                failures.push(Failure {
                    tenant: Some(change.tenant),
                    seq: first,
                    shard: row.map_or(0, |row| row.shard),
                    row_seq: row.map_or(0, |row| row.seq),
                    reason: chain_of(&error),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::row::{Row, RowHash};

    fn row(bytes: usize) -> Arc<CommittedRow> {
        let (batch_id, body) = ("b".to_owned(), Arc::new("x".repeat(bytes)));
        let row = Row { shard: 0, seq: 1, epoch: 1, batch_id, body, hash: RowHash::START };
        Arc::new(CommittedRow::new(&row, Vec::new(), Vec::new()))
    }

    #[test]
    fn a_turn_that_took_too_long_is_halved_until_it_is_one_row() {
        let mut stride = Stride::default();
        let mut rows: Vec<_> = (0..8).map(|_| row(1000)).collect();

        while stride.shorten(&rows) {
            assert!(stride.bytes * 2 <= rows.len() * 1000, "it is half of what was tried");
            let taken = rows.len().min(stride.bytes.div_ceil(1000).max(1));
            assert!(taken < rows.len());
            rows.truncate(taken);
        }

        assert_eq!(rows.len(), 1);
    }
}
