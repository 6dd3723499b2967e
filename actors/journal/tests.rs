//! The journal on real files: what is acknowledged is there after whatever happens.

mod archiving;
mod comparing;
mod counting;
mod lines;
mod marking;
mod projecting;
mod recovering;
mod refusing;
mod replacing;
mod tampering;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tenantry_supervision::Tasks;
use tokio::sync::oneshot;

use super::testing::{Scribe, tenant};
use super::*;
use crate::clock::{ManualClock, SharedClock};
use crate::database::DatabaseSettings;
use crate::database::testing::settings;
use crate::privacy::keys::KeyRing;

const BUDGET: Duration = Duration::from_secs(20);
/// Tries to open a folder whose former owner is just going.
const TRIES: usize = 200;

/// A running journal over a folder.
struct Server {
    database: Database,
    journal: Journal,
    tasks: Tasks,
    keys: KeyRing,
}

impl Server {
    async fn start(folder: &TempDir) -> Self {
        Self::try_start(folder).await.unwrap()
    }

    async fn try_start(folder: &TempDir) -> Result<Self, JournalError> {
        Self::try_start_with(settings(folder.path()).await, folder.path()).await
    }

    async fn try_start_with(settings: DatabaseSettings, keys: &Path) -> Result<Self, JournalError> {
        let tasks = Tasks::new();
        let database = Database::open(&settings, &tasks).await.unwrap();
        let keys = KeyRing::open(keys).unwrap();
        let signer = Some(Arc::new(keys.signing_key("journal", 1).unwrap()));
        let clock: SharedClock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
        let settings = JournalSettings { signer, ..JournalSettings::default() };
        let journal = Journal::start(&database, clock, &tasks, settings).await?;
        Ok(Self { database, journal, tasks, keys })
    }

    async fn stop(self) {
        self.journal.stop(BUDGET).await;
        assert!(self.tasks.finish(BUDGET).await.is_empty());
        self.database.close().await;
    }

    /// Ends every task where it stands, as near to a kill as one process can come.
    async fn crash(self, folder: &TempDir) -> Self {
        self.tasks.drain(Duration::ZERO).await;
        drop(self);
        for _ in 0..TRIES {
            // A statement in flight may still end and take a place in the log.
            let tasks = Tasks::new();
            if Database::open(&settings(folder.path()).await, &tasks).await.is_ok() {
                tasks.finish(BUDGET).await;
                if let Ok(server) = Self::try_start(folder).await {
                    return server;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the folder stays taken");
    }

    async fn verify(&self) -> VerifyReport {
        self.verify_within(verify::Limits::default()).await
    }

    async fn verify_within(&self, limits: verify::Limits) -> VerifyReport {
        let keys = [self.keys.signing_key("journal", 1).unwrap().public()];
        let now = Timestamp::from_micros(1_000_000);
        verify::verify_within(&self.database, &keys, now, limits).await.unwrap()
    }

    /// Hands a line over; the receiver gets its outcome.
    fn append(
        &self,
        incarnation: &Incarnation,
        line: Line,
    ) -> oneshot::Receiver<Result<Committed, AppendError>> {
        let room = self.journal.room(line.tenant, 512).unwrap();
        self.append_in(room, incarnation, line)
    }

    /// Hands a line over in a place that was taken before.
    fn append_in(
        &self,
        room: Room,
        incarnation: &Incarnation,
        line: Line,
    ) -> oneshot::Receiver<Result<Committed, AppendError>> {
        let (answer, outcome) = oneshot::channel();
        self.journal.append(Handover {
            tenant: line.tenant,
            incarnation: incarnation.clone(),
            lines: vec![line],
            room,
            done: Done::new(move |result| {
                let _ = answer.send(result);
            }),
        });
        outcome
    }

    async fn commit(&self, incarnation: &Incarnation, line: Line) -> Committed {
        self.append(incarnation, line).await.unwrap().unwrap()
    }

    /// Commits `count` entries for each of `tenants` new tenants and waits for their projection.
    async fn fill(&self, scribe: &mut Scribe, tenants: u128, count: usize) {
        let mut last = None;
        for number in 1..=tenants {
            let incarnation = self.journal.activate(tenant(number)).await.unwrap().incarnation;
            for _ in 0..count {
                last = Some(self.commit(&incarnation, scribe.line(tenant(number))).await);
            }
        }
        self.journal.wait_projected(last.unwrap()).await;
    }
}
