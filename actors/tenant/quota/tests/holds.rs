//! How holds open, end and lapse.

use super::*;

#[test]
fn a_commit_of_less_returns_the_rest_and_of_more_takes_the_excess_or_leaves_the_hold() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 60)], 300).unwrap();
    world.reserve(2, &[item("images", 30)], 300).unwrap();

    let refused = world.commit(1, Some(&[item("images", 71)]));
    assert_eq!(
        refused,
        Err(Refusal::ExceedsReservation {
            meter: "images".to_owned(),
            held: 60,
            remaining: 10,
            requested: 71
        })
    );
    assert_eq!(world.usage("images"), (0, 90, Some(10)));

    world.commit(1, Some(&[item("images", 70)])).unwrap();
    assert_eq!(world.usage("images"), (70, 30, Some(0)));

    world.commit(2, Some(&[item("images", 1)])).unwrap();
    assert_eq!(world.usage("images"), (71, 0, Some(29)));
}

#[test]
fn an_ended_hold_answers_the_same_again_and_refuses_another_end() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 10)], 300).unwrap();
    let first = world.commit(1, Some(&[item("images", 4)])).unwrap();
    world.consume(&[item("images", 50)]).unwrap();

    assert_eq!(world.commit(1, Some(&[item("images", 4)])), Ok(first));
    assert_eq!(code(world.commit(1, None)), "reservation-settled");
    assert_eq!(code(world.apply(Command::Release { id: rsv(1) })), "reservation-settled");
    assert_eq!(code(world.apply(Command::Extend { id: rsv(1), ttl_s: 5 })), "reservation-settled");
    assert_eq!(code(world.commit(2, None)), "reservation-not-found");
    assert_eq!(world.usage("images"), (54, 0, Some(46)));
}

#[test]
fn a_hold_lapses_at_its_time_and_frees_its_units_before_anything_is_judged() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 100)], 300).unwrap();
    world.now = world.now.plus_s(299);
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");

    world.now = world.now.plus_s(1);
    let applied =
        world.quota.apply(&Command::Consume { items: vec![item("images", 100)] }, world.now);

    assert_eq!(applied.facts.len(), 3, "expiry, use, threshold");
    assert_eq!(applied.facts[0].0, world.now);
    assert_eq!(applied.facts[0].1.kind(), "expired");
    assert_eq!(code(world.commit(1, None)), "reservation-expired");
    assert_eq!(code(world.apply(Command::Release { id: rsv(1) })), "reservation-expired");
    assert_eq!(
        world.quota.reservation(rsv(1), world.now).unwrap().state,
        ReservationState::Expired
    );
}

#[test]
fn an_extension_never_shortens_and_ends_24_hours_after_the_opening() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 1)], 300).unwrap();
    world.now = world.now.plus_s(100);

    let extend =
        |world: &mut World, ttl_s| code(world.apply(Command::Extend { id: rsv(1), ttl_s }));
    assert_eq!(extend(&mut world, 86_400), "invalid-ttl");
    assert_eq!(extend(&mut world, 0), "invalid-ttl");
    assert_eq!(extend(&mut world, 1), "admitted");
    assert_eq!(world.quota.next_expiry(), Some(at("2026-11-23T09:05:00Z")));
    assert_eq!(extend(&mut world, 86_300), "admitted");
    assert_eq!(world.quota.next_expiry(), Some(at("2026-11-24T09:00:00Z")));
    assert_eq!(code(world.reserve(2, &[item("images", 1)], 86_401)), "invalid-ttl");
}

#[test]
fn a_jobs_hold_is_used_part_by_part_and_its_rest_is_given_back() {
    let mut world = World::new(100);
    let job = JobId::from_bits(1);
    let part = |images| Command::CommitPart { job, items: vec![item("images", images)] };
    world.apply(Command::HoldJob { job, items: vec![item("images", 50)] }).unwrap();
    world.consume(&[item("images", 40)]).unwrap();

    world.apply(part(30)).unwrap();
    assert_eq!(world.usage("images"), (70, 20, Some(10)));
    assert_eq!(code(world.apply(part(31))), "quota-exceeded");
    world.apply(part(25)).unwrap();
    assert_eq!(world.usage("images"), (95, 0, Some(5)));
    world.apply(Command::CloseJob { job }).unwrap();
    world.apply(Command::CloseJob { job }).unwrap();
    assert_eq!(world.usage("images"), (95, 0, Some(5)));
    assert_eq!(code(world.apply(part(1))), "job-not-found");
}

#[test]
fn at_most_ten_thousand_holds_are_open_and_at_most_256_lapse_in_a_turn() {
    let mut quota = Quota::new(plan("enterprise", [None, None, None]));
    let start = at("2026-11-23T09:00:00Z");
    let reserve = |number: usize| Command::Reserve {
        id: rsv(number as u128),
        items: vec![item("images", 1)],
        ttl_s: 300,
    };
    for number in 0..MAX_OPEN_HOLDS {
        let applied = quota.apply(&reserve(number), start);
        assert!(matches!(applied.verdict, Verdict::Admitted(_)));
    }

    let refused = quota.apply(&reserve(MAX_OPEN_HOLDS), start).verdict;
    assert_eq!(refused, Verdict::Refused(Refusal::TooManyReservations { max: MAX_OPEN_HOLDS }));

    let later = start.plus_s(300);
    let mut turns = 0;
    loop {
        let applied = quota.apply(&reserve(MAX_OPEN_HOLDS), later);
        turns += 1;
        assert!(applied.facts.len() <= MAX_EXPIRIES_PER_TURN + 1);
        if applied.verdict != Verdict::MoreDue {
            assert!(matches!(applied.verdict, Verdict::Admitted(_)));
            break;
        }
    }
    assert_eq!(turns, MAX_OPEN_HOLDS.div_ceil(MAX_EXPIRIES_PER_TURN));
    quota.check();
    assert_eq!(quota.report(later).meters[0].reserved, 1);
}

#[test]
fn ended_holds_are_remembered_over_the_next_boundary_and_then_forgotten() {
    let mut world = World::new(100);
    world.now = at("2026-11-30T23:59:59Z");
    world.reserve(1, &[item("images", 1)], 300).unwrap();
    let first = world.commit(1, None);
    world.now = at("2026-12-01T00:00:01Z");
    assert_eq!(world.commit(1, None), first);

    world.now = at("2027-01-01T00:00:01Z");
    world.apply(Command::Tick).unwrap();
    assert_eq!(code(world.commit(1, None)), "reservation-not-found");
}
