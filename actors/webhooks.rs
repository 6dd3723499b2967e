//! Outgoing webhooks: what happens to a tenant is told to the addresses that it named.
//!
//! ```text
//! entry ─ projector ─ webhook_deliveries (in the watermark's transaction) ─ relay ─ endpoint
//! ```
//!
//! A delivery exists exactly if its entry does, and has one id for ever. The relay tries it by a
//! schedule behind a breaker of the endpoint's own until the receiver takes it: at least once, which
//! receivers make exactly once by the id. A request never waits for a receiver.

mod client;
mod deliveries;
mod endpoints;
mod error;
mod kind;
mod notice;
mod relay;
mod signature;
mod target;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::spawn::{Tasks, spawn};
use tokio::sync::Notify;

pub use self::deliveries::{Delivery, DeliveryState};
pub use self::endpoints::{
    Endpoint, EndpointChange, NewEndpoint, OVERLAP_DEFAULT_S, OVERLAP_MAX_S,
};
pub use self::error::WebhookError;
pub use self::kind::{EventKind, Subscription, UnknownEvent};
pub(crate) use self::notice::{Notice, delivery_id, fingerprint};
use self::relay::Relay;
use self::target::{Guard, Lookup, SystemLookup};
pub use self::target::{Reach, UrlFault};
use crate::clock::SharedClock;
use crate::database::Database;
use crate::privacy::keys::KeyRing;

/// How long after each failed attempt the next one is made; after the last, a delivery has failed.
const RETRY_AFTER: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];
/// After how long without a success an endpoint is switched off.
const GIVE_UP_AFTER: Duration = Duration::from_hours(5 * 24);

/// How often a change is made while other writers are in its way, and the pause between.
const CHANGE_TRIES: u32 = 5;
const CHANGE_PAUSE: Duration = Duration::from_millis(100);

/// What is configured about webhooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebhookSettings {
    /// How far they may go.
    pub reach: Reach,
}

/// What the plane stands on.
#[derive(Clone, Debug)]
pub struct WebhookDeps {
    /// The database.
    pub database: Database,
    /// The key ring.
    pub keys: KeyRing,
    /// The time.
    pub clock: SharedClock,
    /// The owner of the relay's task.
    pub tasks: Tasks,
    /// What is configured.
    pub settings: WebhookSettings,
}

/// The outgoing webhooks of every tenant. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Webhooks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    deps: WebhookDeps,
    wake: Notify,
}

impl Webhooks {
    /// Starts the relay.
    pub fn start(deps: WebhookDeps) -> Result<Self, WebhookError> {
        Self::start_with(deps, Arc::new(SystemLookup))
    }

    fn start_with(deps: WebhookDeps, lookup: Arc<dyn Lookup>) -> Result<Self, WebhookError> {
        relay::describe();
        let guard = Guard { reach: deps.settings.reach, lookup };
        let tasks = deps.tasks.clone();
        let inner = Arc::new(Inner { deps, wake: Notify::new() });
        let relay = Arc::new(Relay::new(Arc::clone(&inner), guard)?);
        spawn("webhook-relay", &tasks, relay.run());
        Ok(Self { inner })
    }
}

/// Makes a change again while other writers are in its way: the relay settles attempts at the very
/// rows that an owner changes.
async fn undisturbed<T, F: Future<Output = Result<T, WebhookError>>>(
    mut change: impl FnMut() -> F,
) -> Result<T, WebhookError> {
    for _ in 1..CHANGE_TRIES {
        match change().await {
            Err(error) if error.is_busy() => tokio::time::sleep(CHANGE_PAUSE).await,
            other => return other,
        }
    }
    change().await
}
