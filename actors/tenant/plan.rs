//! The catalogue: which meters exist, which plans there are, and what each allows.
//!
//! It is data (`plans.toml`): another product replaces the file. A tenant's plan is a copy of its
//! terms, so editing the file changes nobody until a plan is assigned again.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod extends;
mod parse;

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

pub use self::parse::CatalogueError;
use crate::money::{Currency, MicroMoney, Money};

/// The catalogue that ships with the product.
const BUILTIN: &str = include_str!("../../plans.toml");
/// The month that a level's price is for, in seconds: 30 days, whatever the calendar says.
pub const LEVEL_MONTH_S: u64 = 2_592_000;
/// A longer name would only make every journal line longer.
const MAX_NAME_BYTES: usize = 48;

/// The text is not a name: lower-case letters, digits, `_` and `-`, at most 48 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 48 lower-case letters, digits, `_` or `-`")]
pub struct InvalidName;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
                let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed);
                if fits { Ok(Self(text.into())) } else { Err(InvalidName) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A meter's name, `images`; cheap to clone.
    MeterName
);
name!(
    /// A plan's name, `free`; cheap to clone.
    PlanName
);

/// Whether a meter begins again with each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterKind {
    /// Counts up, and begins at zero with each period.
    Counter,
    /// A level such as stored bytes: goes up and down, and never resets.
    Level,
}

/// Whether limits refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// What goes beyond a limit is refused.
    #[default]
    Enforced,
    /// What goes beyond a limit is admitted, and recorded as what would have been refused.
    Shadow,
}

impl Enforcement {
    /// Says whether it is the usual one.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// One kind of usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Its name in requests and entries.
    pub name: MeterName,
    /// What people read.
    pub title: String,
    /// What one unit is: `image`, `ms`, `byte`.
    pub unit: String,
    /// Whether it resets.
    pub kind: MeterKind,
}

/// The price of usage beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OveragePrice {
    /// What `per_units` cost, in millionths of the plan's currency; of a level, for 30 days.
    pub price_micros: MicroMoney,
    /// How many base units that price is for.
    pub per_units: u64,
}

impl OveragePrice {
    /// Prices units on top of an amount in millionths, rounded once; none if the bill would not
    /// fit into 64 bits.
    pub fn price(&self, amount_micros: u128, units: u64, currency: Currency) -> Option<Money> {
        let per_units = self.per_units.into();
        self.price_micros.price_on_top(amount_micros, units.into(), per_units, currency)
    }

    /// Prices a level's units times the seconds that they were there likewise.
    pub fn price_level(
        &self,
        amount_micros: u128,
        unit_seconds: u128,
        currency: Currency,
    ) -> Option<Money> {
        let per_units = self.per_unit_seconds();
        self.price_micros.price_on_top(amount_micros, unit_seconds, per_units, currency)
    }

    /// Prices units exactly, but for a fraction of a millionth that counts as a whole one.
    pub fn micros(&self, units: u64) -> u128 {
        self.price_micros.of(units.into(), self.per_units.into())
    }

    /// Prices a level's units times seconds likewise.
    pub fn level_micros(&self, unit_seconds: u128) -> u128 {
        self.price_micros.of(unit_seconds, self.per_unit_seconds())
    }

    fn per_unit_seconds(&self) -> u128 {
        u128::from(self.per_units).saturating_mul(LEVEL_MONTH_S.into())
    }
}

/// What a plan says about one meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterTerms {
    /// The meter.
    pub meter: MeterName,
    /// What one unit is.
    pub unit: Arc<str>,
    /// Whether it resets.
    pub kind: MeterKind,
    /// How much a period allows; none is unlimited.
    pub limit: Option<u64>,
    /// What more costs; none is a hard limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overage: Option<OveragePrice>,
}

/// The copy of a plan that a tenant lives under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTerms {
    /// The plan's name.
    pub plan: PlanName,
    /// What overage is billed in.
    pub currency: Currency,
    /// Every meter of the catalogue, in its order.
    pub meters: Vec<MeterTerms>,
    /// What else the plan includes: `4k`, `publish`.
    pub features: BTreeSet<String>,
    /// Whether its limits refuse, unless the operator says otherwise for a tenant.
    #[serde(default, skip_serializing_if = "Enforcement::is_usual")]
    pub enforcement: Enforcement,
}

impl PlanTerms {
    /// Returns what the plan says about a meter.
    pub fn meter(&self, name: &str) -> Option<&MeterTerms> {
        self.meters.iter().find(|terms| terms.meter.as_str() == name)
    }

    /// Says whether the plan includes a feature.
    pub fn allows(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// A plan as the catalogue lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// What people read.
    pub title: String,
    /// What a period costs; none is by agreement.
    pub price: Option<Money>,
    /// What is copied to a tenant.
    pub terms: Arc<PlanTerms>,
}

/// All meters and plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    meters: Vec<Meter>,
    features: BTreeSet<String>,
    plans: Vec<Plan>,
    default_plan: PlanName,
}

impl Catalogue {
    /// Returns the catalogue that is compiled in.
    #[expect(clippy::missing_panics_doc, reason = "a test parses what is built in")]
    pub fn builtin() -> Self {
        Self::parse(BUILTIN, "plans.toml").expect("a test parses the catalogue that is built in")
    }

    /// Parses a catalogue; `source_name` is the file's name for the error.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, CatalogueError> {
        parse::parse(text, source_name)
    }

    /// Lists the meters.
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }

    /// Returns a meter by its name.
    pub fn meter(&self, name: &str) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.name.as_str() == name)
    }

    /// Lists the plans, as the file orders them.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Returns a plan by its name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name.as_str() == name)
    }

    /// Returns the plan of tenants that were never assigned one.
    #[expect(clippy::missing_panics_doc, reason = "the parser saw the default plan")]
    pub fn default_plan(&self) -> &Plan {
        self.plan(self.default_plan.as_str()).expect("the parser saw the default plan")
    }

    /// Lists the features that some plan may include.
    pub fn features(&self) -> &BTreeSet<String> {
        &self.features
    }
}

#[cfg(test)]
mod tests;
