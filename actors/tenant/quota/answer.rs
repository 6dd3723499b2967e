//! What a caller is told. An answer is a function of its fact alone, so that the journal's line
//! can answer the command's repetition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::charge::{Charge, is_false, is_zero};
use super::command::Item;
use super::event::{EventDigest, EventRejection};
use super::fact::Fact;
use super::grant::{GrantEnd, GrantTerms};
use crate::clock::Timestamp;
use crate::ids::{GrantId, ReservationId};
use crate::money::Currency;
use crate::tenant::period::PeriodName;
use crate::tenant::plan::MeterName;

/// The answer to a consume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumed {
    /// Always true: a refusal is another answer.
    pub admitted: bool,
    /// Where each meter stands.
    pub items: Vec<ConsumedItem>,
    /// The period that was charged.
    pub period: PeriodName,
    /// The entry's number in the tenant's journal.
    pub seq: u64,
}

/// One meter of a consume's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedItem {
    /// The meter.
    pub meter: MeterName,
    /// Units used by this call.
    pub charged: u64,
    /// Units used in the period.
    pub used: u64,
    /// What is left; none is unlimited.
    pub remaining: Option<u64>,
    /// The limit; none is unlimited.
    pub limit: Option<u64>,
    /// `max(0, reserved + used - limit)`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub over: u64,
    /// It went beyond what was available, in shadow mode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub would_refuse: bool,
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Open.
    Held,
    /// Ended with use.
    Committed,
    /// Given back.
    Released,
    /// Lapsed.
    Expired,
}

/// A hold as callers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its name.
    pub id: ReservationId,
    /// How it stands.
    pub state: ReservationState,
    /// When it lapses, or would have.
    pub expires_at: Timestamp,
    /// What was held, and what of it was used.
    pub items: Vec<ReservedItem>,
    /// What was left of each meter after the last change; null is unlimited.
    pub remaining: BTreeMap<MeterName, Option<u64>>,
    /// It was committed after it had lapsed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub late: bool,
}

/// One meter of a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedItem {
    /// The meter.
    pub meter: MeterName,
    /// Units held.
    pub amount: u64,
    /// Units used, once the hold has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged: Option<u64>,
    /// It went beyond what was available: a late commit, or one in shadow mode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub would_refuse: bool,
}

/// What became of a batch of events; a digest that is in neither list was a duplicate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The events that were counted.
    pub accepted: Vec<EventDigest>,
    /// The others, and why.
    pub rejected: Vec<(EventDigest, EventRejection)>,
}

/// Where a meter stands after a correction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjusted {
    /// The meter.
    pub meter: MeterName,
    /// Units added.
    pub delta: i64,
    /// Units used in the period.
    pub used: u64,
    /// What is left; none is unlimited.
    pub remaining: Option<u64>,
    /// The limit; none is unlimited.
    pub limit: Option<u64>,
    /// The period that was corrected.
    pub period: PeriodName,
    /// The entry's number in the tenant's journal.
    pub seq: u64,
}

/// How much overage a period may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendCap {
    /// In minor units; 0 makes every limit hard.
    pub amount_minor: u64,
    /// What it is in.
    pub currency: Currency,
}

/// A grant as it was just given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// What it was given with.
    #[serde(flatten)]
    pub grant: GrantTerms,
    /// The meter's limit from now on; none is unlimited.
    pub limit: Option<u64>,
}

/// A grant that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnded {
    /// Which.
    pub id: GrantId,
    /// The meter.
    pub meter: MeterName,
    /// Units that can no longer be taken.
    pub lost: u64,
    /// The meter's limit from now on; none is unlimited.
    pub limit: Option<u64>,
}

/// Where a test clock stands after it was advanced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMoved {
    /// The tenant's time now.
    pub now: Timestamp,
    /// The first entry that was made on the way, if there is any.
    pub first: Option<u64>,
    /// The clock's own entry, which comes after all of them.
    pub seq: u64,
}

/// What an admitted command is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Units were used.
    Consumed(Consumed),
    /// A hold was opened, extended or ended.
    Reservation(Reservation),
    /// Events were judged.
    Recorded(Recorded),
    /// Usage was corrected.
    Adjusted(Adjusted),
    /// The spend cap is this.
    SpendCap(SpendCap),
    /// Units were granted.
    Granted(Granted),
    /// A grant ended.
    GrantEnded(GrantEnded),
    /// A test clock was advanced.
    Clock(ClockMoved),
    /// It is done, and there is nothing more to say.
    Done {},
}

