//! The tenant actor: one writer for one tenant's accounting.
//!
//! [`Tenants`] is the way in. Behind it stand a directory of who is awake, gates that bound what
//! is in flight, and one actor per awake tenant around the pure machines [`quota`] and [`steps`].

pub mod history;
pub mod inspect;
pub mod job_view;
pub mod metrics;
pub mod period;
pub mod plan;
pub mod quota;
pub mod state;
pub mod steps;

mod activation;
mod actor;
mod alarms;
mod book;
mod call;
mod directory;
mod feed;
mod filter;
mod gate;
mod in_flight;
mod jobs;
mod keys;
mod live;
mod message;
mod notes;
mod plan_store;
mod reaper;
mod replaced;
mod shell;
mod sleep;
mod supervisor;
mod tenants;

#[cfg(test)]
mod tests;

pub use self::call::{Answer, CallContext, Idempotency, KeyOwner, TenantError};
pub use self::shell::{TenantDeps, TenantSettings};
pub use self::tenants::{
    Advanced, Correction, Exceptions, FeatureStand, Happened, Tenants, WHEN_RECORDED,
};
