//! Judges what already happened and does not ask: events, corrections. It may go beyond a limit.

use std::collections::HashSet;

use super::decide::Decided;
use super::spend::Purse;
use super::{
    Charge, Decision, Digest, Enforcement, Event, EventRejection, Fact, LateUsage, MAX_AMOUNT,
    MAX_EVENT_AHEAD_S, MAX_EVENTS, Outcome, Quota, Recorded, RecordedEvent, Refusal,
};
use super::{EVENT_GRACE_S, account::Account};
use crate::clock::Timestamp;
use crate::tenant::period::PeriodName;
use crate::tenant::plan::{MeterKind, MeterName};

/// What of a batch counts so far.
#[derive(Default)]
struct Sums {
    items: Vec<(MeterName, u64)>,
    events: Vec<RecordedEvent>,
    late: Vec<LateUsage>,
}

impl Quota {
    /// Returns whether limits refuse.
    pub fn enforcement(&self) -> Enforcement {
        self.enforcement.unwrap_or(self.terms().enforcement)
    }

    pub(super) fn decide_enforcement(&self, mode: Enforcement) -> Decision {
        if self.enforcement == Some(mode) {
            return Decision::Nothing;
        }
        Decision::New(Fact::EnforcementSet { mode })
    }

    /// Works out a use that does not ask: it is flagged where an admission would be refused.
    pub(super) fn told_charge(
        &self,
        meter: &MeterName,
        amount: u64,
        purse: &mut Purse,
        now: Timestamp,
    ) -> Result<Charge, Refusal> {
        let account = self.listed(meter)?;
        if amount > account.room() {
            let max = account.room();
            return Err(Refusal::InvalidAmount { meter: meter.to_string(), min: 1, max });
        }
        let is_available =
            amount <= account.available() || self.covers(account, amount, purse, now);
        Ok(self.used_charge(account, amount, !is_available))
    }

    pub(super) fn decide_record(&self, events: &[Event], now: Timestamp) -> Decided {
        if events.is_empty() || events.len() > MAX_EVENTS {
            return Err(Refusal::InvalidEvents { max: MAX_EVENTS });
        }
        let mut sums = Sums::default();
        let mut rejected = Vec::new();
        let mut seen = HashSet::with_capacity(events.len());
        for event in events {
            if !seen.insert(event.digest) {
                continue;
            }
            if let Err(reason) = self.add_event(&mut sums, event, now) {
                rejected.push((event.digest, reason));
            }
        }
        if sums.events.is_empty() {
            let accepted = Vec::new();
            return Ok(Decision::Answer(Outcome::Recorded(Recorded { accepted, rejected })));
        }
        let mut purse = Purse::default();
        let charge =
            |(meter, amount): &(MeterName, u64)| self.told_charge(meter, *amount, &mut purse, now);
        let items = sums.items.iter().map(charge);
        Ok(Decision::New(Fact::Recorded {
            items: items.collect::<Result<_, _>>()?,
            events: sums.events,
            late: sums.late,
            rejected,
            period: self.period_name(),
        }))
    }

    /// Adds an event to a batch's sums, unless it does not count.
    fn add_event(
        &self,
        sums: &mut Sums,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), EventRejection> {
        let account = self.listed(&event.meter).map_err(|_| EventRejection::UnknownMeter)?;
        if event.amount == 0 || event.amount > MAX_AMOUNT {
            return Err(EventRejection::InvalidAmount);
        }
        let original_period = self.original_period(account, event.at, now)?;
        let known = sums.items.iter().position(|(meter, _)| *meter == event.meter);
        let before = known.and_then(|place| sums.items.get(place)).map_or(0, |(_, sum)| *sum);
        let sum = before
            .checked_add(event.amount)
            .filter(|sum| *sum <= account.room())
            .ok_or(EventRejection::InvalidAmount)?;
        let place = known.unwrap_or(sums.items.len());
        match sums.items.get_mut(place) {
            Some((_, known)) => *known = sum,
            None => sums.items.push((event.meter.clone(), sum)),
        }
        sums.events.push(RecordedEvent {
            digest: event.digest,
            item: u16::try_from(place).unwrap_or(u16::MAX),
            amount: event.amount,
            at: event.at,
        });
        if let Some(original_period) = original_period {
            sums.add_late(event, original_period);
        }
        Ok(())
    }

    /// Says which closed period an event belongs to, if not to the open one. A level has none.
    fn original_period(
        &self,
        account: &Account,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<PeriodName>, EventRejection> {
        if at > now.plus_s(MAX_EVENT_AHEAD_S) {
            return Err(EventRejection::EventInFuture);
        }
        let Some(since) = self.past.since else { return Ok(None) };
        if at >= since {
            return Ok(None);
        }
        let name = self.name_before(since, at).filter(|_| now < since.plus_s(EVENT_GRACE_S));
        let name = name.ok_or(EventRejection::EventTooOld)?;
        Ok((account.kind == MeterKind::Counter).then_some(name))
    }

    /// Names the period that closed when the open one began, if an instant was in it.
    fn name_before(&self, since: Timestamp, at: Timestamp) -> Option<PeriodName> {
        if let Some(last) = self.past.last()
            && last.end == since
        {
            return (at >= last.start).then(|| last.name.clone());
        }
        // Nothing was recorded in it, or the tenant slept through it.
        let before = self.cycle.period_of(at);
        (before.end == since).then(|| self.cycle.name_of(&before))
    }

    pub(super) fn decide_adjust(
        &self,
        meter: &MeterName,
        delta: i64,
        reason: Digest,
        reference: Option<Digest>,
        now: Timestamp,
    ) -> Decided {
        let amount = delta.unsigned_abs();
        let account = self.listed(meter)?;
        if amount == 0 || amount > MAX_AMOUNT {
            let meter = meter.to_string();
            return Err(Refusal::InvalidAmount { meter, min: 1, max: MAX_AMOUNT });
        }
        let charge = if delta > 0 {
            self.told_charge(meter, amount, &mut Purse::default(), now)?
        } else {
            let used = account.used.checked_sub(amount).ok_or_else(|| Refusal::NegativeUsage {
                meter: meter.to_string(),
                used: account.used,
            })?;
            let (grants, limit) = self.moved(account, |lots| lots.give_back(amount));
            Charge {
                meter: meter.clone(),
                amount,
                held: 0,
                used,
                reserved: account.reserved,
                limit,
                grants,
                would_refuse: false,
            }
        };
        Ok(Decision::New(Fact::Adjusted {
            items: vec![charge],
            delta,
            reason,
            reference,
            period: self.period_name(),
        }))
    }
}

impl Sums {
    fn add_late(&mut self, event: &Event, original_period: PeriodName) {
        let known = self
            .late
            .iter_mut()
            .find(|late| late.meter == event.meter && late.original_period == original_period);
        match known {
            // Contained in the item's sum, which fits.
            Some(late) => late.amount = late.amount.saturating_add(event.amount),
            None => self.late.push(LateUsage {
                meter: event.meter.clone(),
                amount: event.amount,
                original_period,
            }),
        }
    }
}
