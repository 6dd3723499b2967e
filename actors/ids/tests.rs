use proptest::prelude::*;

use super::*;
use crate::clock::{ManualClock, Timestamp};

#[test]
fn the_text_form_is_that_of_the_typeid_specification() {
    let id = TenantId::from_bits(0x0188_bac7_4afa_78aa_bc3b_bd1e_ef28_d881);

    assert_eq!(id.to_string(), "tnt_01h2xcejqtf2nbrexx3vqjhp41");
    assert_eq!(TenantId::from_bits(u128::MAX).to_string(), "tnt_7zzzzzzzzzzzzzzzzzzzzzzzzz");
}

#[test]
fn another_kind_or_a_malformed_text_is_refused() {
    let id = UserId::from_bits(7).to_string();

    assert!(id.parse::<TenantId>().is_err());
    for text in ["", "usr", "usr_", "usr_01", "usr_8zzzzzzzzzzzzzzzzzzzzzzzzz", "usr_é"] {
        assert_eq!(text.parse::<UserId>(), Err(InvalidId { prefix: "usr" }), "{text}");
    }
    assert!(id.to_uppercase().parse::<UserId>().is_err());
}

#[test]
fn later_identifiers_sort_after_earlier_ones() {
    let clock = ManualClock::new(Timestamp::from_micros(1_795_000_000_000_000));
    let earlier = JobId::generate(&clock);
    clock.advance(std::time::Duration::from_millis(2));
    let later = JobId::generate(&clock);

    assert!(earlier < later);
    assert!(earlier.to_string() < later.to_string());
}

proptest! {
    #[test]
    fn text_and_bits_convert_both_ways(bits in any::<u128>()) {
        let id = ReservationId::from_bits(bits);
        let json = serde_json::to_string(&id).unwrap();

        prop_assert_eq!(id.to_string().parse::<ReservationId>(), Ok(id));
        prop_assert_eq!(serde_json::from_str::<ReservationId>(&json).unwrap(), id);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}") {
        let _ = text.parse::<EventId>();
    }
}
