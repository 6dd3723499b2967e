//! The command line. stdout is data, stderr is talk.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line prints")]

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tenantry_actors::clock::{Clock as _, SystemClock, Timestamp};
use tenantry_actors::ids::TenantId;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, StartError, settings};
use crate::config::{self, Config};
use crate::{problem, routes, telemetry};

/// The command line or the configuration is wrong.
const EXIT_USAGE: u8 = 64;
/// The server gave up; a supervisor outside starts it again.
const EXIT_GAVE_UP: u8 = 70;
/// Anything else.
const EXIT_FAILURE: u8 = 1;

/// The back office of a SaaS product in one binary.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, about, disable_help_subcommand = true)]
struct Arguments {
    /// Path of the configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server.
    Serve,
    /// Reads the configuration, says what is wrong with it, and prints what is in force.
    Check,
    /// Brings the schema of the database up to date.
    Migrate,
    /// Looks whether everything that the server needs is there.
    Doctor,
    /// Reads the journal, also beside a running server.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Makes tenants.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Prints a generated part of the documentation.
    #[command(hide = true)]
    Docs {
        /// Which part.
        part: DocsPart,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum LedgerCommand {
    /// Checks every row, entry, signature and projection, and names the first that is wrong.
    Verify,
    /// Prints the public keys that statements and heads are signed with, a JSON object a line.
    Keys,
    /// Prints the entries of a month as JSON Lines.
    Export {
        /// The month, as `2026-11`.
        #[arg(long)]
        month: String,
        /// Only entries of this tenant.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum TenantCommand {
    /// Makes tenants, each with one API key.
    Create {
        /// The name.
        #[arg(long, default_value = "Tenant")]
        name: String,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// Puts them in test mode: their time stands still until it is advanced.
        #[arg(long)]
        test: bool,
        /// Where their time stands, in RFC 3339; the present unless given.
        #[arg(long, requires = "test")]
        at: Option<Timestamp>,
        /// The address of who owns them and can log in; without it they have no members.
        #[arg(long, value_name = "EMAIL")]
        owner: Option<String>,
        /// Prints a JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DocsPart {
    Configuration,
    Problems,
    Openapi,
    Example,
}

/// Runs the command line and says how it ended.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            let _ = error.print();
            return code.into();
        }
    };
    if let Command::Docs { part } = arguments.command {
        print!("{}", docs(part));
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(errors) => {
            for error in &errors.0 {
                eprintln!("error: {error}");
            }
            eprintln!("hint: `docs/src/configuration.md` lists every setting");
            return EXIT_USAGE.into();
        }
    };
    match execute(&arguments.command, config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            EXIT_FAILURE.into()
        }
    }
}

fn execute(command: &Command, config: Config) -> anyhow::Result<ExitCode> {
    if let Command::Check = command {
        if let Err(error) = settings::catalogue(&config) {
            eprintln!("error: {error}");
            return Ok(EXIT_USAGE.into());
        }
        print!("{}", toml::to_string(&config).context("print the configuration")?);
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve => serve(config).await,
            Command::Migrate => commands::migrate(&config).await,
            Command::Doctor => commands::doctor(&config).await,
            Command::Ledger(LedgerCommand::Verify) => commands::verify_ledger(&config).await,
            Command::Ledger(LedgerCommand::Keys) => commands::ledger_keys(&config),
            Command::Ledger(LedgerCommand::Export { month, tenant }) => {
                commands::export_ledger(&config, month, *tenant).await
            }
            Command::Tenant(TenantCommand::Create { name, count, test, at, owner, json }) => {
                let new = commands::NewTenants {
                    name,
                    count: *count,
                    test_clock: test.then(|| at.unwrap_or_else(|| SystemClock.now())),
                    owner: owner.as_deref(),
                    as_json: *json,
                };
                commands::create_tenants(&config, new).await
            }
            Command::Check | Command::Docs { .. } => Ok(ExitCode::SUCCESS),
        }
    });
    // What hangs in a blocking call must not keep the process.
    runtime.shutdown_background();
    outcome
}

fn docs(part: DocsPart) -> String {
    match part {
        DocsPart::Configuration => config::docs::page(),
        DocsPart::Example => config::docs::example(),
        DocsPart::Problems => problem::docs::table(),
        DocsPart::Openapi => routes::openapi_text() + "\n",
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start_log(&config.telemetry);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let effective = serde_json::to_string(&config).unwrap_or_default();
    tracing::info!(configuration = effective, "starting");
    let running = match App::start(config).await {
        Err(StartError::Settings(error)) => {
            eprintln!("error: {error:#}");
            return Ok(EXIT_USAGE.into());
        }
        started => started?,
    };
    println!("listening http={} ops={}", running.http_addr, running.ops_addr);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.failed() => {
            // What would be answered from now on could be wrong: somebody starts us again.
            tracing::error!("the storage cannot be trusted any more, giving up");
            return Ok(EXIT_GAVE_UP.into());
        }
    }
    tracing::info!("stopping");
    let is_clean = tokio::select! {
        is_clean = running.stop() => is_clean,
        // A second signal means now.
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    tracing::info!(clean = is_clean, "stopped");
    Ok(if is_clean { ExitCode::SUCCESS } else { EXIT_FAILURE.into() })
}
