//! Which units of a meter come from a grant, and where they go back to.
//!
//! The plan's units burn first, then the grants' by priority, expiry and name, then overage. What
//! is neither the plan's nor a grant's is beyond the limit, and moves into whatever room there is.
//! The moves are decided here and written into the fact; replay takes them from there.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::grants::Grant;
use super::{GrantStand, Quota};
use crate::ids::GrantId;
use crate::tenant::plan::{MeterKind, MeterName};

/// Units of a hold that come from a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Portion {
    /// None is one that is forgotten: what goes back to it is gone.
    pub(super) grant: Option<GrantId>,
    pub(super) units: u64,
}

/// What a hold has of one meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) meter: MeterName,
    pub(super) amount: u64,
    /// What of it comes from grants, first taken first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) portions: Vec<Portion>,
}

impl Held {
    pub(super) fn new(meter: MeterName, amount: u64) -> Self {
        Self { meter, amount, portions: Vec::new() }
    }

    /// Returns what is left of it after `leaves` units were used.
    pub(super) fn after(&self, leaves: u64) -> Self {
        let (_, portions) = self.split(leaves);
        let amount = self.amount.saturating_sub(leaves);
        Self { meter: self.meter.clone(), amount, portions }
    }

    /// Splits the portions into what is used when `used` units are, and the rest: what was taken
    /// first is used first, and the plan's units were.
    pub(super) fn split(&self, used: u64) -> (Vec<Portion>, Vec<Portion>) {
        if self.portions.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let granted = self.portions.iter().fold(0u64, |sum, p| sum.saturating_add(p.units));
        let mut left = used.saturating_sub(self.amount.saturating_sub(granted));
        let mut kept = Vec::new();
        let mut rest = Vec::new();
        for portion in &self.portions {
            let units = portion.units.min(left);
            left = left.saturating_sub(units);
            kept.push(Portion { units, ..*portion });
            rest.push(Portion { units: portion.units.saturating_sub(units), ..*portion });
        }
        kept.retain(|portion| portion.units > 0);
        rest.retain(|portion| portion.units > 0);
        (kept, rest)
    }
}

/// How a use or a hold takes units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    Used,
    Held,
}

/// One meter's grants in the open period, as they will be after a fact.
#[derive(Clone, Debug)]
pub(super) struct Lots {
    /// None is unlimited, or a meter that the plan in force does not have: nothing burns.
    plan_limit: Option<u64>,
    is_listed: bool,
    /// Units used and held.
    total: u64,
    each: Vec<Lot>,
}

#[derive(Clone, Debug)]
struct Lot {
    stand: GrantStand,
    before: GrantStand,
    is_ended: bool,
}

impl Quota {
    /// Returns a counter's grants in the order in which they burn; a level's do not burn.
    pub(super) fn lots(&self, account: &Account) -> Lots {
        let mut lots = Vec::new();
        if account.kind == MeterKind::Counter {
            let of_meter = |grant: &&Grant| grant.terms.meter == account.meter;
            lots.extend(self.grants.iter().filter(of_meter).map(|grant| {
                let stand = grant.stand();
                Lot { stand, before: stand, is_ended: grant.is_ended }
            }));
        }
        Lots {
            plan_limit: account.plan_limit.filter(|_| account.is_listed),
            is_listed: account.is_listed,
            total: account.total(),
            each: lots,
        }
    }
}

impl Lots {
    /// Adds a grant that is about to be given, at its place among the others.
    pub(super) fn with_grant(mut self, place: usize, id: GrantId, left: u64) -> Self {
        let stand = GrantStand { id, left, used: 0, held: 0 };
        let lot = Lot { stand, before: stand, is_ended: false };
        self.each.insert(place.min(self.each.len()), lot);
        self
    }

    /// Continues from where an earlier fact of the same entry left the grants.
    pub(super) fn continued(mut self, total: u64, stands: &[GrantStand]) -> Self {
        self.total = total;
        for stand in stands {
            if let Some(lot) = self.each.iter_mut().find(|lot| lot.stand.id == stand.id) {
                lot.stand = *stand;
                lot.before = *stand;
            }
        }
        self
    }

    fn taken(&self) -> u64 {
        let taken = |lot: &Lot| lot.stand.used.saturating_add(lot.stand.held);
        self.each.iter().map(taken).fold(0, u64::saturating_add)
    }

