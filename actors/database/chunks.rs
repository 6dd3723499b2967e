//! One tenant's lines, its snapshot and its idempotency keys, as activation reads them.

use std::ops::RangeInclusive;

use sqlx::Row;

use super::{Session, StoreError, TenantTx};
use crate::ids::TenantId;

const SNAPSHOT: &str = "SELECT seq, hash, body FROM snapshots WHERE tenant_id = $1";
const SET_SNAPSHOT: &str = "INSERT INTO snapshots (tenant_id, seq, hash, taken_at, body) \
     VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (tenant_id) DO UPDATE \
     SET seq = excluded.seq, hash = excluded.hash, \
         taken_at = excluded.taken_at, body = excluded.body \
     WHERE snapshots.seq < excluded.seq";
const DROP_SNAPSHOT: &str = "DELETE FROM snapshots WHERE tenant_id = $1";
// The run that holds the next entry is found by the primary key: `last_seq` is in no index, and a
// tenant may have very many runs.
const BETWEEN: &str = "SELECT first_seq, body FROM chunks \
     WHERE tenant_id = $1 AND last_seq > $2 AND first_seq >= COALESCE(\
         (SELECT MAX(first_seq) FROM chunks WHERE tenant_id = $1 AND first_seq <= $2 + 1), 0) \
         AND first_seq <= $3 \
     ORDER BY first_seq";
const SOME_AFTER: &str = "SELECT first_seq, body FROM chunks \
     WHERE tenant_id = $1 AND last_seq > $2 AND first_seq >= COALESCE(\
         (SELECT MAX(first_seq) FROM chunks WHERE tenant_id = $1 AND first_seq <= $2 + 1), 0) \
     ORDER BY first_seq LIMIT $3";
const HOLDING: &str = "SELECT first_seq, body FROM chunks \
     WHERE tenant_id = $1 AND first_seq <= $2 ORDER BY first_seq DESC LIMIT 1";
const PAGE: &str = "SELECT tenant_id, first_seq, last_seq, body, marks FROM chunks \
     WHERE (tenant_id, first_seq) > ($1, $2) ORDER BY tenant_id, first_seq LIMIT $3";
const KEY: &str = "SELECT seq FROM idempotency_keys WHERE tenant_id = $1 AND digest = $2";
const DROP_KEYS: &str = "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND used_at < $2";

/// A stored snapshot and the entry that it was taken after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSnapshot {
    /// The last entry that it contains.
    pub seq: u64,
    /// That entry's hash.
    pub hash: String,
    /// The state, as its owner wrote it.
    pub body: String,
}

/// A run of one tenant's lines, with its place for paging.
#[derive(Debug, Clone)]
pub(crate) struct StoredChunk {
    pub(crate) tenant: String,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) body: String,
    /// Where keys and events stand; none if it was projected before there were marks.
    pub(crate) marks: Option<String>,
}

/// Reads a tenant's snapshot.
pub(crate) async fn snapshot(
    session: &mut impl Session,
    tenant: TenantId,
) -> Result<Option<StoredSnapshot>, StoreError> {
    let row =
        sqlx::query(SNAPSHOT).bind(tenant.to_string()).fetch_optional(session.connection()).await?;
    let Some(row) = row else { return Ok(None) };
    let seq = unsigned("snapshots", tenant, row.try_get(0)?)?;
    Ok(Some(StoredSnapshot { seq, hash: row.try_get(1)?, body: row.try_get(2)? }))
}

