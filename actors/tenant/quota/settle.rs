//! Judges what ends or moves a hold: commit, release, expiry, extension, and a job's parts.

use super::decide::Decided;
use super::fact::{Charge, Fact};
use super::{
    Decision, Enforcement, Held, Hold, Item, MAX_HOLD_S, Quota, Refusal, Reservation,
    ReservationState,
};
use crate::clock::Timestamp;
use crate::ids::{JobId, ReservationId};
use crate::tenant::plan::MeterName;

impl Quota {
    /// Finds an open hold, or says what became of it.
    fn held(&self, id: ReservationId) -> Result<&Hold, Refusal> {
        if let Some(hold) = self.holds.get(&id) {
            return Ok(hold);
        }
        let settled = self.settled.get(&id).ok_or(Refusal::ReservationNotFound)?;
        Err(match settled.state {
            ReservationState::Expired => {
                Refusal::ReservationExpired { expired_at: settled.expires_at }
            }
            _ => Refusal::ReservationSettled { settled: Box::new(settled.view(id)) },
        })
    }

    pub(super) fn decide_commit(
        &self,
        id: ReservationId,
        items: Option<&[Item]>,
        late: bool,
        now: Timestamp,
    ) -> Decided {
        let used = items.map(|items| Self::merged(items, 0)).transpose()?;
        let hold = match self.held(id) {
            Ok(hold) => hold,
            Err(Refusal::ReservationSettled { settled }) => {
                return if was_committed_as(&settled, used.as_deref()) {
                    Ok(Decision::Again(*settled))
                } else {
                    Err(Refusal::ReservationSettled { settled })
                };
            }
            Err(Refusal::ReservationExpired { .. }) if late => {
                return self.committed_late(id, used);
            }
            Err(refusal) => return Err(refusal),
        };
        debug_assert!(hold.expires_at > now, "what lapsed was expired before");
        let used = used.unwrap_or_else(|| hold.items.clone());
        // First what is held, whether it was used or not, then what was used beside it.
        let mut charges = Vec::with_capacity(hold.items.len());
        for held in &hold.items {
            let amount = amount_of(&used, &held.meter);
            charges.push(self.settling(hold.period, &held.meter, held.amount, amount)?);
        }
        for extra in &used {
            if hold.items.iter().any(|held| held.meter == extra.meter) {
                continue;
            }
            let charge = self.settling(hold.period, &extra.meter, 0, extra.amount)?;
            if extra.amount > 0 {
                charges.push(charge);
            }
        }
        Ok(Decision::New(Fact::Committed {
            reservation: id,
            items: charges,
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }))
    }

