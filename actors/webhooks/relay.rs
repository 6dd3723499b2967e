//! The relay: takes deliveries that are due, a few of each endpoint, and settles each attempt.
//!
//! ```text
//! pending => delivered               the receiver took it (2xx)
//!          | pending, due later      it failed, or the endpoint is left alone (not counted then)
//!          | failed                  the schedule is over, or the endpoint off or gone
//! ```
//!
//! Taking a delivery puts it off by a lease, so a relay that dies leaves it to the next one. It goes
//! from tenant to tenant and takes the oldest of each endpoint: a long queue costs its own endpoint
//! alone, and one that hangs holds a few places of its tenant's share. One that fails again and
//! again is left alone by its own breaker, and switched off after days without a success.

mod places;
mod settle;
mod take;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};
use quick_cache::sync::Cache;
use tenantry_supervision::spawn::spawn;
use tenantry_supervision::{Breaker, BreakerError, BreakerSettings};
use tokio::time::Instant;

use self::places::Places;
use super::client::{ATTEMPT_TIMEOUT, Message, NotTaken, Sender, Taken};
use super::endpoints::open_url;
use super::signature::Secrets;
use super::target::Guard;
use super::{Inner, WebhookError, undisturbed};
use crate::clock::Timestamp;
use crate::database::webhook_deliveries::queues;
use crate::database::webhook_deliveries::{self as rows, Claimed};
use crate::database::webhook_endpoints::{self, EndpointRow};
use crate::database::{Backend, StoreError};
use crate::ids::{EndpointId, TenantId};

/// How often the outbox is looked at when nobody rings.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// How long it is not looked at again, however often somebody rings: what comes meanwhile is taken
/// together.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Failures in a row before an endpoint is left alone, and for how long at first and at most.
const FAILURES: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(30);
const MAX_OPEN_FOR: Duration = Duration::from_mins(5);
/// Breakers that are remembered; one that is forgotten begins closed.
const BREAKERS_MAX: usize = 10_000;
/// How long settled deliveries are kept.
const KEEP: Duration = Duration::from_hours(35 * 24);
/// How often they are removed.
const PURGE_EVERY: Duration = Duration::from_mins(10);
/// How often the outbox is measured, and what was refused is settled.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How long the mail about an endpoint that was switched off is tried, in seconds.
const MAIL_S: u64 = 3 * 24 * 60 * 60;

const OUTBOX_DEPTH: &str = "tenantry_webhook_outbox_depth";
const ATTEMPTS_TOTAL: &str = "tenantry_webhook_attempts_total";
const ATTEMPT_SECONDS: &str = "tenantry_webhook_attempt_duration_seconds";
const REFUSED_TOTAL: &str = "tenantry_webhook_deliveries_refused_total";
const DISABLED_TOTAL: &str = "tenantry_webhook_endpoints_disabled_total";

/// Describes the metrics to the recorder.
pub(super) fn describe() {
    describe_gauge!(OUTBOX_DEPTH, Unit::Count, "Webhooks that wait to be delivered.");
    describe_counter!(ATTEMPTS_TOTAL, Unit::Count, "Attempts to deliver a webhook.");
    describe_histogram!(ATTEMPT_SECONDS, Unit::Seconds, "Time of an attempt to deliver a webhook.");
    describe_counter!(
        REFUSED_TOTAL,
        Unit::Count,
        "Deliveries that failed at once: too many waited for their endpoint."
    );
    describe_counter!(DISABLED_TOTAL, Unit::Count, "Endpoints that were switched off by us.");
}

/// Delivers what is owed until its owner ends it.
pub(super) struct Relay {
    inner: Arc<Inner>,
    sender: Sender,
    breakers: Cache<EndpointId, Breaker>,
    places: Mutex<Places>,
    /// The tenant after which the next look begins.
    turn: Mutex<Option<TenantId>>,
}

/// What became of an attempt.
enum Outcome {
    Delivered(Taken),
    Failed(NotTaken),
    /// The endpoint is left alone for so long.
    LeftAlone(Duration),
    /// The endpoint is off or gone.
    Void,
}

impl Relay {
    pub(super) fn new(inner: Arc<Inner>, guard: Guard) -> Result<Self, WebhookError> {
        let sender = Sender::new(guard).map_err(WebhookError::Sender)?;
        let breakers = Cache::new(BREAKERS_MAX);
        Ok(Self { inner, sender, breakers, places: Mutex::default(), turn: Mutex::default() })
    }

