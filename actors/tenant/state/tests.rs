use proptest::prelude::*;

use super::*;
use crate::ids::{JobId, RequestId};
use crate::journal::entry::{Head, answer_of, verify_chain};
use crate::tenant::plan::Catalogue;
use crate::tenant::quota::Item;
use crate::tenant::quota::fixture::{at, item, rsv, set_plan};
use crate::tenant::steps::fixture::{result, shape};
use crate::tenant::steps::{FailKind, StepName};

fn terms() -> Arc<PlanTerms> {
    Arc::clone(&Catalogue::builtin().default_plan().terms)
}

fn state() -> TenantState {
    TenantState::new(TenantId::from_bits(1), terms())
}

fn author() -> Author<'static> {
    Author {
        by: "usr_00000000000000000000000001",
        req: Some(RequestId::from_bits(9)),
        idem: Some("ab"),
        fp: Some("cd"),
    }
}

fn consume(amount: u64) -> TenantCommand {
    TenantCommand::Usage(Command::Consume { items: vec![item("images", amount)] })
}

fn kinds(turn: &Turn) -> Vec<&'static str> {
    turn.lines.iter().map(|line| line.kind).collect()
}

#[test]
fn a_command_is_one_line_and_what_was_due_or_reached_are_lines_of_their_own() {
    let mut state = state();
    let start = at("2026-11-30T23:58:00Z");
    let reserve = TenantCommand::Usage(Command::Reserve {
        id: rsv(1),
        items: vec![item("images", 10)],
        ttl_s: 60,
    });
    state.apply(&reserve, &author(), start);
    state.apply(&consume(100), &author(), start);

    let turn = state.apply(&consume(400), &author(), at("2026-12-02T00:00:00Z"));

    assert_eq!(kinds(&turn), ["expired", "period_rolled", "consumed", "threshold_reached"]);
    assert_eq!(turn.own, Some(2));
    let times: Vec<String> = turn.lines.iter().map(|line| line.at.to_string()).collect();
    assert_eq!(
        times,
        [
            "2026-11-30T23:59:00.000000Z",
            "2026-12-01T00:00:00.000000Z",
            "2026-12-02T00:00:00.000000Z",
            "2026-12-02T00:00:00.000000Z",
        ]
    );
    let by = |index: usize| Entry::parse(&turn.lines[index].text).unwrap();
    assert_eq!((by(1).by.as_str(), by(1).idem), ("system", None));
    assert_eq!((by(2).by.as_str(), by(2).idem.as_deref()), (author().by, author().idem));
}

#[test]
fn a_refusal_may_come_with_lines_and_has_none_of_its_own() {
    let mut state = state();
    state.apply(&consume(1), &author(), at("2026-11-30T23:58:00Z"));

    let turn = state.apply(&consume(501), &author(), at("2026-12-01T00:00:00Z"));

    assert_eq!(kinds(&turn), ["period_rolled"]);
    assert_eq!(turn.own, None);
    assert!(matches!(turn.verdict, Verdict::Refused(_)));
}

#[test]
fn an_entrys_time_never_goes_back() {
    let mut state = state();
    state.apply(&consume(1), &author(), at("2026-11-30T12:00:00Z"));

    let turn = state.apply(&consume(1), &author(), at("2026-11-30T11:00:00Z"));

    assert_eq!(turn.lines[0].at, at("2026-11-30T12:00:00Z"));
}

#[test]
fn a_tenant_whose_first_commands_were_refused_replays_its_late_first_entry() {
    let mut live = state();
    live.apply(&consume(501), &author(), at("2026-11-30T12:00:00Z"));
    let turn = live.apply(&consume(1), &author(), at("2027-02-01T12:00:00Z"));

    let mut replayed = state();
    for line in &turn.lines {
        replayed.replay(&Entry::parse(&line.text).unwrap()).unwrap();
    }

    assert_eq!(kinds(&turn), ["period_rolled", "consumed"]);
    assert_eq!(replayed, live);
}

#[test]
fn a_gap_a_foreign_entry_or_a_broken_chain_is_not_replayed() {
    let mut live = state();
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.extend(live.apply(&consume(1), &author(), at("2026-11-30T12:00:00Z")).lines);
    }
    let entries: Vec<Entry> = lines.iter().map(|line| Entry::parse(&line.text).unwrap()).collect();

    let mut replayed = state();
    assert_eq!(replayed.replay(&entries[1]), Err(ReplayError::Gap { expected: 1, found: 2 }));
    replayed.replay(&entries[0]).unwrap();
    let mut forged = Entry::clone(&entries[1]);
    forged.prev = EntryHash::GENESIS;
    assert_eq!(replayed.replay(&forged), Err(ReplayError::Unchained { seq: 2 }));
    let mut other = TenantState::new(TenantId::from_bits(2), terms());
    assert!(other.replay(&entries[0]).is_err());
}

