//! What the model knows of money: prices in exact fractions, levels as a list of what was when.

use super::Model;
use crate::clock::Timestamp;
use crate::tenant::plan::{LEVEL_MONTH_S, MeterName, MeterTerms};

/// Millionths of a dollar in a cent.
const MICROS_PER_MINOR: u128 = 10_000;

impl Model {
    pub(super) fn cap_micros(&self) -> u128 {
        u128::from(self.cap_minor) * MICROS_PER_MINOR
    }

    /// What `over` units beyond a limit cost, up to a whole millionth.
    fn price(&self, terms: &MeterTerms, over: u64) -> u128 {
        let Some(price) = terms.overage else { return 0 };
        let (micros, per) =
            (u128::from(price.price_micros.as_micros()), u128::from(price.per_units));
        if self.is_level(&terms.meter) {
            // What was, and what will be if it stays until the end: units times microseconds.
            let past = self.level_over(&terms.meter, self.now);
            let ahead = u128::from(over) * self.open.end.since(self.now).as_micros();
            let seconds = (past + ahead).div_ceil(1_000_000);
            (seconds * micros).div_ceil(per * u128::from(LEVEL_MONTH_S))
        } else {
            (u128::from(over) * micros).div_ceil(per)
        }
    }

    /// Units beyond the limit times microseconds, from the period's begin until `at`.
    fn level_over(&self, meter: &MeterName, at: Timestamp) -> u128 {
        let of_meter = self.levels.iter().filter(|(_, of, _)| of == meter);
        let mut sum = 0;
        let mut before: Option<(Timestamp, u64)> = None;
        for (since, _, over) in of_meter {
            if let Some((from, over)) = before {
                sum += u128::from(over) * since.since(from).as_micros();
            }
            before = Some((*since, *over));
        }
        if let Some((from, over)) = before {
            sum += u128::from(over) * at.since(from).as_micros();
        }
        sum + self.carried.get(meter).copied().unwrap_or(0)
    }

    /// Notes where the levels stand from now on, and what is owed.
    pub(super) fn note(&mut self) {
        for meter in self.level_meters() {
            let used = self.used(self.open, &meter);
            let over = self.limit(self.open, &meter).map_or(0, |limit| used.saturating_sub(limit));
            self.levels.push((self.now, meter, over));
        }
        let committed = self.committed();
        self.owed = committed.min(self.owed.max(self.cap_micros()));
    }

    fn level_meters(&self) -> Vec<MeterName> {
        let meters = self.terms.meters.iter().map(|terms| &terms.meter);
        meters.filter(|meter| self.is_level(meter)).cloned().collect()
    }

    /// Begins a period: what was less than a second is carried over.
    pub(super) fn close_money(&mut self, at: Timestamp) {
        for meter in self.level_meters() {
            let rest = self.level_over(&meter, at) % 1_000_000;
            self.carried.insert(meter, rest);
        }
        self.levels.clear();
        self.owed = 0;
    }

    pub(in super::super) fn committed(&self) -> u128 {
        let meters = self.terms.meters.iter();
        meters.map(|terms| self.price(terms, self.over(self.open, &terms.meter))).sum()
    }

    /// What `units` more of a meter would add to that; none if they are not for sale.
    pub(super) fn added(&self, meter: &MeterName, units: u64) -> Option<u128> {
        let terms = self.of(meter)?;
        terms.overage.filter(|_| self.cap_minor > 0)?;
        let total = self.total(self.open, meter) + units;
        let over = self.limit(self.open, meter).map_or(0, |limit| total.saturating_sub(limit));
        Some(self.price(terms, over) - self.price(terms, self.over(self.open, meter)))
    }
}
