//! Judges what ends or moves a hold: commit, release, expiry, extension, and a job's parts.

use super::account::Account;
use super::decide::Decided;
use super::grants::Grant;
use super::lots::{Held, Portion};
use super::spend::Purse;
use super::{
    Charge, Decision, Enforcement, Fact, GrantStand, Hold, Item, MAX_HOLD_S, Quota, Refusal,
    Reservation, ReservationState,
};
use crate::clock::Timestamp;
use crate::ids::ReservationId;
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
                return self.committed_late(id, used.as_deref(), now);
            }
            Err(refusal) => return Err(refusal),
        };
        debug_assert!(hold.expires_at > now, "what lapsed was expired before");
        let used = used.unwrap_or_else(|| hold.items.clone());
        self.check_held(&used, |meter| hold.items.iter().any(|held| held.meter == *meter))?;
        let mut purse = Purse::default();
        // What is held, whether it was used or not.
        let mut charges = Vec::with_capacity(hold.items.len());
        for held in &hold.items {
            let settling = Settling { period: hold.period, held, leaves: held.amount };
            let amount = amount_of(&used, &held.meter);
            charges.push(self.settling(&settling, amount, &mut purse, now)?);
        }
        Ok(Decision::New(Fact::Committed {
            reservation: id,
            items: charges,
            expires_at: hold.expires_at,
            period: self.name_of(hold.period),
        }))
    }

    /// Refuses a use of a meter that the hold never had: it would give back the whole hold.
    fn check_held(
        &self,
        used: &[Held],
        is_held: impl Fn(&MeterName) -> bool,
    ) -> Result<(), Refusal> {
        for extra in used.iter().filter(|used| !is_held(&used.meter)) {
            self.listed(&extra.meter)?;
            if extra.amount > 0 {
                return Err(Refusal::MeterNotHeld { meter: extra.meter.to_string() });
            }
        }
        Ok(())
    }

    /// Works out one meter of a commit: what leaves the hold, what is used, and what goes beyond
    /// the hold, which must be available.
    pub(super) fn settling(
        &self,
        settling: &Settling<'_>,
        amount: u64,
        purse: &mut Purse,
        now: Timestamp,
    ) -> Result<Charge, Refusal> {
        let Settling { period, held, leaves } = *settling;
        let account = self
            .account(period, &held.meter)
            .ok_or_else(|| Refusal::UnknownMeter { meter: held.meter.to_string() })?;
        let excess = amount.saturating_sub(leaves);
        let mut would_refuse = false;
        if excess > account.available() {
            would_refuse = !self.covers(account, excess, purse, now);
            let is_shadow = self.enforcement() == Enforcement::Shadow;
            if excess > account.room() || (would_refuse && !is_shadow) {
                return Err(Refusal::ExceedsReservation {
                    meter: held.meter.to_string(),
                    held: leaves,
                    remaining: account.available(),
                    requested: amount,
                });
            }
        }
        let (grants, limit) = self.settled_lots(settling, account, amount);
        Ok(Charge {
            meter: held.meter.clone(),
            amount,
            held: leaves,
            used: account.used.saturating_add(amount),
            reserved: account.reserved.saturating_sub(leaves),
            limit,
            grants,
            would_refuse,
        })
    }

    /// Works out which grants the end of a hold, or of a part of it, moves.
    pub(super) fn settled_lots(
        &self,
        settling: &Settling<'_>,
        account: &Account,
        amount: u64,
    ) -> (Vec<GrantStand>, Option<u64>) {
        let Settling { period, held, leaves } = *settling;
        if !self.is_earlier(period, &held.meter) {
            return self.moved(account, |lots| lots.settle(held, leaves, amount));
        }
        // Units of an earlier period go back to grants that still are, for the open one.
        let rest = if leaves == held.amount { held.split(amount).1 } else { Vec::new() };
        let mut returned = 0u64;
        let mut stands = Vec::new();
        for Portion { grant, units } in rest {
            returned = returned.saturating_add(units);
            let in_force = |known: &&Grant| Some(known.terms.id) == grant && !known.is_ended;
            if let Some(known) = self.grants.iter().find(in_force) {
                let stand = known.stand();
                stands.push(GrantStand { left: stand.left.saturating_add(units), ..stand });
            }
        }
        (stands, account.limit.map(|limit| limit.saturating_sub(returned)))
    }

    /// Decides to charge a hold that lapsed: as it was held unless items say otherwise, and in the
    /// open period.
    fn committed_late(&self, id: ReservationId, used: Option<&[Held]>, now: Timestamp) -> Decided {
        let settled = self.settled.get(&id).ok_or(Refusal::ReservationNotFound)?;
        let held = |charge: &Charge| Item { meter: charge.meter.clone(), amount: charge.held };
        let held: Vec<Item> = settled.items.iter().map(held).collect();
        let used_items = used.unwrap_or_default();
        self.check_held(used_items, |meter| held.iter().any(|held| held.meter == *meter))?;
        let mut purse = Purse::default();
        let mut items = Vec::with_capacity(held.len());
        for Item { meter, amount } in &held {
            let amount = used.map_or(*amount, |used| amount_of(used, meter));
            items.push(self.told_charge(meter, amount, &mut purse, now)?);
        }
        let is_open = self.is_open(settled.period);
        Ok(Decision::New(Fact::CommittedLate {
            reservation: id,
            items,
            held,
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
    pub(super) fn returned(&self, period: Timestamp, items: &[Held]) -> Vec<Charge> {
        let charge = |held: &Held| {
            let account = self.account(period, &held.meter)?;
            let settling = Settling { period, held, leaves: held.amount };
            let (grants, limit) = self.settled_lots(&settling, account, 0);
            Some(Charge {
                meter: held.meter.clone(),
                amount: 0,
                held: held.amount,
                used: account.used,
                reserved: account.reserved.saturating_sub(held.amount),
                limit,
                grants,
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
}

/// One meter of a hold that ends, or of which a part does.
pub(super) struct Settling<'a> {
    /// The start of the hold's period.
    pub(super) period: Timestamp,
    pub(super) held: &'a Held,
    /// Units that leave the hold.
    pub(super) leaves: u64,
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
