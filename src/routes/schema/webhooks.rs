//! The shapes of webhook endpoints and of what was sent to them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Names a new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointBody {
    /// Its address, `https://…`.
    pub url: String,
    /// What it is told: `["*"]`, or a list of events.
    pub events: Vec<String>,
}

/// Changes an endpoint; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointPatch {
    /// Its address.
    #[serde(default)]
    pub url: Option<String>,
    /// What it is told.
    #[serde(default)]
    pub events: Option<Vec<String>>,
    /// Whether it is on.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// Asks for a new secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// How long the secret before signs too, in seconds; a day if not given, at most a week.
    #[serde(default)]
    pub overlap_seconds: Option<u64>,
}

/// A place that events go to.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointAnswer {
    /// The id.
    pub id: String,
    /// Its address.
    pub url: String,
    /// What it is told.
    pub events: Vec<String>,
    /// Whether it is on.
    pub enabled: bool,
    /// When it was named.
    pub created_at: String,
    /// When the first attempt failed of those since the last success.
    pub failing_since: Option<String>,
    /// When it was switched off.
    pub disabled_at: Option<String>,
    /// Why: `owner`, `failing` or `gone`.
    pub disabled_reason: Option<String>,
}

/// A new endpoint, with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewEndpointAnswer {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: EndpointAnswer,
    /// What its messages are signed with; shown this once.
    pub secret: String,
}

/// A new secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretAnswer {
    /// What messages are signed with; shown this once.
    pub secret: String,
    /// Until when the secret before signs too.
    pub previous_expires_at: String,
}

/// An event on its way to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryAnswer {
    /// The id.
    pub id: String,
    /// The endpoint.
    pub endpoint_id: String,
    /// The event's id, which is the `webhook-id` of every attempt.
    pub event_id: String,
    /// What happened.
    pub r#type: String,
    /// The number of the journal's entry.
    pub seq: u64,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
    /// When it happened.
    pub created_at: String,
    /// When it was last tried.
    pub last_attempt_at: Option<String>,
    /// When it is tried next.
    pub next_attempt_at: Option<String>,
    /// What the receiver answered last.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What is sent.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
}
