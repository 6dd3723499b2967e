//! PostgreSQL is struck at the N-th write or flush of its own log, for every N until a run is unhit.
//!
//! Its processes are counted each by itself; the first one that is struck ends them all, and a clean
//! PostgreSQL recovers in its place. Our server lives on: what was on its way is submitted again,
//! byte for byte, and the script goes on as soon as it is told more than "not now".

use std::time::Duration;

use futures_util::future::join;
use tenantry_chaos::script::Progress;
use tenantry_chaos::strace::Strace;
use tenantry_chaos::{Postgres, Stack};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::sweep::{Fault, Moments, NEVER};
use super::{Run, Template, copy};

/// How many N are tried where not all are.
const SAMPLED: usize = 20;

/// Of failing flushes and full disks fewer: PostgreSQL answers them by ending as if it were killed.
const SAMPLED_FAILURES: usize = 3;

/// Runs at once: each has a PostgreSQL of its own.
const AT_ONCE: usize = 3;

/// How often it is looked whether something was hit.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long our server may need for a life in which it comes through the script: it gives up at its
/// start as often as it finds no PostgreSQL yet.
const LIVES_WITHIN: Duration = Duration::from_mins(3);

#[tokio::test]
async fn postgres_killed_at_twenty_writes_of_its_log_loses_and_doubles_nothing() {
    Box::pin(sweep(Fault::Kill, Some(SAMPLED))).await;
}

#[tokio::test]
async fn postgres_whose_flush_fails_loses_and_doubles_nothing() {
    Box::pin(sweep(Fault::FlushFails, Some(SAMPLED_FAILURES))).await;
}

#[tokio::test]
async fn postgres_without_room_for_its_log_loses_and_doubles_nothing() {
    Box::pin(sweep(Fault::NoRoom, Some(SAMPLED_FAILURES))).await;
}

#[tokio::test]
async fn exhaustive_postgres_killed_at_every_write_of_its_log() {
    Box::pin(sweep(Fault::Kill, None)).await;
}

#[tokio::test]
async fn exhaustive_every_flush_of_postgres_fails() {
    Box::pin(sweep(Fault::FlushFails, None)).await;
}

#[tokio::test]
async fn exhaustive_no_room_from_every_write_of_postgres() {
    Box::pin(sweep(Fault::NoRoom, None)).await;
}

async fn sweep(fault: Fault, sampled: Option<usize>) {
    let base = Base::new().await;
    let mut calls = Vec::new();
    for kind in fault.kinds() {
        let mut unhit = Cluster::new(&base).await;
        let strace = unhit.strace(Fault::Kill, kind, NEVER);
        assert!(!unhit.strike(&strace, "unhit").await);
        calls.push((*kind, strace.report().most_calls()));
    }
    let trial = async |kind, nth| {
        let mut cluster = Cluster::new(&base).await;
        let strace = cluster.strace(fault, kind, nth);
        let context = format!("PostgreSQL, {fault:?} at call {nth} of {kind}");
        cluster.strike(&strace, &context).await
    };
    let what = format!("PostgreSQL, write-ahead log, {fault:?}");
    Moments::draw(&calls, sampled).sweep(&what, AT_ONCE, trial).await;
}

/// A PostgreSQL that was stopped, in which the script's tenants are known, to be copied for each run.
struct Base {
    template: Template,
    postgres: Postgres,
    stack: Stack,
    tenants: Vec<(String, String)>,
}

impl Base {
    async fn new() -> Self {
        let template = Template::new().await;
        let mut postgres = Postgres::start().await.unwrap();
        let stack = template.stack_on(&postgres.url()).await;
        let tenants = stack.create_tenants(2).await.unwrap();
        postgres.stop().await.unwrap();
        Self { template, postgres, stack, tenants }
    }
}

/// A PostgreSQL, a server on it, and the script.
struct Cluster {
    run: Run,
    postgres: Postgres,
}

impl Cluster {
    async fn new(base: &Base) -> Self {
        let builder = Postgres::builder().setting("restart_after_crash", "off");
        let mut postgres = builder.copy_of(&base.postgres).start().await.unwrap();
        postgres.stop().await.unwrap();
        let stack = base.template.stack_on(&postgres.url()).await;
        copy(base.stack.data_dir(), stack.data_dir());
        Self { run: Run::new(stack, &base.tenants), postgres }
    }

    fn strace(&self, fault: Fault, kind: &str, nth: u32) -> Strace {
        fault.at(self.run.watch(&self.postgres.log_files(), &[kind]), nth)
    }

    /// Runs the script while PostgreSQL is killed and started again; says whether it was hit.
    async fn strike(&mut self, strace: &Strace, context: &str) -> bool {
        let Self { run, postgres } = self;
        postgres.set_wrapper(strace.words());
        let hit_at_start = postgres.restart().await.is_err();
        if hit_at_start {
            assert!(strace.report().was_hit(), "{context}: {}", postgres.log());
            recover(postgres).await;
        }
        let (is_over, over) = watch::channel(false);
        let script = async {
            let progress = script(run).await;
            is_over.send_replace(true);
            progress
        };
        let guard = async {
            while (hit_at_start || !strace.report().was_hit()) && !*over.borrow() {
                sleep(LOOK_EVERY).await;
            }
            let was_hit = strace.report().was_hit();
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
    let until = Instant::now() + LIVES_WITHIN;
    while Instant::now() < until {
        if !run.stack.is_running() && run.stack.restart().await.is_err() {
            sleep(LOOK_EVERY).await;
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
