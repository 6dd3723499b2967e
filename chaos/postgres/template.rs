//! The folder that every server is a copy of: made once on a machine, by its own programs.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;

use super::{DATABASE, USER};

/// The data's name inside a folder.
pub(super) const DATA: &str = "data";

/// What makes it small and predictable; the last word on anything is the builder's.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("shared_buffers", "32MB"),
    ("max_connections", "60"),
    ("logging_collector", "off"),
    ("log_min_messages", "warning"),
    ("max_wal_size", "256MB"),
];

/// Where Debian puts the programs of each version.
const INSTALLED: &str = "/usr/lib/postgresql";

/// Counts up when the template is made in another way.
const FORM: u32 = 1;

/// Users that the server may run as when we are root, best first.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// The installed programs, and who runs them.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    version: String,
    // None when we are an ordinary user already.
    user: Option<(u32, u32)>,
}

impl Programs {
    /// Finds the newest version.
    pub(super) fn find() -> anyhow::Result<Self> {
        let entries = fs::read_dir(INSTALLED).into_iter().flatten().flatten();
        let newest = entries
            .filter(|entry| entry.path().join("bin/initdb").exists())
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .max()
            .context("PostgreSQL is not installed; `scripts/setup test` does it")?;
        let folder = Path::new(INSTALLED).join(newest.to_string()).join("bin");
        let is_root = fs::metadata("/proc/self")?.uid() == 0;
        let user = if is_root { Some(ordinary_user()?) } else { None };
        Ok(Self { folder, version: newest.to_string(), user })
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// A command as the user that the server runs as; it ends when whoever started it ends.
    pub(super) fn as_its_user(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = self.user {
            command.args([format!("--reuid={user}"), format!("--regid={group}")]);
            command.arg("--clear-groups");
        }
        command.args(["--pdeathsig", "KILL", "--"]).args(words);
        command
    }

    fn own(&self, path: &Path) -> anyhow::Result<()> {
        let Some((user, group)) = self.user else { return Ok(()) };
        chown(path, Some(user), Some(group)).with_context(|| format!("own {}", path.display()))
    }
}

/// The numbers of a user without power, as `/etc/passwd` has them.
fn ordinary_user() -> anyhow::Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").context("read the users")?;
    let numbers = |wanted: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    USERS.iter().find_map(|user| numbers(user)).context("no user to run PostgreSQL as")
}

/// Writes its settings, those of the builder last.
pub(super) fn configure(
    folder: &Path,
    address: SocketAddr,
    chosen: &[(String, String)],
) -> anyhow::Result<()> {
    let own = [
        ("port", address.port().to_string()),
        ("unix_socket_directories", folder.display().to_string()),
    ];
    let given = SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let chosen = chosen.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let lines = given.chain(own).chain(chosen);
    let lines: Vec<String> = lines.map(|(name, value)| format!("{name} = '{value}'")).collect();
    let text = lines.join("\n") + "\n";
    let path = folder.join(DATA).join("postgresql.auto.conf");
    fs::write(&path, text).context("write its settings")
}

/// Copies a server's data into a folder, or those of the template, which is made first if this is
/// the first time.
pub(super) async fn copy_to(
    programs: &Programs,
    data: Option<&Path>,
    folder: &Path,
) -> anyhow::Result<()> {
    let data = match data {
        Some(data) => data.to_owned(),
        None => find_or_make(programs).await?.join(DATA),
    };
    // The server's user walks through this folder and writes its socket into it.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    programs.own(folder)?;
    let copied =
        Command::new("cp").args(["-a", "--reflink=auto"]).arg(data).arg(folder).status().await?;
    anyhow::ensure!(copied.success(), "the data cannot be copied");
    Ok(())
}

async fn find_or_make(programs: &Programs) -> anyhow::Result<PathBuf> {
    let user = fs::metadata("/proc/self")?.uid();
    let name = format!("tenantry-postgres-template-{}-{FORM}-{user}", programs.version);
    let template = std::env::temp_dir().join(name);
    if template.exists() {
        return Ok(template);
    }
    // Tests run in processes of their own: one makes it, the others wait.
    let lock = File::create(template.with_extension("lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if !template.exists() {
        let made = tempfile::Builder::new().prefix("tenantry-postgres-making-").tempdir()?;
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755))?;
        programs.own(made.path())?;
        make(programs, made.path()).await?;
        fs::rename(made.keep(), &template).context("put the template in its place")?;
    }
    drop(lock);
    Ok(template)
}

async fn make(programs: &Programs, folder: &Path) -> anyhow::Result<()> {
    let initdb = programs.path("initdb").display().to_string();
    let data = folder.join(DATA).display().to_string();
    let user = format!("--username={USER}");
    let words = [
        &initdb,
        "-D",
        &data,
        &user,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--locale-provider=icu",
        "--icu-locale=en-US",
        "--wal-segsize=1",
        "--no-instructions",
        "--no-sync",
    ];
    run(programs.as_its_user(&words), folder, None).await.context("run initdb")?;
    // One user without a server: a database of its own beside those that come with it.
    let postgres = programs.path("postgres").display().to_string();
    let single = [&postgres, "--single", "-D", &data, "template1"];
    let create = format!("CREATE DATABASE {DATABASE};\n");
    run(programs.as_its_user(&single), folder, Some(&create)).await.context("make the database")
}

async fn run(mut command: Command, folder: &Path, input: Option<&str>) -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut child = command
        .current_dir(folder)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(())
}
