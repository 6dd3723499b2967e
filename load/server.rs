//! The servers under measurement: child processes on free ports with a data folder of their own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::child::Process;
use crate::client::Connection;

/// How long a server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How often readiness is asked for.
const READY_PAUSE: Duration = Duration::from_millis(5);
/// How long a server may take to end; it allows itself 25 s.
const END_WITHIN: Duration = Duration::from_mins(1);
/// How much of a failed server's log is shown.
const LOG_TAIL_BYTES: usize = 4000;

/// A running server, ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Where it tells about itself, if it does.
    pub(crate) ops: Option<SocketAddr>,
}

impl Server {
    /// Starts one of the servers that are this same program.
    pub(crate) fn own(arguments: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        let (process, line) = Process::announced(command.args(arguments).stdin(Stdio::null()))?;
        let address = line.strip_prefix("listening ").and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { process, address, ops: None }),
            None => bail!("the first line of `{}` is `{line}`", arguments.join(" ")),
        }
    }

    /// Tells the process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it in the orderly way.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = self.process.stop(END_WITHIN)?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

/// A folder with a fresh data folder of the measured server in it.
#[derive(Debug)]
pub(crate) struct Stage {
    program: PathBuf,
    folder: TempDir,
    /// Where the data is, if not in the folder.
    database: Option<String>,
}

/// A tenant that load is sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// Its API key.
    pub(crate) api_key: String,
}

impl Stage {
    /// Makes the folder; without a program, the one beside this program is measured.
    pub(crate) fn new(program: Option<&Path>, scratch: Option<&Path>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let program = program.map_or_else(|| own.with_file_name("tenantry"), Path::to_owned);
        if !program.is_file() {
            bail!("`{}` does not exist: build it, or name it by --server", program.display());
        }
        Ok(Self { program, folder: scratch_folder(scratch)?, database: None })
    }

    /// Keeps the data in this database instead.
    pub(crate) fn on(mut self, database: &str) -> Self {
        self.database = Some(database.to_owned());
        self
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

    /// Starts the server, waits until it is ready, and tells how long that took.
    pub(crate) fn serve(&self) -> anyhow::Result<(Server, Duration)> {
        let started = Instant::now();
        let (process, line) = Process::announced(&mut self.command(&["serve"])?)
            .with_context(|| format!("start the server; its log ends: {}", self.log_tail()))?;
        let Some((address, ops)) = parse_listening(&line) else {
            bail!("the server's first line is `{line}`; its log ends: {}", self.log_tail());
        };
        let server = Server { process, address, ops: Some(ops) };
        while !is_ready(ops) {
            if started.elapsed() > READY_WITHIN {
                bail!("the server is not ready; its log ends: {}", self.log_tail());
            }
            std::thread::sleep(READY_PAUSE);
        }
        Ok((server, started.elapsed()))
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
            .env_remove("TENANTRY__DATABASE__URL")
            .env_remove("REDIS_URL")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stderr(log.context("open the server's log")?);
        if let Some(database) = &self.database {
            command.env("DATABASE_URL", database);
        }
        Ok(command)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn log_tail(&self) -> String {
        log_tail(&self.log_path())
    }
}

/// Makes a folder that is removed with its value; by default beside this program.
pub(crate) fn scratch_folder(scratch: Option<&Path>) -> anyhow::Result<TempDir> {
    let own = std::env::current_exe().context("find this program")?;
    let scratch = scratch.or_else(|| own.parent()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix("load-")
        .tempdir_in(scratch)
        .with_context(|| format!("make a folder in {}", scratch.display()))
}

/// Reads the end of a log.
pub(crate) fn log_tail(path: &Path) -> String {
    let log = fs::read(path).unwrap_or_default();
    let tail = log.len().saturating_sub(LOG_TAIL_BYTES);
    String::from_utf8_lossy(&log[tail..]).into_owned()
}

/// Asks for the use of a meter of each of some tenants, and adds it up.
pub(crate) fn used(address: SocketAddr, tenants: &[Tenant], meter: &str) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let mut sum = 0;
        for tenant in tenants {
            let request = get_request("/api/usage", Some(&tenant.api_key));
            let answer = connection.send(request.as_bytes()).await?;
            let body = String::from_utf8_lossy(answer.body);
            ensure!(answer.status == 200, "GET /api/usage got {}: {body}", answer.status);
            sum += used_in(&body, meter)?;
        }
        Ok(sum)
    })
}

fn used_in(body: &str, meter: &str) -> anyhow::Result<u64> {
    let usage: Value = serde_json::from_str(body).context("read the usage")?;
    let meters = usage["meters"].as_array().context("the usage lists no meters")?;
    let entry = meters.iter().find(|entry| entry["meter"] == meter);
    entry.and_then(|entry| entry["used"].as_u64()).context("the usage lacks the meter")
}

fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").is_ok_and(|(status, _)| status == 200)
}

/// Sends one request without credentials.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.send(get_request(path, None).as_bytes()).await?;
        Ok((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
    })
}

fn get_request(path: &str, api_key: Option<&str>) -> String {
    let bearer = api_key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}\r\n")
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

    #[test]
    fn usage_is_that_of_the_meter() {
        let body = r#"{"meters":[{"meter":"images","used":3},{"meter":"tts_ms","used":70}]}"#;

        assert_eq!(used_in(body, "tts_ms").unwrap(), 70);
        assert!(used_in(body, "storage_bytes").is_err());
    }
}
