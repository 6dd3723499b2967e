use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::tests::fixture::{at, item, plan, rsv, set_plan};
use super::super::{Applied, Command, Quota, ReservationState, Verdict};
use super::*;
use crate::money::MicroMoney;
use crate::tenant::period::Zone;
use crate::tenant::plan::{MeterName, OveragePrice};

const NOW: &str = "2026-11-23T15:00:00Z";

fn quota() -> Quota {
    Quota::new(plan("free", [Some(100), Some(1_000), Some(10_000)]))
}

fn pro() -> Arc<PlanTerms> {
    plan("pro", [Some(500), None, None])
}

fn change(terms: Arc<PlanTerms>, cycle: Option<Cycle>, when: PlanChange) -> Command {
    Command::SetPlan { terms, cycle, when }
}

fn consume(amount: u64) -> Command {
    Command::Consume { items: vec![item("images", amount)] }
}

fn apply(quota: &mut Quota, command: &Command, now: &str) -> Applied {
    let applied = quota.apply(command, at(now));
    quota.check();
    applied
}

fn is_admitted(applied: &Applied) -> bool {
    matches!(applied.verdict, Verdict::Admitted(_))
}

fn images(quota: &Quota, now: &str) -> (u64, u64, Option<u64>) {
    let report = quota.report(at(now));
    (report.meters[0].used, report.meters[0].reserved, report.meters[0].remaining)
}

/// From the day of the subscription on.
fn monthly() -> Cycle {
    Cycle::monthly(at(NOW), Zone::utc())
}

#[test]
fn an_upgrade_comes_at_once_and_grants_nothing_twice() {
    let mut quota = quota();
    apply(&mut quota, &consume(100), NOW);
    assert!(!is_admitted(&apply(&mut quota, &consume(1), NOW)));

    apply(&mut quota, &set_plan(pro()), NOW);
    assert_eq!(images(&quota, NOW), (100, 0, Some(400)));
    // Down and up again: what was used stays used.
    apply(&mut quota, &set_plan(plan("free", [Some(100), None, None])), NOW);
    assert_eq!(images(&quota, NOW), (100, 0, Some(0)));
    apply(&mut quota, &set_plan(pro()), NOW);
    assert_eq!(images(&quota, NOW), (100, 0, Some(400)));
}

#[test]
fn an_upgrade_with_a_cycle_moves_counters_and_holds_into_its_period() {
    let mut quota = quota();
    let reserve = Command::Reserve { id: rsv(1), items: vec![item("images", 20)], ttl_s: 3_600 };
    apply(&mut quota, &consume(70), "2026-11-23T14:30:00Z");
    apply(&mut quota, &reserve, "2026-11-23T14:30:00Z");

    let set = apply(&mut quota, &change(pro(), Some(monthly()), PlanChange::Now), NOW);
    let period = quota.period().unwrap();

    assert_eq!((period.start, period.end), (at(NOW), at("2026-12-23T15:00:00Z")));
    assert_eq!(quota.period_name().as_str(), "2026-11-23");
    assert!(
        matches!(&set.facts[..], [(_, Fact::PlanSet { period: Some(to), .. })] if *to == period)
    );
    assert_eq!(images(&quota, NOW), (70, 20, Some(410)));
    let commit = Command::Commit { id: rsv(1), items: None, late: false };
    assert!(is_admitted(&apply(&mut quota, &commit, NOW)));
    assert_eq!(images(&quota, NOW), (90, 0, Some(410)));

    // The calendar's month ends in the middle of it, and nothing happens.
    assert!(apply(&mut quota, &Command::Tick, "2026-12-01T00:00:00Z").facts.is_empty());
    let rolled = apply(&mut quota, &Command::Tick, "2026-12-23T15:00:00Z");
    assert_eq!(rolled.facts.len(), 1);
    assert_eq!(images(&quota, "2026-12-23T15:00:00Z"), (0, 0, Some(500)));
}

