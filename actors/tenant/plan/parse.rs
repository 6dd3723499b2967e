//! Reads `plans.toml`, and says of what is wrong in which file, at which key, and why.
//!
//! It walks the document by hand: every error names a key that the operator can search for.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use toml::{Table, Value};

use super::{
    Catalogue, Enforcement, Meter, MeterKind, MeterTerms, OveragePrice, Plan, PlanTerms, extends,
};
use crate::money::{Currency, MicroMoney, Money};

/// More meters would make every decision slower; more plans, the page unreadable.
const MAX_METERS: usize = 64;
const MAX_PLANS: usize = 64;
/// Integers up to here are exact in every JSON reader.
const MAX_LIMIT: u64 = (1 << 53) - 1;

/// The catalogue's file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {key}: {reason}")]
pub struct CatalogueError {
    /// The file.
    pub source_name: String,
    /// Where in it: `plans.pro.limits.images`.
    pub key: String,
    /// What is wrong.
    pub reason: String,
}

type Parsed<T> = Result<T, Problem>;

/// A [`CatalogueError`] that does not know its file yet.
struct Problem {
    key: String,
    reason: String,
}

fn problem<T>(key: impl Into<String>, reason: impl Into<String>) -> Parsed<T> {
    Err(Problem { key: key.into(), reason: reason.into() })
}

pub(super) fn parse(text: &str, source_name: &str) -> Result<Catalogue, CatalogueError> {
    document(text).map_err(|Problem { key, reason }| CatalogueError {
        source_name: source_name.to_owned(),
        key,
        reason,
    })
}

fn document(text: &str) -> Parsed<Catalogue> {
    let mut table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count().saturating_add(1);
            return problem(format!("line {line}"), error.message());
        }
    };
    if let Err((key, reason)) = extends::resolve(&mut table) {
        return problem(key, reason);
    }
    let section = Section { path: String::new(), table: &table };
    section.only(&["default_plan", "features", "meters", "plans"])?;

    let features = strings(&section, "features")?;
    let meters: Vec<Meter> =
        section.sections("meters", MAX_METERS)?.iter().map(meter).collect::<Parsed<_>>()?;
    unique("meters", meters.iter().map(|meter| meter.name.as_str()))?;
    let plans: Vec<Plan> = section
        .sections("plans", MAX_PLANS)?
        .iter()
        .map(|section| plan(section, &meters, &features))
        .collect::<Parsed<_>>()?;
    unique("plans", plans.iter().map(|plan| plan.name.as_str()))?;

    let default_plan = section.parsed("default_plan")?;
    if !plans.iter().any(|plan| plan.name == default_plan) {
        return problem("default_plan", format!("there is no plan `{default_plan}`"));
    }
    Ok(Catalogue { meters, features, plans, default_plan })
}

fn unique<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Parsed<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return problem(format!("{key}.{name}"), "stands here twice");
        }
    }
    Ok(())
}

fn strings(section: &Section<'_>, key: &str) -> Parsed<BTreeSet<String>> {
    let path = section.key(key);
    let Some(Value::Array(values)) = section.table.get(key) else {
        return problem(path, "must be a list of names");
    };
    values
        .iter()
        .map(|value| match value {
            Value::String(name) if !name.is_empty() => Ok(name.clone()),
            _ => problem(&path, "must be a list of names"),
        })
        .collect()
}

fn meter(section: &Section<'_>) -> Parsed<Meter> {
    section.only(&["kind", "name", "title", "unit"])?;
    let kind = match section.text("kind")? {
        "counter" => MeterKind::Counter,
        "level" => MeterKind::Level,
        _ => return problem(section.key("kind"), "must be `counter` or `level`"),
    };
    Ok(Meter {
        name: section.parsed("name")?,
        title: section.text("title")?.to_owned(),
        unit: section.text("unit")?.to_owned(),
        kind,
    })
}

fn plan(section: &Section<'_>, meters: &[Meter], known: &BTreeSet<String>) -> Parsed<Plan> {
    section.only(&[
        "currency",
        "enforcement",
        "features",
        "limits",
        "name",
        "overage",
        "price_minor",
        "title",
    ])?;
    let name = section.parsed("name")?;
    let currency: Currency = section.parsed("currency")?;
    let price = match section.table.get("price_minor") {
        None => None,
        Some(value) => {
            let minor = integer(value, &section.key("price_minor"))?;
            Some(Money { amount_minor: i64::try_from(minor).unwrap_or(i64::MAX), currency })
        }
    };
    let features = strings(section, "features")?;
    if let Some(unknown) = features.difference(known).next() {
        return problem(
            section.key("features"),
            format!("`{unknown}` is not among the catalogue's features"),
        );
    }
    let meters = terms(section, meters)?;
    let enforcement = enforcement(section)?;
    let terms = PlanTerms { plan: Clone::clone(&name), currency, meters, features, enforcement };
    Ok(Plan { name, title: section.text("title")?.to_owned(), price, terms: Arc::new(terms) })
}

