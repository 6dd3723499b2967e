//! The servers under measurement: child processes on free ports with a data folder of their own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::client::Connection;

/// How long a server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often readiness is asked for.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// How much of a failed server's log is shown.
const LOG_TAIL_BYTES: usize = 4000;

/// A running child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it answers.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the bare server, which is this same program.
    pub(crate) fn bare() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let (child, line) = start(Command::new(program).arg("bare").stderr(Stdio::inherit()))?;
        let address = line.strip_prefix("listening ").and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address }),
            None => bail!("the bare server's first line is `{line}`"),
        }
    }

    /// Tells the process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a fresh data folder of the measured server in it.
#[derive(Debug)]
pub(crate) struct Stage {
    program: PathBuf,
    folder: TempDir,
}

/// A tenant that load is sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// Its API key.
    pub(crate) api_key: String,
}

impl Stage {
    /// Makes the folder; without a program, the one beside this program is measured.
    pub(crate) fn new(program: Option<PathBuf>, scratch: Option<PathBuf>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let program = program.unwrap_or_else(|| own.with_file_name("tenantry"));
        if !program.is_file() {
            bail!("`{}` does not exist: build it, or name it by --server", program.display());
        }
        let scratch = scratch.or_else(|| own.parent().map(Path::to_owned)).unwrap_or_default();
        let folder = tempfile::Builder::new()
            .prefix("load-")
            .tempdir_in(&scratch)
            .with_context(|| format!("make a folder in {}", scratch.display()))?;
        Ok(Self { program, folder })
    }

    /// Tells the folder that data is written to.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes tenants in the data folder, before the server runs.
    pub(crate) fn create_tenants(&self, count: u32) -> anyhow::Result<Vec<Tenant>> {
        let mut command = self.command(&["tenant", "create", "--name", "load", "--json"])?;
        let output = command
            .args(["--count", &count.to_string()])
            .output()
            .context("run `tenantry tenant create`")?;
        if !output.status.success() {
            bail!("`tenantry tenant create` failed ({}): {}", output.status, self.log_tail());
        }
        let text = String::from_utf8(output.stdout).context("read the tenants")?;
        let tenants = text.lines().map(parse_tenant).collect::<anyhow::Result<Vec<_>>>()?;
        if tenants.len() != count as usize {
            bail!("{count} tenants were asked for and {} made", tenants.len());
        }
        Ok(tenants)
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn serve(&self) -> anyhow::Result<Server> {
        let (child, line) = start(&mut self.command(&["serve"])?)
            .with_context(|| format!("start the server; its log ends: {}", self.log_tail()))?;
        let Some((http, ops)) = parse_listening(&line) else {
            bail!("the server's first line is `{line}`; its log ends: {}", self.log_tail());
        };
        let server = Server { child, address: http };
        let deadline = Instant::now() + READY_WITHIN;
        while !(is_ready(http) || is_ready(ops)) {
            if Instant::now() > deadline {
                bail!("the server is not ready; its log ends: {}", self.log_tail());
            }
            std::thread::sleep(READY_PAUSE);
        }
        Ok(server)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let log = File::options().create(true).append(true).open(self.log_path());
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("TENANTRY__MODE", "development")
            .env("TENANTRY__HTTP__LISTEN", "127.0.0.1:0")
            .env("TENANTRY__OPS__LISTEN", "127.0.0.1:0")
            .env("TENANTRY__DATA_DIR", self.folder.path().join("data"))
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stderr(log.context("open the server's log")?);
        Ok(command)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let tail = log.len().saturating_sub(LOG_TAIL_BYTES);
        String::from_utf8_lossy(&log[tail..]).into_owned()
    }
}

/// Asks for a tenant's use of a meter.
pub(crate) fn used(address: SocketAddr, tenant: &Tenant, meter: &str) -> anyhow::Result<u64> {
    let (status, body) = get(address, "/api/usage", Some(&tenant.api_key))?;
    if status != 200 {
        bail!("GET /api/usage got {status}: {body}");
    }
    let usage: Value = serde_json::from_str(&body).context("read the usage")?;
    let meters = usage["meters"].as_array().context("the usage lists no meters")?;
    let entry = meters.iter().find(|entry| entry["meter"] == meter);
    entry.and_then(|entry| entry["used"].as_u64()).context("the usage lacks the meter")
}

fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz", None).is_ok_and(|(status, _)| status == 200)
}

fn get(address: SocketAddr, path: &str, api_key: Option<&str>) -> anyhow::Result<(u16, String)> {
    let bearer = api_key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.send(request.as_bytes()).await?;
        Ok((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
    })
}

/// Starts a child process and returns it with its first line.
fn start(command: &mut Command) -> anyhow::Result<(Child, String)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("start a process")?;
    let mut output = BufReader::new(child.stdout.take().context("the child has no output")?);
    let mut line = String::new();
    output.read_line(&mut line).context("read the first line")?;
    // What else it says is read and thrown away: a full pipe would stop it.
    std::thread::spawn(move || {
        let mut rest = [0; 4096];
        while output.read(&mut rest).is_ok_and(|length| length > 0) {}
    });
    Ok((child, line.trim_end().to_owned()))
}

fn parse_listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (http, ops) = line.strip_prefix("listening http=")?.split_once(" ops=")?;
    Some((http.parse().ok()?, ops.parse().ok()?))
}

fn parse_tenant(line: &str) -> anyhow::Result<Tenant> {
    let value: Value = serde_json::from_str(line).context("a tenant's line is not JSON")?;
    let api_key = value["api_key"].as_str().context("a tenant's line has no api_key")?;
    Ok(Tenant { api_key: api_key.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_both_listeners() {
        let line = "listening http=127.0.0.1:4001 ops=127.0.0.1:4002";

        let (http, ops) = parse_listening(line).unwrap();

        assert_eq!((http.port(), ops.port()), (4001, 4002));
        assert_eq!(parse_listening("listening 127.0.0.1:1"), None);
    }

    #[test]
    fn a_tenants_line_gives_its_key() {
        let tenant = parse_tenant(r#"{"tenant_id":"tnt_1","api_key":"tk_live_1"}"#).unwrap();

        assert_eq!(tenant.api_key, "tk_live_1");
        assert!(parse_tenant(r#"{"tenant_id":"tnt_1"}"#).is_err());
        assert!(parse_tenant("made tnt_1").is_err());
    }
}
