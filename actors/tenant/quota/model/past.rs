//! What the model does with what it is told: events, corrections, money, grants, late commits.

use super::ModelVerdict::{Again, Done};
use super::{For, Judged, Model, ModelGrant, ModelVerdict};
use crate::tenant::period::Period;
use crate::tenant::quota::{
    Command, EVENT_GRACE_S, Event, Item, MAX_EVENT_AHEAD_S, ReservationState,
};

impl Model {
    pub(super) fn told(&mut self, command: &Command) -> Judged<ModelVerdict> {
        match command {
            Command::Record { events } => Ok(self.record(events)),
            Command::Adjust { meter, delta, .. } => {
                self.of(meter).ok_or("unknown-meter")?;
                if *delta == 0 {
                    return Err("invalid-amount");
                }
                let amount = delta.unsigned_abs();
                if *delta > 0 {
                    return Ok(Done(self.tell(&Item { meter: meter.clone(), amount }, &mut 0)));
                }
                if amount > self.used(self.open, meter) {
                    return Err("negative-usage");
                }
                self.give_back(meter, amount);
                Ok(Done(false))
            }
            Command::SetSpendCap { amount_minor } => {
                let is_sold = self.terms.meters.iter().any(|terms| terms.overage.is_some());
                if *amount_minor > 0 && !is_sold {
                    return Err("no-overage");
                }
                if self.cap_minor == *amount_minor {
                    return Ok(Again);
                }
                self.cap_minor = *amount_minor;
                Ok(Done(false))
            }
            Command::Grant { .. } => self.grant(command),
            Command::RevokeGrant { id } => {
                let known = self.grants.iter().find(|grant| grant.id == *id && !grant.ended);
                known.ok_or("grant-not-found")?;
                self.end_grant(*id);
                Ok(Done(false))
            }
            other => panic!("the model does not know {other:?}"),
        }
    }

    /// Uses what it is told; says whether that was beyond what is available.
    fn tell(&mut self, item: &Item, spent: &mut u128) -> bool {
        let flagged = self.is_beyond(self.open, item, spent);
        self.take(&item.meter, item.amount, For::Use);
        flagged
    }

    /// All items of a command are judged before any of them is used.
    fn tell_all(&mut self, items: &[Item]) -> bool {
        let mut spent = 0;
        let beyond = |item: &&Item| self.is_beyond(self.open, item, &mut spent);
        let flagged = items.iter().filter(beyond).count() > 0;
        for item in items {
            self.take(&item.meter, item.amount, For::Use);
        }
        flagged
    }

    fn record(&mut self, events: &[Event]) -> ModelVerdict {
        let mut counted: Vec<&Event> = Vec::new();
        for (place, event) in events.iter().enumerate() {
            // The first of the same name decides.
            let is_first = events[..place].iter().all(|known| known.digest != event.digest);
            if is_first && self.counts_event(event) {
                counted.push(event);
            }
        }
        if counted.is_empty() {
            return Again;
        }
        let items: Vec<Item> = counted
            .iter()
            .map(|event| Item { meter: event.meter.clone(), amount: event.amount })
            .collect();
        Done(self.tell_all(&Self::merged(&items)))
    }

    fn counts_event(&self, event: &Event) -> bool {
        let month_before = Period::month_of(event.at).end == self.open.start;
        let is_graceful = month_before && self.now < self.open.start.plus_s(EVENT_GRACE_S);
        self.of(&event.meter).is_some()
            && event.amount > 0
            && event.at <= self.now.plus_s(MAX_EVENT_AHEAD_S)
            && (event.at >= self.open.start || is_graceful)
    }

    fn grant(&mut self, command: &Command) -> Judged<ModelVerdict> {
        let Command::Grant { id, meter, amount, priority, expires_at, rollover, .. } = command
        else {
            panic!("{command:?}")
        };
        if self.grants.iter().any(|grant| grant.id == *id) {
            return Err("grant-exists");
        }
        self.of(meter).ok_or("unknown-meter")?;
        if *amount == 0 {
            return Err("invalid-amount");
        }
        if expires_at.is_some_and(|at| at <= self.now) {
            return Err("invalid-expiry");
        }
        self.grants.push(ModelGrant {
            id: *id,
            meter: meter.clone(),
            amount: *amount,
            priority: *priority,
            expires_at: *expires_at,
            rollover: *rollover,
            ended: false,
        });
        self.settle(meter);
        Ok(Done(false))
    }

    pub(super) fn commit_late(
        &mut self,
        index: usize,
        items: Option<&[Item]>,
    ) -> Judged<ModelVerdict> {
        let held = self.holds[index].items.clone();
        let used = Self::merged(items.unwrap_or(&held));
        self.names_held_meters(&self.holds[index].clone(), &used)?;
        let amount =
            |item: &Item| Item { meter: item.meter.clone(), amount: Self::sum(&used, &item.meter) };
        let items: Vec<Item> = held.iter().map(amount).collect();
        if items.iter().any(|item| self.of(&item.meter).is_none()) {
            return Err("unknown-meter");
        }
        let flagged = self.tell_all(&items);
        let hold = &mut self.holds[index];
        hold.state = ReservationState::Committed;
        hold.ended_at = Some(self.now);
        hold.charged = items;
        Ok(Done(flagged))
    }
}
