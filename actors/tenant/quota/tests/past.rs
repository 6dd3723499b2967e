//! What closed periods are remembered for: late events, keys, and alerts at their end.

use std::time::Duration;

use super::*;
use crate::tenant::period::{Cycle, Zone};

fn event(number: u8, time: &str) -> Event {
    let digest = EventDigest::from_bytes([number; 16]);
    Event { digest, meter: meter("images"), amount: 1, at: at(time) }
}

impl World {
    fn told(&mut self, number: u8, time: &str) -> Result<Option<String>, EventRejection> {
        let command = Command::Record { events: vec![event(number, time)] };
        let applied = self.quota.apply(&command, self.now);
        let Verdict::Admitted(Outcome::Recorded(recorded)) = &applied.verdict else {
            panic!("{applied:?}")
        };
        if let [(_, reason)] = recorded.rejected[..] {
            return Err(reason);
        }
        let own = &applied.facts[applied.own.unwrap()].1;
        let Fact::Recorded { late, .. } = own else { panic!("{own:?}") };
        Ok(late.first().map(|late| late.original_period.to_string()))
    }

    fn put_cycle(&mut self, cycle: Cycle, when: PlanChange) {
        let terms = plan("other", [Some(100), None, None]);
        self.apply(Command::SetPlan { terms, cycle: Some(cycle), when }).unwrap();
    }
}

/// Every `months` months from the 23rd of November on.
fn every(months: u8) -> Cycle {
    let months = months.try_into().unwrap();
    Cycle::Anchored { anchor: at("2026-11-23T15:00:00Z"), zone: Zone::utc(), months }
}

#[test]
fn an_event_from_before_another_cycle_counts_where_its_counters_went() {
    let mut world = World::new(100);
    world.consume(&[item("images", 1)]).unwrap();
    world.now = at("2026-11-23T15:00:00Z");
    world.put_cycle(every(1), PlanChange::Now);

    assert_eq!(world.told(1, "2026-11-23T14:59:59Z"), Ok(None));
    assert_eq!(world.told(2, "2026-11-01T00:00:00Z"), Ok(None));
    assert_eq!(world.told(3, "2026-10-31T23:59:59Z"), Err(EventRejection::EventTooOld));
    world.now = at("2026-12-23T16:00:00Z");
    assert_eq!(world.told(4, "2026-11-20T00:00:00Z"), Ok(Some("2026-11-23".to_owned())));
}

#[test]
fn the_last_period_of_another_cycle_takes_events_for_a_day() {
    let mut world = World::new(100);
    world.consume(&[item("images", 1)]).unwrap();
    world.put_cycle(every(1), PlanChange::PeriodEnd);

    world.now = at("2026-12-01T01:00:00Z");
    assert_eq!(world.told(1, "2026-11-30T23:00:00Z"), Ok(Some("2026-11".to_owned())));
    assert_eq!(world.told(2, "2026-10-31T23:00:00Z"), Err(EventRejection::EventTooOld));
    world.now = at("2026-12-02T00:00:00Z");
    assert_eq!(world.told(3, "2026-11-30T23:00:00Z"), Err(EventRejection::EventTooOld));
}

#[test]
fn what_a_long_period_knew_is_kept_until_it_is_no_longer_promised() {
    let (day, month) = (Duration::from_hours(24), Duration::from_hours(24 * 35));
    let mut world = World::new(100);
    world.now = at("2026-11-23T15:00:00Z");
    world.put_cycle(every(12), PlanChange::Now);
    let since = |world: &World, keep_for| world.quota.kept_since(world.now, keep_for).to_string();
    world.now = at("2027-11-23T14:59:59Z");
    assert_eq!(since(&world, day), "2026-11-01T00:00:00.000000Z");

    for (now, keys, events) in [
        ("2027-11-23T15:00:00Z", "2026-11-01T00:00:00", "2026-11-01T00:00:00"),
        ("2027-11-24T15:00:00Z", "2027-11-23T15:00:00", "2026-11-01T00:00:00"),
        ("2027-12-28T14:59:59Z", "2027-11-23T15:00:00", "2026-11-01T00:00:00"),
        ("2027-12-28T15:00:00Z", "2027-11-23T15:00:00", "2027-11-23T15:00:00"),
    ] {
        world.now = at(now);
        world.apply(Command::Tick).unwrap();
        let found = (since(&world, day), since(&world, month));
        assert!(found.0.starts_with(keys) && found.1.starts_with(events), "{now}: {found:?}");
    }
}

