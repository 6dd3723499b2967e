//! The shapes of events, corrections and the spend cap.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Usage that was already spent, as CloudEvents have it.
#[derive(Debug, ToSchema)]
pub struct EventBody {
    /// `1.0`.
    pub specversion: String,
    /// Its name at its source.
    pub id: String,
    /// Who produced it; with the id it names the event.
    pub source: String,
    /// The meter, or any name that ends in a dot and the meter: `com.example.images`.
    pub r#type: String,
    /// When it happened; without it, now.
    pub time: Option<String>,
    /// What it is about; a tenant's id must be the caller's.
    pub subject: Option<String>,
    /// The amount.
    pub data: EventData,
}

/// What was spent.
#[derive(Debug, ToSchema)]
pub struct EventData {
    /// Units.
    #[schema(minimum = 1)]
    pub amount: u64,
}

/// What became of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventsAnswer {
    /// One for each event, in their order.
    pub results: Vec<EventResult>,
}

/// What became of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventResult {
    /// Its id; null if it had none.
    pub id: Option<String>,
    /// What became of it.
    pub status: EventStatus,
    /// Why it was rejected: a problem document without a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub problem: Option<Value>,
}

/// What may become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// It counts now.
    Accepted,
    /// It counted already.
    Duplicate,
    /// It does not count.
    Rejected,
}

/// A correction of what is used.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustBody {
    /// The meter.
    pub meter: String,
    /// Units to add; negative to take back.
    pub delta: i64,
    /// Why.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
    /// What it refers to: an event, a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 500)]
    pub reference: Option<String>,
}

/// Where a meter stands after a correction.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdjustedAnswer {
    /// The meter.
    pub meter: String,
    /// Units added.
    pub delta: i64,
    /// Units used in the period.
    pub used: u64,
    /// What is left; null is unlimited.
    pub remaining: Option<u64>,
    /// The limit; null is unlimited.
    pub limit: Option<u64>,
    /// The period that was corrected.
    pub period: String,
    /// The entry's number in the tenant's journal.
    pub seq: u64,
}

/// A correction as it stands in the ledger, with the words that came with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CorrectionAnswer {
    /// The number of its entry.
    pub seq: u64,
    /// When it was made.
    pub at: String,
    /// Who made it.
    pub by: String,
    /// The meter.
    pub meter: String,
    /// By how much.
    pub delta: i64,
    /// What was used afterwards.
    pub used: u64,
    /// The period that it belongs to.
    pub period: String,
    /// Why; none when the words were erased.
    pub reason: Option<String>,
    /// What it refers to; none when there was nothing, or the words were erased.
    pub reference: Option<String>,
    /// Whether words that came with it were erased: the entry has their digests alone.
    pub erased: bool,
}

/// How much overage a period may cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpendCapBody {
    /// In the currency's smallest unit; 0 makes every limit hard.
    pub amount_minor: u64,
}

/// How much overage a period may cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpendCapAnswer {
    /// In the currency's smallest unit; 0 makes every limit hard.
    pub amount_minor: u64,
    /// The currency.
    pub currency: String,
}
