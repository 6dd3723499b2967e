//! Judges and records grants: units on top of a plan's limit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::MAX_TOTAL;
use super::decide::Decided;
use super::{
    Decision, Fact, GrantEnd, GrantStand, GrantTerms, MAX_AMOUNT, MAX_GRANTS, Quota, Refusal,
};
use crate::clock::Timestamp;
use crate::ids::GrantId;
use crate::tenant::period::Period;
use crate::tenant::plan::{MeterKind, MeterName};

/// A grant and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) terms: GrantTerms,
    /// Units that can still be taken. All of a level's, whose grants do not burn.
    pub(super) left: u64,
    /// Units of the open period that were used.
    pub(super) used: u64,
    /// Units in open holds of the open period.
    pub(super) held: u64,
    /// Nothing can be taken of it any more: it is kept for what was, until the period ends.
    pub(super) is_ended: bool,
}

impl Grant {
    /// What burns first comes first: by priority, then by expiry, then by name.
    fn order(&self) -> (u8, Timestamp, GrantId) {
        (self.terms.priority, self.terms.expires_at.unwrap_or(Timestamp::MAX), self.terms.id)
    }

    pub(super) fn stand(&self) -> GrantStand {
        GrantStand { id: self.terms.id, left: self.left, used: self.used, held: self.held }
    }

    /// Returns when what is left of it is lost, if it ends with the open period.
    fn ends_at(&self, open: Period) -> Timestamp {
        let expires_at = self.terms.expires_at.unwrap_or(Timestamp::MAX);
        if self.terms.rollover { expires_at } else { expires_at.min(open.end) }
    }
}

