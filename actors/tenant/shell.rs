//! What every tenant of a node shares.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell};
use tenantry_supervision::{Gate, Tasks};
use tokio::sync::Notify;

use super::alarms::Alarms;
use super::call::TenantError;
use super::directory::Directory;
use super::gate::NodeGate;
use super::metrics::{self, Decisions};
use super::plan::Catalogue;
use super::steps::StepTimeouts;
use super::supervisor::{TenantSupervisor, Told};
use crate::clock::SharedClock;
use crate::database::Database;
use crate::journal::Journal;
use crate::privacy::keys::KeyRing;
use crate::storage::Storage;
use crate::studio::runner::StepRunner;

/// What the tenants need of the rest of the house.
#[derive(Clone, Debug)]
pub struct TenantDeps {
    /// The log that makes decisions durable.
    pub journal: Journal,
    /// Projections that are read: what wakes sleeping tenants, usage by day.
    pub database: Database,
    /// Meters and plans.
    pub catalogue: Arc<Catalogue>,
    /// The time.
    pub clock: SharedClock,
    /// Seals plans, digests keys.
    pub keys: KeyRing,
    /// The tenants' files.
    pub storage: Storage,
    /// Runs steps.
    pub studio: Arc<dyn StepRunner>,
    /// The owner of the tenants' own owner of tasks.
    pub tasks: Tasks,
    /// Limits and times.
    pub settings: TenantSettings,
}

/// Limits and times of the tenants.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    /// A tenant that nobody calls for so long is put to sleep.
    pub idle_for: Duration,
    /// Tenants that may be awake at once; beyond it those with the oldest last entry are put to
    /// sleep.
    pub max_awake: usize,
    /// How long attempts at steps may take.
    pub timeouts: StepTimeouts,
    /// How often sleeping tenants with something due are looked for.
    pub reap_every: Duration,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            idle_for: Duration::from_mins(10),
            max_awake: 50_000,
            timeouts: StepTimeouts::default(),
            reap_every: Duration::from_secs(5),
        }
    }
}

/// Activations at once: a restart must not read every tenant at the same moment.
const ACTIVATIONS: u32 = 32;

/// Tenants that wait to be woken or are: more are refused and told when to come again.
const WAKING: u32 = 4_096;

/// Of the activations at once, those that nobody called for: a restart's backlog of things that
/// fell due must not stand in front of callers.
const BACKGROUND_WAKES: u32 = 8;

/// What every tenant of a node shares.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) directory: Arc<Directory>,
    pub(super) alarms: Arc<Alarms>,
    pub(super) decisions: Decisions,
    pub(super) node_gate: NodeGate,
    pub(super) activations: Gate,
    pub(super) waking: Gate,
    pub(super) background: Gate,
    /// Told when more are awake than may be.
    pub(super) crowded: Notify,
    pub(super) supervisor: ActorCell,
    pub(super) journal: Journal,
    pub(super) database: Database,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) clock: SharedClock,
    pub(super) keys: KeyRing,
    pub(super) storage: Storage,
    pub(super) studio: Arc<dyn StepRunner>,
    pub(super) settings: TenantSettings,
    /// Ended by the drain.
    pub(super) tasks: Tasks,
    /// Steps have an owner of their own: shutdown ends them before the tenants.
    pub(super) steps: Tasks,
}

impl Shell {
    /// Starts the supervisor, and nothing else yet.
    pub(super) async fn start(deps: TenantDeps) -> Result<Arc<Self>, TenantError> {
        metrics::describe();
        let directory = Arc::new(Directory::new());
        let alarms = Arc::new(Alarms::default());
        let told = Told { directory: Arc::clone(&directory), alarms: Arc::clone(&alarms) };
        let (supervisor, _) =
            TenantSupervisor::spawn(None, TenantSupervisor, told).await.map_err(|error| {
                tracing::error!(%error, "the supervisor of the tenants did not start");
                TenantError::Unavailable
            })?;
        let tasks = deps.tasks.child();
        Ok(Arc::new(Self {
            directory,
            alarms,
            decisions: Decisions::new(),
            node_gate: NodeGate::new(deps.journal.clone()),
            activations: Gate::new("activations", ACTIVATIONS),
            waking: Gate::new("waking", WAKING),
            background: Gate::new("background-wakes", BACKGROUND_WAKES),
            crowded: Notify::new(),
            supervisor: supervisor.get_cell(),
            journal: deps.journal,
            database: deps.database,
            catalogue: deps.catalogue,
            clock: deps.clock,
            keys: deps.keys,
            storage: deps.storage,
            studio: deps.studio,
            settings: deps.settings,
            steps: tasks.child(),
            tasks,
        }))
    }
}
