use std::sync::LazyLock;

use super::*;
use crate::money::MicroMoney;
use crate::tenant::plan::{Catalogue, MeterKind, MeterName, MeterTerms, OveragePrice};

/// Plans and times that examples and properties share.
pub(in crate::tenant) mod fixture {
    use super::*;

    pub(in crate::tenant) fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    pub(in crate::tenant) fn meter(name: &str) -> MeterName {
        name.parse().unwrap()
    }

    pub(in crate::tenant) fn item(name: &str, amount: u64) -> Item {
        Item { meter: meter(name), amount }
    }

    pub(in crate::tenant) fn rsv(number: u128) -> ReservationId {
        ReservationId::from_bits(number)
    }

    /// A plan that comes into force at once.
    pub(in crate::tenant) fn set_plan(terms: Arc<PlanTerms>) -> Command {
        Command::SetPlan { terms, cycle: None, when: PlanChange::Now }
    }

    /// A plan with two counters and a level, each with the limit given.
    pub(in crate::tenant) fn plan(name: &str, limits: [Option<u64>; 3]) -> Arc<PlanTerms> {
        /// Parsed once: properties make plans by the hundred thousand.
        static FREE: LazyLock<PlanTerms> =
            LazyLock::new(|| PlanTerms::clone(&Catalogue::builtin().default_plan().terms));
        let mut terms = PlanTerms::clone(&FREE);
        terms.plan = name.parse().unwrap();
        let names = [
            ("images", MeterKind::Counter),
            ("tts_ms", MeterKind::Counter),
            ("storage_bytes", MeterKind::Level),
        ];
        terms.meters = names
            .into_iter()
            .zip(limits)
            .map(|((name, kind), limit)| MeterTerms {
                meter: meter(name),
                unit: "unit".into(),
                kind,
                limit,
                overage: None,
            })
            .collect();
        Arc::new(terms)
    }

    /// The same with overage for sale: 2.5 cents an image, 1 cent for three of speech, and $3 a
    /// month for one stored.
    pub(in crate::tenant) fn sold(name: &str, limits: [Option<u64>; 3]) -> Arc<PlanTerms> {
        let mut terms = PlanTerms::clone(&plan(name, limits));
        let prices = [(25_000, 1), (10_000, 3), (3_000_000, 1)];
        for (meter, (micros, per_units)) in terms.meters.iter_mut().zip(prices) {
            let price_micros = MicroMoney::from_micros(micros);
            meter.overage = Some(OveragePrice { price_micros, per_units });
        }
        Arc::new(terms)
    }
}

mod grants;
mod holds;
mod money;
mod past;
mod plans;
mod thresholds;
mod told;

use fixture::{at, item, meter, plan, rsv, set_plan, sold};

struct World {
    quota: Quota,
    now: Timestamp,
}

impl World {
    fn new(images: u64) -> Self {
        let terms = plan("free", [Some(images), Some(1_000), Some(10_000)]);
        Self { quota: Quota::new(terms), now: at("2026-11-23T09:00:00Z") }
    }

    fn apply(&mut self, command: impl std::borrow::Borrow<Command>) -> Result<Outcome, Refusal> {
        let applied = self.quota.apply(command.borrow(), self.now);
        self.quota.check();
        match applied.verdict {
            Verdict::Admitted(outcome) => Ok(outcome),
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::MoreDue => panic!("more is due"),
        }
    }

    fn consume(&mut self, items: &[Item]) -> Result<Outcome, Refusal> {
        self.apply(Command::Consume { items: items.to_vec() })
    }

    fn reserve(&mut self, id: u128, items: &[Item], ttl_s: u64) -> Result<Outcome, Refusal> {
        self.apply(Command::Reserve { id: rsv(id), items: items.to_vec(), ttl_s })
    }

    fn commit(&mut self, id: u128, items: Option<&[Item]>) -> Result<Outcome, Refusal> {
        let items = items.map(<[Item]>::to_vec);
        self.apply(Command::Commit { id: rsv(id), items, late: false })
    }

    fn usage(&self, name: &str) -> (u64, u64, Option<u64>) {
        let report = self.quota.report(self.now);
        let usage = report.meters.iter().find(|usage| usage.meter.as_str() == name).unwrap();
        (usage.used, usage.reserved, usage.remaining)
    }
}

