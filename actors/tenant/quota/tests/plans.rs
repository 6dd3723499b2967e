//! What a plan that comes at once does to money: nothing is forgotten, and nothing free is billed.

use super::*;
use crate::money::Currency;

/// 2,500 images in the plan, more for 5 cents each.
fn pro() -> Arc<PlanTerms> {
    let mut terms = PlanTerms::clone(&sold("pro", [Some(2_500), None, Some(10_000)]));
    let price_micros = MicroMoney::from_micros(50_000);
    terms.meters[0].overage = Some(OveragePrice { price_micros, per_units: 1 });
    Arc::new(terms)
}

fn free() -> Arc<PlanTerms> {
    plan("free", [Some(50), None, Some(10_000)])
}

fn enterprise() -> Arc<PlanTerms> {
    plan("enterprise", [None, None, None])
}

/// On pro, with $500 to spend.
fn world() -> World {
    let mut world = World { quota: Quota::new(pro()), now: at("2026-11-01T00:00:00Z") };
    world.apply(Command::SetSpendCap { amount_minor: 50_000 }).unwrap();
    world
}

impl World {
    fn put(&mut self, terms: Arc<PlanTerms>) {
        self.apply(set_plan(terms)).unwrap();
    }

    fn money(&self) -> Option<(i64, u64)> {
        let spend = self.quota.report(self.now).spend;
        spend.map(|spend| (spend.spent_minor, spend.committed_minor))
    }

    /// Ends the month and returns the line of images and those of levels.
    fn closes(&mut self) -> (u64, i64, Vec<i64>) {
        self.now = at("2026-12-01T00:00:00Z");
        let applied = self.quota.apply(&Command::Tick, self.now);
        self.quota.check();
        let [(_, Fact::PeriodRolled { closed, levels, .. }), ..] = &applied.facts[..] else {
            panic!("{applied:?}")
        };
        let levels = levels.iter().map(|level| level.amount_minor).collect();
        (closed[0].used, closed[0].amount_minor, levels)
    }
}

#[test]
fn units_that_were_free_under_an_unlimited_plan_are_never_billed() {
    let mut world = world();
    world.put(enterprise());
    world.consume(&[item("images", 10_000)]).unwrap();
    world.put(pro());

    assert_eq!(world.money(), Some((0, 0)));
    world.consume(&[item("images", 10)]).unwrap();
    assert_eq!(world.money(), Some((50, 50)), "what is taken from now on is");
    assert_eq!(world.closes(), (10_010, 50, Vec::new()));
}

#[test]
fn what_is_owed_stays_owed_under_a_plan_that_sells_nothing() {
    let mut world = world();
    world.consume(&[item("images", 10_000)]).unwrap();
    assert_eq!(world.money(), Some((37_500, 37_500)));
    world.put(free());

    assert_eq!(world.money(), Some((37_500, 37_500)));
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
    assert_eq!(world.closes(), (10_000, 37_500, Vec::new()));
    assert_eq!(world.money(), None, "closed with its period");
}

#[test]
fn no_unit_is_billed_twice_however_often_plans_change() {
    let mut world = world();
    world.consume(&[item("images", 10_000)]).unwrap();
    for terms in [pro(), enterprise(), free(), pro()] {
        world.put(terms);
        assert_eq!(world.money(), Some((37_500, 37_500)));
    }

    // The cap is one for the whole period: $125 of it are left.
    assert_eq!(code(world.consume(&[item("images", 2_501)])), "spend-cap-reached");
    world.consume(&[item("images", 2_500)]).unwrap();
    assert_eq!(world.closes(), (12_500, 50_000, Vec::new()));
}

#[test]
fn units_within_a_larger_limit_stay_free_under_a_smaller_one() {
    let mut world = world();
    world.consume(&[item("images", 2_000)]).unwrap();
    world.reserve(1, &[item("images", 500)], 3_600).unwrap();
    let small = sold("small", [Some(100), None, Some(10_000)]);
    world.put(small);
    assert_eq!(world.money(), Some((0, 0)));

    world.commit(1, None).unwrap();
    assert_eq!(world.money(), Some((0, 0)), "held before, free after");
    world.consume(&[item("images", 4)]).unwrap();
    assert_eq!(world.closes(), (2_504, 10, Vec::new()));
}

#[test]
fn what_was_given_back_after_the_change_is_for_sale_again() {
    let mut world = world();
    world.put(enterprise());
    world.consume(&[item("images", 3_000)]).unwrap();
    world.reserve(1, &[item("images", 100)], 3_600).unwrap();
    world.put(pro());

    world.apply(Command::Release { id: rsv(1) }).unwrap();
    world.consume(&[item("images", 100)]).unwrap();

    assert_eq!(world.money(), Some((500, 500)));
}