    /// Runs until cancelled; what is under way then comes to its end as a task of its own.
    pub(super) async fn run(self: Arc<Self>) {
        if let Err(error) = self.release().await {
            tracing::warn!(%error, "webhooks that were under way at the end wait for their lease");
        }
        let tasks = self.inner.deps.tasks.clone();
        let mut purge_at = Instant::now() + PURGE_EVERY;
        let mut measure_at = Instant::now();
        while !tasks.is_cancelled() {
            let looked_at = Instant::now();
            let taken = self.take().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the outbox of webhooks cannot be read");
                Vec::new()
            });
            // A task each: an attempt that waits for the database must not wait for this loop.
            for (row, place) in taken {
                let relay = Arc::clone(&self);
                spawn("webhook-attempt", &tasks, async move {
                    relay.deliver(&row).await;
                    drop(place);
                    relay.inner.wake.notify_one();
                });
            }
            if measure_at <= looked_at {
                measure_at = looked_at + MEASURE_EVERY;
                let measured = self.measure().await;
                warn_of(measured, "the outbox of webhooks cannot be measured");
            }
            if purge_at <= looked_at {
                purge_at = looked_at + PURGE_EVERY;
                warn_of(self.purge().await, "old deliveries could not be removed");
            }
            tokio::select! {
                () = tasks.cancelled() => {}
                () = self.inner.wake.notified() => {
                    tokio::time::sleep_until(looked_at + LOOK_AGAIN_AFTER).await;
                }
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
    }

    /// Takes over what the relay before was doing when it died. The embedded database has one
    /// process at a time; elsewhere another node may be sending right now.
    async fn release(&self) -> Result<(), StoreError> {
        let deps = &self.inner.deps;
        if deps.database.backend() != Backend::Sqlite {
            return Ok(());
        }
        let mut tx = deps.database.system_tx().await?;
        queues::release(&mut tx, deps.clock.now()).await?;
        tx.commit().await
    }

    /// Makes one attempt and settles it.
    async fn deliver(&self, row: &Claimed) {
        let result = async {
            let outcome = self.attempt(row).await?;
            undisturbed(|| self.settle(row, &outcome)).await
        };
        if let Err(error) = result.await {
            // Its lease ends, and it is tried again.
            tracing::warn!(delivery.id = %row.id, %error, "a webhook's attempt was not settled");
        }
    }

    async fn attempt(&self, row: &Claimed) -> Result<Outcome, WebhookError> {
        let deps = &self.inner.deps;
        let mut reader = deps.database.reader().await?;
        let endpoint = webhook_endpoints::one(&mut reader, row.tenant, row.endpoint).await?;
        drop(reader);
        let Some(endpoint) = endpoint.filter(|endpoint| endpoint.disabled_at.is_none()) else {
            return Ok(Outcome::Void);
        };
        let (url, secrets) = self.open(&endpoint).await?;
        let now = deps.clock.now();
        let event = row.event.to_string();
        let message = Message { id: &event, body: row.body.clone(), now };
        let breaker = self.breaker(row.endpoint);
        let started = Instant::now();
        let outcome = match breaker.call(|| self.sender.send(&url, &secrets, message)).await {
            Ok(taken) => Outcome::Delivered(taken),
            Err(BreakerError::Failed(why)) => Outcome::Failed(why),
            Err(BreakerError::TimedOut { .. }) => Outcome::Failed(NotTaken::because("timeout")),
            Err(BreakerError::Open { retry_after }) => Outcome::LeftAlone(retry_after),
        };
        let label = match &outcome {
            Outcome::Delivered(_) => "delivered",
            Outcome::Failed(why) => why.reason,
            Outcome::LeftAlone(_) => "breaker_open",
            Outcome::Void => "void",
        };
        counter!(ATTEMPTS_TOTAL, "kind" => row.kind.clone(), "outcome" => label).increment(1);
        if !matches!(outcome, Outcome::LeftAlone(_)) {
            histogram!(ATTEMPT_SECONDS).record(started.elapsed());
        }
        Ok(outcome)
    }

    async fn open(&self, endpoint: &EndpointRow) -> Result<(String, Secrets), WebhookError> {
        let cipher = self.inner.deps.keys.tenant_cipher(endpoint.tenant).await?;
        let url = open_url(&cipher, endpoint)?;
        let name = endpoint.id.to_string();
        Ok((url, Secrets::open(&cipher, &name, &endpoint.secrets_sealed)?))
    }

    fn breaker(&self, endpoint: EndpointId) -> Breaker {
        let fresh = || Breaker::one_of_many(breaker_settings());
        let made = self.breakers.get_or_insert_with(&endpoint, || Ok::<_, WebhookError>(fresh()));
        made.unwrap_or_else(|_| fresh())
    }

    async fn purge(&self) -> Result<(), StoreError> {
        let deps = &self.inner.deps;
        let keep = i64::try_from(KEEP.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(deps.clock.now().as_micros().saturating_sub(keep));
        let mut tx = deps.database.relay_tx().await?;
        rows::purge(&mut tx, before).await?;
        queues::delete_orphans(&mut tx).await?;
        tx.commit().await
    }
}

fn warn_of(result: Result<(), StoreError>, what: &'static str) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what}");
    }
}

/// The settings of an endpoint's breaker.
pub(super) fn breaker_settings() -> BreakerSettings {
    BreakerSettings {
        name: "webhook",
        failures: FAILURES,
        open_for: OPEN_FOR,
        max_open_for: MAX_OPEN_FOR,
        timeout: ATTEMPT_TIMEOUT,
    }
}
