use super::*;

#[test]
fn a_bill_line_is_rounded_once_half_up() {
    let per_minute = MicroMoney::from_micros(100_000);

    let minor = |units| per_minute.price(units, 60_000, Currency::USD).unwrap().amount_minor;

    assert_eq!(minor(60_000), 10);
    assert_eq!(minor(2_999), 0);
    assert_eq!(minor(3_000), 1);
    assert_eq!(minor(u128::from(u32::MAX)), 715_828);
}

#[test]
fn the_currency_says_what_a_minor_unit_is() {
    let price = MicroMoney::from_micros(1_500_000);
    let yen: Currency = "jpy".parse().unwrap();

    assert_eq!(price.price(1, 1, yen).unwrap().amount_minor, 2);
    assert_eq!(price.price(1, 1, Currency::USD).unwrap().amount_minor, 150);
    assert_eq!(
        serde_json::to_string(&price.price(2, 1, Currency::USD)).unwrap(),
        r#"{"amount_minor":300,"currency":"usd"}"#
    );
}

#[test]
fn what_does_not_fit_is_no_price() {
    let price = MicroMoney::from_micros(u64::MAX);

    assert_eq!(price.price(u64::MAX.into(), 1, Currency::USD), None);
    assert_eq!(price.price(1, 0, Currency::USD), None);
    assert!("USD".parse::<Currency>().is_err());
    assert!("dollar".parse::<Currency>().is_err());
}