impl Outcome {
    /// Answers from a fact and its entry's number.
    pub fn of(fact: &Fact, seq: u64) -> Self {
        use ReservationState::{Committed, Expired, Held, Released};
        match fact {
            Fact::Consumed { items, period } => Self::Consumed(Consumed {
                admitted: true,
                items: items.iter().map(consumed_item).collect(),
                period: period.clone(),
                seq,
            }),
            Fact::Reserved { reservation, items, expires_at, .. }
            | Fact::Extended { reservation, items, expires_at, .. } => {
                Self::Reservation(Reservation::of(*reservation, Held, *expires_at, items))
            }
            Fact::Committed { reservation, items, expires_at, .. } => {
                Self::Reservation(Reservation::of(*reservation, Committed, *expires_at, items))
            }
            Fact::Released { reservation, items, expires_at, .. } => {
                Self::Reservation(Reservation::of(*reservation, Released, *expires_at, items))
            }
            Fact::Expired { reservation, items, expires_at, .. } => {
                Self::Reservation(Reservation::of(*reservation, Expired, *expires_at, items))
            }
            Fact::CommittedLate { reservation, items, held, expires_at, .. } => {
                Self::Reservation(Reservation::late(*reservation, *expires_at, items, held))
            }
            Fact::Recorded { events, rejected, .. } => Self::Recorded(Recorded {
                accepted: events.iter().map(|event| event.digest).collect(),
                rejected: rejected.clone(),
            }),
            Fact::Adjusted { items, delta, period, .. } => adjusted(items, *delta, period, seq),
            Fact::SpendCapSet { amount_minor, currency } => {
                Self::SpendCap(SpendCap { amount_minor: *amount_minor, currency: *currency })
            }
            Fact::Granted { grant, limit, .. } => {
                Self::Granted(Granted { grant: grant.clone(), limit: *limit })
            }
            Fact::GrantRevoked { end } | Fact::GrantExpired { end } => Self::GrantEnded(ended(end)),
            Fact::ClockAdvanced { to, first, .. } => {
                Self::Clock(ClockMoved { now: *to, first: *first, seq })
            }
            _ => Self::Done {},
        }
    }
}

fn adjusted(items: &[Charge], delta: i64, period: &PeriodName, seq: u64) -> Outcome {
    let Some(charge) = items.first() else { return Outcome::Done {} };
    Outcome::Adjusted(Adjusted {
        meter: charge.meter.clone(),
        delta,
        used: charge.used,
        remaining: charge.remaining(),
        limit: charge.limit,
        period: period.clone(),
        seq,
    })
}

fn ended(end: &GrantEnd) -> GrantEnded {
    GrantEnded { id: end.id, meter: end.meter.clone(), lost: end.lost, limit: end.limit }
}

fn consumed_item(charge: &Charge) -> ConsumedItem {
    ConsumedItem {
        meter: charge.meter.clone(),
        charged: charge.amount,
        used: charge.used,
        remaining: charge.remaining(),
        limit: charge.limit,
        over: charge.over(),
        would_refuse: charge.would_refuse,
    }
}

impl Reservation {
    /// Describes a hold by the charges of its last fact.
    pub(super) fn of(
        id: ReservationId,
        state: ReservationState,
        expires_at: Timestamp,
        charges: &[Charge],
    ) -> Self {
        let amounts = |charge: &Charge| match state {
            ReservationState::Held => (charge.amount, None),
            _ => (charge.held, Some(charge.amount)),
        };
        let item = |charge: &Charge| {
            let (amount, charged) = amounts(charge);
            let would_refuse = charge.would_refuse;
            ReservedItem { meter: charge.meter.clone(), amount, charged, would_refuse }
        };
        Self {
            id,
            state,
            expires_at,
            items: charges.iter().map(item).collect(),
            remaining: charges.iter().map(|c| (c.meter.clone(), c.remaining())).collect(),
            late: false,
        }
    }

    /// Describes a hold that was committed after it had lapsed.
    pub(super) fn late(
        id: ReservationId,
        expires_at: Timestamp,
        charges: &[Charge],
        held: &[Item],
    ) -> Self {
        let mut late = Self::of(id, ReservationState::Committed, expires_at, charges);
        late.late = true;
        for item in &mut late.items {
            let known = held.iter().find(|held| held.meter == item.meter);
            item.amount = known.map_or(0, |held| held.amount);
        }
        late
    }
}