fn code(result: Result<Outcome, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "admitted")
}

#[test]
fn the_last_unit_is_admitted_and_the_next_one_refused_with_all_figures() {
    let mut world = World::new(500);
    world.reserve(1, &[item("images", 20)], 300).unwrap();
    world.consume(&[item("images", 480)]).unwrap();

    let refused = world.consume(&[item("images", 1)]);

    assert_eq!(
        refused,
        Err(Refusal::QuotaExceeded {
            meter: "images".to_owned(),
            limit: 500,
            used: 480,
            reserved: 20,
            remaining: 0,
            requested: 1,
            resets_at: Some(at("2026-12-01T00:00:00Z")),
            plan: "free".parse().unwrap(),
        })
    );
}

#[test]
fn several_meters_are_taken_all_or_not_at_all() {
    let mut world = World::new(500);

    assert_eq!(code(world.consume(&[item("images", 5), item("tts_ms", 1_001)])), "quota-exceeded");
    assert_eq!(code(world.consume(&[item("images", 5), item("no_such", 1)])), "unknown-meter");
    assert_eq!(code(world.consume(&[item("images", 5), item("tts_ms", 0)])), "invalid-amount");
    assert_eq!(world.usage("images"), (0, 0, Some(500)));

    world.consume(&[item("images", 5), item("tts_ms", 1_000), item("images", 2)]).unwrap();
    assert_eq!(world.usage("images"), (7, 0, Some(493)));
    assert_eq!(world.usage("tts_ms"), (1_000, 0, Some(0)));
}

#[test]
fn amounts_and_sums_at_the_integers_edge_are_refused() {
    let mut world = World::new(500);
    let unlimited = plan("enterprise", [None, None, None]);
    world.apply(set_plan(unlimited)).unwrap();

    assert_eq!(code(world.consume(&[])), "invalid-items");
    assert_eq!(code(world.consume(&vec![item("images", 1); MAX_ITEMS + 1])), "invalid-items");
    assert_eq!(code(world.consume(&[item("images", u64::MAX)])), "invalid-amount");
    assert_eq!(
        code(world.consume(&[item("images", MAX_AMOUNT), item("images", 1)])),
        "invalid-amount"
    );
    for _ in 0..256 {
        world.consume(&[item("images", MAX_AMOUNT)]).unwrap();
    }
    assert_eq!(code(world.consume(&[item("images", MAX_AMOUNT)])), "invalid-amount");
    assert_eq!(world.usage("images"), (256 * MAX_AMOUNT, 0, None));
}

#[test]
fn a_period_rolls_in_one_fact_stamped_with_the_boundary() {
    let mut world = World::new(100);
    world.consume(&[item("images", 30), item("storage_bytes", 500)]).unwrap();
    world.now = at("2027-03-05T12:00:00Z");

    let applied = world.quota.apply(&Command::Tick, world.now);

    let [(stamped, Fact::PeriodRolled { from, to, closed, .. })] = &applied.facts[..] else {
        panic!("{applied:?}")
    };
    assert_eq!(*stamped, at("2027-03-01T00:00:00Z"));
    assert_eq!(from.end, at("2026-12-01T00:00:00Z"));
    assert_eq!(to.start, *stamped);
    let images = Closed { meter: meter("images"), used: 30, reserved: 0, over: 0, amount_minor: 0 };
    assert_eq!(closed[0], images);
    assert_eq!(closed.len(), 2, "a level does not close");
    assert_eq!(world.usage("images"), (0, 0, Some(100)));
    assert_eq!(world.usage("storage_bytes"), (500, 0, Some(9_500)));
}

