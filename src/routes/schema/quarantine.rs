//! The shape of what kept a tenant from running.

use serde::Serialize;
use utoipa::ToSchema;

/// What had kept a tenant from running.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiftedAnswer {
    /// Its actor had failed too often in a short time.
    pub was_failing: bool,
    /// Failures to project its entries, which are projected now.
    pub entries: u64,
}
