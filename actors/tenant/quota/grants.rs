//! Judges and records grants.

use serde::{Deserialize, Serialize};

use super::decide::Decided;
use super::fact::GrantEnd;
use super::{Decision, Fact, GrantTerms, MAX_AMOUNT, MAX_GRANTS, Quota, Refusal};
use crate::clock::Timestamp;
use crate::ids::GrantId;
use crate::tenant::plan::MeterName;

/// A grant and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) terms: GrantTerms,
    /// Units that can still be taken.
    pub(super) left: u64,
}

impl Grant {
    /// What burns first comes first: by priority, then by expiry, then by name.
    fn order(&self) -> (u8, Timestamp, GrantId) {
        (self.terms.priority, self.terms.expires_at.unwrap_or(Timestamp::MAX), self.terms.id)
    }
}

impl Quota {
    pub(super) fn decide_grant(&self, grant: GrantTerms, now: Timestamp) -> Decided {
        if self.grants.iter().any(|known| known.terms.id == grant.id) {
            return Err(Refusal::GrantExists);
        }
        let account = self.listed(&grant.meter)?;
        if grant.amount == 0 || grant.amount > MAX_AMOUNT {
            let meter = grant.meter.to_string();
            return Err(Refusal::InvalidAmount { meter, min: 1, max: MAX_AMOUNT });
        }
        if grant.expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::InvalidExpiry { now });
        }
        if self.grants.len() >= MAX_GRANTS {
            return Err(Refusal::TooManyGrants { max: MAX_GRANTS });
        }
        Ok(Decision::New(Fact::Granted {
            limit: account.limit.map(|limit| limit.saturating_add(grant.amount)),
            grant,
            grants: Vec::new(),
            period: self.period_name(),
        }))
    }

    pub(super) fn decide_revoke(&self, id: GrantId) -> Decided {
        let grant =
            self.grants.iter().find(|grant| grant.terms.id == id).ok_or(Refusal::GrantNotFound)?;
        Ok(Decision::New(Fact::GrantRevoked { end: self.grant_end(grant) }))
    }

    /// Returns the next grant that expires, and when.
    pub(super) fn next_grant_expiry(&self) -> Option<(Timestamp, &Grant)> {
        let expiring =
            self.grants.iter().filter_map(|grant| Some((grant.terms.expires_at?, grant)));
        expiring.min_by_key(|(at, grant)| (*at, grant.terms.id))
    }

    pub(super) fn grant_end(&self, grant: &Grant) -> GrantEnd {
        let limit = self.book.get(&grant.terms.meter).and_then(|account| account.limit);
        GrantEnd {
            id: grant.terms.id,
            meter: grant.terms.meter.clone(),
            lost: grant.left,
            limit: limit.map(|limit| limit.saturating_sub(grant.left)),
            grants: Vec::new(),
            period: self.period_name(),
        }
    }

    pub(super) fn record_granted(&mut self, terms: &GrantTerms) {
        let grant = Grant { left: terms.amount, terms: terms.clone() };
        let place = self.grants.partition_point(|known| known.order() < grant.order());
        self.grants.insert(place, grant);
        self.regrant(&terms.meter);
    }

    pub(super) fn record_grant_end(&mut self, end: &GrantEnd) -> Result<(), String> {
        let known = self.grants.iter().position(|grant| grant.terms.id == end.id);
        self.grants.remove(known.ok_or("there is no such grant")?);
        self.regrant(&end.meter);
        Ok(())
    }

    /// Ends the grants that do not outlive their period.
    pub(super) fn end_grants(&mut self) {
        let ended: Vec<MeterName> = self
            .grants
            .extract_if(.., |grant| !grant.terms.rollover)
            .map(|grant| grant.terms.meter)
            .collect();
        for meter in ended {
            self.regrant(&meter);
        }
    }

    /// Works out anew what grants add to a meter's limit.
    fn regrant(&mut self, meter: &MeterName) {
        let of_meter = self.grants.iter().filter(|grant| grant.terms.meter == *meter);
        let granted = of_meter.fold(0u64, |sum, grant| sum.saturating_add(grant.left));
        if let Some(account) = self.book.get_mut(meter) {
            let granted = if account.is_listed { granted } else { 0 };
            account.set_limit(account.plan_limit, granted);
        }
    }
}
