//! Grants: what burns first, and where it goes back to.

use super::*;
use crate::ids::GrantId;

fn grt(number: u128) -> GrantId {
    GrantId::from_bits(number)
}

struct Gift {
    number: u128,
    amount: u64,
    priority: u8,
    expires_at: Option<&'static str>,
    rollover: bool,
}

const GIFT: Gift = Gift { number: 1, amount: 50, priority: 1, expires_at: None, rollover: false };

impl World {
    fn grant(&mut self, gift: &Gift) -> Result<Outcome, Refusal> {
        self.grant_of("images", gift)
    }

    fn grant_of(&mut self, name: &str, gift: &Gift) -> Result<Outcome, Refusal> {
        self.apply(Command::Grant {
            id: grt(gift.number),
            meter: meter(name),
            amount: gift.amount,
            priority: gift.priority,
            expires_at: gift.expires_at.map(at),
            rollover: gift.rollover,
            source: GrantSource::TopUp,
        })
    }

    fn left(&self) -> Vec<(u128, u64)> {
        self.quota.grants().iter().map(|grant| (grant.terms.id.bits(), grant.left)).collect()
    }

    fn limit(&self, name: &str) -> Option<u64> {
        let report = self.quota.report(self.now);
        report.meters.iter().find(|usage| usage.meter.as_str() == name).unwrap().limit
    }
}

#[test]
fn the_plan_burns_first_then_grants_by_priority_expiry_and_name() {
    let mut world = World::new(100);
    let soon = Some("2026-11-25T00:00:00Z");
    let late = Some("2026-11-28T00:00:00Z");
    world.grant(&Gift { number: 4, amount: 10, priority: 2, ..GIFT }).unwrap();
    world.grant(&Gift { number: 3, amount: 10, expires_at: late, ..GIFT }).unwrap();
    world.grant(&Gift { number: 2, amount: 10, expires_at: soon, ..GIFT }).unwrap();
    world.grant(&Gift { number: 1, amount: 10, ..GIFT }).unwrap();
    assert_eq!(world.limit("images"), Some(140));

    world.consume(&[item("images", 100)]).unwrap();
    assert_eq!(world.left(), [(2, 10), (3, 10), (1, 10), (4, 10)]);
    world.consume(&[item("images", 15)]).unwrap();
    assert_eq!(world.left(), [(2, 0), (3, 5), (1, 10), (4, 10)]);
    world.consume(&[item("images", 25)]).unwrap();
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
}

#[test]
fn a_hold_gives_back_to_the_grant_that_it_took_from() {
    let mut world = World::new(100);
    world.grant(&GIFT).unwrap();
    world.consume(&[item("images", 95)]).unwrap();
    world.reserve(1, &[item("images", 25)], 300).unwrap();
    assert_eq!(world.left(), [(1, 30)]);

    // Of 25 held, 5 are the plan's: 8 used take 3 of the grant, and 17 go back to it.
    world.commit(1, Some(&[item("images", 8)])).unwrap();

    assert_eq!(world.left(), [(1, 47)]);
    assert_eq!(world.usage("images"), (103, 0, Some(47)));
}

#[test]
fn a_correction_gives_back_grants_before_the_plan() {
    let mut world = World::new(100);
    world.grant(&GIFT).unwrap();
    world.consume(&[item("images", 120)]).unwrap();
    assert_eq!(world.left(), [(1, 30)]);

    world.adjust("images", -30).unwrap();

    assert_eq!(world.left(), [(1, 50)]);
    assert_eq!(world.usage("images"), (90, 0, Some(60)));
}

#[test]
fn what_was_taken_of_a_grant_that_ended_stays_in_the_limit_and_nobody_is_over() {
    let mut world = World::new(100);
    world.grant(&Gift { expires_at: Some("2026-11-24T00:00:00Z"), ..GIFT }).unwrap();
    world.consume(&[item("images", 120)]).unwrap();

    world.now = at("2026-11-24T00:00:00Z");
    let applied = world.quota.apply(&Command::Tick, world.now);

    let [(stamped, Fact::GrantExpired { end }), (_, alert)] = &applied.facts[..] else {
        panic!("{applied:?}")
    };
    assert_eq!((*stamped, end.lost, end.limit), (world.now, 30, Some(120)));
    assert!(matches!(alert, Fact::ThresholdReached { percent: 100, .. }), "{alert:?}");
    assert_eq!(world.usage("images"), (120, 0, Some(0)));
    // What comes back now is gone: its grant is no more.
    world.adjust("images", -20).unwrap();
    assert_eq!(world.limit("images"), Some(100));
}

#[test]
fn what_is_left_of_a_grant_outlives_the_period_if_it_rolls_over() {
    let mut world = World::new(100);
    world.grant(&Gift { number: 1, rollover: true, ..GIFT }).unwrap();
    world.grant(&Gift { number: 2, amount: 7, ..GIFT }).unwrap();
    world.consume(&[item("images", 120)]).unwrap();
    world.reserve(1, &[item("images", 10)], 86_400).unwrap();
    assert_eq!(world.left(), [(1, 20), (2, 7)]);

    world.now = at("2026-12-01T00:00:00Z");
    assert_eq!(code(world.apply(Command::Tick)), "admitted");

    assert_eq!(world.left(), [(1, 30)], "the hold lapsed before, and gave back");
    assert_eq!(world.limit("images"), Some(130));
}

