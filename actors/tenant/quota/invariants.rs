//! Invariants that cost little: asserted after every fact, in release builds too. A broken one must
//! never be written on top of.

use super::account::{Account, MAX_TOTAL};
use super::{Charge, Enforcement, Fact, Quota};
use crate::clock::Timestamp;
use crate::planted::{self, Bug};
use crate::tenant::plan::{MeterKind, MeterName};

impl Quota {
    /// Asserts what must hold after a fact that was just decided.
    ///
    /// # Panics
    ///
    /// If it does not hold.
    pub(super) fn assert_recorded(&self, fact: &Fact, at: Timestamp) {
        assert_eq!(self.holds.len(), self.expiries.len(), "each hold lapses once");
        let (items, takes_more) = match fact {
            Fact::Consumed { items, .. }
            | Fact::Reserved { items, .. }
            | Fact::JobHeld { items, .. } => (items, true),
            Fact::Committed { items, .. } | Fact::PartCommitted { items, .. } => (items, false),
            Fact::CommittedLate { items, .. }
            | Fact::Recorded { items, .. }
            | Fact::Adjusted { items, .. }
            | Fact::Released { items, .. }
            | Fact::Expired { items, .. }
            | Fact::JobClosed { items, .. }
            | Fact::Freed { items, .. } => {
                for charge in items {
                    self.assert_whole(charge);
                }
                return;
            }
            _ => return,
        };
        if planted::is(Bug::CheckThenAdd) {
            return;
        }
        let mut is_beyond = false;
        for charge in items {
            self.assert_whole(charge);
            let is_admission = takes_more || charge.amount > charge.held;
            is_beyond |= is_admission && charge.over() > 0 && self.is_priced(charge);
            assert!(
                !is_admission || charge.over() == 0 || self.may_exceed(charge),
                "no admission exceeds a hard limit"
            );
        }
        assert!(
            !is_beyond || self.is_within_cap(at) || self.enforcement() == Enforcement::Shadow,
            "no admission exceeds the spend cap"
        );
    }

    /// Sums fit, and no grant has more taken of it than there is.
    fn assert_whole(&self, charge: &Charge) {
        let total = charge.used.checked_add(charge.reserved).expect("sums fit");
        assert!(total <= MAX_TOTAL, "sums fit");
        if !charge.grants.is_empty()
            && let Some(account) = self.book.get(&charge.meter)
        {
            self.assert_grants(account);
        }
    }

    pub(super) fn assert_grants(&self, account: &Account) {
        if account.kind != MeterKind::Counter {
            return;
        }
        let of_meter = self.grants.iter().filter(|grant| grant.terms.meter == account.meter);
        let mut held = 0u64;
        let mut taken = 0u64;
        for grant in of_meter {
            let stand = grant.stand();
            held = held.checked_add(stand.held).expect("sums fit");
            taken = taken.checked_add(stand.used).expect("sums fit");
            let sum =
                stand.left.checked_add(stand.used).and_then(|sum| sum.checked_add(stand.held));
            assert!(sum.is_some_and(|sum| sum <= grant.terms.amount), "a grant gives what it has");
            assert!(!grant.is_ended || stand.left == 0, "an ended grant gives nothing");
        }
        assert!(held <= account.reserved, "grants hold no more than is held");
        let taken = taken.checked_add(held).expect("sums fit");
        assert!(taken <= account.total(), "grants give no more than is taken");
    }

    fn account_of(&self, meter: &MeterName) -> Option<&Account> {
        self.book.get(meter)
    }

    fn is_priced(&self, charge: &Charge) -> bool {
        let price = self.account_of(&charge.meter).and_then(|account| account.price);
        price.is_some_and(|price| price.price_micros.as_micros() > 0)
    }

    /// An admission goes beyond a limit where it is paid for, or in shadow mode.
    fn may_exceed(&self, charge: &Charge) -> bool {
        let is_paid = self.spend_cap().amount_minor > 0
            && self.account_of(&charge.meter).is_some_and(|account| account.price.is_some());
        is_paid || (charge.would_refuse && self.enforcement() == Enforcement::Shadow)
    }
}
