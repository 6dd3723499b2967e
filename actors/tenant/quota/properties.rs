//! Properties of the quota machine beside its naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::fixture::{at, meter, plan, rsv};
use super::*;
use crate::tenant::plan::MeterName;

/// Beside the model.
mod modelled;
/// Scripts for every part of the machine.
mod scripts;

use self::scripts::{START, Script, items, quota, run, script};

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
            Fact::Adjusted { items, delta, .. } if *delta < 0 => (items, -1, 0),
            Fact::Reserved { items, .. } | Fact::JobHeld { items, .. } => (items, 0, 1),
            Fact::Consumed { items, .. }
            | Fact::CommittedLate { items, .. }
            | Fact::Recorded { items, .. }
            | Fact::Adjusted { items, .. }
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
    fn units_are_conserved(script in script(1..40)) {
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
    fn no_admission_exceeds_a_hard_limit(script in script(1..40)) {
        run(&mut quota(), &script, |quota, applied, now| {
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
                // A watched call is admitted whole: what one item would have been refused for
                // uses up what another was still paid from.
                let is_watched = quota.enforcement() == Enforcement::Shadow
                    && items.iter().any(|charge| charge.would_refuse);
                for charge in items.iter().filter(|c| always || c.amount > c.held) {
                    let total = charge.used + charge.reserved;
                    let is_within = charge.limit.is_none_or(|limit| total <= limit);
                    let is_paid = quota.spend_cap().amount_minor > 0
                        && quota.terms().meter(charge.meter.as_str()).unwrap().overage.is_some()
                        && quota.is_within_cap(now);
                    assert!(is_within || is_paid || is_watched);
                }
            }
        });
    }

    #[test]
    fn no_bill_exceeds_the_cap_that_was_in_force(script in script(1..40)) {
        let (mut highest, mut in_force) = (0u64, 0u64);
        run(&mut quota(), &script, |quota, applied, now| {
            for (_, fact) in &applied.facts {
                match fact {
                    Fact::SpendCapSet { amount_minor, .. } => {
                        in_force = *amount_minor;
                        highest = highest.max(in_force);
                    }
                    Fact::PeriodRolled { closed, levels, .. } => {
                        let counters = closed.iter().map(|closed| closed.amount_minor);
                        let levels = levels.iter().map(|closed| closed.amount_minor);
                        let bill: i64 = counters.chain(levels).sum();
                        assert!(bill <= i64::try_from(highest).unwrap(), "{bill} of {highest}");
                        highest = in_force;
                    }
                    _ => {}
                }
            }
            let spend = quota.report(now).spend;
            assert!(spend.is_none_or(|spend| spend.spent_minor <= i64::try_from(highest).unwrap()));
        });
    }

    #[test]
    fn a_plan_change_forgets_no_debt_and_bills_nothing_that_was_free(script in script(1..40)) {
        let mut quota = quota();
        let mut now = at(START);
        let owed = |quota: &Quota, now: Timestamp| -> u128 {
            quota.owed_lines(now).iter().map(|line| line.micros).sum()
        };
        for (command, pause) in &script {
            quota.apply(&Command::Tick, now);
            let before = owed(&quota, now);
            quota.apply(command, now);
            if let Command::SetPlan { when: PlanChange::Now, .. } = command {
                prop_assert_eq!(owed(&quota, now), before);
            }
            now = now.plus_s(*pause);
        }
    }

    #[test]
    fn each_alert_is_due_once_per_meter_threshold_and_period(script in script(1..60)) {
        let mut known = BTreeSet::new();
        run(&mut quota(), &script, |quota, applied, _| {
            for (_, fact) in &applied.facts {
                if let Fact::ThresholdReached { meter, percent, used, limit, period } = fact {
                    assert!(u128::from(*used) * 100 >= u128::from(*limit) * u128::from(*percent));
                    let higher = |(of, at, known): &(MeterName, PeriodName, u8)| {
                        of == meter && at == period && known >= percent
                    };
                    assert!(!known.iter().any(higher), "{meter} at {percent} in {period} again");
                    known.insert((meter.clone(), period.clone(), *percent));
                }
            }
            // What was used just now and reaches a threshold has been reported.
            let own = applied.own.map(|own| &applied.facts[own].1);
            if let Some(Fact::Consumed { items, period }) = own {
                for charge in items.iter().filter(|c| c.limit.is_some_and(|l| c.used >= l)) {
                    let full = (charge.meter.clone(), period.clone(), 100);
                    assert!(known.contains(&full), "{full:?} after {:?}", quota.period());
                }
            }
        });
    }

    #[test]
    fn a_refusal_changes_nothing(script in script(1..40)) {
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
    fn release_undoes_reserve(script in script(1..40), items in items(40)) {
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
        script in script(1..40),
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
    fn replay_of_events_equals_live_state(script in script(1..40), cut in 0..200usize) {
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
    fn expiry_order_does_not_matter(script in script(1..40), pauses in prop::collection::vec(1..4_000u64, 1..40)) {
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
        let mut quota = Quota::new(plan("free", [Some(100), Some(150), Some(200)]));
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
