//! The load generator and the throughput comparison: a stranger with a socket.
//!
//! It depends on nothing of ours and speaks HTTP/1.1 itself, because a full HTTP client would mostly
//! measure itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod bare;
mod bench;
mod client;
mod generator;
mod histogram;
mod process;
mod server;
mod table;

/// Measures a server that it starts itself.
#[derive(Debug, Parser)]
#[command(name = "tenantry-load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares metered requests with a bare server's, and prints one table.
    Bench(BenchArgs),
    /// Sends metered requests for a while, at a fixed rate or as fast as they are answered.
    Load(LoadArgs),
    /// Serves a constant answer: what the comparison compares with. Started by `bench`.
    #[command(hide = true)]
    Bare,
}

/// What both measurements share.
#[derive(Debug, Args)]
struct Common {
    /// The server's program; by default the one beside this one.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where the temporary data folder is made; by default beside this program, because `/tmp` may be
    /// memory, where a flush costs nothing.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// How many tenants there are.
    #[arg(long, default_value_t = 10_000)]
    tenants: u32,
    /// How many connections send, each one request at a time.
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

/// The options of the comparison.
#[derive(Debug, Args)]
struct BenchArgs {
    #[command(flatten)]
    common: Common,
    /// How often each arm runs, in turn with the others.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long one measurement takes, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// The options of plain load.
#[derive(Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    common: Common,
    /// Requests a second; by default as many as are answered.
    #[arg(long)]
    rate: Option<u64>,
    /// How long it takes, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bare => bare::serve(),
        Command::Bench(args) => bench::bench(&args),
        Command::Load(args) => bench::load(&args),
    }
}

impl BenchArgs {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
