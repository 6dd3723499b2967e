use std::sync::Arc;

use super::*;
use crate::ids::{JobId, TenantId};
use crate::journal::entry::Entry;
use crate::tenant::period::{Cycle, Zone};
use crate::tenant::plan::PlanTerms;
use crate::tenant::quota::fixture::{at, item, plan, rsv};
use crate::tenant::quota::{Command, PlanChange};
use crate::tenant::state::{Line, TenantCommand};
use crate::tenant::steps::JobCommand;
use crate::tenant::steps::fixture::shape;

const START: &str = "2026-01-31T09:00:00Z";
const REAL: &str = "2026-11-23T09:00:00Z";

fn terms() -> Arc<PlanTerms> {
    plan("free", [Some(100), Some(1_000), Some(10_000)])
}

fn empty() -> TenantState {
    TenantState::new(TenantId::from_bits(1), terms())
}

/// A tenant and every line of its journal.
struct World {
    state: TenantState,
    lines: Vec<Line>,
}

impl World {
    fn new() -> Self {
        let mut world = Self { state: empty(), lines: Vec::new() };
        world.apply(Command::StartTestClock { at: at(START) });
        world
    }

    fn apply(&mut self, command: Command) -> Verdict<TenantOutcome> {
        self.apply_any(&TenantCommand::Usage(command))
    }

    fn apply_any(&mut self, command: &TenantCommand) -> Verdict<TenantOutcome> {
        loop {
            let turn = self.state.apply(command, &Author::SYSTEM, at(REAL));
            self.state.check();
            self.lines.extend(turn.lines);
            if turn.verdict != Verdict::MoreDue {
                return turn.verdict;
            }
        }
    }

    fn advance(&mut self, to: &str) -> Verdict<TenantOutcome> {
        self.apply(Command::AdvanceClock { to: at(to) })
    }

    fn consume(&mut self, amount: u64) {
        let verdict = self.apply(Command::Consume { items: vec![item("images", amount)] });
        assert!(matches!(verdict, Verdict::Admitted(_)), "{verdict:?}");
    }

    /// Kinds and days of the lines from `first` on.
    fn told(&self, first: usize) -> Vec<(&'static str, String)> {
        let day = |line: &Line| (line.kind, line.at.to_string()[..10].to_owned());
        self.lines[first..].iter().map(day).collect()
    }

    fn is_rebuilt_from_lines(&self) {
        let mut rebuilt = empty();
        for line in &self.lines {
            rebuilt.replay(&Entry::parse(&line.text).unwrap()).unwrap();
        }
        assert_eq!(rebuilt, self.state);
    }
}

