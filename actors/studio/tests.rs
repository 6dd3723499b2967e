use std::collections::BTreeMap;
use std::path::Path;

use tenantry_supervision::Tasks;

use super::plan::RenderPlan;
use super::*;
use crate::clock::SystemClock;
use crate::storage::{StorageSettings, TenantStore};
use crate::tenant::steps::{Span, segment_lengths_ms};

mod double;
mod faults;
mod journeys;
mod providers;

/// More than any single step of these tests takes, also on a busy machine.
const STEP_TIMEOUT: Duration = Duration::from_mins(3);

/// A studio with its own store and scratch folder.
struct Workshop {
    dir: tempfile::TempDir,
    studio: Studio,
    store: TenantStore,
    tenant: TenantId,
    job: JobId,
    _tasks: Tasks,
}

impl Workshop {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StudioSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage =
            Storage::open(&StorageSettings { dir: dir.path().join("store") }).await.unwrap();
        let mut settings = StudioSettings {
            image: None,
            speech: None,
            scratch_dir: dir.path().join("scratch"),
            tools: Tools::default(),
            image_workers: 2,
            speech_workers: 2,
            video_workers: 2,
        };
        change(&mut settings);
        let tasks = Tasks::new();
        let tenant = TenantId::generate(&SystemClock);
        let store = storage.tenant(tenant);
        let studio = Studio::start(settings, storage, &tasks).await.unwrap();
        Self { dir, studio, store, tenant, job: JobId::generate(&SystemClock), _tasks: tasks }
    }

    fn input(&self, plan: &Arc<RenderPlan>, step: StepName) -> StepInput {
        StepInput {
            tenant: self.tenant,
            job: self.job,
            step,
            attempt: 1,
            is_last_attempt: false,
            deadline: Deadline::after(STEP_TIMEOUT),
            span: None,
            plan: Arc::clone(plan),
            results: BTreeMap::new(),
        }
    }

    async fn run(&self, input: StepInput) -> Result<StepResult, StepError> {
        self.studio.run(input, CancellationToken::new()).await
    }

    /// Runs a whole plan, step by step, as the tenant actor would.
    async fn render(&self, plan: &Arc<RenderPlan>) -> BTreeMap<StepName, StepResult> {
        let mut results = BTreeMap::new();
        for (number, scene) in (1u8..).zip(&plan.scenes) {
            for step in [StepName::Image(number), StepName::Speech(number)] {
                let made = self.run(self.input(plan, step)).await.unwrap();
                results.insert(step, made);
            }
            let spoken_ms = results[&StepName::Speech(number)].duration_ms;
            let mut start_ms = 0;
            let lengths = segment_lengths_ms(spoken_ms.max(scene.duration_ms));
            for (part, length_ms) in (1u16..).zip(lengths) {
                let step = StepName::Segment(number, part);
                let mut input = self.input(plan, step);
                input.span = Some(Span { start_ms, length_ms });
                input.results.clone_from(&results);
                results.insert(step, self.run(input).await.unwrap());
                start_ms += u64::from(length_ms);
            }
        }
        let mut input = self.input(plan, StepName::Assemble);
        input.results.clone_from(&results);
        results.insert(StepName::Assemble, self.run(input).await.unwrap());
        results
    }

    /// Fetches a result to look at it.
    async fn fetch(&self, result: &StepResult, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        self.store.fetch(&result.key, &path).await.unwrap();
        path
    }

    fn scratch_is_empty(&self) -> bool {
        std::fs::read_dir(self.dir.path().join("scratch")).unwrap().next().is_none()
    }
}

fn example(name: &str) -> Arc<RenderPlan> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    Arc::new(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// Writes a shell script that stands for a program.
fn script(dir: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = dir.join("fake");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Asks ffprobe itself, apart from the studio's own check.
fn probed(file: &Path, entries: &str) -> String {
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0", "-show_entries", entries])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}