#[test]
fn a_hold_of_an_earlier_period_gives_back_to_the_open_ones_limit() {
    let mut world = World::new(100);
    world.now = at("2026-11-30T23:59:00Z");
    world.grant(&Gift { rollover: true, ..GIFT }).unwrap();
    world.reserve(1, &[item("images", 130)], 300).unwrap();
    world.now = at("2026-12-01T00:00:10Z");
    assert_eq!(code(world.apply(Command::Tick)), "admitted");
    assert_eq!(world.limit("images"), Some(120));

    world.commit(1, Some(&[item("images", 110)])).unwrap();

    assert_eq!(world.limit("images"), Some(140));
    assert_eq!(world.usage("images"), (0, 0, Some(140)));
}

#[test]
fn what_went_back_to_a_grant_is_no_longer_there_for_its_old_period() {
    let mut world = World::new(100);
    world.now = at("2026-11-30T23:59:00Z");
    world.grant(&Gift { rollover: true, ..GIFT }).unwrap();
    world.reserve(1, &[item("images", 100)], 300).unwrap();
    world.reserve(2, &[item("images", 50)], 300).unwrap();
    world.now = at("2026-12-01T00:00:10Z");
    world.apply(Command::Release { id: rsv(2) }).unwrap();
    assert_eq!(world.limit("images"), Some(150));

    assert_eq!(code(world.commit(1, Some(&[item("images", 101)]))), "exceeds-reservation");
    assert_eq!(code(world.commit(1, None)), "admitted");
}

#[test]
fn a_new_grant_takes_over_what_was_beyond_the_limit() {
    let mut world = World::new(100);
    world.adjust("images", 130).unwrap();

    world.grant(&GIFT).unwrap();

    assert_eq!(world.left(), [(1, 20)]);
    assert_eq!(world.usage("images"), (130, 0, Some(20)));
}

#[test]
fn a_levels_grant_raises_the_limit_while_it_lasts() {
    let mut world = World::new(100);
    world.grant_of("storage_bytes", &GIFT).unwrap();
    world.consume(&[item("storage_bytes", 10_050)]).unwrap();
    assert_eq!(world.left(), [(1, 50)], "a level burns nothing");

    world.apply(Command::RevokeGrant { id: grt(1) }).unwrap();

    assert_eq!(world.usage("storage_bytes"), (10_050, 0, Some(0)));
    assert_eq!(code(world.consume(&[item("storage_bytes", 1)])), "quota-exceeded");
    let free = Command::Free { items: vec![item("storage_bytes", 51)] };
    assert_eq!(code(world.apply(free)), "admitted");
}

#[test]
fn a_grant_that_makes_no_sense_is_refused() {
    let mut world = World::new(100);
    world.grant(&GIFT).unwrap();

    let refused = |world: &mut World, gift: &Gift| code(world.grant(gift));
    assert_eq!(refused(&mut world, &GIFT), "grant-exists");
    assert_eq!(refused(&mut world, &Gift { number: 2, amount: 0, ..GIFT }), "invalid-amount");
    let most = Gift { number: 2, amount: MAX_AMOUNT + 1, ..GIFT };
    assert_eq!(refused(&mut world, &most), "invalid-amount");
    let past = Gift { number: 2, expires_at: Some("2026-11-23T09:00:00Z"), ..GIFT };
    assert_eq!(refused(&mut world, &past), "invalid-expiry");
    assert_eq!(code(world.grant_of("bananas", &Gift { number: 2, ..GIFT })), "unknown-meter");
    assert_eq!(code(world.apply(Command::RevokeGrant { id: grt(9) })), "grant-not-found");
    for number in 2..=100 {
        world.grant(&Gift { number, ..GIFT }).unwrap();
    }
    assert_eq!(refused(&mut world, &Gift { number: 101, ..GIFT }), "too-many-grants");
}

#[test]
fn grants_that_are_used_up_make_room_for_more() {
    let mut world = World::new(0);
    for number in 0..150u64 {
        let gift = Gift { number: number.into(), amount: 5, rollover: true, ..GIFT };
        world.grant(&gift).unwrap();
        world.consume(&[item("images", 5)]).unwrap();
        world.now = world.now.plus_s(31 * 86_400);
        world.apply(Command::Tick).unwrap();
        assert!(world.left().is_empty());
    }
    // Its name is free again.
    world.grant(&Gift { rollover: true, ..GIFT }).unwrap();
    assert_eq!(world.left(), [(1, 50)]);
}

#[test]
fn a_used_up_grant_stays_while_a_hold_may_give_something_back_to_it() {
    let mut world = World::new(0);
    world.now = at("2026-11-30T23:59:00Z");
    world.grant(&Gift { rollover: true, ..GIFT }).unwrap();
    world.reserve(1, &[item("images", 50)], 3_600).unwrap();
    world.now = at("2026-12-01T00:10:00Z");
    world.apply(Command::Release { id: rsv(1) }).unwrap();

    assert_eq!(world.left(), [(1, 50)]);
    assert_eq!(world.limit("images"), Some(50));
}

#[test]
fn an_older_journal_may_say_that_a_used_up_grant_expired() {
    let mut world = World::new(0);
    let expires_at = Some("2027-01-15T00:00:00Z");
    world.grant(&Gift { rollover: true, expires_at, ..GIFT }).unwrap();
    world.consume(&[item("images", 50)]).unwrap();
    world.now = at("2026-12-02T00:00:00Z");
    world.apply(Command::Tick).unwrap();

    let end = GrantEnd {
        id: grt(1),
        meter: meter("images"),
        lost: 0,
        limit: Some(0),
        grants: Vec::new(),
        period: world.quota.open_period_name(),
    };
    let fact = Fact::GrantExpired { end };
    world.quota.replay_fact(&fact, at("2027-01-15T00:00:00Z")).unwrap();
}
