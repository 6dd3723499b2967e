//! What the model does by itself: holds and grants that lapse, and the month's end.

use std::sync::Arc;

use super::Model;
use crate::clock::Timestamp;
use crate::tenant::period::Period;
use crate::tenant::plan::MeterName;
use crate::tenant::quota::ReservationState;

/// Names of forgotten grants begin here; no script has so many.
const FORGOTTEN: u128 = 1_000_000;

/// In the order in which they happen at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    HoldBefore(usize),
    Grant(crate::ids::GrantId),
    Roll(Period),
    Hold(usize),
}

impl Model {
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.until = now;
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= now) {
            self.now = self.now.max(at);
            match due {
                Due::HoldBefore(index) | Due::Hold(index) => {
                    let hold = &mut self.holds[index];
                    hold.state = ReservationState::Expired;
                    hold.ended_at = Some(at);
                    let (period, items) = (hold.period, hold.items.clone());
                    self.settle_items(period, items.iter().map(|item| &item.meter));
                }
                Due::Grant(id) => self.end_grant(id),
                Due::Roll(to) => self.roll(to),
            }
            self.note();
        }
        self.now = self.now.max(now);
    }

    pub(super) fn settle_items<'a>(
        &mut self,
        period: Period,
        meters: impl Iterator<Item = &'a MeterName>,
    ) {
        if period == self.open {
            for meter in meters {
                self.settle(meter);
            }
        }
    }

    /// The period that follows: each by itself where usage is billed or a plan waits.
    fn next_period(&self, until: Timestamp) -> Period {
        let is_billed = self.terms.meters.iter().any(|terms| terms.overage.is_some());
        let is_billed = is_billed || self.owed_before.values().any(|owed| *owed > 0);
        let at = if is_billed || self.scheduled.is_some() { self.open.end } else { until };
        Period::month_of(at.max(self.open.end))
    }

    fn next_due(&self) -> Option<(Timestamp, Due)> {
        let roll = self.next_period(self.until);
        let boundary = roll.start;
        let holds = self.holds.iter().enumerate().filter_map(|(index, hold)| {
            let at = hold.expires_at.filter(|_| hold.state == ReservationState::Held)?;
            let due = if at < boundary { Due::HoldBefore(index) } else { Due::Hold(index) };
            Some((at, due))
        });
        let grants = self.grants.iter().filter(|grant| !grant.ended).filter_map(|grant| {
            let end = (!grant.rollover).then_some(self.open.end);
            let at = grant.expires_at.into_iter().chain(end).min()?;
            Some((at, Due::Grant(grant.id)))
        });
        holds.chain(grants).chain([(boundary, Due::Roll(roll))]).min_by_key(|(at, due)| {
            let id = match due {
                Due::HoldBefore(index) | Due::Hold(index) => Some(self.holds[*index].owner),
                _ => None,
            };
            let rank = match due {
                Due::HoldBefore(_) => 0,
                Due::Grant(_) => 1,
                Due::Roll(_) => 2,
                Due::Hold(_) => 3,
            };
            (*at, rank, id, *due)
        })
    }

    pub(super) fn end_grant(&mut self, id: crate::ids::GrantId) {
        let place = self.grants.iter().position(|grant| grant.id == id).unwrap();
        let meter = self.grants[place].meter.clone();
        self.settle(&meter);
        self.grants[place].ended = true;
    }

    /// The name of a grant that ended, or is used up for good, is free again in the next period.
    fn forget_grants(&mut self) {
        for place in 0..self.grants.len() {
            let id = self.grants[place].id;
            self.grants[place].ended |= self.is_used_up(&self.grants[place]);
            if self.grants[place].ended && id.bits() < FORGOTTEN {
                self.forgotten += 1;
                let tombstone = crate::ids::GrantId::from_bits(FORGOTTEN + self.forgotten);
                self.grants[place].id = tombstone;
                let burns = self.burns.iter_mut().map(|(_, id, _)| id);
                let held = self.holds.iter_mut().flat_map(|hold| &mut hold.granted);
                for known in burns.chain(held.map(|(_, id)| id)).filter(|known| **known == id) {
                    *known = tombstone;
                }
            }
        }
    }

    fn roll(&mut self, to: Period) {
        let meters: Vec<MeterName> = self.terms.meters.iter().map(|t| t.meter.clone()).collect();
        for meter in &meters {
            self.settle(meter);
        }
        self.close_money(to.start);
        let closed = self.open;
        self.closed.push((closed, Arc::clone(&self.terms)));
        if let Some(terms) = self.scheduled.take() {
            self.terms = terms;
        }
        self.open = to;
        self.forget_grants();
        // What ended before the period that closes now is forgotten.
        self.holds.retain(|hold| hold.ended_at.is_none_or(|at| at >= closed.start));
    }
}
