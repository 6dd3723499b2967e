//! Facts change the state here and nowhere else, live and in replay alike.

use super::account::Account;
use super::{Charge, Closed, Fact, Quota, ReservationState, SpendCap};
use crate::clock::Timestamp;
use crate::planted::{self, Bug};
use crate::tenant::period::Period;

/// A fact does not fit the state: the journal is damaged, or not this tenant's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} entry does not fit the state: {reason}")]
pub struct Inconsistent {
    /// The fact's kind.
    pub kind: &'static str,
    /// What does not fit.
    pub reason: String,
}

pub(super) type Recorded = Result<(), String>;

impl Quota {
    /// Records a fact. The figures that it carries must be those that the state comes to.
    pub fn replay_fact(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Inconsistent> {
        // A tenant whose first commands were all refused may have its first entry later.
        match fact {
            Fact::PeriodRolled { from, .. } if self.period.is_none() => self.open(*from),
            _ => self.open_at(at),
        }
        // What moves nothing leaves levels and money as they are: live, too, it is only noted.
        let is_note = matches!(
            fact,
            Fact::ThresholdReached { .. } | Fact::ClockStarted {} | Fact::ClockAdvanced { .. }
        );
        if !is_note {
            self.book.accrue(at);
        }
        self.record(fact, at).map_err(|reason| Inconsistent { kind: fact.kind(), reason })?;
        if !is_note {
            self.book.trim_unsold();
            self.record_owed(at);
        }
        Ok(())
    }

    fn record(&mut self, fact: &Fact, at: Timestamp) -> Recorded {
        match fact {
            Fact::Reserved { reservation, items, expires_at, .. } => {
                self.record_reserved(*reservation, items, *expires_at, at)
            }
            Fact::Committed { reservation, items, .. } => {
                self.settle(*reservation, ReservationState::Committed, items, at)
            }
            Fact::Released { reservation, items, .. } => {
                self.settle(*reservation, ReservationState::Released, items, at)
            }
            Fact::Expired { reservation, items, .. } => {
                self.settle(*reservation, ReservationState::Expired, items, at)
            }
            Fact::Extended { reservation, expires_at, .. } => {
                let hold = self.holds.get_mut(reservation).ok_or("there is no such hold")?;
                self.expiries.remove(&(hold.expires_at, *reservation));
                hold.expires_at = *expires_at;
                self.expiries.insert((*expires_at, *reservation));
                Ok(())
            }
            Fact::JobHeld { job, items, .. } => self.record_job_held(*job, items, at),
            Fact::PartCommitted { job, items, .. } => self.record_part_committed(*job, items),
            Fact::JobClosed { job, items, .. } => self.record_job_closed(*job, items),
            Fact::Freed { items, .. } => self.record_freed(items),
            Fact::CommittedLate { reservation, items, held, .. } => {
                self.record_late(*reservation, items, held, at)
            }
            Fact::Adjusted { items, delta, .. } if *delta < 0 => self.record_freed(items),
            Fact::Consumed { items, .. }
            | Fact::Recorded { items, .. }
            | Fact::Adjusted { items, .. } => self.record_used(items),
            Fact::SpendCapSet { amount_minor, currency } => {
                let cap = SpendCap { amount_minor: *amount_minor, currency: *currency };
                self.spend_cap = Some(cap);
                Ok(())
            }
            Fact::Granted { grant, grants, .. } => {
                self.record_granted(grant, grants);
                Ok(())
            }
            Fact::GrantRevoked { end } | Fact::GrantExpired { end } => self.record_grant_end(end),
            Fact::EnforcementSet { mode } => {
                self.enforcement = Some(*mode);
                Ok(())
            }
            Fact::FeatureSet { feature, allowed } => {
                self.record_feature(feature, *allowed);
                Ok(())
            }
            Fact::PlanSet { terms, cycle, period, owed, .. } => {
                self.record_plan(terms, cycle.as_ref(), *period, owed.as_deref());
                Ok(())
            }
            Fact::PlanScheduled { terms, cycle, .. } => {
                self.record_schedule(terms, cycle.as_ref());
                Ok(())
            }
            Fact::PeriodRolled { from, to, closed, grants, plan, .. } => {
                if self.scheduled_plan() != plan.as_ref() {
                    return Err("another plan was to come into force".to_owned());
                }
                self.record_stands(grants);
                self.roll(*from, *to, closed)
            }
            // Time is kept by the tenant's state.
            Fact::ClockStarted {} | Fact::ClockAdvanced { .. } => Ok(()),
            Fact::ThresholdReached { .. } => {
                self.book.alert(fact);
                Ok(())
            }
        }
    }

    pub(super) fn record_used(&mut self, items: &[Charge]) -> Recorded {
        items.iter().try_for_each(|charge| {
            self.move_open(charge, |account| {
                account.used = add(account.used, charge.amount)?;
                Ok(())
            })
        })
    }

    /// Changes an account of the open period and compares it with what the fact says.
    pub(super) fn move_open(
        &mut self,
        charge: &Charge,
        change: impl FnOnce(&mut Account) -> Recorded,
    ) -> Recorded {
        let account = self.book.get_mut(&charge.meter).ok_or("there is no such account")?;
        change(account)?;
        compare(account, charge)?;
        if !charge.grants.is_empty() {
            self.record_stands(&charge.grants);
            self.regrant(&charge.meter);
        }
        Ok(())
    }

    /// Changes the account that a hold's meter is kept in, and compares it. `returned` units go
    /// back to grants, whose share of an earlier period's limit they no longer are.
    pub(super) fn move_held(
        &mut self,
        period: Timestamp,
        charge: &Charge,
        returned: u64,
        change: impl FnOnce(&mut Account) -> Recorded,
    ) -> Recorded {
        // The same place as `Quota::account` finds.
        let earlier = self.earlier.iter_mut().find(|earlier| earlier.start == period);
        let earlier = earlier.filter(|_| !planted::is(Bug::ResetRace));
        let Some(account) = earlier.and_then(|earlier| earlier.get_mut(&charge.meter)) else {
            return self.move_open(charge, change);
        };
        change(account)?;
        account.set_limit(account.plan_limit, account.granted.saturating_sub(returned));
        compare(account, charge)?;
        self.record_stands(&charge.grants);
        self.regrant(&charge.meter);
        Ok(())
    }

    fn record_freed(&mut self, items: &[Charge]) -> Recorded {
        items.iter().try_for_each(|charge| {
            self.move_open(charge, |account| {
                account.used = subtract(account.used, charge.amount)?;
                Ok(())
            })
        })
    }

    fn roll(&mut self, from: Period, to: Period, closed: &[Closed]) -> Recorded {
        if self.period != Some(from) || to.start < from.end {
            return Err(format!("the open period is {:?}", self.period));
        }
        self.close_grants();
        let earlier = self.book.roll(from, self.period_name(), closed)?;
        self.earlier.extend(earlier);
        // What is owed for the period that ended is closed with it.
        self.owed_micros = 0;
        self.adopt_scheduled();
        self.roll_grants();
        self.past.roll(from, self.period_name(), to);
        self.open(to);
        self.forget_settled(from.start);
        Ok(())
    }

    /// Forgets the holds that ended before the period that has just closed.
    fn forget_settled(&mut self, before: Timestamp) {
        while let Some(id) = self.settled_order.front() {
            if self.settled.get(id).is_some_and(|settled| settled.ended_at >= before) {
                break;
            }
            self.settled.remove(id);
            self.settled_order.pop_front();
        }
    }
}

pub(super) fn add(sum: u64, amount: u64) -> Result<u64, String> {
    sum.checked_add(amount).ok_or_else(|| "a sum overflows".to_owned())
}

pub(super) fn subtract(sum: u64, amount: u64) -> Result<u64, String> {
    sum.checked_sub(amount).ok_or_else(|| "more is taken away than there is".to_owned())
}

fn compare(account: &Account, charge: &Charge) -> Recorded {
    if account.used == charge.used && account.reserved == charge.reserved {
        return Ok(());
    }
    Err(format!(
        "{} comes to {} used and {} reserved, and the entry says {} and {}",
        charge.meter, account.used, account.reserved, charge.used, charge.reserved
    ))
}
