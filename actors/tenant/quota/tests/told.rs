//! What is told afterwards: events, corrections, late commits; and shadow mode.

use super::*;

fn event(number: u8, images: u64, time: &str) -> Event {
    Event {
        digest: EventDigest::from_bytes([number; 16]),
        meter: meter("images"),
        amount: images,
        at: at(time),
    }
}

impl World {
    pub(super) fn adjust(&mut self, name: &str, delta: i64) -> Result<Outcome, Refusal> {
        let reason = Digest("0a1b".to_owned());
        self.apply(Command::Adjust { meter: meter(name), delta, reason, reference: None })
    }

    fn record(&mut self, events: &[Event]) -> Recorded {
        match self.apply(Command::Record { events: events.to_vec() }) {
            Ok(Outcome::Recorded(recorded)) => recorded,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_event_counts_where_its_time_lies_or_says_why_not() {
    let mut world = World::new(100);
    world.now = at("2026-11-30T12:00:00Z");
    world.consume(&[item("images", 10)]).unwrap();
    world.now = at("2026-12-01T10:00:00Z");
    let mut unknown = event(6, 1, "2026-12-01T09:00:00Z");
    unknown.meter = meter("bananas");
    let events = [
        event(1, 5, "2026-12-01T09:00:00Z"),
        event(2, 7, "2026-11-30T23:59:59Z"),
        event(3, 1, "2026-10-31T23:59:59Z"),
        event(4, 1, "1970-01-01T00:00:00Z"),
        event(5, 1, "2100-01-01T00:00:00Z"),
        unknown,
        event(7, 0, "2026-12-01T09:00:00Z"),
        event(1, 5, "2026-12-01T09:00:00Z"),
        event(8, 2, "2026-12-01T10:05:00Z"),
    ];

    let applied = world.quota.apply(&Command::Record { events: events.to_vec() }, world.now);

    let Some((_, Fact::Recorded { items, events: counted, late, rejected, .. })) =
        applied.facts.last()
    else {
        panic!("{applied:?}")
    };
    assert_eq!((items[0].amount, items[0].used), (14, 14));
    assert_eq!(counted.len(), 3, "the second of the same name is a duplicate");
    assert_eq!((late[0].amount, late[0].original_period.as_str()), (7, "2026-11"));
    let reasons: Vec<_> = rejected.iter().map(|(_, reason)| reason.code()).collect();
    let expected = ["event-too-old", "event-too-old", "event-in-future", "unknown-meter"];
    assert_eq!(reasons[..4], expected);
    assert_eq!(reasons[4], "invalid-amount");
}

#[test]
fn a_closed_period_takes_events_for_a_day() {
    let mut world = World::new(100);
    world.now = at("2026-12-01T23:59:59.999999Z");
    let late = [event(1, 1, "2026-11-20T00:00:00Z")];
    assert_eq!(world.record(&late).accepted.len(), 1);
    world.now = at("2026-12-02T00:00:00Z");
    assert_eq!(world.record(&late).rejected[0].1, EventRejection::EventTooOld);
}

#[test]
fn an_event_at_the_boundary_is_of_the_new_period() {
    let mut world = World::new(100);
    world.now = at("2026-12-01T10:00:00Z");
    let events = vec![event(1, 1, "2026-12-01T00:00:00Z"), event(2, 2, "2026-11-30T23:59:59Z")];

    let applied = world.quota.apply(&Command::Record { events }, world.now);

    let (_, Fact::Recorded { late, .. }) = &applied.facts[0] else { panic!("{applied:?}") };
    assert_eq!(late.iter().map(|late| late.amount).collect::<Vec<_>>(), [2]);
}

#[test]
fn events_may_pass_the_limit_and_are_flagged_there() {
    let mut world = World::new(100);
    let applied = world
        .quota
        .apply(&Command::Record { events: vec![event(1, 150, "2026-11-23T08:00:00Z")] }, world.now);

    let (_, Fact::Recorded { items, .. }) = &applied.facts[0] else { panic!("{applied:?}") };
    assert!(items[0].would_refuse);
    assert_eq!((items[0].over(), items[0].remaining()), (50, Some(0)));
    assert_eq!(applied.facts[1].1.kind(), "threshold_reached");
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
}

#[test]
fn a_batch_has_one_to_a_thousand_events_and_writes_nothing_if_none_counts() {
    let mut world = World::new(100);
    let many: Vec<_> = (0..1_001u32)
        .map(|number| {
            let mut event = event(0, 1, "2026-11-23T08:00:00Z");
            let mut digest = [0; 16];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            event.digest = EventDigest::from_bytes(digest);
            event
        })
        .collect();
    let record = |world: &mut World, events: &[Event]| {
        world.apply(Command::Record { events: events.to_vec() })
    };

    assert_eq!(code(record(&mut world, &many)), "invalid-events");
    assert_eq!(code(record(&mut world, &[])), "invalid-events");
    assert_eq!(code(record(&mut world, &many[1..])), "admitted");
    let none = [event(1, 0, "2026-11-23T08:00:00Z")];
    let applied = world.quota.apply(&Command::Record { events: none.to_vec() }, world.now);
    assert!(applied.facts.is_empty());
}

#[test]
fn an_event_stands_in_a_line_as_a_short_list() {
    let recorded = RecordedEvent {
        digest: EventDigest::from_bytes([7; 16]),
        item: 0,
        amount: 3,
        at: at("2026-11-23T08:00:00Z"),
    };

    let text = serde_json::to_string(&recorded).unwrap();

    assert_eq!(text, r#"["BwcHBwcHBwcHBwcHBwcHBw",0,3,1795420800000000]"#);
    assert_eq!(serde_json::from_str::<RecordedEvent>(&text).unwrap(), recorded);
}

#[test]
fn a_correction_never_makes_less_than_nothing() {
    let mut world = World::new(100);
    world.consume(&[item("images", 30)]).unwrap();

    assert_eq!(code(world.adjust("images", -31)), "negative-usage");
    assert_eq!(code(world.adjust("images", 0)), "invalid-amount");
    assert_eq!(code(world.adjust("images", i64::MIN)), "invalid-amount");
    assert_eq!(code(world.adjust("images", i64::MAX)), "invalid-amount");
    assert_eq!(code(world.adjust("bananas", 1)), "unknown-meter");
    assert_eq!(code(world.adjust("images", -30)), "admitted");
    assert_eq!(world.usage("images"), (0, 0, Some(100)));
}

#[test]
fn a_commit_names_only_meters_that_are_held() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 5)], 300).unwrap();

