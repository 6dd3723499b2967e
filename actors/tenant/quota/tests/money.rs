//! Overage, the spend cap, and what a level comes to.

use super::*;

/// 100 images, 1,000 of speech and 10,000 stored; 2.5 cents, a third of a cent, $3 a month.
fn world(cap_minor: u64) -> World {
    let terms = sold("pro", [Some(100), Some(1_000), Some(10_000)]);
    let mut world = World { quota: Quota::new(terms), now: at("2026-11-01T00:00:00Z") };
    world.cap(cap_minor).unwrap();
    world
}

impl World {
    fn cap(&mut self, amount_minor: u64) -> Result<Outcome, Refusal> {
        self.apply(Command::SetSpendCap { amount_minor })
    }

    fn spend(&self) -> (i64, u64) {
        let spend = self.quota.report(self.now).spend.unwrap();
        (spend.spent_minor, spend.committed_minor)
    }
}

#[test]
fn overage_is_admitted_up_to_the_last_unit_that_the_cap_pays_for() {
    let mut world = world(10);
    world.consume(&[item("images", 100)]).unwrap();

    assert_eq!(code(world.consume(&[item("images", 5)])), "spend-cap-reached");
    world.consume(&[item("images", 4)]).unwrap();
    assert_eq!(world.spend(), (10, 10));
    let refusal = world.consume(&[item("images", 1)]).unwrap_err();

    let Refusal::SpendCapReached { cap_minor, spent_minor, used, limit, .. } = refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!((cap_minor, spent_minor, used, limit), (10, 10, 104, 100));
}

#[test]
fn the_cap_is_one_for_all_meters_and_counts_what_is_held() {
    let mut world = world(10);
    world.reserve(1, &[item("images", 102)], 300).unwrap();
    assert_eq!(code(world.consume(&[item("tts_ms", 1_016)])), "spend-cap-reached");
    world.consume(&[item("tts_ms", 1_015)]).unwrap();

    world.apply(Command::Release { id: rsv(1) }).unwrap();

    assert_eq!(world.spend(), (5, 5));
}

#[test]
fn a_command_over_two_meters_is_judged_by_what_both_cost() {
    let mut world = world(10);
    let both = [item("images", 102), item("tts_ms", 1_016)];
    assert_eq!(code(world.consume(&both)), "spend-cap-reached");
    assert_eq!(world.usage("images"), (0, 0, Some(100)));

    let both = [item("images", 102), item("tts_ms", 1_015)];
    assert_eq!(code(world.consume(&both)), "admitted");
}

#[test]
fn facts_beyond_the_cap_are_not_billed_until_the_cap_pays_for_them() {
    let mut world = world(10);
    world.adjust("images", 108).unwrap();
    assert_eq!(world.spend(), (10, 20));
    assert_eq!(code(world.consume(&[item("tts_ms", 1_001)])), "spend-cap-reached");

    world.cap(15).unwrap();
    assert_eq!(world.spend(), (15, 20));
    world.cap(0).unwrap();
    assert_eq!(world.spend(), (15, 20), "what was owed is owed");
    world.adjust("images", -6).unwrap();
    assert_eq!(world.spend(), (5, 5));
}

#[test]
fn a_limit_is_hard_without_a_cap_and_a_cap_needs_overage() {
    let mut world = world(0);
    world.consume(&[item("images", 100)]).unwrap();
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
    assert_eq!(code(world.cap(MAX_AMOUNT + 1)), "invalid-spend-cap");

    let mut free = World::new(100);
    assert_eq!(code(free.cap(1)), "no-overage");
    assert_eq!(code(free.cap(0)), "admitted");
}

#[test]
fn each_line_is_rounded_once_and_the_period_closes_with_the_bill() {
    let mut world = world(1_000);
    world.consume(&[item("images", 101), item("tts_ms", 1_002)]).unwrap();
    world.now = at("2026-12-01T00:00:00Z");

    let applied = world.quota.apply(&Command::Tick, world.now);

    let [(_, Fact::PeriodRolled { closed, .. })] = &applied.facts[..] else {
        panic!("{applied:?}")
    };
    let lines: Vec<_> = closed.iter().map(|line| (line.over, line.amount_minor)).collect();
    assert_eq!(lines, [(1, 3), (2, 1)], "2.5 and 0.67 cents");
    assert_eq!(world.spend(), (0, 0));
}

#[test]
fn a_level_is_paid_for_until_the_period_ends_so_that_time_passes_no_cap() {
    let mut world = world(300);
    world.consume(&[item("storage_bytes", 10_000)]).unwrap();

    assert_eq!(code(world.consume(&[item("storage_bytes", 2)])), "spend-cap-reached");
    world.consume(&[item("storage_bytes", 1)]).unwrap();
    assert_eq!(world.spend(), (0, 300), "30 days of November");
    world.now = at("2026-11-16T00:00:00Z");
    assert_eq!(world.spend(), (150, 300));
    world.apply(Command::Free { items: vec![item("storage_bytes", 1)] }).unwrap();
    assert_eq!(world.spend(), (150, 150));
}

#[test]
fn a_level_closes_with_its_units_times_seconds() {
    let mut world = world(100_000);
    world.consume(&[item("storage_bytes", 500)]).unwrap();
    world.now = at("2026-11-01T00:00:10.500000Z");
    world.consume(&[item("storage_bytes", 9_600)]).unwrap();
    world.now = at("2026-12-01T00:00:00Z");

    let applied = world.quota.apply(&Command::Tick, world.now);

    let [(_, Fact::PeriodRolled { levels, .. }), ..] = &applied.facts[..] else {
        panic!("{applied:?}")
    };
    let all = 500 * 10_500 / 1_000 + 10_100 * 2_591_989 + 10_100 / 2;
    assert_eq!(levels[0].unit_seconds, all);
    assert_eq!(levels[0].over_unit_seconds, 100 * 2_591_989 + 50);
    let text = serde_json::to_string(&levels[0]).unwrap();
    assert!(text.contains(&format!("\"unit_seconds\":\"{all}\"")), "{text}");
}
