//! What was sent to an endpoint, and sending it again.

use serde::Serialize;

use super::{WebhookError, Webhooks, undisturbed};
use crate::clock::Timestamp;
use crate::database::webhook_deliveries::{self, DeliveryRow};
use crate::database::webhook_endpoints;
use crate::identity::audit::Action;
use crate::identity::{ClientInfo, Principal};
use crate::ids::{DeliveryId, EndpointId, EventId, TenantId};

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It will be tried, for the first time or again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names it.
    pub id: DeliveryId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The event: the same for every endpoint and every attempt.
    pub event: EventId,
    /// What happened.
    pub kind: String,
    /// The number of the journal's entry.
    pub seq: u64,
    /// What is sent.
    pub body: String,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u64,
    /// When it happened.
    pub created_at: Timestamp,
    /// When it was last tried.
    pub last_attempt_at: Option<Timestamp>,
    /// When it is tried next, while it is pending.
    pub next_attempt_at: Option<Timestamp>,
    /// What the receiver answered last.
    pub last_status: Option<u16>,
    /// Why the last attempt failed, as a word.
    pub last_error: Option<String>,
}

impl Webhooks {
    /// Lists what was sent to an endpoint, newest first, those before `before` alone.
    pub async fn deliveries(
        &self,
        tenant: TenantId,
        id: EndpointId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Delivery>, WebhookError> {
        let before = before.map(str::parse).transpose();
        let before = before.map_err(|_| WebhookError::InvalidCursor)?;
        let mut reader = self.inner.deps.database.reader().await?;
        let endpoint = webhook_endpoints::one(&mut reader, tenant, id).await?;
        endpoint.ok_or(WebhookError::NotFound)?;
        let limit = i64::from(limit);
        let rows = webhook_deliveries::of_endpoint(&mut reader, tenant, id, before, limit).await?;
        Ok(rows.into_iter().map(delivery).collect())
    }

    /// Sends a delivery again at once, under the same event id and from the schedule's beginning.
    pub async fn resend(
        &self,
        by: &Principal,
        id: DeliveryId,
        client: &ClientInfo,
    ) -> Result<Delivery, WebhookError> {
        let sent = undisturbed(|| self.resend_once(by, id, client)).await?;
        self.inner.wake.notify_one();
        Ok(sent)
    }

    async fn resend_once(
        &self,
        by: &Principal,
        id: DeliveryId,
        client: &ClientInfo,
    ) -> Result<Delivery, WebhookError> {
        let deps = &self.inner.deps;
        let now = deps.clock.now();
        let mut tx = deps.database.relay_tx().await?;
        let found = webhook_deliveries::one(&mut tx, by.tenant, id).await?;
        let endpoint = found.ok_or(WebhookError::NotFound)?.endpoint;
        let row = webhook_endpoints::hold(&mut tx, by.tenant, endpoint).await?;
        if row.ok_or(WebhookError::NotFound)?.disabled_at.is_some() {
            return Err(WebhookError::Disabled);
        }
        webhook_deliveries::resend(&mut tx, by.tenant, id, now).await?;
        self.record(&mut tx, by, client, Action::DeliveryResent, &id.to_string()).await?;
        let row = webhook_deliveries::one(&mut tx, by.tenant, id).await?;
        tx.commit().await?;
        Ok(delivery(row.ok_or(WebhookError::NotFound)?))
    }
}

fn delivery(row: DeliveryRow) -> Delivery {
    let state = match row.state.as_str() {
        "delivered" => DeliveryState::Delivered,
        "failed" => DeliveryState::Failed,
        _ => DeliveryState::Pending,
    };
    Delivery {
        id: row.id,
        endpoint: row.endpoint,
        event: row.event,
        kind: row.kind,
        seq: u64::try_from(row.seq).unwrap_or(0),
        body: row.body,
        state,
        attempts: u64::try_from(row.attempts).unwrap_or(0),
        created_at: row.created_at,
        last_attempt_at: row.tried_at,
        // What was never tried is due since it is there.
        next_attempt_at: (state == DeliveryState::Pending).then(|| row.due_at.max(row.created_at)),
        last_status: row.last_status.and_then(|status| u16::try_from(status).ok()),
        last_error: row.last_error,
    }
}
