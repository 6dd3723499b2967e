//! The server is struck at the N-th write or flush of a script, for every N until a run is unhit.
//!
//! Whatever it did to the server, it is started again, and the script goes on where it was. In the end
//! everything that any client was told in either life must fit the journal, and the hold that nobody
//! ended must lapse.

use futures_util::stream::{StreamExt as _, iter};
use rand::rngs::{OsRng, StdRng};
use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, TryRngCore as _};
use tenantry_chaos::script::Progress;
use tenantry_chaos::strace::{Errno, FLUSHES, Strace, WRITES};

use super::disk::{FULL_FOR, GAVE_UP};
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
pub(super) const NEVER: u32 = 65_535;

/// Which files' writes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Journal,
    Projections,
}

/// What happens at the N-th call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process is killed before it.
    Kill,
    /// The flush fails: EIO.
    FlushFails,
    /// The write and some after it find no room: ENOSPC.
    NoRoom,
}

impl Fault {
    /// The calls that it happens to; each kind is counted, and so swept, by itself.
    pub(super) fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Kill => &[WRITES, FLUSHES],
            Self::FlushFails => &[FLUSHES],
            Self::NoRoom => &[WRITES],
        }
    }

    /// Lets it happen at the `nth` of what is watched.
    pub(super) fn at(self, watch: Strace, nth: u32) -> Strace {
        match self {
            Self::Kill => watch.kill_at(nth),
            Self::FlushFails => watch.fail_at(Errno::Io, nth, 1),
            Self::NoRoom => watch.fail_at(Errno::NoSpace, nth, FULL_FOR),
        }
    }
}

#[tokio::test]
async fn killed_at_twenty_writes_of_the_journal_nothing_is_lost_double_or_oversold() {
    sweep_files(Target::Journal, Fault::Kill, Some(SAMPLED)).await;
}

#[tokio::test]
async fn killed_at_a_few_writes_of_the_projections_nothing_is_lost_double_or_oversold() {
    sweep_files(Target::Projections, Fault::Kill, Some(SAMPLED_PROJECTIONS)).await;
}

#[tokio::test]
async fn exhaustive_killed_at_every_write_of_the_journal() {
    sweep_files(Target::Journal, Fault::Kill, None).await;
}

#[tokio::test]
async fn exhaustive_killed_at_every_write_of_the_projections() {
    sweep_files(Target::Projections, Fault::Kill, None).await;
}

#[tokio::test]
async fn exhaustive_every_flush_of_the_journal_fails() {
    sweep_files(Target::Journal, Fault::FlushFails, None).await;
}

#[tokio::test]
async fn exhaustive_no_room_from_every_write_of_the_journal() {
    sweep_files(Target::Journal, Fault::NoRoom, None).await;
}

/// Tries every N, or some of them, on `SQLite`'s files.
async fn sweep_files(target: Target, fault: Fault, sampled: Option<usize>) {
    let template = Template::new().await;
    let mut calls = Vec::new();
    for kind in fault.kinds() {
        calls.push((*kind, unhit(&template, target, kind).await));
    }
    let moments = Moments::draw(&calls, sampled);
    let trial = async |kind, nth| struck_at(&template, (target, fault), kind, nth).await;
    moments.sweep(&format!("SQLite, {target:?}, {fault:?}"), AT_ONCE, trial).await;
}

/// The calls to strike at, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Moments {
    all: Vec<(&'static str, u32)>,
    calls: usize,
    seed: u64,
}