#[test]
fn a_level_is_billed_by_the_plan_of_each_moment() {
    let mut world = world();
    // One unit beyond the limit at $3 for 30 days, which November has.
    world.consume(&[item("storage_bytes", 10_001)]).unwrap();
    assert_eq!(world.money(), Some((0, 300)));

    world.now = at("2026-11-11T00:00:00Z");
    world.put(enterprise());
    assert_eq!(world.money(), Some((100, 100)), "ten days");
    world.now = at("2026-11-21T00:00:00Z");
    world.put(pro());
    assert_eq!(world.money(), Some((100, 200)), "ten were free, ten are ahead");

    let (_, _, levels) = world.closes();
    assert_eq!(levels, [200]);
}

#[test]
fn what_was_beyond_the_cap_stays_unbilled() {
    let mut world = world();
    world.apply(Command::SetSpendCap { amount_minor: 100 }).unwrap();
    let event = Event {
        digest: EventDigest::from_bytes([1; 16]),
        meter: meter("images"),
        amount: 10_000,
        at: world.now,
    };
    world.apply(Command::Record { events: vec![event] }).unwrap();
    assert_eq!(world.money(), Some((100, 37_500)));

    world.put(pro());
    world.apply(Command::SetSpendCap { amount_minor: 50_000 }).unwrap();

    assert_eq!(world.money(), Some((100, 100)));
}

#[test]
fn a_plan_in_another_currency_waits_while_something_is_owed() {
    let mut euros = PlanTerms::clone(&pro());
    euros.plan = "pro-eur".parse().unwrap();
    euros.currency = "eur".parse().unwrap();
    let euros = Arc::new(euros);
    let mut world = world();
    world.consume(&[item("images", 2_501)]).unwrap();

    let refused = world.apply(set_plan(Arc::clone(&euros))).unwrap_err();
    let expected = Refusal::OwedInOtherCurrency {
        owed_minor: 5,
        currency: Currency::USD,
        plan: "pro-eur".parse().unwrap(),
        plan_currency: "eur".parse().unwrap(),
    };
    assert_eq!(refused, expected);
    let when = PlanChange::PeriodEnd;
    world.apply(Command::SetPlan { terms: Arc::clone(&euros), cycle: None, when }).unwrap();
    assert_eq!(world.closes(), (2_501, 5, Vec::new()));

    // With nothing owed it may come at once, and the dollars' cap is none of its own.
    world.put(pro());
    world.consume(&[item("storage_bytes", 10_001)]).unwrap();
    world.put(euros);
    assert_eq!(world.money(), Some((0, 310)), "December has 31 days");
    assert_eq!(world.quota.owed_micros, 0, "no cap in euros, nothing owed");
    assert_eq!(code(world.consume(&[item("storage_bytes", 1)])), "quota-exceeded");
}

#[test]
fn a_period_with_a_debt_is_closed_by_itself_under_a_plan_without_prices() {
    let mut world = world();
    world.consume(&[item("images", 2_501)]).unwrap();
    let applied = world.quota.apply(&set_plan(free()), world.now);
    let (_, Fact::PlanSet { wakes_at, .. }) = &applied.facts[0] else { panic!("{applied:?}") };
    assert_eq!(*wakes_at, Some(at("2026-12-01T00:00:00Z")));

    world.now = at("2027-03-05T00:00:00Z");
    let applied = world.quota.apply(&Command::Tick, world.now);

    let rolls = applied.facts.iter().filter_map(|(_, fact)| match fact {
        Fact::PeriodRolled { from, closed, .. } => {
            Some((from.end.to_string(), closed[0].amount_minor))
        }
        _ => None,
    });
    let rolls: Vec<_> = rolls.collect();
    assert_eq!(rolls[0], ("2026-12-01T00:00:00.000000Z".to_owned(), 5));
    assert_eq!(rolls.len(), 2, "what was slept through afterwards is one");
}

#[test]
fn an_entry_of_an_earlier_version_still_judges_the_period_by_its_last_plan() {
    let mut world = world();
    world.consume(&[item("images", 10_000)]).unwrap();
    let terms = serde_json::to_value(&*free()).unwrap();
    let line = serde_json::json!({ "kind": "plan_set", "terms": terms });

    let fact: Fact = serde_json::from_value(line.clone()).unwrap();
    world.quota.replay_fact(&fact, world.now).unwrap();

    assert_eq!(world.money(), None);
    assert_eq!(serde_json::to_value(&fact).unwrap(), line);
    let pro = serde_json::to_value(&*pro()).unwrap();
    let fact = serde_json::json!({ "kind": "plan_set", "terms": pro });
    let fact: Fact = serde_json::from_value(fact).unwrap();
    world.quota.replay_fact(&fact, world.now).unwrap();
    assert_eq!(world.money(), Some((37_500, 37_500)));
}

#[test]
fn the_entry_says_what_stays_owed() {
    let mut world = world();
    world.consume(&[item("images", 2_501)]).unwrap();

    let applied = world.quota.apply(&set_plan(free()), world.now);

    let fact = serde_json::to_value(&applied.facts[0].1).unwrap();
    assert_eq!(fact["owed"], serde_json::json!([{ "meter": "images", "micros": "50000" }]));
}
