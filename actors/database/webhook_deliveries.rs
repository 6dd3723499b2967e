//! Rows of events on their way to endpoints.

use super::{Session, StoreError};
use crate::clock::Timestamp;
use crate::ids::{DeliveryId, EndpointId, EventId, TenantId};

mod listed;
pub(super) mod owed;
pub(crate) mod queues;

pub(crate) use listed::{DeliveryRow, of_endpoint, one};

const DELIVERIES: &str = "webhook_deliveries";

const DELIVERED: &str = "UPDATE webhook_deliveries SET state = 'delivered', tried_at = $4, \
     settled_at = $4, leased_until = NULL, last_status = $5, last_error = NULL \
     WHERE tenant_id = $1 AND id = $2 AND state = 'pending' AND attempts = $3";
const POSTPONE: &str = "UPDATE webhook_deliveries SET step = step + 1, tried_at = $4, \
     due_at = $5, leased_until = NULL, last_status = $6, last_error = $7 \
     WHERE tenant_id = $1 AND id = $2 AND state = 'pending' AND attempts = $3";
const FAIL: &str = "UPDATE webhook_deliveries SET state = 'failed', tried_at = $4, \
     settled_at = $4, leased_until = NULL, last_status = $5, last_error = $6 \
     WHERE tenant_id = $1 AND id = $2 AND state = 'pending' AND attempts = $3";
const HAND_BACK: &str = "UPDATE webhook_deliveries \
     SET due_at = $4, leased_until = NULL, attempts = attempts - 1 \
     WHERE tenant_id = $1 AND id = $2 AND state = 'pending' AND attempts = $3";
const FAIL_ALL: &str = "UPDATE webhook_deliveries SET state = 'failed', settled_at = $3, \
     leased_until = NULL, last_error = $4 WHERE tenant_id = $1 AND endpoint_id = $2 AND state = 'pending'";
const DELETE_OF: &str = "DELETE FROM webhook_deliveries WHERE tenant_id = $1 AND endpoint_id = $2";
const RESEND: &str = "UPDATE webhook_deliveries SET state = 'pending', step = 0, due_at = $3, \
     leased_until = NULL, settled_at = NULL WHERE tenant_id = $1 AND id = $2";
const PURGE: &str = "DELETE FROM webhook_deliveries WHERE settled_at > 0 AND settled_at < $1";

/// A delivery that the relay has taken.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) tenant: TenantId,
    pub(crate) id: DeliveryId,
    pub(crate) endpoint: EndpointId,
    pub(crate) event: EventId,
    pub(crate) kind: String,
    pub(crate) body: String,
    /// How often it was taken, this time included; who settles it must know the number.
    pub(crate) attempts: i64,
    /// How many attempts failed since it was last wanted anew.
    pub(crate) step: i64,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    pub(crate) at: Timestamp,
    pub(crate) status: Option<u16>,
    pub(crate) error: &'a str,
}

/// The receiver took it. Nothing changes if it was wanted anew meanwhile, or is gone.
pub(crate) async fn delivered(
    session: &mut impl Session,
    row: &Claimed,
    at: Timestamp,
    status: u16,
) -> Result<(), StoreError> {
    let query = sqlx::query(DELIVERED)
        .bind(row.tenant.to_string())
        .bind(row.id.to_string())
        .bind(row.attempts)
        .bind(at.as_micros())
        .bind(i64::from(status));
    query.execute(session.connection()).await?;
    Ok(())
}

/// Puts a delivery off after a failed attempt.
pub(crate) async fn postpone(
    session: &mut impl Session,
    row: &Claimed,
    failed: Failed<'_>,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(POSTPONE)
        .bind(row.tenant.to_string())
        .bind(row.id.to_string())
        .bind(row.attempts)
        .bind(failed.at.as_micros())
        .bind(due_at.as_micros())
        .bind(failed.status.map(i64::from))
        .bind(failed.error);
    query.execute(session.connection()).await?;
    Ok(())
}

/// Ends a delivery without success.
pub(crate) async fn fail(
    session: &mut impl Session,
    row: &Claimed,
    failed: Failed<'_>,
) -> Result<(), StoreError> {
    let query = sqlx::query(FAIL)
        .bind(row.tenant.to_string())
        .bind(row.id.to_string())
        .bind(row.attempts)
        .bind(failed.at.as_micros())
        .bind(failed.status.map(i64::from))
        .bind(failed.error);
    query.execute(session.connection()).await?;
    Ok(())
}

/// Gives a delivery back that was not tried.
pub(crate) async fn hand_back(
    session: &mut impl Session,
    row: &Claimed,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(HAND_BACK)
        .bind(row.tenant.to_string())
        .bind(row.id.to_string())
        .bind(row.attempts)
        .bind(due_at.as_micros());
    query.execute(session.connection()).await?;
    Ok(())
}

/// Ends everything that an endpoint is still owed.
pub(crate) async fn fail_all(
    session: &mut impl Session,
    tenant: TenantId,
    endpoint: EndpointId,
    at: Timestamp,
    error: &str,
) -> Result<(), StoreError> {
    let query = sqlx::query(FAIL_ALL)
        .bind(tenant.to_string())
        .bind(endpoint.to_string())
        .bind(at.as_micros())
        .bind(error);
    query.execute(session.connection()).await?;
    Ok(())
}

/// Removes everything of an endpoint.
pub(crate) async fn delete_of(
    session: &mut impl Session,
    tenant: TenantId,
    endpoint: EndpointId,
) -> Result<(), StoreError> {
    let query = sqlx::query(DELETE_OF).bind(tenant.to_string()).bind(endpoint.to_string());
    query.execute(session.connection()).await?;
    Ok(())
}

/// Begins a delivery anew, whatever became of it.
pub(crate) async fn resend(
    session: &mut impl Session,
    tenant: TenantId,
    id: DeliveryId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query =
        sqlx::query(RESEND).bind(tenant.to_string()).bind(id.to_string()).bind(at.as_micros());
    query.execute(session.connection()).await?;
    Ok(())
}

/// Removes deliveries that ended before a time.
pub(crate) async fn purge(
    session: &mut impl Session,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(PURGE).bind(before.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all = vec![DELIVERED, POSTPONE, FAIL, HAND_BACK, FAIL_ALL, DELETE_OF, RESEND, PURGE];
    all.extend(queues::statements());
    all.extend(listed::statements());
    all.extend(owed::statements());
    all
}