#[test]
fn periods_that_follow_fast_are_remembered_as_few() {
    let mut world = World::new(100);
    for hour in 0..200 {
        world.now = at("2026-11-01T00:00:00Z").plus_s(hour * 3_600);
        let anchor = world.now.plus_s(3_600);
        world.put_cycle(Cycle::monthly(anchor, Zone::utc()), PlanChange::PeriodEnd);
        world.put_cycle(Cycle::monthly(anchor, Zone::utc()), PlanChange::Now);
    }
    let kept = world.quota.kept_since(world.now, Duration::from_hours(24 * 35));
    assert_eq!(kept, at("2026-11-01T00:00:00Z"));
    assert!(serde_json::to_string(&world.quota.past).unwrap().len() < 1_500);
}

fn alerts(applied: &Applied) -> Vec<(String, u8, String)> {
    let alert = |(_, fact): &(Timestamp, Fact)| match fact {
        Fact::ThresholdReached { meter, percent, period, .. } => {
            Some((meter.to_string(), *percent, period.to_string()))
        }
        _ => None,
    };
    applied.facts.iter().filter_map(alert).collect()
}

#[test]
fn a_grants_end_tells_what_the_lower_limit_is_reached_by() {
    let mut world = World::new(100);
    let expires_at = Some(at("2026-11-25T00:00:00Z"));
    for (id, expires_at) in [(1, expires_at), (2, None)] {
        let grant = Command::Grant {
            id: crate::ids::GrantId::from_bits(id),
            meter: meter("images"),
            amount: 50,
            priority: 1,
            expires_at,
            rollover: false,
            source: GrantSource::TopUp,
        };
        world.apply(grant).unwrap();
    }
    world.consume(&[item("images", 90)]).unwrap();

    world.now = at("2026-11-26T00:00:00Z");
    let applied = world.quota.apply(&Command::Tick, world.now);
    assert_eq!(alerts(&applied), [("images".to_owned(), 50, "2026-11".to_owned())]);
    world.consume(&[item("images", 30)]).unwrap();
    // The other one ends with the period, when the counter begins anew: nobody is told.
    world.now = at("2026-12-01T00:00:00Z");
    assert!(alerts(&world.quota.apply(&Command::Tick, world.now)).is_empty());
}

#[test]
fn a_grant_that_lapses_alerts_without_another_use() {
    let mut world = World::new(100);
    let grant = Command::Grant {
        id: crate::ids::GrantId::from_bits(1),
        meter: meter("images"),
        amount: 100,
        priority: 1,
        expires_at: Some(at("2026-11-25T00:00:00Z")),
        rollover: true,
        source: GrantSource::TopUp,
    };
    world.apply(grant).unwrap();
    world.consume(&[item("images", 110)]).unwrap();

    world.now = at("2026-11-26T00:00:00Z");
    let applied = world.quota.apply(&Command::Tick, world.now);

    assert_eq!(alerts(&applied), [("images".to_owned(), 100, "2026-11".to_owned())]);
    assert!(alerts(&world.quota.apply(&Command::Tick, world.now)).is_empty());
}

#[test]
fn a_full_level_is_told_in_each_period_and_a_downgrade_when_it_comes() {
    let mut world = World::new(100);
    world.consume(&[item("storage_bytes", 10_000)]).unwrap();
    world.consume(&[item("images", 60)]).unwrap();

    world.now = at("2026-12-01T00:00:00Z");
    let applied = world.quota.apply(&Command::Tick, world.now);
    assert_eq!(alerts(&applied), [("storage_bytes".to_owned(), 100, "2026-12".to_owned())]);

    world.apply(Command::Free { items: vec![item("storage_bytes", 6_000)] }).unwrap();
    let terms = plan("small", [Some(10), None, Some(5_000)]);
    let when = PlanChange::PeriodEnd;
    world.apply(Command::SetPlan { terms, cycle: None, when }).unwrap();
    world.now = at("2027-01-01T00:00:00Z");
    let applied = world.quota.apply(&Command::Tick, world.now);
    assert_eq!(alerts(&applied), [("storage_bytes".to_owned(), 80, "2027-01".to_owned())]);
}