    /// Returns the limit: the plan's, what is left of grants, and what was taken of them.
    pub(super) fn limit(&self) -> Option<u64> {
        if !self.is_listed {
            return Some(0);
        }
        let left = self.each.iter().map(|lot| lot.stand.left).fold(0, u64::saturating_add);
        let granted = left.saturating_add(self.taken());
        self.plan_limit.map(|limit| limit.saturating_add(granted).min(super::account::MAX_TOTAL))
    }

    /// Takes units: the plan's, then the grants', and the rest beyond them.
    pub(super) fn take(mut self, units: u64, take: Take) -> Self {
        if self.each.is_empty() {
            return self;
        }
        let of_plan = self.total.saturating_sub(self.taken());
        let room = self.plan_limit.map_or(u64::MAX, |limit| limit.saturating_sub(of_plan));
        self.burn(units.saturating_sub(room), take);
        self.total = self.total.saturating_add(units);
        self.settled()
    }

    fn burn(&mut self, mut units: u64, take: Take) {
        for Lot { stand, .. } in &mut self.each {
            let burnt = units.min(stand.left);
            units = units.saturating_sub(burnt);
            stand.left = stand.left.saturating_sub(burnt);
            match take {
                Take::Used => stand.used = stand.used.saturating_add(burnt),
                Take::Held => stand.held = stand.held.saturating_add(burnt),
            }
        }
    }

    /// Ends `leaves` held units, of which `amount` or all are used, and takes what was used
    /// beside them. A hold that ends gives back what was not used to where it came from.
    pub(super) fn settle(mut self, held: &Held, leaves: u64, amount: u64) -> Self {
        if self.each.is_empty() {
            return self;
        }
        let used = amount.min(leaves);
        let (kept, rest) = held.split(used);
        for Portion { grant, units } in kept {
            if let Some(Lot { stand, .. }) = self.lot(grant) {
                stand.held = stand.held.saturating_sub(units);
                stand.used = stand.used.saturating_add(units);
            }
        }
        let ends = leaves == held.amount;
        for Portion { grant, units } in rest.into_iter().filter(|_| ends) {
            if let Some(Lot { stand, is_ended, .. }) = self.lot(grant) {
                stand.held = stand.held.saturating_sub(units);
                let returned = if *is_ended { 0 } else { units };
                stand.left = stand.left.saturating_add(returned);
            }
        }
        self.total = self.total.saturating_sub(leaves).saturating_add(used);
        self.take(amount.saturating_sub(used), Take::Used)
    }

    /// Gives back used units, last taken first: overage, then grants, then the plan's.
    pub(super) fn give_back(mut self, units: u64) -> Self {
        if self.each.is_empty() {
            return self;
        }
        let over = self.limit().map_or(0, |limit| self.total.saturating_sub(limit));
        self.restore(units.saturating_sub(over));
        self.total = self.total.saturating_sub(units);
        self.settled()
    }

    fn restore(&mut self, mut units: u64) {
        for Lot { stand, is_ended, .. } in self.each.iter_mut().rev() {
            let restored = units.min(stand.used);
            units = units.saturating_sub(restored);
            stand.used = stand.used.saturating_sub(restored);
            let returned = if *is_ended { 0 } else { restored };
            stand.left = stand.left.saturating_add(returned);
        }
    }

    /// Moves what is beyond the plan's limit into grants that have room, and leaves in grants no
    /// more than there is.
    pub(super) fn settled(mut self) -> Self {
        let taken = self.taken();
        if taken > self.total {
            self.restore(taken.saturating_sub(self.total));
        } else if let Some(limit) = self.plan_limit {
            let of_plan = self.total.saturating_sub(taken);
            self.burn(of_plan.saturating_sub(limit), Take::Used);
        }
        self
    }

    fn lot(&mut self, id: Option<GrantId>) -> Option<&mut Lot> {
        self.each.iter_mut().find(|lot| Some(lot.stand.id) == id)
    }

    /// Returns where a grant stands.
    pub(super) fn left(&self, id: GrantId) -> u64 {
        let lot = self.each.iter().find(|lot| lot.stand.id == id);
        lot.map_or(0, |lot| lot.stand.left)
    }

    /// Returns the grants that moved.
    pub(super) fn moved(self) -> Vec<GrantStand> {
        let moved = self.each.into_iter().filter(|lot| lot.stand != lot.before);
        moved.map(|lot| lot.stand).collect()
    }
}
