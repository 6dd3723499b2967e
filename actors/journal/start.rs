//! Brings the journal up: acquires the shards, catches the projections up, starts the tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::HEXLOWER;
use tenantry_supervision::{Task, Tasks, spawn};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::acquire;
use super::archive::Mover;
use super::commit::{Committer, Head, Parts};
use super::heads::Signing;
use super::lost::Lost;
use super::projector::{MAX_TURN_BYTES, Projector};
use super::quarantine::Quarantine;
use super::room::{Admission, MAX_QUEUED};
use super::tail::Tail;
use super::{Inner, Journal, JournalError, MAX_ACTIVATIONS};
use crate::clock::SharedClock;
use crate::database::{
    Database, Fatal, FatalHook, JournalWriter, StoreError, journal as rows, projections,
};
use crate::privacy::keys::SigningKey;

/// How often the end of the log is signed while it grows.
const SIGN_EVERY: Duration = Duration::from_hours(1);
/// Askers to remove rows: each waits for its answer before it asks again.
const MAX_MOVERS: usize = 1;
/// Rows that are read at once while the projections catch up.
const CATCH_UP_ROWS: i64 = 64;
/// How long the locks of an owner that was replaced are waited for; a server of ours tells
/// PostgreSQL to end transactions that are idle for 10 s.
const LOCKS_END_WITHIN: Duration = Duration::from_secs(30);
/// The pause before they are tried again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the journal needs besides the database.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// Signs the end of the log; without one no head is signed.
    pub signer: Option<Arc<SigningKey>>,
    /// How often it does.
    pub sign_every: Duration,
    /// How old a row is before it moves to a file; none moves without it.
    pub archive_after: Option<Duration>,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { signer: None, sign_every: SIGN_EVERY, archive_after: None }
    }
}

/// The tasks behind the handle, ended in order by [`Journal::stop`].
#[derive(Debug)]
pub(super) struct Running {
    pub(super) committer: Task<JournalWriter>,
    pub(super) projector: Task<()>,
    pub(super) signing: Signing,
}

impl Journal {
    /// Acquires the log and starts its tasks. Returns once the projections have caught up.
    pub async fn start(
        database: &Database,
        clock: SharedClock,
        tasks: &Tasks,
        settings: JournalSettings,
    ) -> Result<Self, JournalError> {
        let run = random_name();
        let mut log = database.journal_writer().await?;
        let shard_count = database.backend().shard_count();
        let heads = acquire::all(&mut log, shard_count, &run, &clock).await?;
        let lost = Arc::new(Lost::new(shard_count));
        let admission = Admission::new();
        let watermarks = watermarks(database, heads.len()).await?;
        let tail = Tail::new(Arc::clone(&admission), watermarks);
        let quarantine = Arc::new(Quarantine::load(database).await?);
        let projector = Projector {
            database: database.clone(),
            clock: Arc::clone(&clock),
            tail: Arc::clone(&tail),
            admission: Arc::clone(&admission),
            quarantine: Arc::clone(&quarantine),
        };
        catch_up(database, &projector, &heads).await?;

        let (inbox, items) = mpsc::channel(MAX_QUEUED + MAX_ACTIVATIONS + MAX_MOVERS);
        let (published, heads_seen) = watch::channel(heads.clone());
        let (stop, give_up, follow_on) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let committer = Committer::new(Parts {
            log,
            heads,
            published,
            inbox: items,
            run,
            admission: Arc::clone(&admission),
            tail: Arc::clone(&tail),
            lost: Arc::clone(&lost),
            fatal: database.fatal().clone(),
            give_up: give_up.clone(),
        });
        let stopping = stop.clone();
        let guard = Sentinel::new(database.fatal(), "journal.committer");
        let committer = spawn("journal.committer", tasks, async move {
            let log = committer.run(stopping).await;
            guard.disarm();
            log
        });
        let guard = Sentinel::new(database.fatal(), "journal.projector");
        let following = follow_on.clone();
        let projector = spawn("journal.projector", tasks, async move {
            projector.run(following).await;
            guard.disarm();
        });
        let signing = Signing::new(database, &clock, heads_seen.clone(), settings.signer);
        signing.start(tasks, settings.sign_every);
        Mover::start_for(database, &clock, &inbox, tasks, settings.archive_after);
        let running = Running { committer, projector, signing };
        Ok(Self {
            inner: Arc::new(Inner {
                database: database.clone(),
                clock,
                inbox,
                admission,
                activations: Semaphore::new(MAX_ACTIVATIONS),
                tail,
                quarantine,
                lost,
                heads: heads_seen,
                stop,
                give_up,
                follow_on,
                running: Mutex::new(Some(running)),
            }),
        })
    }
}

