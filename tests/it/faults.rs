//! What breaks below and beside the server: its own writes, its machine, another server.
//!
//! After each: nothing acknowledged is missing, nothing is double, nothing oversold, chains verify.

pub(crate) mod disk;
mod postgres;
mod sweep;

use std::os::unix::fs::PermissionsExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use tempfile::TempDir;
use tenantry_chaos::history::{Recorder, check};
use tenantry_chaos::script::{LIMIT, Progress, Script};
use tenantry_chaos::strace::Strace;
use tenantry_chaos::{Api, Stack};

use crate::product::eventually;
use crate::support::stack;

/// How long a hold of one second may take to lapse on a slow machine.
const LAPSES_WITHIN: Duration = Duration::from_secs(30);

/// How often the script is begun again with a server that lives.
const TRIES: usize = 5;

/// Names a bug in a data folder, for a server that was built to have one.
const PLANTED_BUG: &str = "planted-bug";

/// A data folder in which the script's tenants are known, to be copied for each run.
#[derive(Debug)]
pub(crate) struct Template {
    folder: TempDir,
    plans: PathBuf,
    tenants: Vec<(String, String)>,
}

impl Template {
    pub(crate) async fn new() -> Self {
        Self::with_bug(None).await
    }

    /// The same with a server that has a bug.
    pub(crate) async fn with_bug(bug: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plans = folder.path().join("plans.toml");
        let catalogue = include_str!("../../plans.toml");
        let limited = catalogue.replacen("images = 500,", &format!("images = {LIMIT},"), 1);
        std::fs::write(&plans, limited).unwrap();
        let stack = stack().without_server().start().await.unwrap();
        let tenants = stack.create_tenants(2).await.unwrap();
        if let Some(bug) = bug {
            std::fs::write(stack.data_dir().join(PLANTED_BUG), bug).unwrap();
        }
        copy(stack.data_dir(), &folder.path().join("data"));
        Self { folder, plans, tenants }
    }

    /// A copy of the folder with a server that was not started, and its tenants.
    pub(crate) async fn stack(&self) -> (Stack, &[(String, String)]) {
        let plans = self.plans.to_str().unwrap();
        let builder = stack().variable("TENANTRY__PLANS", plans).without_mail().without_server();
        let stack = builder.start().await.unwrap();
        copy(&self.folder.path().join("data"), stack.data_dir());
        (stack, &self.tenants)
    }

    /// A server on another database, which was not started.
    async fn stack_on(&self, url: &str) -> Stack {
        let plans = self.plans.to_str().unwrap();
        let builder = stack().variable("TENANTRY__PLANS", plans).variable("DATABASE_URL", url);
        builder.without_mail().without_server().start().await.unwrap()
    }

    /// A run of the script on a copy of the folder.
    async fn run(&self) -> Run {
        let (stack, _) = self.stack().await;
        Run::new(stack, &self.tenants)
    }
}

/// The script, its server, and what is done to it.
#[derive(Debug)]
struct Run {
    stack: Stack,
    recorder: Recorder,
    script: Script,
    ids: Vec<String>,
    keys: Vec<String>,
    report: tempfile::NamedTempFile,
}

impl Run {
    fn new(stack: Stack, tenants: &[(String, String)]) -> Self {
        let recorder = Recorder::default();
        let (ids, keys): (Vec<_>, Vec<_>) = tenants.iter().cloned().unzip();
        let script = Script::new(recorder.clone(), ids.clone());
        let report = tempfile::NamedTempFile::new().unwrap();
        // What is traced may run as another user.
        let everyone = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(report.path(), everyone).unwrap();
        Self { stack, recorder, script, ids, keys, report }
    }

    /// The files of the journal, and their folder, whose flush makes a new name last.
    fn journal(&self) -> Vec<PathBuf> {
        self.files(&["journal.db", "journal.db-wal"])
    }

    /// The files of everything else.
    fn projections(&self) -> Vec<PathBuf> {
        self.files(&["tenantry.db", "tenantry.db-wal"])
    }

    fn files(&self, names: &[&str]) -> Vec<PathBuf> {
        let folder = std::fs::canonicalize(self.stack.data_dir()).unwrap();
        let mut files: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        files.push(folder);
        files
    }

    fn watch(&self, files: &[PathBuf], calls: &[&str]) -> Strace {
        Strace::watch(self.report.path(), files, calls)
    }

    fn script_tenant(&self, place: usize) -> &str {
        &self.ids[place]
    }

    fn clients(&self) -> Vec<Api> {
        let api = self.stack.api();
        self.keys.iter().map(|key| api.with_bearer(key)).collect()
    }

    /// Goes through the script. What a living server did not answer in time is asked again: it may be
    /// busy, and a disk may be full for longer than a request waits.
    async fn go_on(&mut self) -> Progress {
        for _ in 0..TRIES {
            if self.script.run(&self.clients()).await == Progress::Done {
                return Progress::Done;
            }
            if !self.stack.is_running() {
                break;
            }
        }
        Progress::Broken
    }

    /// The hold that nobody ends must lapse in whatever life its time comes.
    async fn hold_lapses(&self, context: &str) {
        let (tenant, path) = self.script.lapsing_hold().unwrap_or_else(|| panic!("{context}"));
        let clients = self.clients();
        let id = self.script_tenant(tenant);
        eventually(LAPSES_WITHIN, async || {
            let answer = self.recorder.get(&clients[tenant], id, &path).await?;
            (answer.body["state"] == "expired").then_some(())
        })
        .await;
    }

    /// What the journal says must fit what the clients were told so far.
    async fn check(&self, context: &str) {
        let verified = self.stack.verify().await;
        let lines = self.stack.export().await.unwrap();
        let faults = check(&self.recorder.calls(), &lines, &Script::rules());
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(verified.is_ok(), "{context}: {verified:?}");
        assert!(faults.is_empty(), "{context}:\n{}\n{lines}", faults.join("\n"));
    }
}

/// The script from its beginning to its end, a kill, and every request of it once more.
pub(crate) async fn life(bug: Option<&str>) {
    let template = Template::with_bug(bug).await;
    let mut run = template.run().await;
    run.stack.restart().await.unwrap();
    assert_eq!(run.go_on().await, Progress::Done);
    run.stack.kill().await.unwrap();
    run.check("killed").await;
    run.stack.restart().await.unwrap();
    assert_eq!(run.go_on().await, Progress::Done);
    run.hold_lapses("alive again").await;
    assert_eq!(run.stack.stop().await.unwrap(), Some(0));
    run.check("stopped").await;
}

#[tokio::test]
async fn a_script_whose_requests_are_all_sent_again_after_a_kill_happens_once() {
    life(None).await;
}

/// Runs a trial to its end or its panic, which says what was found.
pub(crate) async fn attempt<T>(trial: impl Future<Output = T>) -> Result<T, String> {
    let ended = AssertUnwindSafe(trial).catch_unwind().await;
    ended.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .map_or_else(|_| "a panic without a text".to_owned(), |text| (*text).to_owned()),
    })
}

/// Copies a folder's files and folders.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}
