//! The shapes of the test clock.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Where the clock shall stand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdvanceBody {
    /// A time in RFC 3339, not before where it stands and at most ten years ahead.
    pub to: String,
}

/// Where the clock stands, and what happened on the way.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdvancedAnswer {
    /// The tenant's time now.
    pub now: String,
    /// The entries that were made on the way, in order, at most 1,000: each with `seq`, `at`,
    /// `kind` and what belongs to its kind.
    #[schema(value_type = Vec<Object>)]
    pub happened: Vec<Value>,
    /// How many more were made.
    pub omitted: u64,
}
