//! A real PostgreSQL of a test's own: started from a copied template, broken and ended by its own ids.
//!
//! It never runs as root, never shares a folder or a port, and goes with whoever started it. The
//! template sorts text as people do (ICU, `en-US`), so that what relies on byte order is found here.

mod processes;
mod template;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub use processes::Backend;

/// How long it may take from its start to its first connection, recovery included.
const START_WITHIN: Duration = Duration::from_mins(1);

/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How often readiness is asked for.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Tries to find a port that nobody takes between our look and its start.
const PORT_TRIES: u32 = 5;

/// Who may do everything in it; nobody is asked for a password on the loopback.
const USER: &str = "tenantry";

/// The database that a fresh server has.
const DATABASE: &str = "tenantry";

/// Files of the write-ahead log that a test fills at most.
const LOG_FILES: u32 = 24;

/// Where the number begins in the name of such a file, after timeline and higher digits.
const LOG_NUMBER_AT: usize = 16;

/// Chooses how a server is started.
#[derive(Clone, Debug, Default)]
pub struct PostgresBuilder {
    settings: Vec<(String, String)>,
    wrapper: Vec<String>,
    data: Option<PathBuf>,
}

impl PostgresBuilder {
    /// Begins with a copy of what another server holds, which was stopped.
    #[must_use]
    pub fn copy_of(mut self, other: &Postgres) -> Self {
        self.data = Some(other.data_dir());
        self
    }

    /// Sets a parameter of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server below another program, as `strace` wants it: `<wrapper…> postgres -D …`.
    #[must_use]
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts a server on a folder and a port of its own, and waits until it takes connections.
    pub async fn start(self) -> anyhow::Result<Postgres> {
        let programs = template::Programs::find()?;
        let folder = tempfile::Builder::new().prefix("tenantry-postgres-").tempdir()?;
        template::copy_to(&programs, self.data.as_deref(), folder.path()).await?;
        let mut failure = None;
        for _ in 0..PORT_TRIES {
            let address = free_address()?;
            template::configure(folder.path(), address, &self.settings)?;
            match start_once(&programs, &self.wrapper, folder.path(), address).await {
                Ok(child) => {
                    let Self { wrapper, .. } = self;
                    return Ok(Postgres { child: Some(child), programs, wrapper, folder, address });
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no try was made")))
    }
}

/// A running server with a folder of its own.
#[derive(Debug)]
pub struct Postgres {
    // First, so that the server ends before its folder does.
    child: Option<Child>,
    programs: template::Programs,
    wrapper: Vec<String>,
    folder: TempDir,
    address: SocketAddr,
}

impl Postgres {
    /// Starts a server as it is installed.
    pub async fn start() -> anyhow::Result<Self> {
        PostgresBuilder::default().start().await
    }

    /// Begins to choose how a server is started.
    #[must_use]
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// The URL of its database, for `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.address, DATABASE)
    }

    /// The URL of a server's database by another address: that of a proxy.
    #[must_use]
    pub fn url_by(address: SocketAddr) -> String {
        url(address, DATABASE)
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join(template::DATA)
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.folder.path())).unwrap_or_default()
    }