/// Replaces a tenant's snapshot, unless the stored one is newer.
pub(crate) async fn set_snapshot(
    tx: &mut TenantTx,
    snapshot: &StoredSnapshot,
    taken_at: i64,
) -> Result<(), StoreError> {
    let tenant = tx.tenant().to_string();
    sqlx::query(SET_SNAPSHOT)
        .bind(tenant)
        .bind(i64::try_from(snapshot.seq).unwrap_or(i64::MAX))
        .bind(snapshot.hash.as_str())
        .bind(taken_at)
        .bind(snapshot.body.as_str())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Removes a tenant's snapshot: it can always be made again.
pub(crate) async fn drop_snapshot(tx: &mut TenantTx) -> Result<(), StoreError> {
    let tenant = tx.tenant().to_string();
    sqlx::query(DROP_SNAPSHOT).bind(tenant).execute(tx.connection()).await?;
    Ok(())
}

/// Reads the runs of lines that reach beyond the range's first number and begin by its last, in
/// order, each with its first number.
pub(crate) async fn between(
    session: &mut impl Session,
    tenant: TenantId,
    range: &RangeInclusive<u64>,
) -> Result<Vec<(u64, String)>, StoreError> {
    let rows = sqlx::query(BETWEEN)
        .bind(tenant.to_string())
        .bind(i64::try_from(*range.start()).unwrap_or(i64::MAX - 1))
        .bind(i64::try_from(*range.end()).unwrap_or(i64::MAX))
        .fetch_all(session.connection())
        .await?;
    rows.iter()
        .map(|row| Ok((unsigned("chunks", tenant, row.try_get(0)?)?, row.try_get(1)?)))
        .collect()
}

/// Reads runs of lines that reach beyond `seq`, in order, at most `limit`.
pub(crate) async fn some_after(
    session: &mut impl Session,
    tenant: TenantId,
    seq: u64,
    limit: i64,
) -> Result<Vec<(u64, String)>, StoreError> {
    let rows = sqlx::query(SOME_AFTER)
        .bind(tenant.to_string())
        .bind(i64::try_from(seq).unwrap_or(i64::MAX - 1))
        .bind(limit)
        .fetch_all(session.connection())
        .await?;
    rows.iter()
        .map(|row| Ok((unsigned("chunks", tenant, row.try_get(0)?)?, row.try_get(1)?)))
        .collect()
}

/// Reads the run of lines that holds entry `seq`, if it is projected.
pub(crate) async fn holding(
    session: &mut impl Session,
    tenant: TenantId,
    seq: u64,
) -> Result<Option<(u64, String)>, StoreError> {
    let row = sqlx::query(HOLDING)
        .bind(tenant.to_string())
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .fetch_optional(session.connection())
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((unsigned("chunks", tenant, row.try_get(0)?)?, row.try_get(1)?)))
}

/// Reads the runs of all tenants, page by page.
pub(crate) async fn page(
    session: &mut impl Session,
    after: (&str, i64),
    limit: i64,
) -> Result<Vec<StoredChunk>, StoreError> {
    let query = sqlx::query(PAGE).bind(after.0).bind(after.1).bind(limit);
    let rows = query.fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredChunk {
                tenant: row.try_get(0)?,
                first_seq: row.try_get(1)?,
                last_seq: row.try_get(2)?,
                body: row.try_get(3)?,
                marks: row.try_get(4)?,
            })
        })
        .collect()
}

/// Finds the entry that used an idempotency key.
pub(crate) async fn key(
    session: &mut impl Session,
    tenant: TenantId,
    digest: &str,
) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(KEY)
        .bind(tenant.to_string())
        .bind(digest)
        .fetch_optional(session.connection())
        .await?;
    row.map(|row| unsigned("idempotency_keys", tenant, row.try_get(0)?)).transpose()
}

/// Forgets a tenant's keys that were used before `used_before`.
pub(crate) async fn drop_keys(tx: &mut TenantTx, used_before: i64) -> Result<(), StoreError> {
    let tenant = tx.tenant().to_string();
    sqlx::query(DROP_KEYS).bind(tenant).bind(used_before).execute(tx.connection()).await?;
    Ok(())
}

fn unsigned(table: &'static str, tenant: TenantId, seq: i64) -> Result<u64, StoreError> {
    let id = || tenant.to_string();
    u64::try_from(seq).map_err(|_| StoreError::Corrupt { table, id: id(), column: "seq" })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![SNAPSHOT, SET_SNAPSHOT, DROP_SNAPSHOT, BETWEEN, SOME_AFTER, HOLDING, PAGE, KEY, DROP_KEYS]
}
