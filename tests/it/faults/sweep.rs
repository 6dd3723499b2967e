//! The server is killed at the N-th write or flush of a script, for every N until a run is unhit.
//!
//! Killed there, it is started again, and the script goes on where it was. In the end everything that
//! any client was told in either life must fit the journal, and the hold that nobody ended must lapse.

use futures_util::stream::{StreamExt as _, iter};
use rand::rngs::{OsRng, StdRng};
use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, TryRngCore as _};
use tenantry_chaos::script::Progress;
use tenantry_chaos::strace::{FLUSHES, Strace, WRITES};

use super::{Run, Template, attempt};

/// How many N of a sweep are tried where not all are.
const SAMPLED: usize = 20;

/// Of the projections fewer: what is lost there is made again from the journal.
const SAMPLED_PROJECTIONS: usize = 6;

/// Runs at once: a run waits more than it computes.
const AT_ONCE: usize = 3;

/// How far an exhaustive sweep goes beyond the last call of an unhit run.
const BEYOND: u32 = 6;

/// Beyond any N of a run, and the most that strace counts to.
const NEVER: u32 = 65_535;

/// Which files' writes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Journal,
    Projections,
}

#[tokio::test]
async fn killed_at_twenty_writes_of_the_journal_nothing_is_lost_double_or_oversold() {
    sweep(Target::Journal, Some(SAMPLED)).await;
}

#[tokio::test]
async fn killed_at_a_few_writes_of_the_projections_nothing_is_lost_double_or_oversold() {
    sweep(Target::Projections, Some(SAMPLED_PROJECTIONS)).await;
}

#[tokio::test]
async fn exhaustive_killed_at_every_write_of_the_journal() {
    sweep(Target::Journal, None).await;
}

#[tokio::test]
async fn exhaustive_killed_at_every_write_of_the_projections() {
    sweep(Target::Projections, None).await;
}

/// Tries every N, or some of them, and prints the table's row.
async fn sweep(target: Target, sampled: Option<usize>) {
    let template = Template::new().await;
    let mut all = Vec::new();
    for kind in [WRITES, FLUSHES] {
        let calls = unhit(&template, target, kind).await;
        // How the entries fall into commits differs a little from run to run.
        let beyond = if sampled.is_none() { BEYOND } else { 0 };
        all.extend((1..=calls + beyond).map(|nth| (kind, nth)));
    }
    let calls = all.len();
    let seed = OsRng.try_next_u64().unwrap();
    if let Some(count) = sampled {
        all.shuffle(&mut StdRng::seed_from_u64(seed));
        all.truncate(count);
    }
    let mut row = Row::new(calls);
    let results = iter(all).map(|(kind, nth)| attempt(killed_at(&template, target, kind, nth)));
    for result in results.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        row.count(result);
    }
    row.finish(&format!("SQLite, {target:?}"), seed);
}

/// One line of the table.
#[derive(Debug, Default)]
pub(super) struct Row {
    calls: usize,
    tried: usize,
    hit: usize,
    failures: Vec<String>,
}

impl Row {
    pub(super) fn new(calls: usize) -> Self {
        Self { calls, ..Self::default() }
    }

    /// Counts a try; says whether anything was hit.
    pub(super) fn count(&mut self, result: Result<bool, String>) -> bool {
        self.tried += 1;
        let was_hit = *result.as_ref().unwrap_or(&true);
        self.hit += usize::from(was_hit);
        self.failures.extend(result.err());
        was_hit
    }

    /// Prints the line; a failure of any try fails the sweep.
    #[expect(clippy::print_stdout, reason = "the table is what a reader wants of a sweep")]
    pub(super) fn finish(self, what: &str, seed: u64) {
        let Self { calls, tried, hit, failures } = self;
        let failed = failures.len();
        println!(
            "| {what} | {calls} calls | {tried} tried | {hit} killed | {failed} failures | seed {seed} |"
        );
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
        // A projector that lingers may come to few of its writes before the script's end.
        assert!(hit > 0, "of {tried} kills none came before the script's end");
    }
}

/// The script without any fault; returns how many calls the busiest thread made.
async fn unhit(template: &Template, target: Target, kind: &str) -> u32 {
    let mut run = template.run().await;
    let strace = run.strace(target, kind, NEVER);
    run.stack.set_wrapper(strace.words());
    run.stack.restart().await.unwrap();
    let clients = run.clients();
    assert_eq!(run.script.run(&clients).await, Progress::Done, "{:?}", run.recorder.calls());
    run.check("unhit").await;
    let report = strace.report();
    assert!(!report.was_hit());
    assert_eq!(run.stack.stop().await.unwrap(), Some(0));
    run.check("unhit, at the end").await;
    report.most_calls()
}

/// Kills at the `nth` call, starts again and goes on; says whether anything was hit.
async fn killed_at(template: &Template, target: Target, kind: &str, nth: u32) -> bool {
    let context = format!("{target:?}, killed at call {nth} of {kind}");
    let mut run = template.run().await;
    let strace = run.strace(target, kind, nth);
    run.stack.set_wrapper(strace.words());
    if run.stack.restart().await.is_ok() {
        let clients = run.clients();
        let progress = run.script.run(&clients).await;
        assert!(
            progress == Progress::Done || strace.report().was_killed,
            "{context}: the script broke off by itself: {:?}",
            run.recorder.calls().last()
        );
    }
    // Before our own kill, which the report would take for its.
    let was_hit = strace.report().was_killed;
    run.stack.kill().await.unwrap();
    run.check(&format!("{context}, before the restart")).await;

    run.stack.set_wrapper(Vec::new());
    run.stack.restart().await.unwrap();
    let clients = run.clients();
    let progress = run.script.run(&clients).await;
    assert_eq!(progress, Progress::Done, "{context}: {:?}", run.recorder.calls().last());
    run.hold_lapses(&context).await;
    assert_eq!(run.stack.stop().await.unwrap(), Some(0), "{context}");
    run.check(&context).await;
    was_hit
}

impl Run {
    fn strace(&self, target: Target, kind: &str, nth: u32) -> Strace {
        let files = match target {
            Target::Journal => self.journal(),
            Target::Projections => self.projections(),
        };
        self.watch(&files, &[kind]).kill_at(nth)
    }
}
