use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_month_is_half_open_and_has_its_name() {
    let november = Period::month_of(at("2026-11-23T09:14:03Z"));

    assert_eq!(november.start, at("2026-11-01T00:00:00Z"));
    assert_eq!(november.end, at("2026-12-01T00:00:00Z"));
    assert_eq!(november.name().as_str(), "2026-11");
    assert!(november.contains(november.start) && !november.contains(november.end));
}

#[test]
fn december_and_leap_years_end_where_the_calendar_says() {
    let december = Period::month_of(at("2026-12-31T23:59:59.999999Z"));
    let february = Period::month_of(at("2028-02-29T12:00:00Z"));

    assert_eq!(december.end, at("2027-01-01T00:00:00Z"));
    assert_eq!(february.end, at("2028-03-01T00:00:00Z"));
    assert_eq!(Period::month_of(Timestamp::MAX).end, Timestamp::MAX);
}

proptest! {
    #[test]
    fn every_instant_is_in_exactly_one_month(micros in 0..253_402_300_799_999_998_i64) {
        let instant = Timestamp::from_micros(micros);
        let month = Period::month_of(instant);

        prop_assert!(month.contains(instant));
        prop_assert_eq!(Period::month_of(month.start), month);
        if month.end < Timestamp::MAX {
            prop_assert_eq!(Period::month_of(month.end).start, month.end);
        }
    }
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// The first boundaries from a period on, as texts without seconds.
fn boundaries(cycle: &Cycle, from: &str, count: usize) -> Vec<String> {
    let mut period = cycle.period_of(at(from));
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(period.start.to_string()[..16].to_owned());
        period = cycle.period_after(period, period.end).unwrap();
    }
    texts
}

#[test]
fn an_anchor_on_the_31st_clamps_each_time_and_never_drifts() {
    let cycle = Cycle::monthly(at("2027-10-31T09:30:00Z"), Zone::utc());

    assert_eq!(
        boundaries(&cycle, "2027-10-31T09:30:00Z", 7),
        [
            "2027-10-31T09:30",
            "2027-11-30T09:30",
            "2027-12-31T09:30",
            "2028-01-31T09:30",
            "2028-02-29T09:30",
            "2028-03-31T09:30",
            "2028-04-30T09:30",
        ]
    );
    let before = cycle.period_of(at("2027-10-31T09:29:59.999999Z"));
    assert_eq!(before.start, at("2027-09-30T09:30:00Z"));
    assert_eq!(cycle.name_of(&before).as_str(), "2027-09-30");
}

#[test]
fn a_year_from_the_29th_of_february_comes_back_to_it() {
    let cycle = Cycle::Anchored {
        anchor: at("2028-02-29T00:00:00Z"),
        zone: Zone::utc(),
        months: 12.try_into().unwrap(),
    };

    assert_eq!(
        boundaries(&cycle, "2028-03-01T00:00:00Z", 5),
        [
            "2028-02-29T00:00",
            "2029-02-28T00:00",
            "2030-02-28T00:00",
            "2031-02-28T00:00",
            "2032-02-29T00:00",
        ]
    );
}

#[test]
fn boundaries_keep_the_time_on_the_wall_when_clocks_change() {
    let cycle = Cycle::monthly(at("2027-01-15T08:00:00Z"), zone("Europe/Berlin"));

    assert_eq!(
        boundaries(&cycle, "2027-03-01T00:00:00Z", 4),
        ["2027-02-15T08:00", "2027-03-15T08:00", "2027-04-15T07:00", "2027-05-15T07:00"]
    );
}

#[test]
fn a_local_time_that_does_not_exist_is_the_first_that_does() {
    // 02:30 is skipped in Berlin on 2027-03-28, where 02:00 becomes 03:00.
    let spring = Cycle::monthly(at("2027-02-28T01:30:00Z"), zone("Europe/Berlin"));
    // A whole day was skipped on Samoa: 2011-12-30 never came.
    let samoa = Cycle::monthly(at("2011-11-30T20:00:00Z"), zone("Pacific/Apia"));
    // Clocks were put forward at midnight, on the first of a month, in Beirut.
    let beirut = Cycle::CalendarMonth { zone: zone("Asia/Beirut") };

    assert_eq!(boundaries(&spring, "2027-04-01T00:00:00Z", 1), ["2027-03-28T01:00"]);
    assert_eq!(boundaries(&samoa, "2012-01-02T00:00:00Z", 1), ["2011-12-30T10:00"]);
    assert_eq!(boundaries(&beirut, "1984-05-10T00:00:00Z", 1), ["1984-04-30T22:00"]);
}

#[test]
fn a_local_time_that_comes_twice_is_the_first_of_the_two() {
    // 02:30 comes twice in Berlin on 2027-10-31: at 00:30Z and at 01:30Z.
    let cycle = Cycle::monthly(at("2027-08-31T00:30:00Z"), zone("Europe/Berlin"));

    assert_eq!(boundaries(&cycle, "2027-10-31T00:30:00Z", 1), ["2027-10-31T00:30"]);
    assert_eq!(boundaries(&cycle, "2027-10-31T00:29:59Z", 1), ["2027-09-30T00:30"]);
}

