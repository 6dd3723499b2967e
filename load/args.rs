//! The options of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// What both measurements share.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The server's program; by default the one beside this one.
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,
    /// Where the temporary data folders are made; by default beside this program, because `/tmp` may
    /// be memory, where a flush costs nothing.
    #[arg(long)]
    pub(crate) scratch: Option<PathBuf>,
    /// How many tenants load is spread over.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) tenants: u32,
    /// How many connections send, each one request at a time.
    #[arg(long, default_value_t = 256)]
    pub(crate) connections: u32,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// Consume on SQLite, over many tenants and over one.
    Sqlite,
    /// The same on PostgreSQL.
    Postgres,
    /// The same by a service that keeps counters in PostgreSQL with one statement.
    Statement,
    /// Half of the maximum over many tenants, on the databases that are measured.
    Half,
    /// Half of the maximum over one tenant; not part of the whole.
    HalfOne,
    /// Events in batches of 1,000, on SQLite.
    Events,
    /// Starting with many entries behind it, on SQLite.
    Start,
    /// A million tenants known and 50,000 awake beside a thousand, on SQLite.
    Scale,
}

/// What is measured without `--only`: what fits into a quarter of an hour.
const WHOLE: [Section; 7] = [
    Section::Sqlite,
    Section::Postgres,
    Section::Statement,
    Section::Half,
    Section::Events,
    Section::Start,
    Section::Scale,
];

/// The options of the comparison.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Measures these parts alone.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// How often each arm runs, in turn with the others.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// How long a round takes, in seconds. A figure counts if all rounds of its arm take a minute.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many entries lie behind the start that is timed, at least; those of the other parts count.
    #[arg(long, default_value_t = 0)]
    pub(crate) entries: u64,
    /// How many tenants are known at scale.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) known: u32,
    /// How many of them are awake.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) awake: u32,
    /// How many tenants there are in the arm that scale is compared with.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) few: u32,
}

/// The options of plain load.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Requests a second; by default as many as are answered.
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// How long it takes, in seconds.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
}

impl BenchArgs {
    /// Tells how long a round counts.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }

    /// Tells how long all rounds of an arm count together.
    pub(crate) fn whole(&self) -> Duration {
        self.round() * self.rounds.max(1)
    }

    /// Tells whether a part is measured.
    pub(crate) fn has(&self, section: Section) -> bool {
        let sections = if self.only.is_empty() { &WHOLE[..] } else { &self.only[..] };
        sections.contains(&section) || sections.iter().any(|chosen| chosen.needs(section))
    }
}

impl Section {
    /// Tells whether this part has no meaning without another.
    fn needs(self, other: Self) -> bool {
        matches!((self, other), (Self::Half | Self::HalfOne, Self::Sqlite))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn bench(arguments: &[&str]) -> BenchArgs {
        Cli::parse_from([&["bench"], arguments].concat()).bench
    }

    #[test]
    fn the_whole_takes_a_minute_an_arm() {
        let bench = bench(&[]);

        assert_eq!(bench.whole(), Duration::from_mins(1));
        assert_eq!(bench.common.connections, 256);
        assert!(bench.has(Section::Scale) && !bench.has(Section::HalfOne));
    }

    #[test]
    fn a_part_brings_what_it_is_compared_with() {
        let bench = bench(&["--only", "half-one,events"]);

        assert!(bench.has(Section::Sqlite) && bench.has(Section::Events));
        assert!(!bench.has(Section::Postgres) && !bench.has(Section::Half));
    }
}