impl Quota {
    pub(super) fn decide_grant(&self, terms: GrantTerms, now: Timestamp) -> Decided {
        if self.grants.iter().any(|known| known.terms.id == terms.id) {
            return Err(Refusal::GrantExists);
        }
        let account = self.listed(&terms.meter)?;
        if terms.amount == 0 || terms.amount > MAX_AMOUNT {
            let meter = terms.meter.to_string();
            return Err(Refusal::InvalidAmount { meter, min: 1, max: MAX_AMOUNT });
        }
        if terms.expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::InvalidExpiry { now });
        }
        if self.grants.len() >= MAX_GRANTS {
            return Err(Refusal::TooManyGrants { max: MAX_GRANTS });
        }
        let (grants, limit) = if account.kind == MeterKind::Level {
            let limit = account.limit.map(|limit| limit.saturating_add(terms.amount));
            (Vec::new(), limit.map(|limit| limit.min(MAX_TOTAL)))
        } else {
            let grant = fresh(&terms);
            let before =
                |known: &&Grant| known.terms.meter == terms.meter && known.order() < grant.order();
            let place = self.grants.iter().filter(before).count();
            let lots = self.lots(account).with_grant(place, terms.id, terms.amount).settled();
            let limit = lots.limit();
            (lots.moved(), limit)
        };
        Ok(Decision::New(Fact::Granted { grant: terms, limit, grants, period: self.period_name() }))
    }

    pub(super) fn decide_revoke(&self, id: GrantId) -> Decided {
        let in_force = |grant: &&Grant| grant.terms.id == id && !grant.is_ended;
        let grant = self.grants.iter().find(in_force).ok_or(Refusal::GrantNotFound)?;
        Ok(Decision::New(Fact::GrantRevoked { end: self.grant_end(grant) }))
    }

    /// Returns the next grant that ends by itself, and when.
    pub(super) fn next_grant_end(&self) -> Option<(Timestamp, &Grant)> {
        let open = self.period?;
        let in_force = self.grants.iter().filter(|grant| !grant.is_ended);
        let ends = in_force.map(|grant| (grant.ends_at(open), grant));
        ends.min_by_key(|(at, grant)| (*at, grant.terms.id))
    }

    /// Works out a grant's end: what of it covers units beyond the plan's limit is taken first,
    /// the rest is lost.
    pub(super) fn grant_end(&self, grant: &Grant) -> GrantEnd {
        let GrantTerms { id, ref meter, .. } = grant.terms;
        let mut lost = grant.left;
        let mut grants = Vec::new();
        let mut limit = self.book.get(meter).and_then(|account| account.limit);
        if let Some(account) = self.book.get(meter)
            && account.kind == MeterKind::Counter
        {
            let lots = self.lots(account).settled();
            lost = lots.left(id);
            limit = lots.limit();
            grants = lots.moved();
        }
        let limit = limit.map(|limit| limit.saturating_sub(lost));
        GrantEnd { id, meter: meter.clone(), lost, limit, grants, period: self.period_name() }
    }

    /// Works out, for every meter, which grants cover units beyond the plan's limit.
    pub(super) fn settled_grants(&self) -> Vec<GrantStand> {
        if self.grants.is_empty() {
            return Vec::new();
        }
        let accounts = self.book.accounts().iter();
        accounts.flat_map(|account| self.lots(account).settled().moved()).collect()
    }

    pub(super) fn record_granted(&mut self, terms: &GrantTerms, stands: &[GrantStand]) {
        let grant = fresh(terms);
        let place = self.grants.partition_point(|known| known.order() < grant.order());
        self.grants.insert(place, grant);
        self.record_stands(stands);
        self.regrant(&terms.meter);
    }

    pub(super) fn record_grant_end(&mut self, end: &GrantEnd) -> Result<(), String> {
        self.record_stands(&end.grants);
        let known = self.grants.iter_mut().find(|grant| grant.terms.id == end.id);
        if known.is_none() && end.lost == 0 {
            // Earlier versions kept what was used up until it expired.
            return Ok(());
        }
        let grant = known.filter(|grant| !grant.is_ended).ok_or("there is no such grant")?;
        grant.is_ended = true;
        grant.left = 0;
        self.regrant(&end.meter);
        Ok(())
    }

    /// Puts grants where a fact says that they stand.
    pub(super) fn record_stands(&mut self, stands: &[GrantStand]) {
        for stand in stands {
            let known = self.grants.iter_mut().find(|grant| grant.terms.id == stand.id);
            if let Some(grant) = known {
                grant.left = stand.left;
                grant.used = stand.used;
                grant.held = stand.held;
            }
        }
    }

    /// Freezes the limits of the period that ends: no more than what was taken of grants.
    pub(super) fn close_grants(&mut self) {
        let left: Vec<(MeterName, u64)> =
            self.grants.iter().map(|grant| (grant.terms.meter.clone(), grant.left)).collect();
        for (meter, left) in left {
            if let Some(account) = self.book.find_mut(&meter)
                && account.kind == MeterKind::Counter
            {
                account.set_limit(account.plan_limit, account.granted.saturating_sub(left));
            }
        }
    }

    /// Begins the next period: what is left of a grant stays, what was taken is past. One that is
    /// used up is over, unless a hold may still give something back to it.
    pub(super) fn roll_grants(&mut self) {
        let held = self.held_grants();
        let is_over = |grant: &mut Grant| {
            grant.is_ended || (grant.left == 0 && !held.contains(&grant.terms.id))
        };
        let ended = self.grants.extract_if(.., is_over);
        let ended: Vec<GrantId> = ended.map(|grant| grant.terms.id).collect();
        if !ended.is_empty() {
            self.forget_grants(&ended);
        }
        for grant in &mut self.grants {
            grant.used = 0;
            grant.held = 0;
        }
        self.regrant_all();
    }

    /// The grants that are used up and of which open holds have units.
    fn held_grants(&self) -> BTreeSet<GrantId> {
        if self.grants.iter().all(|grant| grant.left > 0) {
            return BTreeSet::new();
        }
        let holds = self.holds.values().map(|hold| &hold.items);
        let job_holds = self.job_holds.values().map(|hold| &hold.items);
        let portions = holds.chain(job_holds).flatten().flat_map(|held| &held.portions);
        portions.filter_map(|portion| portion.grant).collect()
    }

    /// Lets open holds forget where their units came from: the names may be given again.
    fn forget_grants(&mut self, ended: &[GrantId]) {
        let holds = self.holds.values_mut().map(|hold| &mut hold.items);
        let job_holds = self.job_holds.values_mut().map(|hold| &mut hold.items);
        for portion in holds.chain(job_holds).flatten().flat_map(|held| &mut held.portions) {
            portion.grant = portion.grant.filter(|id| !ended.contains(id));
        }
    }

    pub(super) fn regrant_all(&mut self) {
        let meters: Vec<MeterName> =
            self.grants.iter().map(|grant| grant.terms.meter.clone()).collect();
        let granted = |account: &&super::account::Account| account.granted > 0;
        let former = self.book.accounts().iter().filter(granted);
        let former: Vec<MeterName> = former.map(|account| account.meter.clone()).collect();
        for meter in meters.iter().chain(&former) {
            self.regrant(meter);
        }
    }

    /// Works out anew what grants add to a meter's limit.
    pub(super) fn regrant(&mut self, meter: &MeterName) {
        let Some(account) = self.book.find_mut(meter) else { return };
        let is_level = account.kind == MeterKind::Level;
        let sum = |sum: u64, grant: &Grant| {
            let taken = grant.used.saturating_add(grant.held);
            sum.saturating_add(grant.left).saturating_add(if is_level { 0 } else { taken })
        };
        let of_meter = self.grants.iter().filter(|grant| grant.terms.meter == *meter);
        let granted = if account.is_listed { of_meter.fold(0, sum) } else { 0 };
        account.set_limit(account.plan_limit, granted);
    }
}

fn fresh(terms: &GrantTerms) -> Grant {
    let left = terms.amount;
    Grant { terms: terms.clone(), left, used: 0, held: 0, is_ended: false }
}