    /// Makes another database and returns its URL.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        self.sql(&format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(url(self.address, name))
    }

    /// Runs statements with `psql` and returns what they print: a line a row, columns divided by `|`.
    pub async fn sql(&self, statements: &str) -> anyhow::Result<String> {
        let output = Command::new(self.programs.path("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statements])
            .arg(self.url())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`{statements}`: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// The id of the process that all others descend from.
    #[must_use]
    pub fn id(&self) -> Option<i32> {
        processes::postmaster(&self.data_dir())
    }

    /// The processes that serve connections.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        self.id().map(processes::backends).unwrap_or_default()
    }

    /// The process that serves the connection which calls itself so (`application_name`).
    pub async fn backend_of(&self, application: &str) -> anyhow::Result<i32> {
        let query =
            format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{application}'");
        let found = self.sql(&query).await?;
        let first = found.lines().next().with_context(|| format!("no backend of {application}"))?;
        first.parse().context("a process id")
    }

    /// Stops every process that serves a connection, as a machine out of memory would.
    pub fn pause(&self) {
        processes::signal_all(&self.backends(), Signal::SIGSTOP);
    }

    /// Lets what was paused go on.
    pub fn resume(&self) {
        processes::signal_all(&self.backends(), Signal::SIGCONT);
    }

    /// Kills every process of the server at once, as a power cut would; the folder stays.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let family = self.id().map(processes::family).unwrap_or_default();
        processes::kill_all(&family);
        child.kill().await.context("kill the server")?;
        processes::wait_until_gone(&family).await
    }

    /// Ends it in order: open connections are cut, what is committed is on disk.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let family = self.id().map(processes::family).unwrap_or_default();
        if let Some(id) = self.id() {
            kill(Pid::from_raw(id), Signal::SIGINT).context("send SIGINT")?;
        }
        let ended = timeout(STOP_WITHIN, child.wait()).await;
        ended.with_context(|| format!("did not stop in time:\n{}", self.log()))??;
        processes::wait_until_gone(&family).await
    }

    /// Puts it below another program at its next start, or back on its own feet.
    pub fn set_wrapper(&mut self, words: Vec<String>) {
        self.wrapper = words;
    }

    /// The files of its write-ahead log: those that it will begin soon among them.
    #[must_use]
    pub fn log_files(&self) -> Vec<PathBuf> {
        let folder = self.data_dir().join("pg_wal");
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let number = |name: String| u32::from_str_radix(name.get(LOG_NUMBER_AT..)?, 16).ok();
        let first = names.filter_map(number).min().unwrap_or_default();
        let path = |number: u32| folder.join(format!("0000000100000000{number:08X}"));
        (first..first + LOG_FILES).map(path).collect()
    }

    /// Starts it again on its folder and port, killing it first if it still runs.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        // A killed server leaves its id behind, in two places; it belongs to nobody, to a stranger,
        // or to what is left of the server until somebody reaps it.
        let _ = fs::remove_file(self.data_dir().join(processes::PID_FILE));
        let socket = format!(".s.PGSQL.{}.lock", self.address.port());
        let _ = fs::remove_file(self.folder.path().join(socket));
        let Self { programs, wrapper, folder, address, .. } = self;
        self.child = Some(start_once(programs, wrapper, folder.path(), *address).await?);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let family = self.id().map(processes::family).unwrap_or_default();
        if std::thread::panicking() {
            // A failed test shows what its database said; nobody else reads this.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.log().as_bytes());
        }
        processes::kill_all(&family);
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
    }
}

fn url(address: SocketAddr, database: &str) -> String {
    format!("postgres://{USER}@{address}/{database}")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("postgres.log")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}

async fn start_once(
    programs: &template::Programs,
    wrapper: &[String],
    folder: &Path,
    address: SocketAddr,
) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log_path(folder))?;
    let postgres = programs.path("postgres").display().to_string();
    let data = folder.join(template::DATA).display().to_string();
    let words = wrapper.iter().map(String::as_str).chain([postgres.as_str(), "-D", data.as_str()]);
    let mut child = programs
        .as_its_user(&words.collect::<Vec<_>>())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir(folder)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("start PostgreSQL")?;
    let deadline = Instant::now() + START_WITHIN;
    loop {
        let ready = Command::new(programs.path("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-U", USER, "-d", DATABASE])
            .args(["-p", &address.port().to_string()])
            .status()
            .await?;
        if ready.success() {
            return Ok(child);
        }
        let log = || fs::read_to_string(log_path(folder)).unwrap_or_default();
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("PostgreSQL ended with {status}:\n{}", log());
        }
        anyhow::ensure!(Instant::now() < deadline, "PostgreSQL did not get ready:\n{}", log());
        sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
