use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tenantry_supervision::{Tasks, spawn};

use super::*;

/// How soon a call must return after its deadline or cancellation.
const PROMPTLY: Duration = Duration::from_secs(2);
/// More than any script of these tests takes.
const PLENTY: Duration = Duration::from_mins(1);

struct Fixture {
    dir: tempfile::TempDir,
    script: PathBuf,
}

impl Fixture {
    /// Writes a shell script that tells its process group and then does what is asked.
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("fake");
        fs::write(&script, format!("#!/bin/sh\necho $$ > group.tmp; mv group.tmp group\n{body}\n"))
            .unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, script }
    }

    fn call(&self) -> Call<'_> {
        Call {
            program: &self.script,
            args: Vec::new(),
            dir: self.dir.path(),
            stdin: Vec::new(),
            file_bytes_max: 1024 * 1024,
            stdout_bytes_max: TEXT_BYTES_MAX,
        }
    }

    async fn run(&self, within: Duration) -> Result<Output, ProcessError> {
        run(self.call(), Deadline::after(within), &CancellationToken::new()).await
    }

    async fn run_plenty(&self) -> Result<Output, ProcessError> {
        self.run(PLENTY).await
    }

    fn group(&self) -> i32 {
        fs::read_to_string(self.dir.path().join("group")).unwrap().trim().parse().unwrap()
    }

    async fn has_begun(&self) {
        let begun = async {
            while !self.dir.path().join("group").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PLENTY, begun).await.is_ok(), "it never began");
    }

    /// Waits until no process of the group is alive; zombies that init has not seen yet are dead.
    async fn group_is_gone(&self) {
        let group = self.group();
        let gone = async {
            while !living_members(group).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PROMPTLY, gone).await;
        assert!(waited.is_ok(), "left: {:?}", living_members(group));
    }
}

/// Lists the processes of a group that are not zombies, as /proc tells.
fn living_members(group: i32) -> Vec<i32> {
    let stat = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let is_member = |pid: &i32| {
        let Some(stat) = stat(*pid) else { return false };
        // The name in parentheses may hold anything; the fields follow the last one.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[0] != "Z" && fields[2] == group.to_string()
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_member).collect()
}

#[tokio::test]
async fn a_program_gets_its_input_and_gives_its_output() {
    let fixture = Fixture::new("cat; echo oops >&2");
    let mut call = fixture.call();
    call.stdin = b"hello".to_vec();

    let output = run(call, Deadline::after(PLENTY), &CancellationToken::new()).await.unwrap();

    assert_eq!(output.stdout, b"hello");
    assert_eq!(output.stderr, "oops");
}

#[tokio::test]
async fn a_program_does_not_see_the_servers_variables() {
    let fixture = Fixture::new("env | cut -d= -f1 | sort | tr '\\n' ' '");

    let output = fixture.run_plenty().await.unwrap();

    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "LANG PATH PWD");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_at_its_deadline() {
    let fixture = Fixture::new("trap '' TERM INT HUP; while :; do sleep 1000; done");
    let begun = tokio::time::Instant::now();

    let ended = fixture.run(Duration::from_millis(700)).await;

    assert!(matches!(ended, Err(ProcessError::TimedOut)), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_millis(700) + PROMPTLY);
    fixture.group_is_gone().await;
}

#[tokio::test]
async fn a_cancelled_program_takes_its_grandchildren_along() {
    let fixture = Fixture::new("(trap '' TERM; sleep 1000) & (sleep 1000 &) ; sleep 1000");
    let cancel = CancellationToken::new();
    let calling = run(fixture.call(), Deadline::after(PLENTY), &cancel);
    let stopping = async {
        fixture.has_begun().await;
        cancel.cancel();
        tokio::time::Instant::now()
    };

    let (ended, stopped_at) = tokio::join!(calling, stopping);

    assert!(matches!(ended, Err(ProcessError::Cancelled)), "{ended:?}");
    assert!(stopped_at.elapsed() < PROMPTLY);
    fixture.group_is_gone().await;
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipes_does_not_keep_us() {
    let fixture = Fixture::new("sleep 1000 & echo done");
    let begun = tokio::time::Instant::now();

    let output = fixture.run_plenty().await.unwrap();

    assert_eq!(output.stdout, b"done\n");
    assert!(begun.elapsed() < Duration::from_secs(20), "the exit ends it, not the pipe");
    fixture.group_is_gone().await;
}

#[tokio::test]
async fn a_program_that_fills_its_pipes_is_drained() {
    let fixture = Fixture::new("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 3");

    let ended = fixture.run_plenty().await;

    let Err(ProcessError::Failed { status, stderr }) = ended else { panic!("{ended:?}") };
    assert_eq!(status.code(), Some(3));
    assert!(stderr.len() <= STDERR_BYTES_KEPT && stderr.ends_with("end"));
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped() {
    let fixture = Fixture::new("head -c 3000000 /dev/zero");

    assert_eq!(fixture.run_plenty().await.unwrap().stdout.len(), TEXT_BYTES_MAX);
}

#[tokio::test]
async fn a_file_cannot_pass_its_limit() {
    let fixture = Fixture::new("exec head -c 3000000 /dev/zero > big");

    assert!(matches!(fixture.run_plenty().await, Err(ProcessError::Failed { .. })));
    assert!(fs::metadata(fixture.dir.path().join("big")).unwrap().len() <= 1024 * 1024);
}

#[tokio::test]
async fn a_missing_program_is_a_failure_that_says_so() {
    let fixture = Fixture::new("");
    let missing = fixture.dir.path().join("missing");
    let call = Call { program: &missing, ..fixture.call() };

    let ended = run(call, Deadline::after(PLENTY), &CancellationToken::new()).await;

    let Err(ProcessError::Failed { stderr, .. }) = ended else { panic!("{ended:?}") };
    assert!(stderr.contains("missing"), "{stderr}");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_process() {
    let fixture = std::sync::Arc::new(Fixture::new("sleep 1000 & sleep 1000"));
    let tasks = Tasks::new();
    let own = std::sync::Arc::clone(&fixture);
    let task = spawn("call", &tasks, async move { own.run_plenty().await.is_ok() });
    fixture.has_begun().await;

    task.abort();
    assert!(task.await.is_err());

    fixture.group_is_gone().await;
}

/// Stands in a folder in which the test below runs this program again, as a server.
const SERVER_MARK: &str = "act-as-server";

#[tokio::test]
async fn a_child_dies_with_a_server_that_is_killed() {
    if Path::new(SERVER_MARK).exists() {
        // The server: it waits for a child that never ends.
        let dir = std::env::current_dir().unwrap();
        let script = dir.join("fake");
        let call = Call {
            program: &script,
            args: Vec::new(),
            dir: &dir,
            stdin: Vec::new(),
            file_bytes_max: 1024 * 1024,
            stdout_bytes_max: TEXT_BYTES_MAX,
        };
        let _ = run(call, Deadline::after(PLENTY), &CancellationToken::new()).await;
        return;
    }
    let fixture = Fixture::new("exec sleep 1000");
    fs::write(fixture.dir.path().join(SERVER_MARK), "").unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "studio::process::tests::a_child_dies_with_a_server_that_is_killed"])
        .current_dir(fixture.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    fixture.has_begun().await;
    assert_ne!(living_members(fixture.group()), [0; 0]);

    server.start_kill().unwrap();
    server.wait().await.unwrap();

    fixture.group_is_gone().await;
}
