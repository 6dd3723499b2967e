//! Properties of the quota machine beside its naive model.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::model::{Model, ModelVerdict, code};
use super::tests::fixture::{at, meter, plan, rsv};
use super::*;

const METERS: [&str; 4] = ["images", "tts_ms", "storage_bytes", "unheard_of"];
const START: &str = "2026-11-29T22:00:00Z";

/// What happens, and how many seconds before the next.
type Script = Vec<(Command, u64)>;

fn items(max: u64) -> impl Strategy<Value = Vec<Item>> {
    let meters = prop_oneof![30 => 0..3usize, 1 => Just(3usize)];
    let amounts = prop_oneof![20 => 1..=max, 1 => Just(0u64)];
    let item =
        (meters, amounts).prop_map(|(index, amount)| Item { meter: meter(METERS[index]), amount });
    prop::collection::vec(item, 1..4)
}

fn command() -> impl Strategy<Value = Command> {
    let id = || (0u128..8).prop_map(rsv);
    let job = || (0u128..3).prop_map(JobId::from_bits);
    let ttl = || prop_oneof![1..600u64, 3_600..=86_400u64];
    let limit = || prop_oneof![4 => (0..200u64).prop_map(Some), 1 => Just(None)];
    let set_plan = (limit(), limit(), limit()).prop_map(|(a, b, c)| Command::SetPlan {
        terms: plan("other", [a, b, c]),
        cycle: None,
        when: PlanChange::Now,
    });
    prop_oneof![
        6 => items(20).prop_map(|items| Command::Consume { items }),
        8 => (id(), items(40), ttl())
            .prop_map(|(id, items, ttl_s)| Command::Reserve { id, items, ttl_s }),
        6 => (id(), prop::option::of(items(50)))
            .prop_map(|(id, items)| Command::Commit { id, items, late: false }),
        4 => id().prop_map(|id| Command::Release { id }),
        3 => (id(), ttl()).prop_map(|(id, ttl_s)| Command::Extend { id, ttl_s }),
        3 => (job(), items(30)).prop_map(|(job, items)| Command::HoldJob { job, items }),
        4 => (job(), items(15)).prop_map(|(job, items)| Command::CommitPart { job, items }),
        2 => job().prop_map(|job| Command::CloseJob { job }),
        2 => items(20).prop_map(|items| Command::Free { items }),
        1 => set_plan,
        1 => Just(Command::Tick),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let pause = prop_oneof![8 => 0..120u64, 3 => 120..7_200u64, 1 => 7_200..3_000_000u64];
    prop::collection::vec((command(), pause), 1..60)
}

fn quota() -> Quota {
    Quota::new(plan("free", [Some(100), Some(150), Some(200)]))
}

/// Runs a script and shows every turn to `see`.
fn run(quota: &mut Quota, script: &Script, mut see: impl FnMut(&Quota, &Applied, Timestamp)) {
    let mut now = at(START);
    for (command, pause) in script {
        let applied = quota.apply(command, now);
        see(quota, &applied, now);
        now = now.plus_s(*pause);
    }
}

#[test]
fn the_machine_agrees_with_a_naive_model() {
    let (all, effective) = (Cell::new(0u32), Cell::new(0u32));
    let mut runner =
        TestRunner::new(Config { cases: 1_024, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&script(), |script| {
        let mut quota = quota();
        let mut model = Model::new(plan("free", [Some(100), Some(150), Some(200)]), at(START));
        let mut now = at(START);
        for (command, pause) in &script {
            let applied = quota.apply(command, now);
            let expected = model.apply(command, now);
            quota.check();
            all.set(all.get() + 1);
            let found = match (&applied.verdict, applied.own) {
                (Verdict::Admitted(_), Some(_)) => {
                    effective.set(effective.get() + 1);
                    ModelVerdict::Done
                }
                (Verdict::Admitted(_), None) => ModelVerdict::Again,
                (Verdict::Refused(refusal), _) => code(refusal),
                (Verdict::MoreDue, _) => panic!("no script has 256 holds"),
            };
            prop_assert_eq!(found, expected, "{:?} at {}", command, now);
            for usage in quota.report(now).meters {
                prop_assert_eq!(usage.used, model.used(model.period(), &usage.meter));
                prop_assert_eq!(usage.reserved, model.reserved(model.period(), &usage.meter));
            }
            for id in (0..8).map(rsv) {
                let known = quota.reservation(id, now).map(|known| known.state);
                prop_assert_eq!(known, model.state(id));
            }
            now = now.plus_s(*pause);
        }
        Ok(())
    });

    outcome.unwrap();
    let (all, effective) = (all.get(), effective.get());
    assert!(
        effective * 4 > all,
        "only {effective} of {all} commands had an effect: too many skips"
    );
}

/// Adds up, from facts alone, what was used and what is held, over all periods.
#[derive(Default)]
struct Sums {
    used: BTreeMap<MeterName, i128>,
    held: BTreeMap<MeterName, i128>,
}

impl Sums {
    fn add(&mut self, fact: &Fact) {
        let (items, used, held) = match fact {
            Fact::Freed { items, .. } => (items, -1, 0),
            Fact::Reserved { items, .. } | Fact::JobHeld { items, .. } => (items, 0, 1),
            Fact::Consumed { items, .. }
            | Fact::Committed { items, .. }
            | Fact::Released { items, .. }
            | Fact::Expired { items, .. }
            | Fact::PartCommitted { items, .. }
            | Fact::JobClosed { items, .. } => (items, 1, 0),
            _ => return,
        };
        for charge in items {
            let amount = i128::from(charge.amount);
            *self.used.entry(charge.meter.clone()).or_default() += used * amount;
            *self.held.entry(charge.meter.clone()).or_default() +=
                held * amount - i128::from(charge.held);
        }
    }
}

proptest! {
    #[test]
    fn units_are_conserved(script in script()) {
        let mut quota = quota();
        let mut sums = Sums::default();
        let mut closed = BTreeMap::<MeterName, i128>::new();
        let mut late = BTreeMap::<MeterName, i128>::new();
        run(&mut quota, &script, |quota, applied, now| {
            let open = Period::month_of(now).name();
            for (_, fact) in &applied.facts {
                sums.add(fact);
                match fact {
                    Fact::PeriodRolled { closed: counters, .. } => {
                        for counter in counters {
                            *closed.entry(counter.meter.clone()).or_default() +=
                                i128::from(counter.used);
                        }
                    }
                    // What a hold of an earlier period comes to is in no open counter.
                    Fact::Committed { items, period, .. }
                    | Fact::PartCommitted { items, period, .. } if *period != open => {
                        for charge in items.iter().filter(|c| c.meter.as_str() != "storage_bytes") {
                            *late.entry(charge.meter.clone()).or_default() +=
                                i128::from(charge.amount);
                        }
                    }
                    _ => {}
                }
            }
            for usage in quota.report(now).meters {
                let of = |sums: &BTreeMap<MeterName, i128>| {
                    sums.get(&usage.meter).copied().unwrap_or(0)
                };
                let held = i128::from(usage.reserved) + i128::from(usage.reserved_earlier);
                assert_eq!(held, of(&sums.held), "{} held", usage.meter);
                let used = i128::from(usage.used) + of(&closed) + of(&late);
                assert_eq!(used, of(&sums.used), "{} used", usage.meter);
            }
        });
    }

    #[test]
    fn no_admission_exceeds_a_hard_limit(script in script()) {
        run(&mut quota(), &script, |_, applied, _| {
            for (_, fact) in &applied.facts {
                let (items, always) = match fact {
                    Fact::Consumed { items, .. }
                    | Fact::Reserved { items, .. }
                    | Fact::JobHeld { items, .. } => (items, true),
                    Fact::Committed { items, .. } | Fact::PartCommitted { items, .. } => {
                        (items, false)
                    }
                    _ => continue,
                };
                for charge in items {
                    let total = charge.used + charge.reserved;
                    let admits = always || charge.amount > charge.held;
                    assert!(!admits || charge.limit.is_none_or(|limit| total <= limit));
                }
            }
        });
    }

    #[test]
    fn a_refusal_changes_nothing(script in script()) {
        let mut quota = quota();
        let mut now = at(START);
        for (command, pause) in &script {
            quota.apply(&Command::Tick, now);
            let before = quota.clone();
            let applied = quota.apply(command, now);
            if let Verdict::Refused(_) = applied.verdict {
                prop_assert!(applied.facts.is_empty());
                prop_assert_eq!(&quota, &before);
            }
            now = now.plus_s(*pause);
        }
    }

    #[test]
    fn release_undoes_reserve(script in script(), items in items(40)) {
        let mut quota = quota();
        let mut now = at(START);
        run(&mut quota, &script, |_, _, at| now = at);
        let id = rsv(1_000);
        let before = quota.report(now);

        let reserve = Command::Reserve { id, items, ttl_s: 60 };
        let held = quota.apply(&reserve, now).verdict;
        let released = quota.apply(&Command::Release { id }, now).verdict;

        prop_assert_eq!(
            matches!(held, Verdict::Admitted(_)),
            matches!(released, Verdict::Admitted(_))
        );
        prop_assert_eq!(quota.report(now), before);
    }

    #[test]
    fn commit_is_idempotent_per_reservation(
        script in script(),
        held in items(40),
        used in prop::option::of(items(50)),
    ) {
        let mut quota = quota();
        let mut now = at(START);
        run(&mut quota, &script, |_, _, at| now = at);
        let id = rsv(1_000);
        let reserved = quota.apply(&Command::Reserve { id, items: held, ttl_s: 60 }, now).verdict;
        let commit = Command::Commit { id, items: used, late: false };

        let first = quota.apply(&commit, now).verdict;
        let after = quota.clone();
        let second = quota.apply(&commit, now);

        if matches!(reserved, Verdict::Admitted(_)) {
            prop_assert_eq!(second.verdict, first);
            prop_assert!(second.facts.is_empty());
        }
        prop_assert_eq!(quota, after);
    }

    #[test]
    fn replay_of_events_equals_live_state(script in script(), cut in 0..200usize) {
        let mut live = quota();
        let mut facts = Vec::new();
        run(&mut live, &script, |_, applied, _| facts.extend(applied.facts.iter().cloned()));

        let mut replayed = quota();
        for (index, (at, fact)) in facts.iter().enumerate() {
            if index == cut {
                // As through a snapshot.
                let text = serde_json::to_string(&replayed).unwrap();
                let restored: Quota = serde_json::from_str(&text).unwrap();
                replayed = restored.with_default_terms(Arc::clone(&replayed.default_terms));
            }
            let text = serde_json::to_string(fact).unwrap();
            let fact: Fact = serde_json::from_str(&text).unwrap();
            replayed.replay_fact(&fact, *at).unwrap();
        }

        if !facts.is_empty() {
            replayed.check();
            prop_assert_eq!(replayed, live);
        }
    }

    #[test]
    fn expiry_order_does_not_matter(script in script(), pauses in prop::collection::vec(1..4_000u64, 1..40)) {
        let mut eager = quota();
        let mut now = at(START);
        run(&mut eager, &script, |_, _, at| now = at);
        let mut lazy = eager.clone();

        // One looks often, the other once at the end: the same facts, the same state.
        let mut often = Vec::new();
        for pause in pauses {
            now = now.plus_s(pause);
            often.extend(eager.apply(&Command::Tick, now).facts);
        }
        let once = lazy.apply(&Command::Tick, now).facts;

        prop_assert_eq!(often, once);
        prop_assert_eq!(eager, lazy);
    }

    #[test]
    fn reset_keeps_open_reservations(held in prop::collection::vec(1..20u64, 1..5), used in 1..20u64) {
        let mut quota = quota();
        let end = at("2026-11-30T23:59:50Z");
        let item = |amount| vec![Item { meter: meter("images"), amount }];
        quota.apply(&Command::Consume { items: item(used) }, end);
        for (number, amount) in (0u128..).zip(&held) {
            let id = rsv(number);
            quota.apply(&Command::Reserve { id, items: item(*amount), ttl_s: 300 }, end);
        }
        let after = at("2026-12-01T00:00:10Z");

        quota.apply(&Command::Tick, after);

        let report = quota.report(after);
        prop_assert_eq!(report.meters[0].remaining, Some(100));
        prop_assert_eq!(report.meters[0].reserved_earlier, held.iter().sum::<u64>());
        for (number, amount) in (0u128..).zip(&held) {
            let items = Some(item(*amount));
            let commit = Command::Commit { id: rsv(number), items, late: false };
            prop_assert!(matches!(quota.apply(&commit, after).verdict, Verdict::Admitted(_)));
        }
        quota.check();
        prop_assert_eq!(quota.report(after).meters[0].remaining, Some(100));
        prop_assert_eq!(quota.report(after).meters[0].reserved_earlier, 0);
    }
}
