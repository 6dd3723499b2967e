use proptest::prelude::*;

use super::*;

#[test]
fn the_text_form_has_six_digits_and_a_z() {
    let at: Timestamp = "2026-11-23T09:14:03.120482Z".parse().unwrap();

    assert_eq!(at.to_string(), "2026-11-23T09:14:03.120482Z");
    assert_eq!(Timestamp::MIN.to_string(), "1970-01-01T00:00:00.000000Z");
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
}

#[test]
fn other_rfc_3339_forms_are_read_and_the_impossible_is_refused() {
    let at: Timestamp = "2026-11-23T10:14:03+01:00".parse().unwrap();

    assert_eq!(at.to_string(), "2026-11-23T09:14:03.000000Z");
    for text in [
        "",
        "2026-02-30T00:00:00.000000Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-11-23T24:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "yesterday",
    ] {
        assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
    }
}

#[test]
fn additions_stop_at_the_end_of_time() {
    assert_eq!(Timestamp::MAX.plus_s(u64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::MAX.checked_add(Duration::from_micros(1)), None);
    assert_eq!(Timestamp::MIN.plus_s(2).as_micros(), 2_000_000);
    assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
}

proptest! {
    #[test]
    fn text_and_time_convert_both_ways(micros in 0..=MAX_MICROS) {
        let at = Timestamp::from_micros(micros);

        prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        let instant = jiff::Timestamp::from_microsecond(micros).unwrap();
        prop_assert_eq!(at.to_string(), format!("{instant:.6}"));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,30}") {
        let _ = text.parse::<Timestamp>();
    }
}
