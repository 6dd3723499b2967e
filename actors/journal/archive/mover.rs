//! Moves old rows out of the table into files, up to positions that were signed long enough ago.
//!
//! A signed head says that its row was there at its time: no row has to be opened to know how old
//! it is. Rows above the projections' watermark and the last row of a shard always stay.

use std::io;
use std::time::Duration;

use tenantry_supervision::spawn::spawn_blocking;
use tenantry_supervision::{Tasks, spawn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::{Archive, Segment};
use crate::clock::SharedClock;
use crate::database::{Database, StoreError, heads, journal as rows, projections};
use crate::journal::commit::{Forget, Item, chain_of};
use crate::journal::row::{Row, RowHash};

/// How often old rows are looked for.
const EVERY: Duration = Duration::from_hours(1);
/// Bytes of lines in one file, about: a few rows more are finished.
const SEGMENT_BYTES: usize = 64 * 1024 * 1024;
/// Rows that one statement removes: each is up to a mebibyte, and commits wait meanwhile.
const REMOVED_ROWS: i64 = 16;

/// Moves rows until its tasks end.
#[derive(Debug, Clone)]
pub(in crate::journal) struct Mover {
    pub(in crate::journal) database: Database,
    pub(in crate::journal) clock: SharedClock,
    pub(in crate::journal) inbox: mpsc::Sender<Item>,
    pub(in crate::journal) tasks: Tasks,
    pub(in crate::journal) older_than: Duration,
    pub(in crate::journal) segment_bytes: usize,
}

/// Why rows were not moved; they stay in the table.
#[derive(Debug, thiserror::Error)]
pub(in crate::journal) enum MoveError {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the file cannot be written or read")]
    File(#[from] io::Error),
    /// Moving would hide what is wrong with the log.
    #[error("row {seq} of shard {shard} is not the one that was committed")]
    Damaged { shard: u16, seq: i64 },
    #[error("the journal is ending")]
    Ending,
}

impl Mover {
    /// Starts to move rows, if any are to move.
    pub(in crate::journal) fn start_for(
        database: &Database,
        clock: &SharedClock,
        inbox: &mpsc::Sender<Item>,
        tasks: &Tasks,
        older_than: Option<Duration>,
    ) {
        let Some(older_than) = older_than else { return };
        let mover = Self {
            database: database.clone(),
            clock: SharedClock::clone(clock),
            inbox: inbox.clone(),
            tasks: tasks.clone(),
            older_than,
            segment_bytes: SEGMENT_BYTES,
        };
        mover.start();
    }

    /// Looks for old rows now and then.
    fn start(self) {
        let (tasks, cancel) = (self.tasks.clone(), self.tasks.token());
        spawn("journal.archive", &tasks, async move {
            let mut beat = tokio::time::interval(EVERY);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    _ = beat.tick() => {}
                }
                match cancel.run_until_cancelled(self.turn()).await {
                    Some(Ok(0)) => {}
                    Some(Ok(moved)) => tracing::info!(rows = moved, "old rows were moved to files"),
                    Some(Err(error)) => {
                        tracing::error!(error = chain_of(&error), "old rows were not moved");
                    }
                    None => return,
                }
            }
        });
    }

    /// Moves what is old enough in every shard; returns how many rows.
    pub(in crate::journal) async fn turn(&self) -> Result<i64, MoveError> {
        let mut moved = 0;
        for shard in 0..self.database.backend().shard_count() {
            let until = self.boundary(shard).await?;
            if until > 0 {
                moved += self.shard(shard, until).await?;
            }
        }
        Ok(moved)
    }

    /// The last row that may go: signed long enough ago, projected, and not the last of all.
    async fn boundary(&self, shard: u16) -> Result<i64, MoveError> {
        let age = i64::try_from(self.older_than.as_micros()).unwrap_or(i64::MAX);
        let before = self.clock.now().as_micros().saturating_sub(age);
        let mut main = self.database.reader().await?;
        let signed = heads::of_shard(&mut main, shard).await?;
        let signed = signed.iter().filter(|head| head.signed_at <= before);
        let signed = signed.map(|head| head.seq).max().unwrap_or(0);
        let watermarks = projections::watermarks(&mut main).await?;
        let projected = watermarks.iter().find(|(of, ..)| *of == i64::from(shard));
        // The row at the watermark is asked for at every start.
        Ok(signed.min(projected.map_or(0, |(_, seq, _)| *seq) - 1))
    }

    async fn shard(&self, shard: u16, until: i64) -> Result<i64, MoveError> {
        let archive = Archive::of(&self.database);
        let (mut last, mut hash) = self.archived(&archive, shard).await?;
        let mut moved = 0;
        loop {
            // Also what a crash left between writing a file and removing its rows.
            moved += self.remove(shard, last, hash).await?;
            if last >= until {
                return Ok(moved);
            }
            let rows = self.next_rows(shard, last, until, hash).await?;
            let Some(end) = rows.last() else { return Ok(moved) };
            (last, hash) = (end.seq, end.hash);
            let expected = (shard, last, hash);
            let folder = archive.clone();
            let written = self.on_disk(move || {
                let Some(segment) = folder.write(&mut rows.into_iter())? else { return Ok(None) };
                Ok(Some(end_of(&segment)?))
            });
            // What the disk has, and not what was meant to be written.
            if written.await? != Some(expected) {
                return Err(MoveError::Damaged { shard, seq: last });
            }
        }
    }

    /// Where the files of a shard end.
    async fn archived(&self, archive: &Archive, shard: u16) -> Result<(i64, RowHash), MoveError> {
        let archive = archive.clone();
        let end = self.on_disk(move || {
            let segments = archive.segments()?;
            let own = segments.iter().filter(|segment| segment.shard == shard);
            own.max_by_key(|segment| segment.last).map(end_of).transpose()
        });
        Ok(end.await?.map_or((0, RowHash::START), |(_, seq, hash)| (seq, hash)))
    }

    /// Reads rows for one file and checks that they follow each other.
    async fn next_rows(
        &self,
        shard: u16,
        after: i64,
        until: i64,
        mut hash: RowHash,
    ) -> Result<Vec<Row>, MoveError> {
        let (mut found, mut bytes, mut seq) = (Vec::<Row>::new(), 0, after);
        let mut log = self.database.journal_reader().await?;
        while bytes < self.segment_bytes && seq < until {
            let page = rows::after(&mut log, shard, seq, REMOVED_ROWS.min(until - seq)).await?;
            if page.is_empty() {
                return Err(MoveError::Damaged { shard, seq: seq + 1 });
            }
            for row in page {
                if row.seq != seq + 1 || row.chain(hash) != row.hash {
                    return Err(MoveError::Damaged { shard, seq: seq + 1 });
                }
                (seq, hash) = (row.seq, row.hash);
                bytes += row.body.len();
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Removes rows up to `through` from the table, a few at a time; the file has them.
    async fn remove(&self, shard: u16, through: i64, hash: RowHash) -> Result<i64, MoveError> {
        let mut removed = 0;
        loop {
            let mut log = self.database.journal_reader().await?;
            let first = rows::after(&mut log, shard, 0, 1).await?;
            let Some(first) = first.first().map(|row| row.seq).filter(|seq| *seq <= through) else {
                return Ok(removed);
            };
            // Equal ends of chains are equal chains: these rows and those of the file.
            if let Some(row) = rows::at(&mut log, shard, through).await?
                && row.hash != hash
            {
                return Err(MoveError::Damaged { shard, seq: through });
            }
            drop(log);
            let upto = through.min(first + REMOVED_ROWS - 1);
            let (reply, answer) = oneshot::channel();
            let item = Item::Forget(Forget { shard, through: upto, reply });
            self.inbox.send(item).await.map_err(|_| MoveError::Ending)?;
            answer.await.map_err(|_| MoveError::Ending)??;
            removed += upto - first + 1;
        }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, MoveError> {
        let done = spawn_blocking("journal.archive", &self.tasks, work);
        Ok(done.await.map_err(|_| MoveError::Ending)??)
    }
}

/// Reads a file to its end and says which row that is; its rows follow each other.
fn end_of(segment: &Segment) -> io::Result<(u16, i64, RowHash)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file is not what was written");
    let mut end: Option<Row> = None;
    let mut count = segment.first - 1;
    for row in segment.open()? {
        let row = row?;
        count += 1;
        let follows = end.as_ref().is_none_or(|end| row.chain(end.hash) == row.hash);
        if row.seq != count || row.shard != segment.shard || !follows {
            return Err(damaged());
        }
        end = Some(row);
    }
    let end = end.filter(|end| end.seq == segment.last).ok_or_else(damaged)?;
    Ok((end.shard, end.seq, end.hash))
}
