//! Judges what ends a job's hold, part by part.

use super::lots::Held;
use super::settle::Settling;
use super::spend::Purse;
use super::{Charge, Fact, Item, Quota, Refusal};
use crate::clock::Timestamp;
use crate::ids::JobId;

impl Quota {
    /// Decides to use a part of a job's hold; an excess must be available.
    pub(in crate::tenant) fn part_committed(
        &self,
        job: JobId,
        items: &[Item],
        now: Timestamp,
    ) -> Result<Fact, Refusal> {
        let hold = self.job_holds.get(&job).ok_or(Refusal::JobNotFound)?;
        let items = if items.is_empty() { Vec::new() } else { Self::merged(items, 1)? };
        let mut purse = Purse::default();
        let charge = |Held { meter, amount, .. }: Held| {
            let known = hold.items.iter().find(|held| held.meter == meter);
            let none = Held::new(meter, 0);
            let held = known.unwrap_or(&none);
            let leaves = held.amount.min(amount);
            let settling = Settling { period: hold.period, held, leaves };
            match self.settling(&settling, amount, &mut purse, now) {
                Err(Refusal::ExceedsReservation { .. }) => {
                    Err(self.excess_refused(&settling, amount.saturating_sub(leaves), now))
                }
                judged => judged,
            }
        };
        let items = items.into_iter().map(charge).collect::<Result<_, _>>()?;
        Ok(Fact::PartCommitted { job, items, period: self.name_of(hold.period) })
    }

    fn excess_refused(&self, settling: &Settling<'_>, excess: u64, now: Timestamp) -> Refusal {
        match self.account(settling.period, &settling.held.meter) {
            Some(account) => self.exceeded(account, excess, now),
            None => Refusal::UnknownMeter { meter: settling.held.meter.to_string() },
        }
    }

    /// Decides to give back what a job still holds, after `parts` left it in the same entry; none
    /// if it holds nothing any more.
    pub(in crate::tenant) fn job_closed(&self, job: JobId, parts: &[Charge]) -> Option<Fact> {
        let hold = self.job_holds.get(&job)?;
        let items = if parts.is_empty() {
            self.returned(hold.period, &hold.items)
        } else {
            hold.items.iter().filter_map(|held| self.rest(hold.period, held, parts)).collect()
        };
        Some(Fact::JobClosed { job, items, period: self.name_of(hold.period) })
    }

    /// Works out what one meter of a job's hold gives back after a part of it was used.
    fn rest(&self, period: Timestamp, held: &Held, parts: &[Charge]) -> Option<Charge> {
        let Some(part) = parts.iter().find(|part| part.meter == held.meter) else {
            return self.returned(period, std::slice::from_ref(held)).pop();
        };
        let account = self.account(period, &held.meter)?;
        let rest = held.after(part.held);
        let reserved = part.reserved.saturating_sub(rest.amount);
        let (grants, limit) = if self.is_earlier(period, &held.meter) {
            let settling = Settling { period, held: &rest, leaves: rest.amount };
            self.settled_lots(&settling, account, 0)
        } else {
            let total = part.used.saturating_add(part.reserved);
            self.moved(account, |lots| {
                lots.continued(total, &part.grants).settle(&rest, rest.amount, 0)
            })
        };
        Some(Charge {
            meter: held.meter.clone(),
            amount: 0,
            held: rest.amount,
            used: part.used,
            reserved,
            limit,
            grants,
            would_refuse: false,
        })
    }
}
