//! What the model knows of money: prices in exact fractions, levels as a list of what was when.

use std::sync::Arc;

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
            let past = self.sold_over(&terms.meter);
            let ahead = u128::from(over) * self.open.end.since(self.now).as_micros();
            let seconds = (past + ahead).div_ceil(1_000_000);
            (seconds * micros).div_ceil(per * u128::from(LEVEL_MONTH_S))
        } else {
            let unsold = self.unsold.get(&terms.meter).copied().unwrap_or(0);
            (u128::from(over.saturating_sub(unsold)) * micros).div_ceil(per)
        }
    }

    /// A level's units beyond the limit times microseconds so far, under the plan in force.
    fn sold_over(&self, meter: &MeterName) -> u128 {
        let closed = self.closed_over.get(meter).copied().unwrap_or(0);
        self.level_over(meter, self.now) - closed
    }

    /// What each meter's overage comes to so far: a plan ends, and it stays owed.
    pub(super) fn close_plan(&mut self) {
        let mut left = self.owed;
        for terms in &Arc::clone(&self.terms).meters {
            let meter = &terms.meter;
            let so_far = match terms.overage {
                Some(price) if self.is_level(meter) => {
                    let seconds = self.sold_over(meter) / 1_000_000;
                    let micros = u128::from(price.price_micros.as_micros());
                    let per = u128::from(price.per_units) * u128::from(LEVEL_MONTH_S);
                    (seconds * micros).div_ceil(per)
                }
                _ => self.price(terms, self.over(self.open, meter)),
            };
            let before = self.owed_before.get(meter).copied().unwrap_or(0);
            let owed = (before + so_far).min(left);
            left -= owed;
            self.owed_before.insert(meter.clone(), owed);
            if self.is_level(meter) {
                let whole = self.sold_over(meter) / 1_000_000 * 1_000_000;
                *self.closed_over.entry(meter.clone()).or_default() += whole;
            }
        }
    }

    /// What is beyond the limits of a plan that has just come is not for sale.
    pub(super) fn withhold(&mut self) {
        for terms in &Arc::clone(&self.terms).meters {
            if !self.is_level(&terms.meter) {
                let over = self.over(self.open, &terms.meter);
                self.unsold.insert(terms.meter.clone(), over);
            }
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
        for (meter, unsold) in self.unsold.clone() {
            let over = self.over(self.open, &meter);
            self.unsold.insert(meter, unsold.min(over));
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
        self.unsold.clear();
        self.closed_over.clear();
        self.owed_before.clear();
        self.owed = 0;
    }

    pub(in super::super) fn committed(&self) -> u128 {
        let meters = self.terms.meters.iter();
        let overage = meters.map(|terms| self.price(terms, self.over(self.open, &terms.meter)));
        self.owed_before.values().sum::<u128>() + overage.sum::<u128>()
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
