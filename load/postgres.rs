//! A PostgreSQL of our own, from the system's package, that lasts as long as its value.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

use crate::child::Process;
use crate::server::{log_tail, scratch_folder};

/// Where Debian keeps the programs, in a folder for each version.
const PACKAGES: &str = "/usr/lib/postgresql";
/// The users as whom it may run when we are root, as which it refuses to.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// How long it may take to start.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often is looked whether it has.
const READY_PAUSE: Duration = Duration::from_millis(50);
/// Its settings. What makes a commit durable keeps its default; the rest gives it room, so that it is
/// not its checkpoints that are measured.
const SETTINGS: [&str; 8] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=15min",
    "max_connections=300",
    "log_min_messages=warning",
];

/// A running PostgreSQL.
#[derive(Debug)]
pub(crate) struct Cluster {
    process: Process,
    port: u16,
    // Removed last, after the process has ended.
    _folder: TempDir,
}

/// As whom it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Starts a fresh one on a free port.
    pub(crate) fn start(scratch: Option<&Path>) -> anyhow::Result<Self> {
        let programs = newest_programs(Path::new(PACKAGES))
            .with_context(|| format!("{PACKAGES} has no PostgreSQL: install `postgresql`"))?;
        let user = other_user()?;
        let folder = scratch_folder(scratch)?;
        // The other user must come through to its own part of it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
        let (data, log) = (folder.path().join("data"), folder.path().join("log"));
        fs::create_dir(&data).context("make the folder of PostgreSQL")?;
        if let Some(User { uid, gid }) = user {
            chown(&data, Some(uid), Some(gid)).context("give its folder to PostgreSQL")?;
        }
        let command = |program: &str| -> anyhow::Result<Command> {
            let log = File::options().create(true).append(true).open(&log)?;
            let mut command = Command::new(programs.join(program));
            command.arg("-D").arg(&data).current_dir("/").stdin(Stdio::null()).stderr(log);
            if let Some(User { uid, gid }) = user {
                command.uid(uid).gid(gid);
            }
            Ok(command)
        };
        let made = command("initdb")?
            .args(["-U", "tenantry", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
            .stdout(Stdio::null())
            .status()
            .context("run `initdb`")?;
        if !made.success() {
            bail!("`initdb` failed; `--scratch` names another folder: {}", log_tail(&log));
        }
        let port = free_port()?;
        let mut postgres = command("postgres")?;
        postgres.args(["-h", "127.0.0.1", "-p", &port.to_string()]).arg("-k").arg(&data);
        for setting in SETTINGS {
            postgres.args(["-c", setting]);
        }
        // SIGQUIT ends its children too; after SIGKILL they would live on for a moment.
        let process = Process::silent(&mut postgres, Signal::SIGQUIT).context("run `postgres`")?;
        let mut cluster = Self { process, port, _folder: folder };
        cluster.wait_until_ready().with_context(|| log_tail(&log))?;
        Ok(cluster)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let Err(error) = execute(&self.url("postgres"), "SELECT 1") else { return Ok(()) };
            if self.process.ended()?.is_some() || Instant::now() > deadline {
                return Err(error.context("PostgreSQL does not start"));
            }
            std::thread::sleep(READY_PAUSE);
        }
    }

    /// Tells the process's id; its connections are its children.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Makes a database and tells its URL.
    pub(crate) fn create(&self, name: &str) -> anyhow::Result<String> {
        execute(&self.url("postgres"), &format!("CREATE DATABASE {name}"))
            .with_context(|| format!("make the database `{name}`"))?;
        Ok(self.url(name))
    }

    fn url(&self, name: &str) -> String {
        format!("postgres://tenantry@127.0.0.1:{}/{name}", self.port)
    }
}

/// Connects; the connection is carried by a task of `carriers`.
pub(crate) async fn connect(url: &str, carriers: &mut JoinSet<()>) -> anyhow::Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.context("connect to PostgreSQL")?;
    carriers.spawn(async move {
        // Whoever waits for an answer learns of a broken connection there.
        let _ = connection.await;
    });
    Ok(client)
}

/// Runs statements on a connection of their own.
pub(crate) fn execute(url: &str, statements: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut carriers = JoinSet::new();
        let client = connect(url, &mut carriers).await?;
        Ok(client.batch_execute(statements).await?)
    })
}

/// Finds the programs of the newest version.
fn newest_programs(packages: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(packages).ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let programs = versions.max().map(|version| packages.join(version.to_string()).join("bin"))?;
    programs.join("initdb").is_file().then_some(programs)
}

/// Finds the user as whom it runs, if it cannot be ourselves.
fn other_user() -> anyhow::Result<Option<User>> {
    if fs::metadata("/proc/self").context("see who we are")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("read the users")?;
    let found = USERS.iter().find_map(|name| user_of(&users, name));
    Ok(Some(found.context("PostgreSQL needs another user than root")?))
}

fn user_of(users: &str, wanted: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*name == wanted).then_some(())?;
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

fn free_port() -> anyhow::Result<u16> {
    let probe = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(probe.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9", "15", "17", "common"] {
            let programs = folder.path().join(version).join("bin");
            fs::create_dir_all(&programs).unwrap();
            fs::write(programs.join("initdb"), "").unwrap();
        }

        let programs = newest_programs(folder.path()).unwrap();

        assert!(programs.ends_with("17/bin"));
        assert_eq!(newest_programs(&folder.path().join("common")), None);
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users = "postgresql:x:7:8::/:/bin/sh\npostgres:x:101:104:PostgreSQL:/:/bin/sh\n";

        assert_eq!(user_of(users, "postgres"), Some(User { uid: 101, gid: 104 }));
        assert_eq!(user_of(users, "nobody"), None);
    }
}
