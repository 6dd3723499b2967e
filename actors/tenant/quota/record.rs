//! Facts change the state here and nowhere else, live and in replay alike.

use super::account::Account;
use super::{
    Charge, Closed, Fact, Held, Hold, JobHold, MAX_SETTLED, Quota, ReservationState, Settled,
    SpendCap,
};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::period::Period;
use crate::tenant::plan::MeterName;

/// A fact does not fit the state: the journal is damaged, or not this tenant's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} entry does not fit the state: {reason}")]
pub struct Inconsistent {
    /// The fact's kind.
    pub kind: &'static str,
    /// What does not fit.
    pub reason: String,
}

type Recorded = Result<(), String>;

impl Quota {
    /// Records a fact. The figures that it carries must be those that the state comes to.
    pub fn replay_fact(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Inconsistent> {
        // A tenant whose first commands were all refused may have its first entry later.
        match fact {
            Fact::PeriodRolled { from, .. } if self.period.is_none() => self.open(*from),
            _ => self.open_at(at),
        }
        self.record(fact, at).map_err(|reason| Inconsistent { kind: fact.kind(), reason })
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
            Fact::CommittedLate { reservation, items, .. } => {
                self.record_late(*reservation, items, at)
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
            Fact::Granted { grant, .. } => {
                self.record_granted(grant);
                Ok(())
            }
            Fact::GrantRevoked { end } | Fact::GrantExpired { end } => self.record_grant_end(end),
            Fact::EnforcementSet { mode } => {
                self.enforcement = Some(*mode);
                Ok(())
            }
            Fact::PlanSet { terms, cycle, period } => {
                self.record_plan(terms, cycle.as_ref(), *period);
                Ok(())
            }
            Fact::PlanScheduled { terms, cycle, .. } => {
                self.record_schedule(terms, cycle.as_ref());
                Ok(())
            }
            Fact::PeriodRolled { from, to, closed, plan } => {
                if self.scheduled_plan() != plan.as_ref() {
                    return Err("another plan was to come into force".to_owned());
                }
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

    fn record_used(&mut self, items: &[Charge]) -> Recorded {
        items.iter().try_for_each(|charge| {
            self.move_open(charge, |account| {
                account.used = add(account.used, charge.amount)?;
                Ok(())
            })
        })
    }

    /// A hold that had lapsed ends another time, and is remembered as if it had just done so.
    fn record_late(&mut self, id: ReservationId, items: &[Charge], at: Timestamp) -> Recorded {
        self.record_used(items)?;
        let settled = self.settled.get_mut(&id).ok_or("there is no such hold")?;
        settled.state = ReservationState::Committed;
        settled.is_late = true;
        settled.items = items.to_vec();
        settled.ended_at = at;
        self.settled_order.retain(|known| *known != id);
        self.settled_order.push_back(id);
        Ok(())
    }

    /// Changes an account of the open period and compares it with what the fact says.
    fn move_open(
        &mut self,
        charge: &Charge,
        change: impl FnOnce(&mut Account) -> Recorded,
    ) -> Recorded {
        let account = self.book.get_mut(&charge.meter).ok_or("there is no such account")?;
        change(account)?;
        compare(account, charge)
    }

    /// Changes the account that a hold's meter is kept in, and compares it.
    fn move_held(
        &mut self,
        period: Timestamp,
        charge: &Charge,
        change: impl FnOnce(&mut Account) -> Recorded,
    ) -> Recorded {
        // The same place as `Quota::account` finds.
        let earlier = self.earlier.iter_mut().find(|earlier| earlier.start == period);
        match earlier.and_then(|earlier| earlier.get_mut(&charge.meter)) {
            Some(account) => {
                change(account)?;
                compare(account, charge)
            }
            None => self.move_open(charge, change),
        }
    }

    fn record_reserved(
        &mut self,
        id: ReservationId,
        items: &[Charge],
        expires_at: Timestamp,
        at: Timestamp,
    ) -> Recorded {
        let (period, held) = self.open_hold(items)?;
        let hold = Hold { period, opened_at: at, expires_at, items: held };
        if self.holds.insert(id, hold).is_some() {
            return Err(format!("{id} is already open"));
        }
        self.expiries.insert((expires_at, id));
        Ok(())
    }

    fn record_job_held(&mut self, job: JobId, items: &[Charge], at: Timestamp) -> Recorded {
        let (period, held) = self.open_hold(items)?;
        if self.job_holds.insert(job, JobHold { period, opened_at: at, items: held }).is_some() {
            return Err(format!("{job} already holds"));
        }
        Ok(())
    }

    /// Takes a hold's units out of what is available in the open period.
    fn open_hold(&mut self, items: &[Charge]) -> Result<(Timestamp, Vec<Held>), String> {
        let period = self.period.ok_or("no period is open")?;
        for charge in items {
            self.move_open(charge, |account| {
                account.reserved = add(account.reserved, charge.amount)?;
                Ok(())
            })?;
        }
        self.book.open_holds = self.book.open_holds.saturating_add(1);
        let held = |charge: &Charge| Held { meter: charge.meter.clone(), amount: charge.amount };
        Ok((period.start, items.iter().map(held).collect()))
    }

    fn settle(
        &mut self,
        id: ReservationId,
        state: ReservationState,
        items: &[Charge],
        at: Timestamp,
    ) -> Recorded {
        let hold = self.holds.remove(&id).ok_or("there is no such hold")?;
        self.expiries.remove(&(hold.expires_at, id));
        empties(&hold.items, items)?;
        let period_name = self.name_of(hold.period);
        self.end_hold(hold.period, items)?;
        let settled = Settled {
            period: hold.period,
            period_name,
            state,
            is_late: false,
            expires_at: hold.expires_at,
            ended_at: at,
            items: items.to_vec(),
        };
        self.settled.insert(id, settled);
        self.settled_order.push_back(id);
        if self.settled_order.len() > MAX_SETTLED
            && let Some(oldest) = self.settled_order.pop_front()
        {
            self.settled.remove(&oldest);
        }
        Ok(())
    }

    fn record_job_closed(&mut self, job: JobId, items: &[Charge]) -> Recorded {
        let hold = self.job_holds.remove(&job).ok_or("the job holds nothing")?;
        empties(&hold.items, items)?;
        self.end_hold(hold.period, items)
    }

    fn end_hold(&mut self, period: Timestamp, items: &[Charge]) -> Recorded {
        self.use_held(period, items)?;
        if self.is_open(period) {
            self.book.open_holds =
                self.book.open_holds.checked_sub(1).ok_or("no hold is open in the period")?;
            return Ok(());
        }
        // The last hold of an earlier period closes it for good.
        for earlier in &mut self.earlier {
            if earlier.start == period {
                earlier.open_holds =
                    earlier.open_holds.checked_sub(1).ok_or("no hold is open in the period")?;
            }
        }
        self.earlier.retain(|earlier| earlier.open_holds > 0);
        Ok(())
    }

    fn use_held(&mut self, period: Timestamp, items: &[Charge]) -> Recorded {
        items.iter().try_for_each(|charge| {
            self.move_held(period, charge, |account| {
                account.reserved = subtract(account.reserved, charge.held)?;
                account.used = add(account.used, charge.amount)?;
                Ok(())
            })
        })
    }

    fn record_part_committed(&mut self, job: JobId, items: &[Charge]) -> Recorded {
        let hold = self.job_holds.get_mut(&job).ok_or("the job holds nothing")?;
        for charge in items.iter().filter(|charge| charge.held > 0) {
            let held = hold
                .items
                .iter_mut()
                .find(|held| held.meter == charge.meter)
                .ok_or("the job does not hold the meter")?;
            held.amount = subtract(held.amount, charge.held)?;
        }
        let period = hold.period;
        self.use_held(period, items)
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
        let earlier = self.book.roll(from, self.period_name(), closed)?;
        self.earlier.extend(earlier);
        self.adopt_scheduled();
        self.end_grants();
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

fn add(sum: u64, amount: u64) -> Result<u64, String> {
    sum.checked_add(amount).ok_or_else(|| "a sum overflows".to_owned())
}

fn subtract(sum: u64, amount: u64) -> Result<u64, String> {
    sum.checked_sub(amount).ok_or_else(|| "more is taken away than there is".to_owned())
}

/// Every unit that was held must leave the hold.
fn empties(held: &[Held], charges: &[Charge]) -> Recorded {
    let leaves = |meter: &MeterName| {
        charges.iter().find(|charge| charge.meter == *meter).map_or(0, |charge| charge.held)
    };
    match held.iter().find(|held| leaves(&held.meter) != held.amount) {
        Some(held) => Err(format!("{} units of {} were held", held.amount, held.meter)),
        None => Ok(()),
    }
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
