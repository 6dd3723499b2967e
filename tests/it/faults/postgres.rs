//! PostgreSQL is killed at the N-th write or flush of its own log, for every N until a run is unhit.
//!
//! Its processes are counted each by itself; the first one that is killed ends them all, and a clean
//! PostgreSQL recovers in its place. Our server lives on: what was on its way is submitted again,
//! byte for byte, and the script goes on as soon as it is told more than "not now".

use std::time::Duration;

use futures_util::future::join;
use futures_util::stream::{StreamExt as _, iter};
use rand::rngs::{OsRng, StdRng};
use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, TryRngCore as _};
use tenantry_chaos::Postgres;
use tenantry_chaos::script::Progress;
use tenantry_chaos::strace::{FLUSHES, Strace, WRITES};
use tokio::sync::watch;
use tokio::time::sleep;

use super::sweep::Row;
use super::{Run, Template, attempt};

/// How many N are tried where not all are.
const SAMPLED: usize = 20;

/// Runs at once: each has a PostgreSQL of its own.
const AT_ONCE: usize = 3;

/// How far an exhaustive sweep goes beyond the last call of an unhit run.
const BEYOND: u32 = 6;

/// Beyond any N of a run, and the most that strace counts to.
const NEVER: u32 = 65_535;

/// How often it is looked whether something was killed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Lives of our server that a script may take: it may give up when its start is hit.
const LIVES: usize = 4;

#[tokio::test]
async fn postgres_killed_at_twenty_writes_of_its_log_loses_and_doubles_nothing() {
    Box::pin(sweep(Some(SAMPLED))).await;
}

#[tokio::test]
async fn exhaustive_postgres_killed_at_every_write_of_its_log() {
    Box::pin(sweep(None)).await;
}

async fn sweep(sampled: Option<usize>) {
    let template = Template::new().await;
    let mut all = Vec::new();
    for kind in [WRITES, FLUSHES] {
        let mut unhit = Cluster::new(&template).await;
        let strace = unhit.strace(kind, NEVER);
        assert!(!unhit.strike(&strace, "unhit").await);
        // How the entries fall into commits differs a little from run to run.
        let beyond = if sampled.is_none() { BEYOND } else { 0 };
        let calls = strace.report().most_calls();
        all.extend((1..=calls + beyond).map(|nth| (kind, nth)));
    }
    let calls = all.len();
    let seed = OsRng.try_next_u64().unwrap();
    if let Some(count) = sampled {
        // How many commits share a write depends on how busy the machine is: late ones may not come.
        all.truncate((all.len() / 2).max(count));
        all.shuffle(&mut StdRng::seed_from_u64(seed));
        all.truncate(count);
    }
    let mut row = Row::new(calls);
    let results = iter(all).map(|(kind, nth)| attempt(killed_at(&template, kind, nth)));
    for result in results.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        row.count(result);
    }
    row.finish("PostgreSQL, write-ahead log", seed);
}

async fn killed_at(template: &Template, kind: &str, nth: u32) -> bool {
    let mut cluster = Cluster::new(template).await;
    let strace = cluster.strace(kind, nth);
    cluster.strike(&strace, &format!("PostgreSQL killed at call {nth} of {kind}")).await
}

/// A PostgreSQL, a server on it, and the script.
struct Cluster {
    run: Run,
    postgres: Postgres,
}

impl Cluster {
    async fn new(template: &Template) -> Self {
        let builder = Postgres::builder().setting("restart_after_crash", "off");
        let mut postgres = builder.start().await.unwrap();
        let run = template.run_on(&postgres.url()).await;
        postgres.stop().await.unwrap();
        Self { run, postgres }
    }

    fn strace(&self, kind: &str, nth: u32) -> Strace {
        self.run.watch(&self.postgres.log_files(), &[kind]).kill_at(nth)
    }

    /// Runs the script while PostgreSQL is killed and started again; says whether it was hit.
    async fn strike(&mut self, strace: &Strace, context: &str) -> bool {
        let Self { run, postgres } = self;
        postgres.set_wrapper(strace.words());
        let hit_at_start = postgres.restart().await.is_err();
        if hit_at_start {
            assert!(strace.report().was_killed, "{context}: {}", postgres.log());
            recover(postgres).await;
        }
        let (is_over, over) = watch::channel(false);
        let script = async {
            let progress = script(run).await;
            is_over.send_replace(true);
            progress
        };
        let guard = async {
            while (hit_at_start || !strace.report().was_killed) && !*over.borrow() {
                sleep(LOOK_EVERY).await;
            }
            let was_hit = strace.report().was_killed;
            // Where nothing was hit the power is cut at the end: from here on nothing is watched.
            recover(postgres).await;
            was_hit
        };
        let (progress, was_hit) = join(script, guard).await;
        let calls = run.recorder.calls();
        assert_eq!(progress, Progress::Done, "{context}: {:?}", calls.last());
        run.hold_lapses(context).await;
        assert_eq!(run.stack.stop().await.unwrap(), Some(0), "{context}");
        run.check(context).await;
        was_hit
    }
}

/// Starts the server and goes through the script, in as many lives as that takes.
async fn script(run: &mut Run) -> Progress {
    for _ in 0..LIVES {
        if !run.stack.is_running() && run.stack.restart().await.is_err() {
            continue;
        }
        if run.script.run(&run.clients()).await == Progress::Done {
            return Progress::Done;
        }
    }
    Progress::Broken
}

/// A clean PostgreSQL in place of the one that was killed.
async fn recover(postgres: &mut Postgres) {
    postgres.set_wrapper(Vec::new());
    postgres.restart().await.unwrap();
}
