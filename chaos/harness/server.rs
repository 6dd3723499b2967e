//! One real `tenantry` process: started on free ports, ready, killed or stopped by its own id.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long a server may take from its start to its first line, and from there to being ready.
const START_WITHIN: Duration = Duration::from_mins(1);

/// How often readiness is asked for.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How long a server may take to end after SIGTERM: its own budget is 25 s.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Ends a program when whoever started it ends, however that happens.
const DIE_WITH_PARENT: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// Lines of the server's log that a failed test shows.
const SHOWN_LOG_LINES: usize = 40;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The binary.
    pub binary: PathBuf,
    /// The data folder, which outlives the server.
    pub data_dir: PathBuf,
    /// Where it listens; a free port of the loopback when none is given.
    pub listen: Option<SocketAddr>,
    /// Where its ops listener is; a free port of the loopback when none is given.
    pub ops_listen: Option<SocketAddr>,
    /// Environment variables; of two with the same name the later wins.
    pub variables: Vec<(String, String)>,
    /// A program that runs the server below itself, with its arguments: `strace …`.
    pub wrapper: Vec<String>,
}

impl ServerSettings {
    /// A variable's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The command that runs the binary with these settings and no other configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_below(&[], arguments)
    }

    fn command_below(&self, wrapper: &[String], arguments: &[&str]) -> Command {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut command = Command::new(DIE_WITH_PARENT[0]);
        command.args(&DIE_WITH_PARENT[1..]).args(wrapper);
        if !wrapper.is_empty() {
            command.args(DIE_WITH_PARENT);
        }
        command
            .arg(&self.binary)
            .args(arguments)
            .env_clear()
            .envs(
                ["PATH", "HOME", "LANG", "TMPDIR"]
                    .iter()
                    .filter_map(|name| inherited(name).map(|value| (*name, value))),
            )
            .env("TENANTRY__HTTP__LISTEN", self.listen.unwrap_or(any).to_string())
            .env("TENANTRY__OPS__LISTEN", self.ops_listen.unwrap_or(any).to_string())
            .env("TENANTRY__DATA_DIR", &self.data_dir)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.data_dir)
            .stdin(Stdio::null())
            // A group of its own, so that Ctrl-C in a terminal reaches it through us alone.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn spawn(&self, wrapper: &[String]) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.command_below(wrapper, &["serve"]);
        command.stdout(Stdio::piped()).stderr(log).spawn().context("start the server")
    }

    fn log_path(&self) -> PathBuf {
        self.data_dir.join("server.log")
    }
}

/// A running server process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    id: Pid,
    http: SocketAddr,
    ops: SocketAddr,
    settings: ServerSettings,
    // Kept open, so that the server can go on writing to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts a server and kills it after a while, ready or not; returns when it is gone.
    pub async fn interrupt(settings: &ServerSettings, after: Duration) -> anyhow::Result<()> {
        let mut child = settings.spawn(&[])?;
        if let Ok(ended) = timeout(after, child.wait()).await {
            anyhow::bail!("the server ended by itself with {}:\n{}", ended?, tail(settings));
        }
        // Waiting matters: what is left of a killed process holds its files a while longer than
        // its command line is seen.
        child.kill().await.context("kill the starting server")
    }

    /// Starts a server and waits until it is ready.
    pub async fn start(settings: ServerSettings) -> anyhow::Result<Self> {
        let mut child = settings.spawn(&settings.wrapper)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).context("the server's id")?;
        let stdout = child.stdout.take().context("the server's standard output")?;
        let mut stdout = BufReader::new(stdout).lines();
        let first = timeout(START_WITHIN, stdout.next_line()).await;
        let listening = first.ok().and_then(Result::ok).flatten();
        let Some((http, ops)) = listening.as_deref().and_then(addresses) else {
            anyhow::bail!("the server did not start ({listening:?}):\n{}", tail(&settings));
        };
        let id = Pid::from_raw(if settings.wrapper.is_empty() { id } else { child_of(id)? });
        let mut server = Self { child, id, http, ops, settings, _stdout: stdout };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// The address of pages and API, as a URL without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The address of the ops listener, as a URL without a trailing slash.
    #[must_use]
    pub fn ops_url(&self) -> String {
        format!("http://{}", self.ops)
    }

    /// The id of the server's own process.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id.as_raw()
    }

    /// The server's whole log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.settings.log_path()).unwrap_or_default()
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.settings)
    }

    /// Kills the process without warning, and waits until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            match kill(self.id, Signal::SIGKILL) {
                // It has just ended by itself, and its wrapper has not noticed yet.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("kill the server"),
            }
        }
        self.child.wait().await.context("wait for the killed server")?;
        Ok(())
    }

    /// Asks the process to end and waits; returns its exit code, `None` when a signal ended it.
    pub async fn stop(mut self) -> anyhow::Result<Option<i32>> {
        kill(self.id, Signal::SIGTERM).context("send SIGTERM")?;
        let ended = timeout(STOP_WITHIN, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("did not end in time:\n{}", self.log_tail()))??;
        Ok(status.code())
    }

    /// Stops every thread of the process where it is, as a machine that is suspended would.
    pub fn pause(&self) -> anyhow::Result<()> {
        kill(self.id, Signal::SIGSTOP).context("send SIGSTOP")
    }

    /// Lets a paused process go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        kill(self.id, Signal::SIGCONT).context("send SIGCONT")
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the process ends by itself.
    pub async fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let deadline = Instant::now() + START_WITHIN;
        let mut last = String::new();
        while Instant::now() < deadline {
            match client.get(format!("{}/readyz", self.ops_url())).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => last = answer.text().await.unwrap_or_default(),
                Err(error) => last = error.to_string(),
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the server ended with {status}:\n{}", self.log_tail());
            }
            sleep(ASK_EVERY).await;
        }
        anyhow::bail!("the server did not become ready ({last}):\n{}", self.log_tail())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tail = self.log_tail();
            // A failed test shows what its server said; nobody else reads this.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), tail.as_bytes());
        }
        let _ = self.child.start_kill();
    }
}

/// The one child of a wrapper.
fn child_of(id: i32) -> anyhow::Result<i32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let children = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let child = children.split_whitespace().next().and_then(|child| child.parse().ok());
    child.context("the wrapper has no child")
}

/// Reads `listening http=<addr> ops=<addr>`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (http, ops) = line.strip_prefix("listening http=")?.split_once(" ops=")?;
    Some((http.parse().ok()?, ops.trim().parse().ok()?))
}

/// The last lines of the log, without what only tells that all is well.
fn tail(settings: &ServerSettings) -> String {
    let log = std::fs::read_to_string(settings.log_path()).unwrap_or_default();
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.contains("\"level\":\"INFO\"")).collect();
    lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n") + "\n"
}

/// What a child needs of this process's own environment.
#[expect(clippy::disallowed_methods, reason = "the child's environment is built from ours")]
fn inherited(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
