//! What the model does with holds.

use super::ModelVerdict::{Again, Done};
use super::{For, Judged, Model, ModelHold, ModelVerdict, Owner};
use crate::clock::Timestamp;
use crate::ids::{GrantId, JobId, ReservationId};
use crate::tenant::plan::MeterName;
use crate::tenant::quota::{Item, MAX_HOLD_S, ReservationState};

impl Model {
    pub(super) fn hold(
        &mut self,
        owner: Owner,
        items: &[Item],
        expires_at: Option<Timestamp>,
    ) -> Judged<ModelVerdict> {
        let known = self.holds.iter().find(|hold| hold.owner == owner);
        let is_job = matches!(owner, Owner::Job(_));
        if is_job && known.is_some_and(|hold| hold.state == ReservationState::Held) {
            return Err("job-state");
        }
        let flagged = self.admits(items)?;
        if !is_job && known.is_some() {
            return Err("reservation-settled");
        }
        self.holds.retain(|hold| hold.owner != owner);
        self.holds.push(ModelHold {
            owner,
            period: self.open,
            opened_at: self.now,
            expires_at,
            items: Vec::new(),
            granted: Vec::new(),
            state: ReservationState::Held,
            ended_at: None,
            charged: Vec::new(),
        });
        let index = self.holds.len() - 1;
        for item in Self::merged(items) {
            self.take(&item.meter, item.amount, For::Hold(index));
        }
        Ok(Done(flagged))
    }

    fn open_hold(&self, id: ReservationId) -> Result<usize, (&'static str, Option<usize>)> {
        let place = self.holds.iter().position(|hold| hold.owner == Owner::Reservation(id));
        let index = place.ok_or(("reservation-not-found", None))?;
        match self.holds[index].state {
            ReservationState::Held => Ok(index),
            ReservationState::Expired => Err(("reservation-expired", Some(index))),
            _ => Err(("reservation-settled", Some(index))),
        }
    }

    pub(super) fn open_job(&self, job: JobId) -> Option<usize> {
        self.holds
            .iter()
            .position(|h| h.owner == Owner::Job(job) && h.state == ReservationState::Held)
    }

    pub(super) fn commit(
        &mut self,
        id: ReservationId,
        items: Option<&[Item]>,
        late: bool,
    ) -> Judged<ModelVerdict> {
        let index = match self.open_hold(id) {
            Ok(index) => index,
            Err(("reservation-settled", Some(index))) => {
                let hold = &self.holds[index];
                let asked = items.unwrap_or(&hold.items);
                let is_same = hold.state == ReservationState::Committed
                    && asked.iter().chain(&hold.charged).all(|Item { meter, .. }| {
                        Self::sum(asked, meter) == Self::sum(&hold.charged, meter)
                    });
                return if is_same { Ok(Again) } else { Err("reservation-settled") };
            }
            Err((_, Some(index))) if late => return self.commit_late(index, items),
            Err((code, _)) => return Err(code),
        };
        let hold = self.holds[index].clone();
        let used = Self::merged(items.unwrap_or(&hold.items));
        self.names_held_meters(&hold, &used)?;
        let flagged = self.admits_excess(&hold, &used, true)?;
        self.holds[index].charged.clone_from(&used);
        self.end(index, ReservationState::Committed, &used);
        Ok(Done(flagged))
    }

    pub(super) fn names_held_meters(&self, hold: &ModelHold, used: &[Item]) -> Judged<()> {
        for item in used {
            if hold.items.iter().all(|held| held.meter != item.meter) {
                self.of(&item.meter).ok_or("unknown-meter")?;
                if item.amount > 0 {
                    return Err("meter-not-held");
                }
            }
        }
        Ok(())
    }

    /// Judges what goes beyond a hold: first of what is held, then of what is not.
    fn admits_excess(&self, hold: &ModelHold, used: &[Item], is_whole: bool) -> Judged<bool> {
        let is_held = |meter: &MeterName| hold.items.iter().any(|held| held.meter == *meter);
        let of_hold = hold
            .items
            .iter()
            .map(|held| Item { meter: held.meter.clone(), amount: Self::sum(used, &held.meter) });
        let others = used.iter().filter(|item| !is_held(&item.meter)).cloned();
        let ordered: Vec<Item> =
            if is_whole { of_hold.chain(others).collect() } else { used.to_vec() };
        let (mut spent, mut flagged) = (0, false);
        for item in ordered {
            self.of(&item.meter).ok_or("unknown-meter")?;
            let held = Self::sum(&hold.items, &item.meter);
            let amount = item.amount.saturating_sub(held);
            let excess = Item { meter: item.meter.clone(), amount };
            if excess.amount > 0 && self.is_beyond(hold.period, &excess, &mut spent) {
                let is_sold = self.is_sold(hold.period, &item.meter);
                if !self.is_shadow() {
                    return Err(match (is_whole, is_sold) {
                        (true, _) => "exceeds-reservation",
                        (false, true) => "spend-cap-reached",
                        (false, false) => "quota-exceeded",
                    });
                }
                flagged = true;
            }
        }
        Ok(flagged)
    }