/// Reads how far the projections are, and checks that the log still holds what they have seen.
async fn watermarks(database: &Database, shards: usize) -> Result<Vec<i64>, JournalError> {
    let stored = projections::watermarks(&mut database.reader().await?).await?;
    let mut log = database.journal_reader().await?;
    let mut watermarks = vec![0; shards];
    for (shard, seq, hash) in stored {
        let Some(place) = usize::try_from(shard).ok().and_then(|at| watermarks.get_mut(at)) else {
            continue;
        };
        let shard = u16::try_from(shard).unwrap_or(u16::MAX);
        match rows::at(&mut log, shard, seq).await? {
            None => return Err(JournalError::TailMissing { shard, seq }),
            Some(row) if row.hash.to_string() != hash => {
                return Err(JournalError::Diverged { shard, seq });
            }
            Some(_) => *place = seq,
        }
    }
    Ok(watermarks)
}

/// Projects what a crash left behind, so that nothing is served from old projections.
async fn catch_up(
    database: &Database,
    projector: &Projector,
    heads: &[Head],
) -> Result<(), JournalError> {
    let mut log = database.journal_reader().await?;
    for (shard, head) in (0_u16..).zip(heads) {
        let mut seq = projector.tail.watermark(shard);
        while seq < head.seq {
            let found = rows::after(&mut log, shard, seq, CATCH_UP_ROWS).await?;
            let Some(last) = found.last() else {
                return Err(JournalError::TailMissing { shard, seq: seq + 1 });
            };
            seq = last.seq;
            projector.tail.push(found.iter().map(super::read::committed_row));
            if projector.tail.waiting().bytes >= MAX_TURN_BYTES {
                drain(projector).await?;
            }
            // An owner that was replaced a moment ago may still project what it committed.
            seq = seq.max(projector.tail.watermark(shard));
        }
    }
    Ok(drain(projector).await?)
}

/// Projects what was read. An owner that was paused in the middle of a projection holds its locks
/// until the server ends its idle transaction.
async fn drain(projector: &Projector) -> Result<(), StoreError> {
    let until = Instant::now() + LOCKS_END_WITHIN;
    loop {
        match projector.drain().await {
            Err(error @ StoreError::Busy) if Instant::now() < until => {
                tracing::warn!(%error, "another owner's projection is waited for");
                sleep(LOOK_AGAIN_AFTER).await;
            }
            drained => return drained,
        }
    }
}

/// 64 random bits: no two runs use the same batch ids.
fn random_name() -> String {
    let mut bytes = [0_u8; 8];
    SystemRandom::new().fill(&mut bytes).expect("the system's random source works");
    HEXLOWER.encode(&bytes)
}

/// Ends the process when a task that must not end does: by a panic or an abort.
struct Sentinel {
    fatal: FatalHook,
    name: &'static str,
    is_armed: bool,
}

impl Sentinel {
    fn new(fatal: &FatalHook, name: &'static str) -> Self {
        Self { fatal: fatal.clone(), name, is_armed: true }
    }

    fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if self.is_armed {
            self.fatal.raise(&Fatal::TaskEnded { name: self.name });
        }
    }
}