#[test]
fn a_hold_across_the_boundary_counts_in_its_own_period() {
    let mut world = World::new(100);
    world.now = at("2026-11-30T23:59:00Z");
    world.reserve(1, &[item("images", 60), item("storage_bytes", 10)], 300).unwrap();
    world.consume(&[item("images", 30)]).unwrap();
    world.now = at("2026-12-01T00:01:00Z");

    // The new period is whole; the level stays held.
    assert_eq!(world.usage("images"), (0, 0, Some(100)));
    assert_eq!(world.quota.report(world.now).meters[0].reserved_earlier, 60);
    assert_eq!(world.usage("storage_bytes"), (0, 10, Some(9_990)));

    // An excess is taken from what the old period still has: 100 - 30 - 60 = 10.
    let more = [item("images", 71), item("storage_bytes", 10)];
    assert_eq!(code(world.commit(1, Some(&more))), "exceeds-reservation");
    let items = Some(vec![item("images", 70)]);
    let applied = world.quota.apply(&Command::Commit { id: rsv(1), items, late: false }, world.now);
    let Some((_, Fact::Committed { items, period, .. })) = applied.facts.first() else {
        panic!("{applied:?}")
    };
    assert_eq!((items[0].used, period.as_str()), (100, "2026-11"));
    assert_eq!(world.usage("images"), (0, 0, Some(100)));
    assert_eq!(world.usage("storage_bytes"), (0, 0, Some(10_000)));
    world.quota.check();
}

#[test]
fn a_downgrade_leaves_nothing_available_and_takes_nothing_away() {
    let mut world = World::new(100);
    world.consume(&[item("images", 70)]).unwrap();
    world.reserve(1, &[item("images", 20)], 300).unwrap();

    world.apply(set_plan(plan("tiny", [Some(50), Some(0), None]))).unwrap();

    let report = world.quota.report(world.now);
    assert_eq!(report.plan.as_str(), "tiny");
    assert_eq!((report.meters[0].remaining, report.meters[0].overage.units), (Some(0), 40));
    assert_eq!(report.meters[0].percent, Some(140));
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
    world.commit(1, None).unwrap();
    assert_eq!(world.usage("images"), (90, 0, Some(0)));
}

#[test]
fn a_meter_that_the_plan_lost_can_be_wound_up_but_not_used() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 20), item("tts_ms", 5)], 300).unwrap();
    let mut terms = PlanTerms::clone(&plan("other", [Some(9), Some(9), Some(9)]));
    terms.meters.remove(0);
    world.apply(set_plan(Arc::new(terms))).unwrap();

    assert_eq!(code(world.consume(&[item("images", 1)])), "unknown-meter");
    world.commit(1, None).unwrap();
    world.now = world.now.plus_s(40 * 86_400);
    world.apply(Command::Tick).unwrap();
    assert!(world.quota.report(world.now).meters.iter().all(|usage| usage.used == 0));
}

#[test]
fn only_levels_can_be_freed_and_never_below_zero() {
    let mut world = World::new(100);
    world.consume(&[item("storage_bytes", 100), item("images", 5)]).unwrap();

    let free = |world: &mut World, items: Vec<Item>| code(world.apply(Command::Free { items }));
    assert_eq!(free(&mut world, vec![item("images", 1)]), "not-a-level");
    assert_eq!(free(&mut world, vec![item("storage_bytes", 101)]), "invalid-amount");
    assert_eq!(free(&mut world, vec![item("storage_bytes", 60)]), "admitted");
    assert_eq!(world.usage("storage_bytes"), (40, 0, Some(9_960)));
}

#[test]
fn an_entry_that_does_not_fit_is_inconsistent_and_no_panic() {
    let mut world = World::new(100);
    world.consume(&[item("images", 5)]).unwrap();
    let charge = |used| Charge {
        meter: meter("images"),
        amount: 5,
        held: 0,
        used,
        reserved: 0,
        limit: Some(100),
        grants: Vec::new(),
        would_refuse: false,
    };
    let period = Period::month_of(world.now).name();
    let consumed =
        |used| Fact::Consumed { items: vec![charge(used)], period: Clone::clone(&period) };

    assert!(world.quota.clone().replay_fact(&consumed(10), world.now).is_ok());
    let error = world.quota.clone().replay_fact(&consumed(11), world.now).unwrap_err();
    assert_eq!(error.kind, "consumed");
    let released = Fact::Released {
        reservation: rsv(1),
        items: Vec::new(),
        expires_at: world.now,
        period: period.clone(),
    };
    assert!(world.quota.replay_fact(&released, world.now).is_err());
}

#[test]
fn a_report_shows_what_is_due_as_done_without_recording_it() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 60)], 300).unwrap();
    let before = world.quota.clone();
    world.now = world.now.plus_s(300);

    assert_eq!(world.usage("images"), (0, 0, Some(100)));
    assert_eq!(world.quota, before);
}
