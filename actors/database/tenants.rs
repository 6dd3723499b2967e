//! Tenants as operators list them.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Session, StoreError, column};
use crate::clock::Timestamp;
use crate::ids::TenantId;

const TENANTS: &str = "tenants";

const TENANT: &str = "SELECT id, name_sealed, created_at, deleted_at FROM tenants WHERE id = $1";
const PAGE: &str = "SELECT id, name_sealed, created_at, deleted_at FROM tenants \
     WHERE id > $1 ORDER BY id LIMIT $2";
const LEVELS: &str = "SELECT tenant_id, CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM usage_days \
     WHERE tenant_id >= $1 AND tenant_id <= $2 AND meter = $3 \
     GROUP BY tenant_id ORDER BY tenant_id";

/// A tenant's row.
#[derive(Debug)]
pub(crate) struct TenantRow {
    pub(crate) id: TenantId,
    pub(crate) name_sealed: String,
    pub(crate) created_at: Timestamp,
    pub(crate) deleted_at: Option<Timestamp>,
}

/// Finds a tenant.
pub(crate) async fn tenant(
    session: &mut impl Session,
    id: TenantId,
) -> Result<Option<TenantRow>, StoreError> {
    let query = sqlx::query(TENANT).bind(id.to_string());
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// Lists tenants in the order of their ids, after the one that a page ended with.
pub(crate) async fn page(
    session: &mut impl Session,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantRow>, StoreError> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let query = sqlx::query(PAGE).bind(after).bind(limit);
    query.fetch_all(session.connection()).await?.iter().map(read).collect()
}

/// Reads where a level stands for the tenants from `first` to `last`: the sum of its changes.
pub(crate) async fn levels(
    session: &mut impl Session,
    first: TenantId,
    last: TenantId,
    meter: &str,
) -> Result<Vec<(TenantId, i64)>, StoreError> {
    let query = sqlx::query(LEVELS).bind(first.to_string()).bind(last.to_string()).bind(meter);
    let rows = query.fetch_all(session.connection()).await?;
    let read =
        |row: &AnyRow| Ok((column::parsed(row, "usage_days", "tenant_id")?, row.try_get(1)?));
    rows.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<TenantRow, StoreError> {
    Ok(TenantRow {
        id: column::parsed(row, TENANTS, "id")?,
        name_sealed: column::plain(row, "name_sealed")?,
        created_at: column::time(row, "created_at")?,
        deleted_at: column::optional_time(row, "deleted_at")?,
    })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![TENANT, PAGE, LEVELS]
}
