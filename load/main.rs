//! The load generator and the throughput comparison: a stranger with a socket.
//!
//! It depends on nothing of ours and speaks HTTP/1.1 itself, because a full HTTP client would mostly
//! measure itself.

use clap::{Parser, Subcommand};

mod args;
mod bare;
mod bench;
mod child;
mod client;
mod generator;
mod histogram;
mod http;
mod postgres;
mod process;
mod requests;
mod scrape;
mod server;
mod statement;
mod watch;

use args::{BenchArgs, LoadArgs};
use statement::StatementArgs;

/// Measures a server that it starts itself.
#[derive(Debug, Parser)]
#[command(name = "tenantry-load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares metered requests with a bare server's and with a counter in PostgreSQL.
    Bench(BenchArgs),
    /// Sends metered requests for a while, at a fixed rate or as fast as they are answered.
    Load(LoadArgs),
    /// Serves a constant answer: what the comparison compares with. Started by `bench`.
    #[command(hide = true)]
    Bare,
    /// Serves quotas kept in PostgreSQL by one statement. Started by `bench`.
    #[command(hide = true)]
    Statement(StatementArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bare => bare::serve(),
        Command::Statement(args) => statement::serve(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Load(args) => bench::load(&args),
    }
}
