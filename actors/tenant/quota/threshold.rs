//! Alerts: a meter's use reached a part of its limit.
//!
//! Each is due once per meter, threshold and period. A jump over several is one alert, the
//! highest, and stands for those below. What lowers usage or lifts the limit, an upgrade included,
//! takes no alert back: those below it are not due again before the next period, those above it
//! are judged against the new limit.

use super::{Fact, Quota};
use crate::clock::Timestamp;
use crate::tenant::plan::MeterName;

/// Parts of a limit at which an alert is due, highest first.
const THRESHOLDS_PERCENT: [u8; 3] = [100, 80, 50];

impl Quota {
    /// Finds the thresholds that what was due reached, and records them. A grant that ends with its
    /// period reaches none: counters begin anew in the same moment, and levels are judged then.
    pub(in crate::tenant) fn crossings_due(&mut self, fact: &Fact, at: Timestamp) -> Vec<Fact> {
        let ends_with_period = self.period().is_some_and(|period| at >= period.end);
        if ends_with_period && matches!(fact, Fact::GrantExpired { .. }) {
            return Vec::new();
        }
        self.crossings(fact)
    }

    /// Finds the thresholds that a fact reached first, and records them.
    pub(in crate::tenant) fn crossings(&mut self, fact: &Fact) -> Vec<Fact> {
        let facts = match fact {
            Fact::Consumed { items, .. }
            | Fact::Committed { items, .. }
            | Fact::CommittedLate { items, .. }
            | Fact::Recorded { items, .. }
            | Fact::Adjusted { items, .. }
            | Fact::PartCommitted { items, .. } => {
                items.iter().filter_map(|charge| self.crossing(&charge.meter)).collect()
            }
            Fact::PlanSet { terms, .. } => {
                terms.meters.iter().filter_map(|terms| self.crossing(&terms.meter)).collect()
            }
            Fact::GrantRevoked { end } | Fact::GrantExpired { end } => {
                self.crossing(&end.meter).into_iter().collect()
            }
            // Levels go on where they stood, and the plan may be another one.
            Fact::PeriodRolled { .. } => {
                let listed = self.book.accounts().iter().filter(|account| account.is_listed);
                listed.filter_map(|account| self.crossing(&account.meter)).collect()
            }
            _ => Vec::new(),
        };
        for fact in &facts {
            self.book.alert(fact);
        }
        facts
    }

    fn crossing(&self, meter: &MeterName) -> Option<Fact> {
        let account = self.book.get(meter)?;
        let limit = account.limit?;
        let reaches = |percent: u8| {
            let used = u128::from(account.used).saturating_mul(100);
            used > 0 && used >= u128::from(limit).saturating_mul(u128::from(percent))
        };
        let percent = THRESHOLDS_PERCENT.into_iter().find(|percent| reaches(*percent))?;
        (percent > account.alerted_percent).then(|| Fact::ThresholdReached {
            meter: meter.clone(),
            percent,
            used: account.used,
            limit,
            period: self.period_name(),
        })
    }
}
