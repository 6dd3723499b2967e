//! Rows of the places that webhooks go to.

use sqlx::any::AnyRow;

use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;
use crate::ids::{EndpointId, TenantId};

const ENDPOINTS: &str = "webhook_endpoints";

// The count stands in the statement, so that two at once cannot both be the last one.
const INSERT: &str = "INSERT INTO webhook_endpoints \
     (tenant_id, id, url_sealed, secrets_sealed, events, created_by, created_at) \
     SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), \
         CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS BIGINT) \
     WHERE (SELECT COUNT(*) FROM webhook_endpoints WHERE tenant_id = $1) < $8";
const OF_TENANT: &str = "SELECT tenant_id, id, url_sealed, secrets_sealed, events, created_at, \
     failing_since, disabled_at, disabled_as FROM webhook_endpoints \
     WHERE tenant_id = $1 ORDER BY id";
const ONE: &str = "SELECT tenant_id, id, url_sealed, secrets_sealed, events, created_at, \
     failing_since, disabled_at, disabled_as FROM webhook_endpoints \
     WHERE tenant_id = $1 AND id = $2";
// Writes nothing new, and so holds the row until the transaction's end, in either database.
const HOLD: &str = "UPDATE webhook_endpoints SET events = events \
     WHERE tenant_id = $1 AND id = $2 \
     RETURNING tenant_id, id, url_sealed, secrets_sealed, events, created_at, \
     failing_since, disabled_at, disabled_as";
const CHANGE: &str = "UPDATE webhook_endpoints SET url_sealed = $3, events = $4, \
     disabled_at = $5, disabled_as = $6, failing_since = $7 WHERE tenant_id = $1 AND id = $2";
const SET_SECRETS: &str =
    "UPDATE webhook_endpoints SET secrets_sealed = $3 WHERE tenant_id = $1 AND id = $2";
const DELETE: &str = "DELETE FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2";
const MARK_FAILING: &str = "UPDATE webhook_endpoints \
     SET failing_since = COALESCE(failing_since, $3) \
     WHERE tenant_id = $1 AND id = $2 AND disabled_at IS NULL RETURNING failing_since";
const MARK_WORKING: &str = "UPDATE webhook_endpoints SET failing_since = NULL \
     WHERE tenant_id = $1 AND id = $2 AND failing_since IS NOT NULL";
const DISABLE: &str = "UPDATE webhook_endpoints SET disabled_at = $3, disabled_as = $4 \
     WHERE tenant_id = $1 AND id = $2 AND disabled_at IS NULL";

/// A new endpoint.
#[derive(Debug)]
pub(crate) struct NewEndpoint<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) id: EndpointId,
    pub(crate) url_sealed: &'a str,
    pub(crate) secrets_sealed: &'a str,
    pub(crate) events: &'a str,
    pub(crate) created_by: &'a str,
    pub(crate) created_at: Timestamp,
}

/// An endpoint as it stands.
#[derive(Clone, Debug)]
pub(crate) struct EndpointRow {
    pub(crate) tenant: TenantId,
    pub(crate) id: EndpointId,
    pub(crate) url_sealed: String,
    pub(crate) secrets_sealed: String,
    pub(crate) events: String,
    pub(crate) created_at: Timestamp,
    /// When the first attempt failed of those since the last that did not.
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) disabled_at: Option<Timestamp>,
    pub(crate) disabled_as: Option<String>,
}

/// Inserts an endpoint, unless the tenant has `max` already; says whether it did.
pub(crate) async fn insert(
    session: &mut impl Session,
    endpoint: &NewEndpoint<'_>,
    max: i64,
) -> Result<bool, StoreError> {
    let query = sqlx::query(INSERT)
        .bind(endpoint.tenant.to_string())
        .bind(endpoint.id.to_string())
        .bind(endpoint.url_sealed)
        .bind(endpoint.secrets_sealed)
        .bind(endpoint.events)
        .bind(endpoint.created_by)
        .bind(endpoint.created_at.as_micros())
        .bind(max);
    Ok(query.execute(session.connection()).await?.rows_affected() == 1)
}

/// Lists a tenant's endpoints, oldest first.
pub(crate) async fn of_tenant(
    session: &mut impl Session,
    tenant: TenantId,
) -> Result<Vec<EndpointRow>, StoreError> {
    let query = sqlx::query(OF_TENANT).bind(tenant.to_string());
    query.fetch_all(session.connection()).await?.iter().map(read).collect()
}