#[test]
fn a_downgrade_waits_for_the_periods_end_and_comes_inside_the_roll() {
    let mut quota = quota();
    apply(&mut quota, &change(pro(), Some(monthly()), PlanChange::Now), NOW);
    apply(&mut quota, &consume(400), NOW);
    let free = plan("free", [Some(100), Some(1_000), Some(10_000)]);

    let later = change(free, Some(Cycle::default()), PlanChange::PeriodEnd);
    let scheduled = apply(&mut quota, &later, "2026-12-05T00:00:00Z");
    assert!(matches!(
        &scheduled.facts[..],
        [(_, Fact::PlanScheduled { comes_at: due, .. })] if *due == at("2026-12-23T15:00:00Z")
    ));
    assert_eq!(quota.scheduled_plan().unwrap().as_str(), "free");
    assert_eq!(images(&quota, "2026-12-05T00:00:00Z"), (400, 0, Some(100)));

    let rolled = apply(&mut quota, &consume(100), "2027-03-05T00:00:00Z");
    let rolls: Vec<_> = rolled
        .facts
        .iter()
        .filter_map(|(stamped, fact)| match fact {
            Fact::PeriodRolled { to, plan, .. } => {
                assert_eq!(*stamped, to.start);
                Some((to.start, plan.as_ref().map(PlanName::as_str)))
            }
            _ => None,
        })
        .collect();

    // The new plan begins where the old one ended, and free tenants skip what they slept through.
    assert_eq!(
        rolls,
        [(at("2026-12-23T15:00:00Z"), Some("free")), (at("2027-03-01T00:00:00Z"), None)]
    );
    assert!(quota.scheduled_plan().is_none());
    assert_eq!(images(&quota, "2027-03-05T00:00:00Z"), (100, 0, Some(0)));
}

#[test]
fn a_later_change_replaces_the_one_that_waits() {
    let mut quota = quota();
    apply(&mut quota, &change(pro(), None, PlanChange::PeriodEnd), NOW);
    apply(&mut quota, &set_plan(plan("other", [Some(7), None, None])), NOW);
    assert!(quota.scheduled_plan().is_none());

    apply(&mut quota, &change(pro(), None, PlanChange::PeriodEnd), NOW);
    apply(
        &mut quota,
        &change(plan("third", [Some(3), None, None]), None, PlanChange::PeriodEnd),
        NOW,
    );
    apply(&mut quota, &Command::Tick, "2026-12-01T00:00:00Z");

    assert_eq!(quota.terms().plan.as_str(), "third");
}

#[test]
fn a_plan_with_prices_closes_every_period_by_itself() {
    let mut terms = PlanTerms::clone(&pro());
    for meter in &mut terms.meters {
        let price_micros = MicroMoney::from_micros(50_000);
        meter.overage = Some(OveragePrice { price_micros, per_units: 1 });
    }
    let mut quota = quota();
    apply(&mut quota, &set_plan(Arc::new(terms)), NOW);

    let applied = apply(&mut quota, &Command::Tick, "2027-03-05T00:00:00Z");

    let starts: Vec<_> = applied.facts.iter().map(|(at, _)| at.date().month).collect();
    assert_eq!(starts, [12, 1, 2, 3]);
    // Asleep, it is woken for each end; a tenant that pays nothing is not.
    let wakes = |fact: &Fact| match fact {
        Fact::PlanSet { wakes_at, .. } | Fact::PeriodRolled { wakes_at, .. } => *wakes_at,
        _ => None,
    };
    assert_eq!(wakes(&applied.facts[3].1), Some(at("2027-04-01T00:00:00Z")));
    let free = apply(&mut quota, &set_plan(pro()), "2027-03-05T00:00:00Z");
    assert_eq!(wakes(&free.facts[0].1), None);
}

#[test]
fn a_hold_of_a_moved_period_still_belongs_to_it_after_the_roll() {
    let mut quota = quota();
    let before = "2026-12-23T14:00:00Z";
    apply(&mut quota, &change(pro(), Some(monthly()), PlanChange::Now), NOW);
    let reserve = Command::Reserve { id: rsv(1), items: vec![item("images", 20)], ttl_s: 86_400 };
    apply(&mut quota, &reserve, before);
    // Another day of the month, one hour before the present period ends.
    let other = Cycle::monthly(at("2026-12-23T14:30:00Z"), Zone::utc());
    apply(&mut quota, &change(pro(), Some(other), PlanChange::Now), "2026-12-23T14:30:00Z");
    apply(&mut quota, &Command::Tick, "2027-02-01T00:00:00Z");

    let state = quota.reservation(rsv(1), at("2027-02-01T00:00:00Z")).map(|found| found.state);
    assert!(matches!(state, None | Some(ReservationState::Expired)), "{state:?}");
    assert_eq!(images(&quota, "2027-02-01T00:00:00Z"), (0, 0, Some(500)));
}

