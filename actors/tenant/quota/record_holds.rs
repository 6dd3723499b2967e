//! Facts that open, move and end holds.

use super::lots::{Held, Portion};
use super::record::{Recorded, add, subtract};
use super::{
    Charge, GrantStand, Hold, Item, JobHold, MAX_SETTLED, Quota, ReservationState, Settled,
};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::plan::MeterName;

impl Quota {
    pub(super) fn record_reserved(
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

    pub(super) fn record_job_held(
        &mut self,
        job: JobId,
        items: &[Charge],
        at: Timestamp,
    ) -> Recorded {
        let (period, held) = self.open_hold(items)?;
        if self.job_holds.insert(job, JobHold { period, opened_at: at, items: held }).is_some() {
            return Err(format!("{job} already holds"));
        }
        Ok(())
    }

    /// Takes a hold's units out of what is available in the open period.
    fn open_hold(&mut self, items: &[Charge]) -> Result<(Timestamp, Vec<Held>), String> {
        let period = self.period.ok_or("no period is open")?;
        let held = |charge: &Charge| Held {
            meter: charge.meter.clone(),
            amount: charge.amount,
            portions: self.portions(&charge.grants),
        };
        let held = items.iter().map(held).collect();
        for charge in items {
            self.move_open(charge, |account| {
                account.reserved = add(account.reserved, charge.amount)?;
                Ok(())
            })?;
        }
        self.book.open_holds = self.book.open_holds.saturating_add(1);
        Ok((period.start, held))
    }

    /// Tells from where grants will stand what a new hold takes of them.
    fn portions(&self, stands: &[GrantStand]) -> Vec<Portion> {
        let portion = |stand: &GrantStand| {
            let known = self.grants.iter().find(|grant| grant.terms.id == stand.id)?;
            let units = stand.held.saturating_sub(known.held);
            (units > 0).then_some(Portion { grant: Some(stand.id), units })
        };
        stands.iter().filter_map(portion).collect()
    }

    pub(super) fn settle(
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
        self.end_hold(hold.period, &hold.items, items)?;
        let settled = Settled {
            period: hold.period,
            period_name,
            state,
            held_late: Vec::new(),
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

    pub(super) fn record_job_closed(&mut self, job: JobId, items: &[Charge]) -> Recorded {
        let hold = self.job_holds.remove(&job).ok_or("the job holds nothing")?;
        empties(&hold.items, items)?;
        self.end_hold(hold.period, &hold.items, items)
    }

    fn end_hold(&mut self, period: Timestamp, held: &[Held], items: &[Charge]) -> Recorded {
        self.use_held(period, held, items)?;
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

    fn use_held(&mut self, period: Timestamp, held: &[Held], items: &[Charge]) -> Recorded {
        items.iter().try_for_each(|charge| {
            let ended = held.iter().find(|h| h.meter == charge.meter && h.amount == charge.held);
            let rest = ended.map_or_else(Vec::new, |held| held.split(charge.amount).1);
            let returned = rest.iter().fold(0u64, |sum, p| sum.saturating_add(p.units));
            self.move_held(period, charge, returned, |account| {
                account.reserved = subtract(account.reserved, charge.held)?;
                account.used = add(account.used, charge.amount)?;
                Ok(())
            })
        })
    }

    pub(super) fn record_part_committed(&mut self, job: JobId, items: &[Charge]) -> Recorded {
        let hold = self.job_holds.get_mut(&job).ok_or("the job holds nothing")?;
        for charge in items.iter().filter(|charge| charge.held > 0) {
            let held = hold
                .items
                .iter_mut()
                .find(|held| held.meter == charge.meter)
                .ok_or("the job does not hold the meter")?;
            if held.amount < charge.held {
                return Err("the job does not hold that much".to_owned());
            }
            *held = held.after(charge.held);
        }
        let period = hold.period;
        self.use_held(period, &[], items)
    }

    /// A hold that had lapsed ends another time, and is remembered as if it had just done so.
    pub(super) fn record_late(
        &mut self,
        id: ReservationId,
        items: &[Charge],
        held: &[Item],
        at: Timestamp,
    ) -> Recorded {
        self.record_used(items)?;
        let settled = self.settled.get_mut(&id).ok_or("there is no such hold")?;
        settled.state = ReservationState::Committed;
        settled.held_late = held.to_vec();
        settled.items = items.to_vec();
        settled.ended_at = at;
        self.settled_order.retain(|known| *known != id);
        self.settled_order.push_back(id);
        Ok(())
    }
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
