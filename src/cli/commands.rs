//! What the commands beside `serve` do.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tenantry_actors::clock::{Clock as _, SharedClock, SystemClock, Timestamp};
use tenantry_actors::database::{Database, FatalHook};
use tenantry_actors::identity::{Identity, IdentityDeps};
use tenantry_actors::ids::TenantId;
use tenantry_actors::journal::{export, verify};
use tenantry_actors::ledger::keys_of;
use tenantry_actors::mail::Wake;
use tenantry_actors::privacy::keys::KeyRing;
use tenantry_actors::root::heads_key;
use tenantry_supervision::spawn::Tasks;

use super::EXIT_FAILURE;
use crate::app::settings;
use crate::config::Config;

/// How long the tasks of a command may take to end.
const END_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Brings the schema of the database up to date.
pub(super) async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let tasks = Tasks::new();
    let database = open(config, &tasks).await?;
    drop(database);
    tasks.finish(END_WITHIN).await;
    println!("the schema is up to date");
    Ok(ExitCode::SUCCESS)
}

/// Which tenants to make.
pub(super) struct NewTenants<'a> {
    pub(super) name: &'a str,
    pub(super) count: u32,
    /// Where their time stands, if they live in test mode.
    pub(super) test_clock: Option<Timestamp>,
    /// The address of who owns them; nobody unless given.
    pub(super) owner: Option<&'a str>,
    pub(super) as_json: bool,
}

/// Makes tenants, each with one API key.
pub(super) async fn create_tenants(
    config: &Config,
    new: NewTenants<'_>,
) -> anyhow::Result<ExitCode> {
    let NewTenants { name, count, test_clock, owner, as_json } = new;
    let tasks = Tasks::new();
    let clock: SharedClock = Arc::new(SystemClock);
    let db = open(config, &tasks).await?;
    let keys = KeyRing::open(&config.general.data_dir).context("open the keys")?;
    let identity = Identity::start(IdentityDeps {
        db,
        keys,
        clock,
        tasks: tasks.clone(),
        mail: Wake::new(),
        settings: settings::identity(config, &config.public_url(config.http.listen.0)),
    });
    let identity = identity.await.context("start the identity plane")?;
    let made = identity.create_tenants(name, count, test_clock, owner).await;
    let made = made.context("make the tenants")?;
    let mut out = std::io::stdout().lock();
    for (tenant, key) in made {
        let (tenant, key) = (tenant.to_string(), key.expose_secret());
        if as_json {
            writeln!(out, "{}", json!({ "tenant_id": tenant, "api_key": key }))?;
        } else {
            writeln!(out, "{tenant} {key}")?;
        }
    }
    drop(identity);
    tasks.finish(END_WITHIN).await;
    Ok(ExitCode::SUCCESS)
}

/// Checks the whole journal, and names the first thing that is wrong.
pub(super) async fn verify_ledger(config: &Config) -> anyhow::Result<ExitCode> {
    let database = inspect(config).await?;
    let keys = KeyRing::open(&config.general.data_dir).context("open the keys")?;
    let key = heads_key(&keys).context("open the key of the journal's heads")?;
    let now = SystemClock.now();
    let report = verify(&database, &[key.public()], now).await.context("read the journal")?;
    println!("{}", serde_json::to_string(&report)?);
    match report.fault {
        None => Ok(ExitCode::SUCCESS),
        Some(fault) => {
            eprintln!("error: {fault}");
            Ok(EXIT_FAILURE.into())
        }
    }
}

/// Prints the public keys that statements and the journal's heads are signed with.
pub(super) fn ledger_keys(config: &Config) -> anyhow::Result<ExitCode> {
    let keys = KeyRing::open(&config.general.data_dir).context("open the keys")?;
    for key in keys_of(&keys).context("derive the signing keys")? {
        println!("{}", serde_json::to_string(&key)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the entries of a month.
pub(super) async fn export_ledger(
    config: &Config,
    month: &str,
    tenant: Option<TenantId>,
) -> anyhow::Result<ExitCode> {
    let database = inspect(config).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    export(&database, month, tenant, |line| writeln!(out, "{line}")).await?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn inspect(config: &Config) -> anyhow::Result<Database> {
    let settings = settings::database(config, FatalHook::default());
    Database::inspect(&settings).await.context("open the database")
}

/// Looks whether everything that the server needs is there.
pub(super) async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let mut is_well = true;
    let mut say = |what: &str, outcome: Result<String, String>| match outcome {
        Ok(text) => println!("ok    {what}: {text}"),
        Err(text) => {
            is_well = false;
            println!("fail  {what}: {text}");
        }
    };
    for (program, flag) in
        [("ffmpeg", "-version"), ("ffprobe", "-version"), ("espeak-ng", "--version")]
    {
        say(program, version(program, flag).await);
    }
    say("data folder", writable(config));
    say("database", examine(config).await);
    for (name, address) in [("http", config.http.listen.0), ("ops", config.ops.listen.0)] {
        let bound = tokio::net::TcpListener::bind(address).await;
        let text = bound.map(|_| format!("{address} is free"));
        say(name, text.map_err(|error| format!("{address}: {error}")));
    }
    Ok(if is_well { ExitCode::SUCCESS } else { EXIT_FAILURE.into() })
}

async fn version(program: &str, flag: &str) -> Result<String, String> {
    let output = tokio::process::Command::new(program).arg(flag).output().await;
    let output = output.map_err(|_| format!("not found; `apt-get install {program}`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

async fn examine(config: &Config) -> Result<String, String> {
    let settings = settings::database(config, FatalHook::default());
    let examined = Database::examine(&settings).await.map_err(|error| format!("{error:#}"))?;
    if examined.warnings.is_empty() {
        Ok(examined.what)
    } else {
        Err(format!("{}: {}", examined.what, examined.warnings.join("; ")))
    }
}

fn writable(config: &Config) -> Result<String, String> {
    let dir = &config.general.data_dir;
    let probe = dir.join(".doctor");
    let tried = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"ok"))
        .and_then(|()| std::fs::remove_file(&probe));
    tried.map(|()| format!("{} can be written", dir.display())).map_err(|error| error.to_string())
}

async fn open(config: &Config, tasks: &Tasks) -> anyhow::Result<Database> {
    std::fs::create_dir_all(&config.general.data_dir).context("make the data folder")?;
    let settings = settings::database(config, FatalHook::default());
    Database::open(&settings, tasks).await.context("open the database")
}