/// Finds one endpoint of a tenant.
pub(crate) async fn one(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
) -> Result<Option<EndpointRow>, StoreError> {
    let query = sqlx::query(ONE).bind(tenant.to_string()).bind(id.to_string());
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// Finds one endpoint of a tenant and keeps others from changing it until the transaction ends.
///
/// Whoever changes an endpoint and its deliveries takes the endpoint first, so that nobody waits
/// for one who waits for him.
pub(crate) async fn hold(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
) -> Result<Option<EndpointRow>, StoreError> {
    let query = sqlx::query(HOLD).bind(tenant.to_string()).bind(id.to_string());
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// Writes what may be changed of an endpoint.
pub(crate) async fn change(
    session: &mut impl Session,
    row: &EndpointRow,
) -> Result<(), StoreError> {
    let query = sqlx::query(CHANGE)
        .bind(row.tenant.to_string())
        .bind(row.id.to_string())
        .bind(row.url_sealed.as_str())
        .bind(row.events.as_str())
        .bind(row.disabled_at.map(Timestamp::as_micros))
        .bind(row.disabled_as.as_deref())
        .bind(row.failing_since.map(Timestamp::as_micros));
    let result = query.execute(session.connection()).await?;
    ensure_rows(ENDPOINTS, result.rows_affected(), 1)
}

/// Replaces the sealed secrets.
pub(crate) async fn set_secrets(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
    sealed: &str,
) -> Result<(), StoreError> {
    let query = sqlx::query(SET_SECRETS).bind(tenant.to_string()).bind(id.to_string()).bind(sealed);
    let result = query.execute(session.connection()).await?;
    ensure_rows(ENDPOINTS, result.rows_affected(), 1)
}

/// Removes an endpoint; says whether it was there.
pub(crate) async fn delete(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
) -> Result<bool, StoreError> {
    let query = sqlx::query(DELETE).bind(tenant.to_string()).bind(id.to_string());
    Ok(query.execute(session.connection()).await?.rows_affected() == 1)
}

/// Remembers that an attempt failed, and returns since when they do; none if it is off or gone.
pub(crate) async fn mark_failing(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
    at: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let query = sqlx::query(MARK_FAILING)
        .bind(tenant.to_string())
        .bind(id.to_string())
        .bind(at.as_micros());
    let row = query.fetch_optional(session.connection()).await?;
    row.map_or(Ok(None), |row| column::optional_time(&row, "failing_since"))
}

/// Remembers that an attempt did not fail.
pub(crate) async fn mark_working(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
) -> Result<(), StoreError> {
    let query = sqlx::query(MARK_WORKING).bind(tenant.to_string()).bind(id.to_string());
    query.execute(session.connection()).await?;
    Ok(())
}

/// Switches an endpoint off; says whether it was on.
pub(crate) async fn disable(
    session: &mut impl Session,
    tenant: TenantId,
    id: EndpointId,
    at: Timestamp,
    why: &str,
) -> Result<bool, StoreError> {
    let query = sqlx::query(DISABLE)
        .bind(tenant.to_string())
        .bind(id.to_string())
        .bind(at.as_micros())
        .bind(why);
    Ok(query.execute(session.connection()).await?.rows_affected() == 1)
}

fn read(row: &AnyRow) -> Result<EndpointRow, StoreError> {
    Ok(EndpointRow {
        tenant: column::parsed(row, ENDPOINTS, "tenant_id")?,
        id: column::parsed(row, ENDPOINTS, "id")?,
        url_sealed: column::plain(row, "url_sealed")?,
        secrets_sealed: column::plain(row, "secrets_sealed")?,
        events: column::plain(row, "events")?,
        created_at: column::time(row, "created_at")?,
        failing_since: column::optional_time(row, "failing_since")?,
        disabled_at: column::optional_time(row, "disabled_at")?,
        disabled_as: column::plain(row, "disabled_as")?,
    })
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![
        INSERT,
        OF_TENANT,
        ONE,
        HOLD,
        CHANGE,
        SET_SECRETS,
        DELETE,
        MARK_FAILING,
        MARK_WORKING,
        DISABLE,
    ]
}
