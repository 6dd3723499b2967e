//! The supervision tree's root: starts the parts of the house in order, and ends them in order.
//!
//! ```text
//! root ─ database ─ journal (committer, projector)
//!      ─ storage ─ studio pools
//!      ─ tenants (lazy restart, quarantine) ─ tenant …
//!      ─ identity ─ relays: mail, intents, webhooks
//! ```
//!
//! **Invariant:** nothing is served before the projections have caught up, and at the end nothing
//! that was answered is only in memory. Killing the process at any point of either loses nothing.

mod planes;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tenantry_supervision::health::{Importance, Registry, Status};
use tenantry_supervision::{Deadline, Shutdown, Tasks};

use self::planes::Common;
use crate::clock::SharedClock;
use crate::database::{Database, DatabaseError, DatabaseSettings, FatalHook};
use crate::identity::{Identity, IdentityError, IdentitySettings};
use crate::ids::TenantId;
use crate::intents::Intents;
use crate::journal::{Journal, JournalError, JournalSettings};
use crate::ledger::Ledger;
use crate::mail::{Mail, MailError, MailSettings};
use crate::privacy::keys::{KeyError, KeyRing, SigningKey};
use crate::storage::{Storage, StorageError, StorageSettings};
use crate::studio::{Studio, StudioError, StudioSettings};
use crate::tenant::plan::Catalogue;
use crate::tenant::{TenantDeps, TenantError, TenantSettings, Tenants};
use crate::webhooks::{WebhookError, WebhookSettings, Webhooks};

/// What each part of the end may take of the budget at the least.
const RELAYS_SHARE: Duration = Duration::from_secs(2);
const TENANTS_SHARE: Duration = Duration::from_secs(4);
const JOURNAL_SHARE: Duration = Duration::from_secs(3);
const TASKS_SHARE: Duration = Duration::from_secs(2);
const CLOSE_SHARE: Duration = Duration::from_secs(1);

/// Which key of the ring signs the journal's end; a rotation counts the generation up.
const HEADS_PURPOSE: &str = "journal-heads";
const HEADS_GENERATION: u32 = 0;

/// What is configured.
#[derive(Clone, Debug)]
pub struct HouseSettings {
    /// The folder of databases, keys and lock.
    pub data_dir: PathBuf,
    /// Another database than the embedded one.
    pub database_url: Option<String>,
    /// Meters and plans.
    pub catalogue: Catalogue,
    /// How old a row of the journal is before it moves to a file; none moves without it.
    pub archive_after: Option<Duration>,
    /// The tenants' files.
    pub storage: StorageSettings,
    /// Providers, programs and workers.
    pub studio: StudioSettings,
    /// The mail server.
    pub mail: MailSettings,
    /// Outgoing webhooks.
    pub webhooks: WebhookSettings,
    /// Logins and tokens.
    pub identity: IdentitySettings,
    /// Limits and times of tenants.
    pub tenants: TenantSettings,
    /// The time.
    pub clock: SharedClock,
    /// Where every part says how it is doing.
    pub health: Registry,
    /// What happens when the storage can no longer be trusted: the process ends.
    pub fatal: FatalHook,
}

/// Whether the house takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything runs.
    Ready,
    /// It is ending.
    Draining,
    /// Decisions cannot be made durable right now.
    CannotWrite,
    /// Another server has taken tenants of this one; only a restart takes them back.
    Replaced,
}

