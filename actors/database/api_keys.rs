//! Rows of API keys.

use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;
use crate::identity::Scopes;
use crate::ids::{KeyId, TenantId};

const KEYS: &str = "api_keys";

const INSERT_DEFAULT: &str = "INSERT INTO api_keys (tenant_id, id, kind, secret_digest, hint, \
     scopes, created_by, created_at) VALUES ($1, $2, 'default', $3, $4, $5, $6, $7)";
const STANDING: &str = "SELECT k.tenant_id, k.secret_digest, k.scopes, k.expires_at \
     FROM api_keys k JOIN tenants t ON t.id = k.tenant_id AND t.deleted_at IS NULL \
     WHERE k.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)";
const REVOKE_DEFAULT: &str = "UPDATE api_keys SET revoked_at = $2 \
     WHERE tenant_id = $1 AND kind = 'default' AND revoked_at IS NULL RETURNING id";

/// A tenant's new default key.
#[derive(Debug)]
pub(crate) struct NewKey<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) id: KeyId,
    pub(crate) secret_digest: &'a str,
    pub(crate) hint: &'a str,
    pub(crate) scopes: Scopes,
    pub(crate) created_by: &'a str,
    pub(crate) created_at: Timestamp,
}

/// What a key is worth now.
#[derive(Debug)]
pub(crate) struct KeyStanding {
    pub(crate) tenant: TenantId,
    pub(crate) secret_digest: String,
    pub(crate) scopes: Scopes,
    pub(crate) expires_at: Option<Timestamp>,
}

pub(crate) async fn insert_default(
    session: &mut impl Session,
    key: &NewKey<'_>,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT_DEFAULT)
        .bind(key.tenant.to_string())
        .bind(key.id.to_string())
        .bind(key.secret_digest)
        .bind(key.hint)
        .bind(key.scopes.to_string())
        .bind(key.created_by)
        .bind(key.created_at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(KEYS, result.rows_affected(), 1)
}

/// What a key is worth: nothing if it was revoked, is over, or its tenant is gone.
pub(crate) async fn standing(
    session: &mut impl Session,
    id: KeyId,
    now: Timestamp,
) -> Result<Option<KeyStanding>, StoreError> {
    let query = sqlx::query(STANDING).bind(id.to_string()).bind(now.as_micros());
    let Some(row) = query.fetch_optional(session.connection()).await? else { return Ok(None) };
    Ok(Some(KeyStanding {
        tenant: column::parsed(&row, KEYS, "tenant_id")?,
        secret_digest: column::plain(&row, "secret_digest")?,
        scopes: column::parsed(&row, KEYS, "scopes")?,
        expires_at: column::optional_time(&row, "expires_at")?,
    }))
}

/// Revokes the tenant's default key and names it.
pub(crate) async fn revoke_default(
    session: &mut impl Session,
    tenant: TenantId,
    at: Timestamp,
) -> Result<Option<KeyId>, StoreError> {
    let query = sqlx::query(REVOKE_DEFAULT).bind(tenant.to_string()).bind(at.as_micros());
    let row = query.fetch_optional(session.connection()).await?;
    row.map(|row| column::parsed(&row, KEYS, "id")).transpose()
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT_DEFAULT, STANDING, REVOKE_DEFAULT]
}
