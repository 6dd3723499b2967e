//! The append-only log of every tenant's usage plane, and what is read out of it.
//!
//! An actor applies a command in memory and hands its lines over; the committer writes what queued
//! up as one row per shard and then lets the answers out; the projector follows. **Invariant:**
//! nothing is answered before its commit, and a position in the log is written once.

pub mod entry;

mod acquire;
mod archive;
pub(crate) mod changes;
mod commit;
mod events;
mod export;
mod heads;
mod incarnation;
mod lines;
mod listings;
mod lost;
pub(crate) mod marks;
mod mend;
pub mod metrics;
mod projector;
mod quarantine;
mod range;
mod read;
mod recover;
mod room;
pub(crate) mod row;
mod source;
mod start;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::commit::{Head, Item};
use self::entry::{Author, EntryBody, EntryError, EntryHash, Place};
use self::lost::Lost;
use self::quarantine::Quarantine;
use self::room::Admission;
use self::start::Running;
use self::tail::Tail;
use crate::clock::{SharedClock, Timestamp};
use crate::database::{Database, StoreError};
use crate::ids::TenantId;

pub use self::export::{ExportError, export};
pub use self::heads::head_message;
pub use self::incarnation::Incarnation;
pub use crate::database::listings::{ListedJob, UsedOnDay};

pub use self::range::MAX_RANGE;
pub(crate) use self::recover::KEEP_KEYS_FOR as KEEP_KEY_ROWS_FOR;
pub use self::recover::{Recovered, Snapshot};
pub use self::room::{Overloaded, Room};
pub use self::row::RowHash;
pub use self::start::JournalSettings;
pub use self::verify::{Fault, VerifyReport, Wrong, verify};

/// Activations that may wait for the committer at once.
const MAX_ACTIVATIONS: usize = 1024;

/// What the committer gets to answer those who wait, once it is told to give up.
const GIVE_UP_FOR: Duration = Duration::from_secs(1);

/// How often a barrier is set before its failure is the caller's.
const BARRIER_TRIES: u32 = 3;

/// One line of the log as its actor made it; what it says is kept beside its text, so that nobody
/// parses it again.
#[derive(Debug, Clone)]
pub struct Line {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its number.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Its hash.
    pub hash: EntryHash,
    /// The digest of the idempotency key that it used.
    pub idem: Option<String>,
    /// What happened.
    pub body: EntryBody,
    /// The sealed text, without the end of the line.
    pub text: String,
}

impl Line {
    /// Seals what happened into a line.
    pub fn seal(body: EntryBody, place: &Place, author: &Author<'_>) -> Self {
        let (text, hash) = entry::seal(&body, place, author);
        let Place { tenant, seq, at, .. } = *place;
        Self { tenant, seq, at, hash, idem: author.idem.map(str::to_owned), body, text }
    }
}

/// What an actor gives to the committer.
#[derive(Debug)]
pub struct Handover {
    /// Whose lines these are.
    pub tenant: TenantId,
    /// The actor's life, from its activation.
    pub incarnation: Incarnation,
    /// The lines of one command; none to be answered after everything handed over before.
    pub lines: Vec<Line>,
    /// The place that was taken at the gate.
    pub room: Room,
    /// Called once the outcome is known.
    pub done: Done,
}

impl Handover {
    fn size(&self) -> usize {
        self.lines.iter().map(|line| line.text.len() + 1).sum()
    }
}

/// Releases an answer: called once, by the committer, so it must not block.
pub struct Done(Box<dyn FnOnce(Result<Committed, AppendError>) + Send>);

impl Done {
    /// Wraps what happens once the outcome is known.
    pub fn new(done: impl FnOnce(Result<Committed, AppendError>) + Send + 'static) -> Self {
        Self(Box::new(done))
    }

    pub(super) fn call(self, result: Result<Committed, AppendError>) {
        (self.0)(result);
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// The row that lines were committed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The shard of the log.
    pub shard: u16,
    /// The row in it.
    pub seq: i64,
}

/// Why lines are not known to be in the log. The actor's state is ahead of it and must be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// They are not in the log: their batch was refused, or their incarnation has ended.
    #[error("the entries were not committed")]
    Failed,
    /// They are not in the log: the disk stayed full until the server stopped.
    #[error("the entries were not committed because the disk is full")]
    DiskFull,
    /// They are not in the log: another owner took the shard.
    #[error("the shard has another owner")]
    Fenced,
    /// They may be in the log or not; the same idempotency key tells.
    #[error("it is not known whether the entries were committed")]
    OutcomeUnknown,
}