#[test]
fn a_month_of_the_calendar_begins_at_local_midnight_and_is_named_locally() {
    let cycle = Cycle::CalendarMonth { zone: zone("Europe/Berlin") };
    let period = cycle.period_of(at("2027-03-31T22:00:00Z"));

    assert_eq!(period.start, at("2027-03-31T22:00:00Z"));
    assert_eq!(period.end, at("2027-04-30T22:00:00Z"));
    assert_eq!(cycle.name_of(&period).as_str(), "2027-04");
    assert_eq!(Cycle::default().name_of(&Period::month_of(period.start)).as_str(), "2027-03");
}

#[test]
fn what_a_change_leaves_of_a_month_has_a_name_of_its_own() {
    for cycle in [Cycle::default(), Cycle::CalendarMonth { zone: zone("Pacific/Apia") }] {
        let rest = cycle.period_from(at("2027-03-10T12:00:00Z"));
        let next = cycle.period_after(rest, rest.end).unwrap();

        assert!(cycle.name_of(&rest).as_str().starts_with("2027-03-1"), "{rest:?}");
        assert_eq!(cycle.name_of(&next).as_str(), "2027-04");
    }
}

#[test]
fn another_cycle_begins_where_the_last_period_ended() {
    let month = Period::month_of(at("2026-11-23T00:00:00Z"));
    let cycle = Cycle::monthly(at("2026-11-10T12:00:00Z"), Zone::utc());

    assert_eq!(cycle.period_after(month, at("2026-11-30T23:59:59Z")), None);
    let next = cycle.period_after(month, at("2026-12-02T00:00:00Z")).unwrap();
    assert_eq!((next.start, next.end), (month.end, at("2026-12-10T12:00:00Z")));
    let later = cycle.period_after(month, at("2027-02-02T00:00:00Z")).unwrap();
    assert_eq!(later.start, at("2027-01-10T12:00:00Z"));
    let now = at("2026-11-23T15:00:00Z");
    assert_eq!(cycle.period_from(now), Period { start: now, end: at("2026-12-10T12:00:00Z") });
}

#[test]
fn the_last_period_of_all_does_not_end() {
    let cycle = Cycle::monthly(at("2026-11-10T12:00:00Z"), zone("Asia/Tokyo"));
    let last = cycle.period_of(Timestamp::MAX);

    assert_eq!(last.end, Timestamp::MAX);
    assert_eq!(cycle.period_after(last, Timestamp::MAX), None);
    assert_eq!(cycle.period_of(Timestamp::MIN).start, Timestamp::MIN);
}

#[test]
fn a_cycle_has_a_text_form_and_refuses_what_is_no_cycle() {
    let cycle = Cycle::monthly(at("2026-11-10T12:00:00Z"), zone("europe/berlin"));
    let text = serde_json::to_string(&cycle).unwrap();

    assert_eq!(
        text,
        r#"{"rule":"anchored","anchor":"2026-11-10T12:00:00.000000Z","zone":"Europe/Berlin","months":1}"#
    );
    assert_eq!(serde_json::from_str::<Cycle>(&text).unwrap(), cycle);
    for wrong in [
        r#"{"rule":"calendar_month","zone":"Europe/Atlantis"}"#,
        r#"{"rule":"anchored","anchor":"2026-11-10T12:00:00Z","months":0}"#,
        r#"{"rule":"calendar_month","anchor":"2026-11-10T12:00:00Z"}"#,
        r#"{"rule":"weekly"}"#,
    ] {
        assert!(serde_json::from_str::<Cycle>(wrong).is_err(), "{wrong}");
    }
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Australia/Lord_Howe",
];

fn any_cycle() -> impl Strategy<Value = Cycle> {
    // 1971 to 2199: what the tables of the zones cover and somewhat more.
    let anchor = 31_536_000_000_000..7_258_118_400_000_000_i64;
    let zones = proptest::sample::select(&ZONES[..]);
    (anchor, zones, 0..=24_u8).prop_map(|(anchor, name, months)| {
        let (anchor, zone) = (Timestamp::from_micros(anchor), zone(name));
        match months.try_into() {
            Ok(months) => Cycle::Anchored { anchor, zone, months },
            Err(_) => Cycle::CalendarMonth { zone },
        }
    })
}

proptest! {
    #[test]
    fn every_instant_is_in_exactly_one_period_of_a_cycle(
        cycle in any_cycle(),
        micros in 31_536_000_000_000..7_258_118_400_000_000_i64,
    ) {
        let instant = Timestamp::from_micros(micros);
        let period = cycle.period_of(instant);

        prop_assert!(period.contains(instant), "{period:?}");
        prop_assert_eq!(cycle.period_of(period.start), period);
        let next = cycle.period_of(period.end);
        prop_assert_eq!(next.start, period.end);
        prop_assert!(cycle.name_of(&period) < cycle.name_of(&next));
    }
}