/// Why the house does not start.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// The database.
    #[error("the database does not open")]
    Database(#[from] DatabaseError),
    /// The key ring.
    #[error("the key ring does not open")]
    Keys(#[from] KeyError),
    /// The journal.
    #[error("the journal does not start")]
    Journal(#[from] JournalError),
    /// The files.
    #[error("the storage does not open")]
    Storage(#[from] StorageError),
    /// The studio.
    #[error("the studio does not start")]
    Studio(#[from] StudioError),
    /// Mail.
    #[error("mail does not start")]
    Mail(#[from] MailError),
    /// Outgoing webhooks.
    #[error("webhooks do not start")]
    Webhooks(#[from] WebhookError),
    /// Logins.
    #[error("identity does not start")]
    Identity(#[from] IdentityError),
    /// The tenants.
    #[error("the tenants do not start")]
    Tenants(#[from] TenantError),
}

/// The running house.
#[derive(Debug)]
pub struct House {
    /// The usage plane.
    pub tenants: Tenants,
    /// The identity plane.
    pub identity: Identity,
    /// The tenants' entries.
    pub ledger: Ledger,
    /// The tenants' files.
    pub storage: Storage,
    /// What makes videos.
    pub studio: Studio,
    /// Meters and plans.
    pub catalogue: Arc<Catalogue>,
    /// Digests and ciphers.
    pub keys: KeyRing,
    /// Mail on its way.
    pub mail: Mail,
    /// Outgoing webhooks.
    pub webhooks: Webhooks,
    /// The database, for reports.
    pub database: Database,
    /// Changes from the identity plane on their way to tenants.
    pub intents: Intents,
    /// How every part is doing.
    pub health: Registry,
    /// The time.
    pub clock: SharedClock,
    journal: Journal,
    phase: AtomicU8,
    relays: Tasks,
    tasks: Tasks,
}

impl House {
    const RUNNING: u8 = 0;
    const DRAINING: u8 = 1;

    /// Starts everything, in order; returns once it may be served.
    pub async fn start(settings: HouseSettings) -> Result<Self, HouseError> {
        let tasks = Tasks::new();
        let relays = tasks.child();
        let clock = settings.clock;
        let catalogue = Arc::new(settings.catalogue);
        let database = DatabaseSettings {
            url: settings.database_url,
            data_dir: settings.data_dir.clone(),
            fatal: settings.fatal,
        };
        // First the lock on the folder: nothing of another process is touched.
        let database = Database::open(&database, &tasks).await?;
        let keys = KeyRing::open(&settings.data_dir)?;
        let signer = Arc::new(heads_key(&keys)?);
        let journal = JournalSettings {
            signer: Some(signer),
            archive_after: settings.archive_after,
            ..JournalSettings::default()
        };
        let journal = Journal::start(&database, Arc::clone(&clock), &tasks, journal).await?;
        let ledger = Ledger::new(journal.clone(), &keys, Arc::clone(&clock))?;
        let storage = Storage::open(&settings.storage).await?;
        let studio = Studio::start(settings.studio, storage.clone(), &tasks).await?;
        let tenants = Tenants::start(TenantDeps {
            journal: journal.clone(),
            database: database.clone(),
            catalogue: Arc::clone(&catalogue),
            clock: Arc::clone(&clock),
            keys: keys.clone(),
            storage: storage.clone(),
            studio: Arc::new(studio.clone()),
            tasks: tasks.child(),
            settings: settings.tenants,
        })
        .await?;
        let common = Common { database, keys, clock, relays };
        let (identity, mail) = common.identity(settings.mail, settings.identity).await?;
        let intents = common.intents(&tenants).await;
        let webhooks = common.webhooks(settings.webhooks)?;
        let Common { database, keys, clock, relays } = common;
        let health = settings.health;
        register(&health, &journal, &storage, &studio, &mail);
        let phase = AtomicU8::new(Self::RUNNING);
        Ok(Self {
            tenants,
            identity,
            ledger,
            storage,
            studio,
            catalogue,
            keys,
            mail,
            webhooks,
            database,
            intents,
            health,
            clock,
            journal,
            phase,
            relays,
            tasks,
        })
    }

    /// Says whether requests are taken.
    pub fn readiness(&self) -> Readiness {
        if self.phase.load(Ordering::Acquire) == Self::DRAINING {
            return Readiness::Draining;
        }
        if self.journal.lost_shards() > 0 {
            return Readiness::Replaced;
        }
        if can_write(&self.journal) { Readiness::Ready } else { Readiness::CannotWrite }
    }

    /// Owner of tasks that end with the house, after the last commit.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Stops being ready; requests in flight go on.
    pub fn begin_drain(&self) {
        self.phase.store(Self::DRAINING, Ordering::Release);
    }

    /// Ends everything, in order and within the budget; call it when no request is in flight.
    /// Says whether every part came to its end in time.
    pub async fn stop(&self, budget: Duration) -> bool {
        self.begin_drain();
        let (relays, tasks) = (self.relays.clone(), self.tasks.clone());
        let (tenants, journal) = (self.tenants.clone(), self.journal.clone());
        let database = self.database.clone();
        let tenants_budget = budget.saturating_sub(JOURNAL_SHARE + TASKS_SHARE + CLOSE_SHARE);
        let report = Shutdown::new(budget)
            .phase("relays", RELAYS_SHARE, async move {
                relays.finish(RELAYS_SHARE).await;
            })
            .phase("tenants", TENANTS_SHARE, async move {
                tenants.drain(Deadline::after(tenants_budget)).await;
            })
            .phase("journal", JOURNAL_SHARE, async move { journal.stop(JOURNAL_SHARE).await })
            .phase("tasks", TASKS_SHARE, async move {
                tasks.finish(TASKS_SHARE).await;
            })
            .phase("database", CLOSE_SHARE, async move { database.close().await })
            .run()
            .await;
        report.is_clean()
    }
}

/// Returns the key that signs the journal's end.
pub fn heads_key(keys: &KeyRing) -> Result<SigningKey, KeyError> {
    keys.signing_key(HEADS_PURPOSE, HEADS_GENERATION)
}

/// Lists the parts and how to ask each.
fn register(health: &Registry, journal: &Journal, storage: &Storage, studio: &Studio, mail: &Mail) {
    let asked = journal.clone();
    health.register_with("journal", Importance::Essential, move || {
        if can_write(&asked) && asked.lost_shards() == 0 { Status::Ok } else { Status::Down }
    });
    health.register_breaker(Importance::Optional, storage.breaker());
    health.register_breaker(Importance::Optional, mail.breaker());
    for breaker in studio.breakers() {
        health.register_breaker(Importance::Optional, &breaker);
    }
}

/// Asks for room as any call would, and gives it back.
fn can_write(journal: &Journal) -> bool {
    use crate::journal::Overloaded;
    // No tenant has this id: ids begin with the time.
    match journal.room(TenantId::from_bits(0), 0) {
        Ok(_) => true,
        Err(refused) => !matches!(refused, Overloaded::DiskFull | Overloaded::Unavailable),
    }
}

#[cfg(test)]
mod tests;
