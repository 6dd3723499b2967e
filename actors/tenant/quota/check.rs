//! The full check of a quota, for tests and for the operator's inspection.

use std::collections::BTreeMap;

use super::account::{Account, MAX_TOTAL};
use super::{Held, MAX_OPEN_HOLDS, MAX_SETTLED, Quota};
use crate::clock::Timestamp;
use crate::tenant::plan::{MeterKind, MeterName};

impl Quota {
    /// Checks every invariant by recomputing what the state keeps.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check(&self) {
        assert_eq!(self.holds.len(), self.expiries.len(), "each hold lapses once");
        for (id, hold) in &self.holds {
            assert!(self.expiries.contains(&(hold.expires_at, *id)), "{id} lapses");
            assert!(!self.settled.contains_key(id), "{id} is open and has not ended");
        }
        assert!(self.holds.len().saturating_add(self.job_holds.len()) <= MAX_OPEN_HOLDS);
        assert!(self.settled.len() <= MAX_SETTLED);
        assert_eq!(self.settled.len(), self.settled_order.len());

        let (sums, counts) = self.recomputed();
        for account in self.book.accounts() {
            let period = match account.kind {
                MeterKind::Level => None,
                MeterKind::Counter => self.period.map(|period| period.start),
            };
            Self::check_account(account, &sums, period);
            self.assert_grants(account);
        }
        for earlier in &self.earlier {
            assert!(earlier.open_holds > 0, "an earlier period is kept for its holds alone");
            assert_eq!(counts.get(&earlier.start), Some(&earlier.open_holds));
            for account in &earlier.accounts {
                Self::check_account(account, &sums, Some(earlier.start));
            }
        }
        let open = self.period.and_then(|period| counts.get(&period.start)).copied();
        assert_eq!(open.unwrap_or(0), self.book.open_holds);
    }

    fn check_account(account: &Account, sums: &Sums, period: Option<Timestamp>) {
        let sum = sums.get(&(period, account.meter.clone())).copied().unwrap_or(0);
        assert_eq!(account.reserved, sum, "{} reserved is what is held", account.meter);
        assert!(account.used.checked_add(account.reserved).is_some_and(|sum| sum <= MAX_TOTAL));
    }

    /// Adds up the holds by period and meter; levels have no period.
    fn recomputed(&self) -> (Sums, BTreeMap<Timestamp, usize>) {
        let mut sums = Sums::new();
        let mut counts = BTreeMap::<Timestamp, usize>::new();
        let holds = self.holds.values().map(|hold| (hold.period, &hold.items));
        let job_holds = self.job_holds.values().map(|hold| (hold.period, &hold.items));
        for (period, items) in holds.chain(job_holds) {
            let count = counts.entry(period).or_default();
            *count = count.saturating_add(1);
            for Held { meter, amount, .. } in items {
                let is_level = self.book.get(meter).is_some_and(|a| a.kind == MeterKind::Level);
                let key = ((!is_level).then_some(period), meter.clone());
                let sum = sums.entry(key).or_default();
                *sum = sum.checked_add(*amount).expect("sums fit");
            }
        }
        (sums, counts)
    }
}

type Sums = BTreeMap<(Option<Timestamp>, MeterName), u64>;
