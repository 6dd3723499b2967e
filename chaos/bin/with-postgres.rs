//! Runs a command beside a PostgreSQL of its own, whose URL it finds in `TENANTRY_TEST_DATABASE`.
//!
//! The server ends with the command, however that ends; the exit code is the command's.

use std::process::ExitCode;

use anyhow::Context as _;
use tenantry_chaos::Postgres;

/// What many tests at once need; nothing in them is lost by a power cut.
const SETTINGS: [(&str, &str); 4] =
    [("max_connections", "300"), ("fsync", "off"), ("log_min_messages", "fatal"), ("jit", "off")];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("usage: with-postgres <command> [argument…]")?;
    let builder = SETTINGS
        .iter()
        .fold(Postgres::builder(), |builder, (name, value)| builder.setting(name, value));
    let mut server = builder.start().await?;
    let mut command = tokio::process::Command::new(program);
    command.args(words).env("TENANTRY_TEST_DATABASE", server.url()).kill_on_drop(true);
    let mut child = command.spawn().context("start the command")?;
    let status = tokio::select! {
        status = child.wait() => status?,
        // The command is in our group and was told as well.
        _ = tokio::signal::ctrl_c() => child.wait().await?,
    };
    server.stop().await?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into))
}
