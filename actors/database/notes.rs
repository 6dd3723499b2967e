//! Sealed words that journal entries refer to by their digest.

use sqlx::Row as _;

use super::{Session, StoreError, TenantTx};
use crate::clock::Timestamp;
use crate::ids::TenantId;

const INSERT: &str = "INSERT INTO notes (tenant_id, digest, text_sealed, created_at) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, digest) DO NOTHING";
const FIND: &str = "SELECT text_sealed FROM notes WHERE tenant_id = $1 AND digest = $2";

/// Stores a text, unless the tenant has the same already.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    digest: &str,
    text_sealed: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let tenant = tx.tenant().to_string();
    let query =
        sqlx::query(INSERT).bind(tenant).bind(digest).bind(text_sealed).bind(at.as_micros());
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Finds a text.
pub(crate) async fn find(
    session: &mut impl Session,
    tenant: TenantId,
    digest: &str,
) -> Result<Option<String>, StoreError> {
    let query = sqlx::query(FIND).bind(tenant.to_string()).bind(digest);
    let row = query.fetch_optional(session.connection()).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT, FIND]
}