fn refusal(verdict: Verdict<TenantOutcome>) -> &'static str {
    match verdict {
        Verdict::Refused(refusal) => refusal.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn time_stands_still_until_it_is_advanced() {
    let mut world = World::new();
    world.consume(60);
    let reserve = Command::Reserve { id: rsv(1), items: vec![item("images", 40)], ttl_s: 60 };
    world.apply(reserve);

    // Months of real time change nothing, and nothing is due by itself.
    assert_eq!(world.state.next_due(), None);
    let later = at("2027-06-01T00:00:00Z");
    let turn = world.state.apply(&TenantCommand::Usage(Command::Tick), &Author::SYSTEM, later);
    assert!(turn.lines.is_empty());
    assert_eq!(world.state.present(later), at(START));
    assert_eq!(world.state.report(later).meters[0].reserved, 40);

    world.advance("2026-01-31T09:00:59Z");
    assert_eq!(world.state.report(later).meters[0].reserved, 40);
    world.advance("2026-01-31T09:01:00Z");
    assert_eq!(world.state.report(later).meters[0].reserved, 0);
    world.is_rebuilt_from_lines();
}

#[test]
fn an_advance_goes_through_every_month_in_order() {
    let mut world = World::new();
    world.consume(100);
    let reserve = Command::Reserve { id: rsv(1), items: vec![item("tts_ms", 40)], ttl_s: 86_400 };
    world.apply(reserve);
    let first = world.lines.len();

    let verdict = world.advance("2026-04-15T00:00:00Z");

    assert_eq!(
        world.told(first),
        [
            ("period_rolled", "2026-02-01".to_owned()),
            ("expired", "2026-02-01".to_owned()),
            ("period_rolled", "2026-03-01".to_owned()),
            ("period_rolled", "2026-04-01".to_owned()),
            ("clock_advanced", "2026-04-15".to_owned()),
        ]
    );
    let Verdict::Admitted(TenantOutcome::Usage(Outcome::Clock(moved))) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(moved.now, at("2026-04-15T00:00:00Z"));
    assert_eq!((moved.first, moved.seq), (Some(first as u64 + 1), world.lines.len() as u64));
    world.is_rebuilt_from_lines();
}

#[test]
fn a_subscription_of_the_31st_is_seen_through_a_year_in_one_call() {
    let mut world = World::new();
    let cycle = Cycle::monthly(at(START), Zone::utc());
    let set = Command::SetPlan { terms: terms(), cycle: Some(cycle), when: PlanChange::Now };
    world.apply(set);
    let first = world.lines.len();

    world.advance("2027-01-31T09:00:00Z");

    let days: Vec<_> = world.told(first).into_iter().map(|(_, day)| day[5..].to_owned()).collect();
    let ends = [
        "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30",
        "12-31", "01-31",
    ];
    assert_eq!(days[..12], ends);
    world.is_rebuilt_from_lines();
}

#[test]
fn an_advance_that_was_cut_off_goes_on_and_tells_all_of_it() {
    let mut world = World::new();
    for number in 0..600_u32 {
        let items = vec![item("tts_ms", 1)];
        world.apply(Command::Reserve {
            id: rsv(number.into()),
            items,
            ttl_s: 60 + u64::from(number),
        });
    }
    let first = world.lines.len();
    let command = TenantCommand::Usage(Command::AdvanceClock { to: at("2026-03-01T00:00:00Z") });
    let turn = world.state.apply(&command, &Author::SYSTEM, at(REAL));
    assert_eq!((turn.verdict, turn.lines.len()), (Verdict::MoreDue, MAX_EXPIRIES_PER_TURN));
    world.lines.extend(turn.lines);
    // The process dies here. Its next life goes on from what is on disk.
    world.is_rebuilt_from_lines();
    world.consume(1);

    let verdict = world.advance("2026-03-01T00:00:00Z");

    let Verdict::Admitted(TenantOutcome::Usage(Outcome::Clock(moved))) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(moved.first, Some(first as u64 + 1));
    let told = world.told(first);
    assert_eq!(told.iter().filter(|(kind, _)| *kind == "expired").count(), 600);
    assert_eq!(told.iter().filter(|(kind, _)| *kind == "period_rolled").count(), 2);
    world.is_rebuilt_from_lines();
}

#[test]
fn a_clock_goes_neither_back_nor_too_far_nor_without_test_mode() {
    let mut world = World::new();
    world.advance("2026-02-03T00:00:00Z");

    assert_eq!(refusal(world.advance("2026-02-02T23:59:59Z")), "invalid-clock");
    assert_eq!(refusal(world.advance("2036-02-12T00:00:00Z")), "invalid-clock");
    assert!(matches!(world.advance("2036-02-11T00:00:00Z"), Verdict::Admitted(_)));
    let submit = JobCommand::Submit { job: JobId::from_bits(1), shape: Box::new(shape(1)) };
    assert_eq!(refusal(world.apply_any(&TenantCommand::Job(submit))), "in-test-mode");
    world.is_rebuilt_from_lines();

    let mut real = World { state: empty(), lines: Vec::new() };
    assert_eq!(refusal(real.advance("2027-01-01T00:00:00Z")), "not-in-test-mode");
    assert!(real.lines.is_empty());
}

#[test]
fn a_clock_that_is_started_late_stands_at_the_last_entry() {
    let mut world = World { state: empty(), lines: Vec::new() };
    world.consume(5);

    world.apply(Command::StartTestClock { at: at(START) });
    world.apply(Command::StartTestClock { at: at("2030-01-01T00:00:00Z") });

    assert_eq!(world.state.present(at("2028-01-01T00:00:00Z")), at(REAL));
    assert_eq!(world.lines.len(), 2);
    world.is_rebuilt_from_lines();
}

#[test]
fn a_clock_may_start_before_what_a_refused_call_saw() {
    let mut world = World { state: empty(), lines: Vec::new() };
    let refused = world.apply(Command::Consume { items: vec![item("images", 101)] });
    assert!(matches!(refused, Verdict::Refused(_)));

    world.apply(Command::StartTestClock { at: at(START) });
    world.consume(1);

    assert_eq!(world.state.report(at(REAL)).period.end, at("2026-02-01T00:00:00Z"));
    world.is_rebuilt_from_lines();
}
