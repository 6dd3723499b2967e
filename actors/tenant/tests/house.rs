//! A house without its outside: database, journal, storage, tenants, and a scripted studio.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tenantry_supervision::{Deadline, Tasks};
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SystemClock, Timestamp};
use crate::database::{Database, testing};
use crate::ids::{JobId, RequestId, TenantId};
use crate::journal::{Journal, JournalSettings};
use crate::privacy::keys::KeyRing;
use crate::storage::{Storage, StorageError, StorageSettings};
use crate::studio::plan::{RenderPlan, Resolution, Scene, Voice};
use crate::studio::runner::{Discard, StepError, StepInput, StepRunner};
use crate::studio::slots::SlotPermit;
use crate::tenant::plan::Catalogue;
use crate::tenant::quota::Item;
use crate::tenant::steps::{Artifact, StepName, StepResult};
use crate::tenant::{CallContext, Idempotency, KeyOwner, TenantDeps, TenantSettings, Tenants};

/// What the studio does with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Succeed,
    /// Every image fails, as if the provider were down.
    FailImages,
    /// Every `assemble` runs until it is cancelled.
    HangAtAssemble,
}

/// A studio that does what its script says.
#[derive(Debug)]
pub(super) struct Scripted {
    script: Mutex<Script>,
    pub(super) runs: Mutex<Vec<StepName>>,
    pub(super) hanging: AtomicU32,
    pub(super) cancelled: AtomicU32,
}

impl Scripted {
    pub(super) fn new(script: Script) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script),
            runs: Mutex::default(),
            hanging: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
        })
    }

    pub(super) fn runs_of(&self, step: StepName) -> usize {
        self.runs.lock().unwrap().iter().filter(|run| **run == step).count()
    }
}

fn item(meter: &str, amount: u64) -> Item {
    Item { meter: meter.parse().unwrap(), amount }
}

fn result_of(input: &StepInput) -> StepResult {
    let key = format!("jobs/{}/steps/{}", input.job, input.step);
    let (bytes, duration_ms, usage) = match input.step {
        StepName::Image(_) => (1_000, 0, vec![item("images", 1)]),
        StepName::Speech(_) => (2_000, 900, vec![item("tts_ms", 900)]),
        StepName::Segment(..) => (3_000, 1_000, Vec::new()),
        _ => (9_000, 1_000, vec![item("render_ms", 1_000), item("storage_bytes", 9_000)]),
    };
    let artifacts = match input.step {
        StepName::Assemble => vec![Artifact {
            name: "video.mp4".to_owned(),
            key: key.clone(),
            bytes,
            content_type: "video/mp4".to_owned(),
        }],
        _ => Vec::new(),
    };
    StepResult { key, bytes, duration_ms, usage, degraded: None, artifacts }
}

/// Lets a test wait on what the studio sees.
#[derive(Debug, Clone)]
pub(super) struct Studio(pub(super) Arc<Scripted>);

impl StepRunner for Studio {
    fn acquire(
        &self,
        _tenant: TenantId,
        _step: StepName,
    ) -> BoxFuture<'static, Result<SlotPermit, StepError>> {
        async { Ok(SlotPermit::unlimited()) }.boxed()
    }

    fn run(
        &self,
        input: StepInput,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<StepResult, StepError>> {
        let scripted = Arc::clone(&self.0);
        let script = *scripted.script.lock().unwrap();
        scripted.runs.lock().unwrap().push(input.step);
        async move {
            match (script, input.step) {
                (Script::FailImages, StepName::Image(_)) => {
                    Err(StepError::retryable("provider-unavailable", "as the script says"))
                }
                (Script::HangAtAssemble, StepName::Assemble) => {
                    scripted.hanging.fetch_add(1, Ordering::SeqCst);
                    cancel.cancelled().await;
                    scripted.cancelled.fetch_add(1, Ordering::SeqCst);
                    Err(StepError::interrupted())
                }
                _ => Ok(result_of(&input)),
            }
        }
        .boxed()
    }

    fn discard(
        &self,
        _tenant: TenantId,
        _job: JobId,
        _what: Discard,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        async { Ok(()) }.boxed()
    }
}

/// A running house in a folder.
pub(super) struct House {
    pub(super) tenants: Tenants,
    pub(super) keys: KeyRing,
    clock: SharedClock,
    pub(super) journal: Journal,
    database: Database,
    tasks: Tasks,
}

impl House {
    pub(super) async fn start(folder: &Path, studio: &Arc<Scripted>) -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let tasks = Tasks::new();
        let settings = testing::settings(folder).await;
        let database = Database::open(&settings, &tasks).await.unwrap();
        let settings = JournalSettings::default();
        let journal =
            Journal::start(&database, Arc::clone(&clock), &tasks, settings).await.unwrap();
        let keys = KeyRing::open(folder).unwrap();
        let storage = StorageSettings { dir: folder.join("storage") };
        let deps = TenantDeps {
            journal: journal.clone(),
            database: database.clone(),
            catalogue: Arc::new(Catalogue::builtin()),
            clock: Arc::clone(&clock),
            keys: keys.clone(),
            storage: Storage::open(&storage).await.unwrap(),
            studio: Arc::new(Studio(Arc::clone(studio))),
            tasks: tasks.clone(),
            settings: TenantSettings {
                reap_every: Duration::from_millis(50),
                ..TenantSettings::default()
            },
        };
        let tenants = Tenants::start(deps).await.unwrap();
        Self { tenants, keys, clock, journal, database, tasks }
    }

    /// Stops in the order of a shutdown.
    pub(super) async fn stop(self) {
        assert!(self.tenants.drain(Deadline::after(Duration::from_secs(10))).await);
        self.journal.stop(Duration::from_secs(10)).await;
        let left = self.tasks.finish(Duration::from_secs(5)).await;
        assert!(left.is_empty(), "tasks left: {left:?}");
        self.database.close().await;
    }

    pub(super) fn tenant(&self) -> TenantId {
        TenantId::generate(&*self.clock)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn context(&self) -> CallContext {
        let deadline = Deadline::after(Duration::from_secs(20));
        CallContext::system(RequestId::generate(&*self.clock), deadline)
    }

    pub(super) fn keyed(&self, key: &str, body: &str) -> CallContext {
        let owner = KeyOwner::Tenant;
        let key = Idempotency::new(&self.keys, owner, "POST /test", key, body.as_bytes());
        self.context().with_idempotency(key)
    }

    pub(super) async fn images_used(&self, tenant: TenantId) -> (u64, u64) {
        let usage = self.tenants.usage(tenant).await.unwrap();
        let images = usage.meters.iter().find(|meter| meter.meter.as_str() == "images").unwrap();
        (images.used, images.reserved)
    }
}

pub(super) fn images(amount: u64) -> Vec<Item> {
    vec![item("images", amount)]
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn plan() -> RenderPlan {
    let scene = |n| Scene {
        image_prompt: format!("picture {n}"),
        narration: format!("words {n}"),
        duration_ms: 1_000,
    };
    RenderPlan {
        topic: "a test".to_owned(),
        language: "en".to_owned(),
        voice: Voice::F,
        resolution: Resolution::Hd,
        scenes: vec![scene(1), scene(2)],
    }
}

/// Waits until `is_so` says yes.
pub(super) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(30));
    while !is_so().await {
        assert!(!deadline.is_past(), "it never came to that");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
