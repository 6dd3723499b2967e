use super::*;

const SMALL: &str = r#"
default_plan = "free"
features = ["4k"]
[[meters]]
name = "images"
title = "Images"
unit = "image"
kind = "counter"
[[plans]]
name = "free"
title = "Free"
currency = "usd"
price_minor = 0
features = []
limits = { images = 500 }
overage = { images = { price_micros = 50_000, per_units = 1 } }
"#;

fn error(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    Catalogue::parse(&SMALL.replace(from, to), "my.toml").unwrap_err().to_string()
}

#[test]
fn the_builtin_catalogue_is_the_documented_one() {
    let catalogue = Catalogue::builtin();
    let limit =
        |plan: &str, meter: &str| catalogue.plan(plan).unwrap().terms.meter(meter).unwrap().limit;

    assert_eq!(catalogue.default_plan().name.as_str(), "free");
    assert_eq!(limit("free", "images"), Some(500));
    assert_eq!(limit("free", "tts_ms"), Some(1000 * 60_000));
    assert_eq!(limit("pro", "render_ms"), Some(2500 * 60_000));
    assert_eq!(limit("pro", "storage_bytes"), Some(500_000_000_000));
    assert_eq!(limit("enterprise", "images"), None);
    assert_eq!(catalogue.meter("storage_bytes").unwrap().kind, MeterKind::Level);
    assert_eq!(catalogue.plan("pro").unwrap().price.unwrap().amount_minor, 2900);
    assert!(catalogue.plan("pro").unwrap().terms.allows("4k"));
    assert!(!catalogue.default_plan().terms.allows("publish"));
}

#[test]
fn overage_is_priced_as_documented() {
    let catalogue = Catalogue::builtin();
    let pro = &catalogue.plan("pro").unwrap().terms;
    let minor = |meter: &str, units| {
        let price = pro.meter(meter).unwrap().overage.unwrap();
        price.price(0, units, pro.currency).unwrap().amount_minor
    };

    assert_eq!(minor("images", 20), 100);
    assert_eq!(minor("tts_ms", 1_000_000), 100);
    assert_eq!(minor("render_ms", 600_000), 100);
    assert_eq!(minor("storage_bytes", 10_000_000_000), 100);
    assert!(catalogue.default_plan().terms.meters.iter().all(|meter| meter.overage.is_none()));
}

#[test]
fn an_error_names_file_key_and_reason() {
    let missing = "my.toml: plans.free.limits.images: missing";
    assert!(error("{ images = 500 }", "{}").starts_with(missing));
    assert_eq!(
        error("price_minor = 0", "price_minor = -1"),
        "my.toml: plans.free.price_minor: must not be negative, and is -1"
    );
    assert_eq!(
        error("price_micros = 50_000", "price_micros = -5"),
        "my.toml: plans.free.overage.images.price_micros: must not be negative, and is -5"
    );
    assert!(
        error("title = \"Free\"", "titel = \"Free\"")
            .starts_with("my.toml: plans.free.titel: unknown")
    );
    assert!(error("images = 500", "images = 1.5").ends_with("must be an integer, not a float"));
    assert!(
        error("images = 500", "image = 500")
            .starts_with("my.toml: plans.free.limits.image: unknown")
    );
    assert!(error("per_units = 1", "per_units = 0").ends_with("must be at least 1"));
    assert!(error("\"counter\"", "\"gauge\"").starts_with("my.toml: meters.images.kind: "));
    assert!(
        error("= \"free\"\nfeatures", "= \"gold\"\nfeatures").ends_with("there is no plan `gold`")
    );
    assert!(error("features = []", "features = [\"8k\"]").contains("`8k`"));
    assert_eq!(
        error("price_minor = 0", "price_minor = 0\nenforcement = \"soft\""),
        "my.toml: plans.free.enforcement: must be `enforced` or `shadow`"
    );
    assert!(error("\"usd\"", "\"dollars\"").starts_with("my.toml: plans.free.currency: "));
    assert!(error("name = \"images\"", "name = \"Im ages\"").contains("meters.Im ages.name"));
    assert!(error("price_minor = 0", "price_minor 0").starts_with("my.toml: line 13: "));
    assert!(error("[[plans]]", "[[plan]]").starts_with("my.toml: plan: unknown"));
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let (head, plan) = SMALL.split_at(SMALL.find("[[plans]]").unwrap());
    let twice = format!("{head}{plan}{plan}");

    let error = Catalogue::parse(&twice, "my.toml").unwrap_err();

    assert_eq!(error.key, "plans.free");
    assert_eq!(error.reason, "stands here twice");
}
