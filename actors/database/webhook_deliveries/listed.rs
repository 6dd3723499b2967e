//! Deliveries as their tenant sees them.

use sqlx::any::AnyRow;

use super::super::{Session, StoreError, column};
use super::DELIVERIES;
use crate::clock::Timestamp;
use crate::ids::{DeliveryId, EndpointId, EventId, TenantId};

/// Sorts after every delivery's id.
const AFTER_ALL: &str = "dlv_~";

const ONE: &str = "SELECT id, endpoint_id, event_id, kind, seq, body, state, attempts, due_at, \
     created_at, tried_at, last_status, last_error FROM webhook_deliveries \
     WHERE tenant_id = $1 AND id = $2";
const OF_ENDPOINT: &str = "SELECT id, endpoint_id, event_id, kind, seq, body, state, attempts, \
     due_at, created_at, tried_at, last_status, last_error FROM webhook_deliveries \
     WHERE tenant_id = $1 AND endpoint_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4";

/// A delivery as a list shows it.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryRow {
    pub(crate) id: DeliveryId,
    pub(crate) endpoint: EndpointId,
    pub(crate) event: EventId,
    pub(crate) kind: String,
    pub(crate) seq: i64,
    pub(crate) body: String,
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) due_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) tried_at: Option<Timestamp>,
    pub(crate) last_status: Option<i64>,
    pub(crate) last_error: Option<String>,
}

/// Finds one delivery of a tenant.
pub(crate) async fn one(
    session: &mut impl Session,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Option<DeliveryRow>, StoreError> {
    let query = sqlx::query(ONE).bind(tenant.to_string()).bind(id.to_string());
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// Lists an endpoint's deliveries, newest first, after the one that a page ended with.
pub(crate) async fn of_endpoint(
    session: &mut impl Session,
    tenant: TenantId,
    endpoint: EndpointId,
    before: Option<DeliveryId>,
    limit: i64,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let query = sqlx::query(OF_ENDPOINT)
        .bind(tenant.to_string())
        .bind(endpoint.to_string())
        .bind(before.map_or_else(|| AFTER_ALL.into(), |id| id.to_string()))
        .bind(limit);
    query.fetch_all(session.connection()).await?.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<DeliveryRow, StoreError> {
    Ok(DeliveryRow {
        id: column::parsed(row, DELIVERIES, "id")?,
        endpoint: column::parsed(row, DELIVERIES, "endpoint_id")?,
        event: column::parsed(row, DELIVERIES, "event_id")?,
        kind: column::plain(row, "kind")?,
        seq: column::plain(row, "seq")?,
        body: column::plain(row, "body")?,
        state: column::plain(row, "state")?,
        attempts: column::plain(row, "attempts")?,
        due_at: column::time(row, "due_at")?,
        created_at: column::time(row, "created_at")?,
        tried_at: column::optional_time(row, "tried_at")?,
        last_status: column::plain(row, "last_status")?,
        last_error: column::plain(row, "last_error")?,
    })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![ONE, OF_ENDPOINT]
}