fn cycles() -> impl Strategy<Value = Option<Cycle>> {
    let zones = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns"]);
    let anchored = (zones, 0..90u64, 1..=12u8).prop_map(|(zone, days, months)| Cycle::Anchored {
        anchor: at("2026-10-15T10:00:00Z").plus_s(days * 86_400),
        zone: zone.parse().unwrap(),
        months: months.try_into().unwrap(),
    });
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Cycle::default())),
        4 => anchored.prop_map(Some),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let id = || (0u128..6).prop_map(rsv);
    let when = prop_oneof![Just(PlanChange::Now), Just(PlanChange::PeriodEnd)];
    let limits = (0..120u64, prop::option::of(0..200u64), 0..300u64, any::<bool>());
    let terms = limits.prop_map(|(images, tts, bytes, has_prices)| {
        let mut terms = PlanTerms::clone(&plan("other", [Some(images), tts, Some(bytes)]));
        if has_prices {
            let price_micros = MicroMoney::from_micros(5);
            terms.meters[0].overage = Some(OveragePrice { price_micros, per_units: 1 });
        }
        Arc::new(terms)
    });
    let items = || prop::sample::select(vec!["images", "tts_ms", "storage_bytes"]);
    let take = (items(), 1..40u64).prop_map(|(meter, amount)| vec![item(meter, amount)]);
    prop_oneof![
        4 => (terms, cycles(), when)
            .prop_map(|(terms, cycle, when)| Command::SetPlan { terms, cycle, when }),
        6 => take.clone().prop_map(|items| Command::Consume { items }),
        5 => (id(), take, 60..86_400u64)
            .prop_map(|(id, items, ttl_s)| Command::Reserve { id, items, ttl_s }),
        3 => id().prop_map(|id| Command::Commit { id, items: None, late: false }),
        2 => id().prop_map(|id| Command::Release { id }),
        1 => Just(Command::Tick),
    ]
}

/// What was used in the open period, summed from facts alone.
fn carry(used: &mut BTreeMap<MeterName, u64>, fact: &Fact, period: &PeriodName) {
    match fact {
        Fact::Consumed { items, period: of } if of == period => {
            for charge in items {
                *used.entry(charge.meter.clone()).or_default() += charge.amount;
            }
        }
        Fact::Committed { items, period: of, .. } => {
            for charge in items {
                let is_level = charge.meter.as_str() == "storage_bytes";
                if of == period || is_level {
                    *used.entry(charge.meter.clone()).or_default() += charge.amount;
                }
            }
        }
        Fact::PeriodRolled { closed, .. } => {
            for closed in closed {
                assert_eq!(used.get(&closed.meter).copied().unwrap_or(0), closed.used);
                used.insert(closed.meter.clone(), 0);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn units_are_conserved_across_plans_cycles_and_rolls(
        script in prop::collection::vec((command(), 0..2_000_000u64), 1..50),
    ) {
        let (mut live, mut replayed) = (quota(), quota());
        let mut used = BTreeMap::new();
        let mut now = at("2026-11-20T10:00:00Z");
        for (command, pause) in script {
            now = now.plus_s(pause);
            let mut open = live.period();
            let applied = live.apply(&command, now);
            live.check();
            for (stamped, fact) in &applied.facts {
                replayed.replay_fact(fact, *stamped).unwrap();
                let period = replayed.period().unwrap();
                if let Fact::PeriodRolled { from, to, .. } = fact {
                    prop_assert!(open.is_none_or(|open| open == *from));
                    prop_assert!(from.end <= to.start && to.start < to.end);
                    prop_assert_eq!(*stamped, to.start);
                }
                prop_assert!(period.contains(*stamped), "{:?} at {}", period, stamped);
                carry(&mut used, fact, &replayed.period_name());
                open = replayed.period();
            }
            if live.period().is_some() && !applied.facts.is_empty() {
                prop_assert_eq!(&replayed, &live);
            }
            prop_assert!(live.period().unwrap().contains(now));
            for meter in live.report(now).meters {
                let sum = used.get(&meter.meter).copied().unwrap_or(0);
                prop_assert_eq!(meter.used, sum, "{}", meter.meter);
            }
        }
    }
}
