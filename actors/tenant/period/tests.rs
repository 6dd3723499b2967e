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
