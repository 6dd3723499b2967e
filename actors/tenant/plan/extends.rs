//! Plans that extend others: what a plan does not say, it takes from the plan that it extends.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use toml::{Table, Value};

/// The key that names the plan which is extended.
const EXTENDS: &str = "extends";
/// What belongs to a plan alone: its name, and what it is called and costs.
const OWN: [&str; 3] = ["name", "price_minor", "title"];

/// Fills in what plans take from others. The error is a key and what is wrong there.
pub(super) fn resolve(document: &mut Table) -> Result<(), (String, String)> {
    let Some(Value::Array(plans)) = document.get("plans") else { return Ok(()) };
    let resolved = plans.iter().map(|plan| match plan {
        Value::Table(plan) => whole(plan, plans, &mut Vec::new()).map(Value::Table),
        other => Ok(other.clone()),
    });
    let resolved: Vec<Value> = resolved.collect::<Result<_, _>>()?;
    document.insert("plans".to_owned(), Value::Array(resolved));
    Ok(())
}

/// A plan with everything that it takes from others; `seen` are those that led here.
fn whole<'a>(
    plan: &'a Table,
    plans: &'a [Value],
    seen: &mut Vec<&'a str>,
) -> Result<Table, (String, String)> {
    let mut own = plan.clone();
    let Some(base) = own.remove(EXTENDS) else { return Ok(own) };
    let name = name_of(plan).unwrap_or_default();
    let wrong = |reason: String| (format!("plans.{name}.{EXTENDS}"), reason);
    seen.push(name);
    let base = base.as_str().map(str::to_owned);
    let base = base.ok_or_else(|| wrong("must be the name of a plan".to_owned()))?;
    let found = plans.iter().filter_map(Value::as_table).find(|t| name_of(t) == Some(&base));
    let found = found.ok_or_else(|| wrong(format!("there is no plan `{base}`")))?;
    if seen.contains(&base.as_str()) {
        return Err(wrong(format!("goes in a circle: {}, {base}", seen.join(", "))));
    }
    let mut taken = whole(found, plans, seen)?;
    for key in OWN {
        taken.remove(key);
    }
    Ok(overlaid(taken, own))
}

fn name_of(plan: &Table) -> Option<&str> {
    plan.get("name")?.as_str()
}

/// Lays what is said above over what is said below; tables (limits, overage) key by key.
fn overlaid(mut below: Table, above: Table) -> Table {
    for (key, value) in above {
        let value = match (below.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                Value::Table(overlaid(below, above))
            }
            (_, above) => above,
        };
        below.insert(key, value);
    }
    below
}

#[cfg(test)]
mod tests {
    use super::super::Catalogue;

    const METERS: &str = r#"
default_plan = "a"
features = ["4k"]
[[meters]]
name = "images"
title = "Images"
unit = "image"
kind = "counter"
[[meters]]
name = "clips"
title = "Clips"
unit = "clip"
kind = "counter"
"#;

    fn parse(plans: &str) -> Result<Catalogue, String> {
        let parsed = Catalogue::parse(&format!("{METERS}{plans}"), "my.toml");
        parsed.map_err(|error| error.to_string())
    }

    const BASE: &str = r#"
[[plans]]
name = "a"
title = "A"
currency = "usd"
price_minor = 100
features = ["4k"]
limits = { images = 5, clips = 6 }
"#;

    #[test]
    fn a_plan_takes_what_it_does_not_say_from_the_one_it_extends() {
        let plans = format!(
            "{BASE}[[plans]]\nname = \"c\"\ntitle = \"C\"\nextends = \"b\"\nfeatures = []\n\
             [[plans]]\nname = \"b\"\ntitle = \"B\"\nextends = \"a\"\nlimits = {{ clips = 60 }}\n"
        );
        let catalogue = parse(&plans).unwrap();
        let limits = |name: &str| {
            let terms = &catalogue.plan(name).unwrap().terms;
            (terms.meters.iter().map(|meter| meter.limit).collect::<Vec<_>>(), terms.allows("4k"))
        };

        assert_eq!(limits("a"), (vec![Some(5), Some(6)], true));
        assert_eq!(limits("b"), (vec![Some(5), Some(60)], true));
        assert_eq!(limits("c"), (vec![Some(5), Some(60)], false));
        assert!(catalogue.plan("b").unwrap().price.is_none());
    }

    #[test]
    fn a_circle_and_a_plan_that_is_not_there_are_named() {
        let two = |first: &str, second: &str| {
            format!(
                "{BASE}[[plans]]\nname = \"b\"\ntitle = \"B\"\nextends = \"{first}\"\n\
                 [[plans]]\nname = \"c\"\ntitle = \"C\"\nextends = \"{second}\"\n"
            )
        };
        let circle = parse(&two("c", "b")).unwrap_err();
        assert_eq!(circle, "my.toml: plans.c.extends: goes in a circle: b, c, b");
        let itself = parse(&two("b", "a")).unwrap_err();
        assert_eq!(itself, "my.toml: plans.b.extends: goes in a circle: b, b");
        let nobody = parse(&two("x", "a")).unwrap_err();
        assert_eq!(nobody, "my.toml: plans.b.extends: there is no plan `x`");
        let number = parse(&two("a", "a").replacen("\"a\"\n", "7\n", 3)).unwrap_err();
        assert!(number.starts_with("my.toml: "), "{number}");
    }
}
