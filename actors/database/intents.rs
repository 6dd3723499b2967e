//! The rows of `intents`: what the identity plane wants done at a tenant.

use sqlx::Row as _;

use super::{Session, StoreError, SystemTx};
use crate::clock::Timestamp;
use crate::ids::{EventId, TenantId};

const INSERT: &str = "INSERT INTO intents \
         (tenant_id, intent_id, body, created_at, due_at, attempts) \
     SELECT $1, $2, $3, \
         CASE WHEN COALESCE(MAX(created_at), 0) >= $4 THEN MAX(created_at) + 1 ELSE $4 END, \
         $4, 0 \
     FROM intents WHERE tenant_id = $1";
const DUE: &str = "SELECT i.tenant_id, i.intent_id, i.body, i.attempts \
     FROM intents i \
     WHERE i.due_at <= $1 AND NOT EXISTS ( \
         SELECT 1 FROM intents o \
         WHERE o.tenant_id = i.tenant_id AND o.created_at < i.created_at) \
     ORDER BY i.created_at, i.intent_id LIMIT $2";
const DELETE: &str = "DELETE FROM intents WHERE tenant_id = $1 AND intent_id = $2";
const POSTPONE: &str = "UPDATE intents SET due_at = $3, attempts = attempts + 1 \
     WHERE tenant_id = $1 AND intent_id = $2";
const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM intents";

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRow {
    /// The tenant that it is for.
    pub tenant: TenantId,
    /// Its id, and its idempotency key.
    pub id: EventId,
    /// What is wanted, as JSON.
    pub body: String,
    /// Deliveries that failed.
    pub attempts: i64,
}

/// Adds a row, due at once. Its `created_at` is later than that of every row of its tenant, so
/// that two of the same moment keep their order.
pub async fn insert(tx: &mut SystemTx, row: &IntentRow, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(INSERT)
        .bind(row.tenant.to_string())
        .bind(row.id.to_string())
        .bind(&row.body)
        .bind(now.as_micros())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The oldest row of each tenant, where that one is due.
///
/// Later ones of the same tenant wait for it, so a plan is never overtaken by an older one.
pub async fn due(
    session: &mut impl Session,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<IntentRow>, StoreError> {
    let rows =
        sqlx::query(DUE).bind(now.as_micros()).bind(limit).fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            let tenant: String = row.try_get(0)?;
            let id: String = row.try_get(1)?;
            let corrupt = |column| StoreError::Corrupt { table: "intents", id: id.clone(), column };
            Ok(IntentRow {
                tenant: tenant.parse().map_err(|_| corrupt("tenant_id"))?,
                id: id.parse().map_err(|_| corrupt("intent_id"))?,
                body: row.try_get(2)?,
                attempts: row.try_get(3)?,
            })
        })
        .collect()
}

/// Removes a row that was delivered.
pub async fn delete(tx: &mut SystemTx, tenant: TenantId, id: EventId) -> Result<(), StoreError> {
    sqlx::query(DELETE)
        .bind(tenant.to_string())
        .bind(id.to_string())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Tries a row again later.
pub async fn postpone(
    tx: &mut SystemTx,
    tenant: TenantId,
    id: EventId,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(POSTPONE)
        .bind(tenant.to_string())
        .bind(id.to_string())
        .bind(due_at.as_micros())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Rows that wait, for a gauge.
pub async fn count(session: &mut impl Session) -> Result<i64, StoreError> {
    let row = sqlx::query(COUNT).fetch_one(session.connection()).await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT, DUE, DELETE, POSTPONE, COUNT]
}