#[test]
fn a_snapshot_takes_the_catalogues_present_default_plan_but_keeps_an_assigned_one() {
    let now = at("2026-11-30T12:00:00Z");
    let pro = Arc::clone(&Catalogue::builtin().plan("pro").unwrap().terms);
    let mut state = state();
    state.apply(&consume(5), &author(), now);

    let moved = TenantState::restore(&state.snapshot(), Arc::clone(&pro)).unwrap();
    assert_eq!(moved.report(now).meters[0].limit, Some(2_500));
    assert_eq!(moved.report(now).meters[0].used, 5);

    let set = TenantCommand::Usage(set_plan(pro));
    state.apply(&set, &author(), now);
    let kept = TenantState::restore(&state.snapshot(), terms()).unwrap();
    assert_eq!(kept.report(now).plan.as_str(), "pro");
    assert_eq!(
        kept,
        TenantState { quota: state.quota.clone().with_default_terms(terms()), ..state }
    );
    assert!(TenantState::restore(b"{}", terms()).is_err());
}

fn command() -> impl Strategy<Value = TenantCommand> {
    let items = || {
        let names = prop::sample::select(vec!["images", "tts_ms", "render_ms", "storage_bytes"]);
        prop::collection::vec((names, 1..200u64), 1..3)
            .prop_map(|items| items.iter().map(|(m, n)| item(m, *n)).collect::<Vec<Item>>())
    };
    let id = || (0u128..6).prop_map(rsv);
    let usage = prop_oneof![
        items().prop_map(|items| Command::Consume { items }),
        (id(), items(), 1..2_000u64).prop_map(|(id, items, ttl_s)| Command::Reserve {
            id,
            items,
            ttl_s
        }),
        (id(), prop::option::of(items())).prop_map(|(id, items)| Command::Commit {
            id,
            items,
            late: false
        }),
        id().prop_map(|id| Command::Release { id }),
        (id(), 1..2_000u64).prop_map(|(id, ttl_s)| Command::Extend { id, ttl_s }),
    ];
    let job = || (0u128..3).prop_map(JobId::from_bits);
    let step = || {
        prop_oneof![
            (1..3u8).prop_map(StepName::Image),
            (1..3u8).prop_map(StepName::Speech),
            (1..3u8, 1..4u16).prop_map(|(scene, segment)| StepName::Segment(scene, segment)),
            Just(StepName::Assemble),
        ]
    };
    let kind = prop::sample::select(vec![
        FailKind::Retryable,
        FailKind::Retryable,
        FailKind::Interrupted,
        FailKind::Permanent,
    ]);
    let jobs = prop_oneof![
        2 => job().prop_map(|job| JobCommand::Submit { job, shape: Box::new(shape(2)) }),
        6 => (job(), step())
            .prop_map(|(job, step)| JobCommand::Start { job, step, timeout_ms: 60_000 }),
        6 => (job(), step(), 1..4u32, 0..60_000u64).prop_map(|(job, step, attempt, ms)| {
            JobCommand::Succeed { job, step, attempt, result: Box::new(result(step, ms)) }
        }),
        1 => (job(), step(), 1..4u32, kind, any::<u64>()).prop_map(
            |(job, step, attempt, kind, draw)| {
                JobCommand::Fail { job, step, attempt, kind, code: "broken".to_owned(), draw }
            }
        ),
        1 => (job(), step(), 1..4u32, any::<u64>())
            .prop_map(|(job, step, attempt, draw)| JobCommand::Timeout { job, step, attempt, draw }),
        1 => job().prop_map(|job| JobCommand::Cancel { job }),
        1 => job().prop_map(|job| JobCommand::Retry { job }),
        1 => job().prop_map(|job| JobCommand::Delete { job }),
    ];
    prop_oneof![
        2 => usage.prop_map(TenantCommand::Usage),
        5 => jobs.prop_map(TenantCommand::Job),
    ]
}

proptest! {
    #[test]
    fn replay_of_lines_equals_live_state_and_each_line_answers_as_the_first_time(
        script in prop::collection::vec((command(), 0..4_000u64), 1..80),
        cut in 0..100usize,
    ) {
        let mut live = state();
        let mut replayed = state();
        let mut now = at("2026-11-30T22:00:00Z");
        let mut lines = Vec::new();
        for (command, pause) in &script {
            let turn = live.apply(command, &author(), now);
            live.check();
            if let (Verdict::Admitted(outcome), Some(own)) = (&turn.verdict, turn.own) {
                let entry = Entry::parse(&turn.lines[own].text).unwrap();
                prop_assert_eq!(&answer_of(&entry), outcome);
            }
            for line in turn.lines {
                let entry = Entry::parse(&line.text).unwrap();
                prop_assert_eq!(&entry.body, &line.body);
                prop_assert_eq!(entry.body.kind(), line.kind);
                replayed.replay(&entry).unwrap();
                if lines.len() == cut {
                    replayed = TenantState::restore(&replayed.snapshot(), terms()).unwrap();
                }
                lines.push(line.text);
            }
            if live.seq() > 0 {
                prop_assert_eq!(&replayed, &live);
            }
            now = now.plus_s(*pause);
        }
        let head = verify_chain(live.tenant(), Head::GENESIS, lines.iter().map(String::as_str));
        prop_assert_eq!(head.unwrap().hash, live.head());
    }
}