    assert_eq!(code(world.commit(1, Some(&[item("tts_ms", 1)]))), "meter-not-held");
    assert_eq!(code(world.commit(1, Some(&[item("no_such", 1)]))), "unknown-meter");
    assert_eq!(world.usage("images"), (0, 5, Some(95)));
    world.commit(1, Some(&[item("images", 5), item("tts_ms", 0)])).unwrap();
    assert_eq!(world.usage("images"), (5, 0, Some(95)));
}

#[test]
fn a_late_commit_names_only_meters_that_were_held() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 5)], 60).unwrap();
    world.now = world.now.plus_s(61);
    let late =
        |items: &[Item]| Command::Commit { id: rsv(1), items: Some(items.to_vec()), late: true };

    assert_eq!(code(world.apply(late(&[item("tts_ms", 1)]))), "meter-not-held");
    assert_eq!(world.usage("images"), (0, 0, Some(100)));
    world.apply(late(&[item("images", 4)])).unwrap();
    assert_eq!(world.usage("images"), (4, 0, Some(96)));
}

#[test]
fn a_late_commit_is_charged_and_flagged_where_nothing_was_left() {
    let mut world = World::new(100);
    world.reserve(1, &[item("images", 60)], 300).unwrap();
    world.now = world.now.plus_s(300);
    world.consume(&[item("images", 90)]).unwrap();
    assert_eq!(code(world.commit(1, None)), "reservation-expired");

    let late = Command::Commit { id: rsv(1), items: None, late: true };
    let Ok(Outcome::Reservation(reservation)) = world.apply(&late) else { panic!() };

    assert!(reservation.late && reservation.items[0].would_refuse);
    assert_eq!((reservation.items[0].amount, reservation.items[0].charged), (60, Some(60)));
    assert_eq!(world.usage("images"), (150, 0, Some(0)));
    assert_eq!(world.apply(&late), Ok(Outcome::Reservation(reservation.clone())), "once");
    assert_eq!(world.quota.reservation(rsv(1), world.now), Some(reservation));
}

#[test]
fn a_late_commit_of_a_closed_period_is_charged_to_the_open_one() {
    let mut world = World::new(100);
    world.now = at("2026-11-30T23:58:00Z");
    world.reserve(1, &[item("images", 60)], 60).unwrap();
    world.now = at("2026-12-01T00:01:00Z");
    let items = Some(vec![item("images", 40)]);

    let applied = world.quota.apply(&Command::Commit { id: rsv(1), items, late: true }, world.now);

    let Some((_, Fact::CommittedLate { period, original_period, items, .. })) =
        applied.facts.iter().find(|(_, fact)| fact.kind() == "committed_late")
    else {
        panic!("{applied:?}")
    };
    assert_eq!(period.as_str(), "2026-12");
    assert_eq!(original_period.as_ref().unwrap().as_str(), "2026-11");
    assert_eq!((items[0].used, items[0].would_refuse), (40, false));
}

#[test]
fn shadow_mode_admits_and_marks_what_would_be_refused() {
    let mut world = World::new(100);
    world.apply(Command::SetEnforcement { mode: Enforcement::Shadow }).unwrap();

    let Ok(Outcome::Consumed(consumed)) = world.consume(&[item("images", 130)]) else { panic!() };

    assert!(consumed.items[0].would_refuse);
    assert_eq!((consumed.items[0].over, consumed.items[0].remaining), (30, Some(0)));
    assert_eq!(code(world.consume(&[item("bananas", 1)])), "unknown-meter");
    world.apply(Command::SetEnforcement { mode: Enforcement::Enforced }).unwrap();
    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
}

#[test]
fn a_plan_may_be_in_shadow_mode_and_the_operators_word_wins() {
    let mut terms = PlanTerms::clone(&plan("trial", [Some(1), Some(1), Some(1)]));
    terms.enforcement = Enforcement::Shadow;
    let mut world = World::new(100);
    world.apply(set_plan(Arc::new(terms))).unwrap();
    assert_eq!(code(world.consume(&[item("images", 2)])), "admitted");

    world.apply(Command::SetEnforcement { mode: Enforcement::Enforced }).unwrap();

    assert_eq!(code(world.consume(&[item("images", 1)])), "quota-exceeded");
}