    /// Ends a hold with what was used of it and beside it.
    pub(super) fn end(&mut self, index: usize, state: ReservationState, used: &[Item]) {
        self.holds[index].state = state;
        self.holds[index].ended_at = Some(self.now);
        let hold = self.holds[index].clone();
        for held in &hold.items {
            self.use_held(&hold, &held.meter, held.amount, Self::sum(used, &held.meter));
        }
        for item in used.iter().filter(|item| hold.items.iter().all(|i| i.meter != item.meter)) {
            self.use_held(&hold, &item.meter, 0, item.amount);
        }
    }

    /// Of `leaves` units that leave a hold, `amount` are used, or all and more: the plan's first,
    /// then those of grants as they were taken.
    fn use_held(&mut self, hold: &ModelHold, meter: &MeterName, leaves: u64, amount: u64) {
        let held = Self::sum(&hold.items, meter);
        let granted: Vec<GrantId> =
            hold.granted.iter().filter(|(of, _)| of == meter).map(|(_, id)| *id).collect();
        let of_plan = held - u64::try_from(granted.len()).unwrap();
        let of_grants = usize::try_from(amount.min(leaves).saturating_sub(of_plan)).unwrap();
        for grant in granted.into_iter().take(of_grants) {
            self.burns.push((hold.period, grant, 1));
        }
        let within = amount.min(leaves);
        self.uses.push((hold.period, meter.clone(), i128::from(within)));
        if hold.period == self.open {
            self.take(meter, amount - within, For::Use);
        } else {
            self.uses.push((hold.period, meter.clone(), i128::from(amount - within)));
        }
    }

    pub(super) fn release(&mut self, id: ReservationId) -> Judged<ModelVerdict> {
        match self.open_hold(id) {
            Ok(index) => {
                self.end(index, ReservationState::Released, &[]);
                Ok(Done(false))
            }
            Err((_, Some(index))) if self.holds[index].state == ReservationState::Released => {
                Ok(Again)
            }
            Err((code, _)) => Err(code),
        }
    }

    pub(super) fn extend(&mut self, id: ReservationId, ttl_s: u64) -> Judged<ModelVerdict> {
        let now = self.now;
        let index = self.open_hold(id).map_err(|(code, _)| code)?;
        let hold = &mut self.holds[index];
        let until = now.plus_s(ttl_s).max(hold.expires_at.unwrap());
        if until > hold.opened_at.plus_s(MAX_HOLD_S) {
            return Err("invalid-ttl");
        }
        hold.expires_at = Some(until);
        Ok(Done(false))
    }

    pub(super) fn commit_part(&mut self, job: JobId, items: &[Item]) -> Judged<ModelVerdict> {
        let index = self.open_job(job).ok_or("job-not-found")?;
        if items.iter().any(|item| item.amount == 0) {
            return Err("invalid-amount");
        }
        let used = Self::merged(items);
        let flagged = self.admits_excess(&self.holds[index].clone(), &used, false)?;
        for item in used {
            let hold = self.holds[index].clone();
            let leaves = item.amount.min(Self::sum(&hold.items, &item.meter));
            self.shrink(index, &item.meter, leaves);
            self.use_held(&hold, &item.meter, leaves, item.amount);
        }
        Ok(Done(flagged))
    }

    /// Takes used units out of a hold that stays open: the plan's first.
    fn shrink(&mut self, index: usize, meter: &MeterName, leaves: u64) {
        let hold = &mut self.holds[index];
        let granted = hold.granted.iter().filter(|(of, _)| of == meter).count();
        let held = hold.items.iter_mut().find(|held| held.meter == *meter);
        let Some(held) = held else { return };
        let of_plan = held.amount - u64::try_from(granted).unwrap();
        held.amount -= leaves;
        for _ in 0..leaves.saturating_sub(of_plan) {
            let place = hold.granted.iter().position(|(of, _)| of == meter).unwrap();
            hold.granted.remove(place);
        }
    }
}