    /// Works out one meter of a commit: `held` leaves the hold, `amount` is used, and what goes
    /// beyond the hold must be available.
    fn settling(
        &self,
        period: Timestamp,
        meter: &MeterName,
        held: u64,
        amount: u64,
    ) -> Result<Charge, Refusal> {
        let account = self
            .account(period, meter)
            .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })?;
        let excess = amount.saturating_sub(held);
        let would_refuse = excess > account.available();
        let is_admitted = self.enforcement() == Enforcement::Shadow && excess <= account.room();
        if would_refuse && !is_admitted {
            return Err(Refusal::ExceedsReservation {
                meter: meter.to_string(),
                held,
                remaining: account.available(),
                requested: amount,
            });
        }
        Ok(Charge {
            meter: meter.clone(),
            amount,
            held,
            used: account.used.saturating_add(amount),
            reserved: account.reserved.saturating_sub(held),
            limit: account.limit,
            grants: Vec::new(),
            would_refuse,
        })
    }

    /// Decides to charge a hold that lapsed: as it was held unless items say otherwise, and in the
    /// open period.
    fn committed_late(&self, id: ReservationId, used: Option<Vec<Held>>) -> Decided {
        let settled = self.settled.get(&id).ok_or(Refusal::ReservationNotFound)?;
        let held = || {
            let held = |charge: &Charge| Held { meter: charge.meter.clone(), amount: charge.held };
            settled.items.iter().map(held).collect()
        };
        let used = used.unwrap_or_else(held);
        let used = used.iter().filter(|used| used.amount > 0);
        let items = used
            .map(|used| self.fact_charge(&used.meter, used.amount))
            .collect::<Result<_, _>>()?;
        let is_open = self.is_open(settled.period);
        Ok(Decision::New(Fact::CommittedLate {
            reservation: id,
            items,
            expires_at: settled.expires_at,
            period: self.period_name(),
            original_period: (!is_open).then(|| settled.period_name.clone()),
        }))
    }

    pub(super) fn decide_release(&self, id: ReservationId, now: Timestamp) -> Decided {
        let hold = match self.held(id) {
            Ok(hold) => hold,
            Err(Refusal::ReservationSettled { settled })
                if settled.state == ReservationState::Released =>
            {
                return Ok(Decision::Again(*settled));
            }
            Err(refusal) => return Err(refusal),
        };
        debug_assert!(hold.expires_at > now, "what lapsed was expired before");
        Ok(Decision::New(Fact::Released {
            reservation: id,
            items: self.returned(hold.period, &hold.items),
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }))
    }

    pub(super) fn expired(&self, id: ReservationId, hold: &Hold) -> Fact {
        Fact::Expired {
            reservation: id,
            items: self.returned(hold.period, &hold.items),
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }
    }

    /// Works out what a hold gives back.
    fn returned(&self, period: Timestamp, items: &[Held]) -> Vec<Charge> {
        let charge = |held: &Held| {
            let account = self.account(period, &held.meter)?;
            Some(Charge {
                meter: held.meter.clone(),
                amount: 0,
                held: held.amount,
                used: account.used,
                reserved: account.reserved.saturating_sub(held.amount),
                limit: account.limit,
                grants: Vec::new(),
                would_refuse: false,
            })
        };
        items.iter().filter_map(charge).collect()
    }

    pub(super) fn decide_extend(&self, id: ReservationId, ttl_s: u64, now: Timestamp) -> Decided {
        let hold = self.held(id)?;
        let last = hold.opened_at.plus_s(MAX_HOLD_S);
        let expires_at = now.plus_s(ttl_s).max(hold.expires_at);
        if ttl_s == 0 || ttl_s > MAX_HOLD_S || expires_at > last {
            return Err(Refusal::InvalidTtl { max_s: last.since(now).as_secs() });
        }
        let charge = |held: &Held| {
            let account = self.account(hold.period, &held.meter)?;
            Some(Charge {
                meter: held.meter.clone(),
                amount: held.amount,
                held: 0,
                used: account.used,
                reserved: account.reserved,
                limit: account.limit,
                grants: Vec::new(),
                would_refuse: false,
            })
        };
        Ok(Decision::New(Fact::Extended {
            reservation: id,
            items: hold.items.iter().filter_map(charge).collect(),
            expires_at,
            period: self.name_of(hold.period),
        }))
    }

    /// Decides to use a part of a job's hold; an excess must be available.
    pub(in crate::tenant) fn part_committed(
        &self,
        job: JobId,
        items: &[Item],
    ) -> Result<Fact, Refusal> {
        let hold = self.job_holds.get(&job).ok_or(Refusal::JobNotFound)?;
        let items = if items.is_empty() { Vec::new() } else { Self::merged(items, 1)? };
        let charge = |Held { meter, amount }| {
            let held = amount_of(&hold.items, &meter).min(amount);
            let account = self
                .account(hold.period, &meter)
                .ok_or_else(|| Refusal::UnknownMeter { meter: meter.to_string() })?;
            let excess = amount.saturating_sub(held);
            let is_shadow = self.enforcement() == Enforcement::Shadow && excess <= account.room();
            if excess > account.available() && !is_shadow {
                return Err(self.exceeded(account, excess));
            }
            self.settling(hold.period, &meter, held, amount)
        };
        let items = items.into_iter().map(charge).collect::<Result<_, _>>()?;
        Ok(Fact::PartCommitted { job, items, period: self.name_of(hold.period) })
    }

    /// Decides to give back what a job still holds; none if it holds nothing any more.
    pub(in crate::tenant) fn job_closed(&self, job: JobId) -> Option<Fact> {
        let hold = self.job_holds.get(&job)?;
        let items = self.returned(hold.period, &hold.items);
        Some(Fact::JobClosed { job, items, period: self.name_of(hold.period) })
    }
}

fn amount_of(items: &[Held], meter: &MeterName) -> u64 {
    items.iter().find(|item| item.meter == *meter).map_or(0, |item| item.amount)
}

/// Says whether a commit asks for just what an earlier one did.
fn was_committed_as(settled: &Reservation, used: Option<&[Held]>) -> bool {
    settled.state == ReservationState::Committed
        && match used {
            None => settled.items.iter().all(|item| item.charged == Some(item.amount)),
            Some(used) => {
                settled.items.iter().all(|item| item.charged == Some(amount_of(used, &item.meter)))
                    && used.iter().all(|used| {
                        used.amount == 0
                            || settled.items.iter().any(|item| item.meter == used.meter)
                    })
            }
        }
}