/// Why the journal cannot be started or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database failed.
    #[error("the journal cannot be read")]
    Store(#[from] StoreError),
    /// The committer did not take the request.
    #[error("the journal does not take requests")]
    Append(#[from] AppendError),
    /// The projections have seen more than the log holds: its tail is gone.
    #[error("shard {shard} of the journal ends before row {seq}, which was projected already")]
    TailMissing {
        /// The shard.
        shard: u16,
        /// The projected row that the log lacks.
        seq: i64,
    },
    /// The lines of a tenant are not the unbroken chain that was committed.
    #[error("the entries of {tenant} are not the ones that were committed")]
    Broken {
        /// The tenant.
        tenant: TenantId,
        /// What is wrong with the first entry that is not as it was.
        #[source]
        source: EntryError,
    },
    /// An entry of the tenant could not be projected: it is served nothing until mended.
    #[error("{tenant} is in quarantine")]
    Quarantined {
        /// The tenant.
        tenant: TenantId,
    },
    /// The log has no entry with this number and hash: the state comes from somewhere else.
    #[error("the log has no entry {seq} of {tenant} with the snapshot's hash")]
    SnapshotRefused {
        /// The tenant.
        tenant: TenantId,
        /// The entry that the snapshot claims.
        seq: u64,
    },
    /// The log holds another row at the projected position.
    #[error("row {seq} of shard {shard} is not the one that was projected")]
    Diverged {
        /// The shard.
        shard: u16,
        /// The row.
        seq: i64,
    },
}

/// The handle of the running journal.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    clock: SharedClock,
    inbox: mpsc::Sender<Item>,
    admission: Arc<Admission>,
    activations: Semaphore,
    tail: Arc<Tail>,
    quarantine: Arc<Quarantine>,
    lost: Arc<Lost>,
    heads: watch::Receiver<Vec<Head>>,
    // Each ends one stage of the shutdown: no more hand-overs, no more retries, no more rows.
    stop: CancellationToken,
    give_up: CancellationToken,
    follow_on: CancellationToken,
    running: Mutex<Option<Running>>,
}

impl Journal {
    /// Takes a place in the queue for one hand-over of about `bytes`; never waits.
    pub fn room(&self, tenant: TenantId, bytes: usize) -> Result<Room, Overloaded> {
        if self.inner.lost.holds(tenant) {
            return Err(Overloaded::Unavailable);
        }
        self.inner.admission.room(tenant, bytes)
    }

    /// Hands lines over to the committer; never waits and never fails other than through `done`.
    pub fn append(&self, mut handover: Handover) {
        handover.room.settle(handover.size());
        // Whoever holds a room has a place in the queue, so only a stopped committer refuses.
        if let Err(error) = self.inner.inbox.try_send(Item::Append(handover))
            && let Item::Append(handover) = error.into_inner()
        {
            handover.incarnation.retire();
            handover.done.call(Err(AppendError::Failed));
        }
    }

    /// Waits until everything older of the tenant is decided; older incarnations are refused.
    async fn barrier(&self, tenant: TenantId) -> Result<Incarnation, AppendError> {
        let _permit = self.inner.activations.acquire().await.map_err(|_| AppendError::Failed)?;
        // A barrier fails with the batch that it is in, which says nothing about this tenant.
        for _ in 1..BARRIER_TRIES {
            if let Ok(incarnation) = self.try_barrier(tenant).await {
                return Ok(incarnation);
            }
        }
        self.try_barrier(tenant).await
    }

    async fn try_barrier(&self, tenant: TenantId) -> Result<Incarnation, AppendError> {
        let (reply, answer) = oneshot::channel();
        let item = Item::Activate { tenant, reply };
        self.inner.inbox.try_send(item).map_err(|_| AppendError::Failed)?;
        answer.await.unwrap_or(Err(AppendError::OutcomeUnknown))
    }

    /// Stops taking hand-overs, commits and projects what was taken, signs the end. What cannot be
    /// written within the budget is answered as such; nothing that was answered is lost.
    pub async fn stop(&self, budget: Duration) {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { mut committer, mut projector, signing }) = running else { return };
        let deadline = Instant::now() + budget;
        self.inner.stop.cancel();
        let writer = if let Ok(writer) = timeout_at(deadline, &mut committer).await {
            writer
        } else {
            self.inner.give_up.cancel();
            if let Ok(writer) = timeout(GIVE_UP_FOR, committer).await {
                writer
            } else {
                tracing::error!("the database does not answer; the log is left as it is");
                return;
            }
        };
        self.inner.follow_on.cancel();
        if timeout_at(deadline, &mut projector).await.is_err() {
            tracing::warn!("the projections are behind; the next start catches up");
        }
        if let Err(error) = signing.sign().await {
            tracing::warn!(%error, "the journal's end was not signed");
        }
        if let Ok(writer) = writer
            && let Err(error) = writer.close().await
        {
            tracing::warn!(%error, "the journal's connection did not close cleanly");
        }
    }

    /// Whether another server has taken the tenant's shard: nothing of it may be answered here.
    pub fn is_lost(&self, tenant: TenantId) -> bool {
        self.inner.lost.holds(tenant)
    }

    /// How many shards another server has taken.
    pub fn lost_shards(&self) -> u32 {
        self.inner.lost.count()
    }

    /// Changes whenever a shard is taken by another server.
    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.inner.lost.changes()
    }

    /// The last committed row of every shard.
    pub fn ends(&self) -> Vec<i64> {
        self.inner.heads.borrow().iter().map(|head| head.seq).collect()
    }

    /// How many hand-overs have a place in the queue.
    pub fn queued(&self) -> usize {
        self.inner.admission.queued()
    }
}
