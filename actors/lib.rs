//! The domain of Tenantry: tenants, their journal, identity, mail, studio and storage.

pub mod clock;
pub mod database;
pub mod identity;
pub mod ids;
pub mod intents;
pub mod journal;
pub mod ledger;
pub mod mail;
pub mod metrics;
pub mod money;
mod planted;
pub mod privacy;
pub mod root;
pub mod storage;
pub mod studio;
pub mod tenant;
pub mod webhooks;
