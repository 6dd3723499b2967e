//! What happens at the edges: clocks that step back, catalogues that change between two starts,
//! many holds that lapse at once, and jobs at a limit that just suffices.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ids::JobId;
use crate::tenant::period::Period;
use crate::tenant::plan::MeterKind;
use crate::tenant::quota::Item;
use crate::tenant::quota::fixture::{at, item, plan, rsv, set_plan};
use crate::tenant::steps::fixture::{result, shape};
use crate::tenant::steps::{
    MAX_PLAN_MS, SceneShape, StepName, length_bound_ms, segment_lengths_ms, upper_bounds,
};

const TENANT: TenantId = TenantId::from_bits(1);

fn state(terms: Arc<PlanTerms>) -> TenantState {
    TenantState::new(TENANT, terms)
}

fn usage(command: Command) -> TenantCommand {
    TenantCommand::Usage(command)
}

fn consume(meter: &str, amount: u64) -> TenantCommand {
    usage(Command::Consume { items: vec![item(meter, amount)] })
}

fn apply(state: &mut TenantState, command: &TenantCommand, now: Timestamp) -> Turn {
    let turn = state.apply(command, &Author::SYSTEM, now);
    state.check();
    turn
}

fn code(turn: &Turn) -> &'static str {
    match &turn.verdict {
        Verdict::Admitted(_) => "admitted",
        Verdict::Refused(refusal) => refusal.code(),
        Verdict::MoreDue => "more-due",
    }
}

/// Rebuilds a tenant from its lines alone.
fn rebuilt<'a>(terms: &Arc<PlanTerms>, lines: impl IntoIterator<Item = &'a Line>) -> TenantState {
    let mut state = state(Arc::clone(terms));
    for line in lines {
        state.replay(&Entry::parse(&line.text).unwrap()).unwrap();
    }
    state
}

fn used(state: &TenantState, meter: &str, now: Timestamp) -> u64 {
    let report = state.report(now);
    report.meters.iter().find(|usage| usage.meter.as_str() == meter).unwrap().used
}

fn limits() -> Arc<PlanTerms> {
    plan("free", [Some(500), Some(1_000), Some(10_000)])
}

/// The plan without its level.
fn without_storage() -> Arc<PlanTerms> {
    let mut terms = PlanTerms::clone(&limits());
    terms.meters.retain(|meter| meter.kind == MeterKind::Counter);
    Arc::new(terms)
}

#[test]
fn a_clock_that_steps_back_over_the_boundary_before_the_first_entry_moves_no_usage() {
    let mut live = state(limits());
    apply(&mut live, &consume("images", 501), at("2026-12-01T00:00:01Z"));
    let turn = apply(&mut live, &consume("images", 400), at("2026-11-30T23:59:59Z"));

    let mut again = rebuilt(&limits(), &turn.lines);

    assert_eq!(again, live);
    let later = at("2026-12-02T00:00:00Z");
    let (here, there) = (
        apply(&mut live, &consume("images", 400), later),
        apply(&mut again, &consume("images", 400), later),
    );
    assert_eq!(here, there);
}

#[test]
fn a_level_that_the_catalogue_once_lacked_is_a_level_again_and_was_never_reset() {
    let mut live = state(limits());
    let november = at("2026-11-30T12:00:00Z");
    let first = apply(&mut live, &consume("storage_bytes", 5_000), november);

    // A start with a catalogue that lacks the level, over a period's end, then with it again.
    let mut lacking = rebuilt(&without_storage(), &first.lines);
    let december = at("2026-12-02T12:00:00Z");
    let second = apply(&mut lacking, &consume("images", 1), december);
    let healed = TenantState::restore(&lacking.snapshot(), limits()).unwrap();
    let replayed = rebuilt(&limits(), first.lines.iter().chain(&second.lines));

    for mut state in [healed, replayed] {
        assert_eq!(used(&state, "storage_bytes", december), 5_000);
        let january = at("2027-01-02T12:00:00Z");
        apply(&mut state, &consume("images", 1), january);
        assert_eq!(used(&state, "storage_bytes", january), 5_000);
        let free = usage(Command::Free { items: vec![item("storage_bytes", 5_000)] });
        assert_eq!(code(&apply(&mut state, &free, january)), "admitted");
    }
}

#[test]
fn a_hold_that_lapsed_unseen_reads_as_it_will_be_recorded() {
    let mut live = state(limits());
    let now = at("2026-11-30T23:00:00Z");
    let reserve =
        usage(Command::Reserve { id: rsv(1), items: vec![item("images", 200)], ttl_s: 60 });
    apply(&mut live, &reserve, now);
    for later in [at("2026-11-30T23:30:00Z"), at("2026-12-01T12:00:00Z")] {
        let before = live.reservation(rsv(1), later);
        let mut recorded = live.clone();
        apply(&mut recorded, &usage(Command::Tick), later);
        assert_eq!(before, recorded.reservation(rsv(1), later));
    }
}