impl Moments {
    /// Draws some of the calls, or takes all and a few beyond: how the entries fall into commits
    /// differs a little from run to run.
    pub(super) fn draw(calls: &[(&'static str, u32)], sampled: Option<usize>) -> Self {
        let beyond = if sampled.is_none() { BEYOND } else { 0 };
        let of_kind = |(kind, calls): &(&'static str, u32)| {
            let kind = *kind;
            (1..=calls + beyond).map(move |nth| (kind, nth))
        };
        let mut all: Vec<_> = calls.iter().flat_map(of_kind).collect();
        let calls = all.len();
        let seed = OsRng.try_next_u64().unwrap();
        if let Some(count) = sampled {
            all.shuffle(&mut StdRng::seed_from_u64(seed));
            all.truncate(count);
        }
        Self { all, calls, seed }
    }

    /// Tries them, some at once, and prints the table's line; a failure of any try fails the sweep.
    pub(super) async fn sweep(
        self,
        what: &str,
        at_once: usize,
        trial: impl AsyncFn(&'static str, u32) -> bool,
    ) {
        let trial = &trial;
        let tries =
            iter(self.all).map(|(kind, nth)| attempt(async move { trial(kind, nth).await }));
        let results: Vec<_> = tries.buffer_unordered(at_once).collect().await;
        let mut row = Row { calls: self.calls, ..Row::default() };
        for result in results {
            row.count(result);
        }
        row.finish(what, self.seed);
    }
}

/// One line of the table.
#[derive(Debug, Default)]
struct Row {
    calls: usize,
    tried: usize,
    hit: usize,
    failures: Vec<String>,
}

impl Row {
    fn count(&mut self, result: Result<bool, String>) {
        self.tried += 1;
        self.hit += usize::from(*result.as_ref().unwrap_or(&true));
        self.failures.extend(result.err());
    }

    #[expect(clippy::print_stdout, reason = "the table is what a reader wants of a sweep")]
    fn finish(self, what: &str, seed: u64) {
        let Self { calls, tried, hit, failures } = self;
        let failed = failures.len();
        println!(
            "| {what} | {calls} calls | {tried} tried | {hit} hit | {failed} failures | seed {seed} |"
        );
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
        // A projector that lingers may come to few of its writes before the script's end.
        assert!(hit > 0, "of {tried} tries none came before the script's end");
    }
}

/// The script without any fault; returns how many calls the busiest thread made.
async fn unhit(template: &Template, target: Target, kind: &str) -> u32 {
    let mut run = template.run().await;
    let strace = run.strace(target, Fault::Kill, kind, NEVER);
    run.stack.set_wrapper(strace.words());
    run.stack.restart().await.unwrap();
    assert_eq!(run.go_on().await, Progress::Done, "{:?}", run.recorder.calls());
    run.check("unhit").await;
    let report = strace.report();
    assert!(!report.was_hit());
    assert_eq!(run.stack.stop().await.unwrap(), Some(0));
    run.check("unhit, at the end").await;
    report.most_calls()
}

/// Strikes at the `nth` call, starts again and goes on; says whether anything was hit.
async fn struck_at(
    template: &Template,
    (target, fault): (Target, Fault),
    kind: &str,
    nth: u32,
) -> bool {
    let context = format!("{target:?}, {fault:?} at call {nth} of {kind}");
    let mut run = template.run().await;
    let strace = run.strace(target, fault, kind, nth);
    run.stack.set_wrapper(strace.words());
    let is_started = run.stack.restart().await.is_ok();
    if is_started && run.go_on().await == Progress::Broken {
        // Its end, and so the report of it, may come a moment after the broken connection.
        let last = run.recorder.calls().last().cloned();
        let code = run.stack.wait().await.unwrap_or_else(|_| panic!("{context}: {last:?}"));
        assert!(fault != Fault::NoRoom, "{context}: did not live on: {last:?}");
        assert!(fault != Fault::FlushFails || code == Some(GAVE_UP), "{context}: {code:?}");
        assert!(strace.report().was_hit(), "{context}: the server ended by itself: {last:?}");
    }
    // Before our own kill, which the report would take for its.
    let was_hit = strace.report().was_hit();
    assert!(is_started || was_hit, "{context}: the server did not start");
    run.stack.kill().await.unwrap();
    run.check(&format!("{context}, before the restart")).await;

    run.stack.set_wrapper(Vec::new());
    run.stack.restart().await.unwrap();
    let progress = run.go_on().await;
    assert_eq!(progress, Progress::Done, "{context}: {:?}", run.recorder.calls().last());
    run.hold_lapses(&context).await;
    assert_eq!(run.stack.stop().await.unwrap(), Some(0), "{context}");
    run.check(&context).await;
    was_hit
}

impl Run {
    fn strace(&self, target: Target, fault: Fault, kind: &str, nth: u32) -> Strace {
        let files = match target {
            Target::Journal => self.journal(),
            Target::Projections => self.projections(),
        };
        fault.at(self.watch(&files, &[kind]), nth)
    }
}