fn enforcement(section: &Section<'_>) -> Parsed<Enforcement> {
    match section.table.get("enforcement") {
        None => Ok(Enforcement::default()),
        Some(Value::String(text)) if text == "enforced" => Ok(Enforcement::Enforced),
        Some(Value::String(text)) if text == "shadow" => Ok(Enforcement::Shadow),
        Some(_) => problem(section.key("enforcement"), "must be `enforced` or `shadow`"),
    }
}

fn terms(section: &Section<'_>, meters: &[Meter]) -> Parsed<Vec<MeterTerms>> {
    let limits = section.section("limits")?;
    let names: Vec<&str> = meters.iter().map(|meter| meter.name.as_str()).collect();
    limits.only(&names)?;
    let overage = match section.table.get("overage") {
        None => None,
        Some(_) => Some(section.section("overage")?),
    };
    if let Some(overage) = &overage {
        overage.only(&names)?;
    }
    let term = |meter: &Meter| {
        let name = meter.name.as_str();
        let price = match &overage {
            Some(prices) if prices.table.contains_key(name) => {
                Some(overage_price(&prices.section(name)?)?)
            }
            _ => None,
        };
        Ok(MeterTerms {
            meter: meter.name.clone(),
            unit: meter.unit.as_str().into(),
            kind: meter.kind,
            limit: limit(&limits, name)?,
            overage: price,
        })
    };
    meters.iter().map(term).collect()
}

fn limit(limits: &Section<'_>, name: &str) -> Parsed<Option<u64>> {
    match limits.table.get(name) {
        None => problem(limits.key(name), "missing: every plan says a limit for every meter"),
        Some(Value::String(text)) if text == "unlimited" => Ok(None),
        Some(value) => Ok(Some(integer(value, &limits.key(name))?)),
    }
}

fn overage_price(section: &Section<'_>) -> Parsed<OveragePrice> {
    section.only(&["per_units", "price_micros"])?;
    let number = |key: &str| match section.table.get(key) {
        None => problem(section.key(key), "missing"),
        Some(value) => integer(value, &section.key(key)),
    };
    let per_units = number("per_units")?;
    if per_units == 0 {
        return problem(section.key("per_units"), "must be at least 1");
    }
    Ok(OveragePrice { price_micros: MicroMoney::from_micros(number("price_micros")?), per_units })
}

fn integer(value: &Value, key: &str) -> Parsed<u64> {
    let Value::Integer(number) = value else {
        return problem(key, format!("must be an integer, not a {}", value.type_str()));
    };
    match u64::try_from(*number) {
        Err(_) => problem(key, format!("must not be negative, and is {number}")),
        Ok(number) if number > MAX_LIMIT => problem(key, format!("must be at most {MAX_LIMIT}")),
        Ok(number) => Ok(number),
    }
}

/// A table of the document that knows where it stands.
struct Section<'a> {
    path: String,
    table: &'a Table,
}

impl<'a> Section<'a> {
    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Refuses a key that means nothing here: it is most likely misspelt.
    fn only(&self, known: &[&str]) -> Parsed<()> {
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                problem(self.key(key), format!("unknown; known here are {}", known.join(", ")))
            }
            None => Ok(()),
        }
    }

    fn text(&self, key: &str) -> Parsed<&'a str> {
        match self.table.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(_) => problem(self.key(key), "must be a text that is not empty"),
            None => problem(self.key(key), "missing"),
        }
    }

    fn parsed<T: std::str::FromStr<Err: Display>>(&self, key: &str) -> Parsed<T> {
        match self.text(key)?.parse() {
            Ok(value) => Ok(value),
            Err(error) => problem(self.key(key), error.to_string()),
        }
    }

    fn section(&self, key: &str) -> Parsed<Section<'a>> {
        match self.table.get(key) {
            Some(Value::Table(table)) => Ok(Section { path: self.key(key), table }),
            Some(_) => problem(self.key(key), "must be a table"),
            None => problem(self.key(key), "missing"),
        }
    }

    /// The tables of a list, each named by its `name` in messages.
    fn sections(&self, key: &str, max: usize) -> Parsed<Vec<Section<'a>>> {
        let Some(Value::Array(values)) = self.table.get(key) else {
            return problem(self.key(key), format!("must be a list of tables: [[{key}]]"));
        };
        if values.is_empty() || values.len() > max {
            return problem(self.key(key), format!("there must be 1 to {max}"));
        }
        let named = |(index, value): (usize, &'a Value)| {
            let Value::Table(table) = value else {
                return problem(format!("{key}.{index}"), "must be a table");
            };
            let path = match table.get("name") {
                Some(Value::String(name)) => format!("{key}.{name}"),
                _ => format!("{key}.{index}"),
            };
            Ok(Section { path, table })
        };
        values.iter().enumerate().map(named).collect()
    }
}