#[test]
fn a_commit_of_nothing_of_an_unknown_meter_is_refused() {
    let mut live = state(limits());
    let now = at("2026-11-30T12:00:00Z");
    let reserve = usage(Command::Reserve { id: rsv(1), items: vec![item("images", 5)], ttl_s: 60 });
    apply(&mut live, &reserve, now);

    let items = Some(vec![item("images", 1), item("unheard_of", 0)]);
    let commit = usage(Command::Commit { id: rsv(1), items, late: false });

    assert_eq!(code(&apply(&mut live, &commit, now)), "unknown-meter");
}

#[test]
fn a_long_narration_holds_no_more_than_the_longest_video() {
    let mut shape = shape(20);
    for scene in &mut shape.scenes {
        scene.text_bytes = 3_750;
    }
    // Each scene ends with a whole frame.
    let slack = 20 * 200;
    assert!(length_bound_ms(&shape) <= MAX_PLAN_MS + slack);
    let bounds = upper_bounds(&shape);
    let bound = |name: &str| bounds.iter().find(|item| item.meter.as_str() == name).unwrap().amount;
    assert!(bound("tts_ms") <= MAX_PLAN_MS);
    assert!(bound("render_ms") <= MAX_PLAN_MS + slack);
}

#[test]
fn a_scene_that_ends_within_a_frame_is_held_with_the_whole_frame() {
    // The encoder writes whole frames, and what it wrote is charged.
    const FRAME_MS: u64 = 40;
    let mut shape = shape(3);
    for (scene, ms) in shape.scenes.iter_mut().zip([501, 10_013, 60_001]) {
        *scene = SceneShape { text_bytes: 0, duration_ms: ms };
    }
    let written: u64 = shape
        .scenes
        .iter()
        .flat_map(|scene| segment_lengths_ms(u64::from(scene.duration_ms)))
        .map(|length| u64::from(length).div_ceil(FRAME_MS) * FRAME_MS)
        .sum();
    let bounds = upper_bounds(&shape);
    let held = bounds.iter().find(|item| item.meter.as_str() == "render_ms").unwrap().amount;
    assert!(written <= held, "{written} written and {held} held");
}

#[test]
fn what_is_due_beyond_a_turns_measure_is_recorded_before_anything_is_judged() {
    let mut live = state(plan("free", [Some(500), None, None]));
    let start = at("2026-11-30T23:00:00Z");
    let job = JobId::from_bits(7);
    for number in 0..300 {
        let items = vec![item("images", 1)];
        let reserve = usage(Command::Reserve { id: rsv(number), items, ttl_s: 60 });
        apply(&mut live, &reserve, start);
    }
    let submit = TenantCommand::Job(JobCommand::Submit { job, shape: Box::new(shape(1)) });
    let later = at("2026-12-03T00:00:00Z");
    assert_eq!(code(&apply(&mut live, &submit, start)), "admitted");

    let report = live.report(later);
    let first = apply(&mut live, &consume("images", 500), later);
    let second = apply(&mut live, &consume("images", 500), later);

    assert_eq!((code(&first), first.own, first.lines.len()), ("more-due", None, 256));
    let kinds: Vec<&str> = second.lines.iter().map(|line| line.kind).collect();
    let expected = [&["expired"; 44][..], &["period_rolled", "job_expired", "consumed"]].concat();
    assert_eq!(kinds[..47], expected);
    assert_eq!(report.meters[0].remaining, Some(500));
}

/// Everything that can happen to a tenant's quota, with a plan that comes and goes.
fn any_usage() -> impl Strategy<Value = Command> {
    let items = |max: u64| {
        let names = prop::sample::select(vec!["images", "tts_ms", "storage_bytes"]);
        prop::collection::vec((names, 1..max), 1..3)
            .prop_map(|items| items.iter().map(|(m, n)| item(m, *n)).collect::<Vec<Item>>())
    };
    let id = || (0u128..400).prop_map(rsv);
    let terms = prop_oneof![
        Just(limits()),
        Just(without_storage()),
        Just(plan("pro", [Some(60), None, Some(400)])),
    ];
    prop_oneof![
        4 => items(40).prop_map(|items| Command::Consume { items }),
        9 => (id(), items(3), 1..90_000u64)
            .prop_map(|(id, items, ttl_s)| Command::Reserve { id, items, ttl_s: ttl_s.min(86_400) }),
        4 => (id(), prop::option::of(items(40)))
            .prop_map(|(id, items)| Command::Commit { id, items, late: false }),
        2 => id().prop_map(|id| Command::Release { id }),
        2 => (id(), 1..86_400u64).prop_map(|(id, ttl_s)| Command::Extend { id, ttl_s }),
        2 => items(100).prop_map(|items| Command::Free { items }),
        1 => terms.prop_map(set_plan),
        1 => Just(Command::Tick),
    ]
}

