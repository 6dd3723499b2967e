//! The tenant actor: one writer for one tenant's accounting.

pub mod history;
pub mod job_view;
pub mod period;
pub mod plan;
pub mod quota;
pub mod state;
pub mod steps;

mod call;
mod tenants;

pub use self::call::{Answer, CallContext, Idempotency, TenantError};
pub use self::tenants::Tenants;