fn any_job() -> impl Strategy<Value = JobCommand> {
    let job = || (0u128..4).prop_map(JobId::from_bits);
    prop_oneof![
        4 => job().prop_map(|job| JobCommand::Submit { job, shape: Box::new(shape(1)) }),
        1 => job().prop_map(|job| JobCommand::Cancel { job }),
        1 => job().prop_map(|job| JobCommand::Retry { job }),
        1 => job().prop_map(|job| JobCommand::Delete { job }),
    ]
}

/// What to do next: something anew, or a job's next step.
#[derive(Clone, Debug)]
enum Move {
    Do(TenantCommand),
    Step(u128, u64),
}

fn next_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        10 => any_usage().prop_map(|command| Move::Do(usage(command))),
        3 => any_job().prop_map(|command| Move::Do(TenantCommand::Job(command))),
        8 => (0u128..4, 0..30_000u64).prop_map(|(job, ms)| Move::Step(job, ms)),
    ]
}

/// Starts or finishes what a job may do next.
fn step_command(state: &TenantState, job: u128, ms: u64, now: Timestamp) -> Option<TenantCommand> {
    let job = state.jobs().get(JobId::from_bits(job))?;
    let id = job.id;
    let command = if let Some(step) = job.running().next() {
        let result = Box::new(result(step.name, ms));
        JobCommand::Succeed { job: id, step: step.name, attempt: step.attempts, result }
    } else {
        let step: StepName = *job.runnable(now).first()?;
        JobCommand::Start { job: id, step, timeout_ms: 60_000 }
    };
    Some(TenantCommand::Job(command))
}

/// Counts, from lines alone, what thresholds were reported, and what is used by period.
#[derive(Default)]
struct Observer {
    alerts: BTreeMap<(String, String), Vec<u8>>,
    consumed: BTreeMap<(String, String), u64>,
}

impl Observer {
    fn see(&mut self, line: &Line) {
        match &line.body {
            EntryBody::Usage(Fact::ThresholdReached { meter, percent, period, .. }) => {
                let seen = self.alerts.entry((meter.to_string(), period.to_string())).or_default();
                assert!(seen.iter().all(|before| before < percent), "{meter} {percent} twice");
                seen.push(*percent);
            }
            EntryBody::Usage(
                Fact::Consumed { items, period } | Fact::Committed { items, period, .. },
            )
            | EntryBody::Job(JobFact::StepSucceeded { items, period, .. }) => {
                for charge in items {
                    let key = (charge.meter.to_string(), period.to_string());
                    *self.consumed.entry(key).or_default() += charge.amount;
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_reported_twice_whatever_the_clock_does(
        script in prop::collection::vec((next_move(), -5_000..20_000i64), 1..150),
    ) {
        let mut live = state(limits());
        let mut replayed = state(limits());
        let mut observer = Observer::default();
        let mut micros = at("2026-11-29T12:00:00Z").as_micros();
        for (step, pause_s) in script {
            let now = Timestamp::from_micros(micros);
            micros += if pause_s > 19_900 { 86_400 * 20 } else if pause_s > 10_000 { 0 } else { pause_s }
                * 1_000_000;
            let command = match step {
                Move::Do(command) => Some(command),
                Move::Step(job, ms) => step_command(&live, job, ms, now),
            };
            let Some(command) = command else { continue };
            loop {
                let turn = apply(&mut live, &command, now);
                for line in &turn.lines {
                    observer.see(line);
                    replayed.replay(&Entry::parse(&line.text).unwrap()).unwrap();
                }
                if live.seq() > 0 {
                    prop_assert_eq!(replayed.report(now), live.report(now));
                    prop_assert_eq!(replayed.next_due(), live.next_due());
                }
                if turn.verdict != Verdict::MoreDue {
                    break;
                }
                prop_assert_eq!(turn.lines.len(), MAX_EXPIRIES_PER_TURN);
            }
            prop_assert!(live.next_due().is_none_or(|due| due > now));
            for meter in live.report(now).meters {
                let period = Period::month_of(live.report(now).period.start).name();
                let key = (meter.meter.to_string(), period.to_string());
                if meter.kind == MeterKind::Counter {
                    let sum = observer.consumed.get(&key).copied().unwrap_or(0);
                    prop_assert_eq!(meter.used, sum, "{:?}", key);
                    let reached = [100u8, 80, 50].into_iter().find(|p| {
                        meter.used > 0 && meter.limit.is_some_and(|limit| meter.used * 100 >= limit * u64::from(*p))
                    });
                    let alerted = observer.alerts.get(&key).and_then(|seen| seen.last().copied());
                    prop_assert!(alerted >= reached, "{:?}: {:?} reached, {:?} told", key, reached, alerted);
                }
            }
        }
    }
}
