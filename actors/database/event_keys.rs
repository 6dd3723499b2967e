//! Which events of a tenant count already.

use std::sync::LazyLock;

use sqlx::{Any, Row as _};

use super::{Session, StoreError, TenantTx, placeholders};
use crate::ids::TenantId;

/// Digests that one statement looks up, largest first: a few sizes, so that texts stay prepared.
const SIZES: [usize; 3] = [256, 16, 1];

static KNOWN: LazyLock<[String; 3]> = LazyLock::new(|| {
    SIZES.map(|size| {
        // The tenant comes last, because the digests' places are counted from 1.
        let digests = placeholders(1, size);
        let tenant = size + 1;
        format!("SELECT digest FROM event_keys WHERE tenant_id = ${tenant} AND digest IN {digests}")
    })
});
const DROP: &str = "DELETE FROM event_keys WHERE tenant_id = $1 AND used_at < $2";

/// Returns those of the digests that are known.
pub(crate) async fn known(
    session: &mut impl Session,
    tenant: TenantId,
    digests: &[String],
) -> Result<Vec<String>, StoreError> {
    let tenant = tenant.to_string();
    let (mut found, mut rest) = (Vec::new(), digests);
    for (size, text) in SIZES.iter().zip(KNOWN.iter()) {
        while rest.len() >= *size {
            let (now, later) = rest.split_at(*size);
            let query = now
                .iter()
                .fold(sqlx::query::<Any>(text.as_str()), sqlx::query::Query::bind)
                .bind(&tenant);
            for row in query.fetch_all(session.connection()).await? {
                found.push(row.try_get(0)?);
            }
            rest = later;
        }
    }
    Ok(found)
}

/// Forgets a tenant's events that were counted before `used_before`.
pub(crate) async fn forget(tx: &mut TenantTx, used_before: i64) -> Result<(), StoreError> {
    let tenant = tx.tenant().to_string();
    sqlx::query(DROP).bind(tenant).bind(used_before).execute(tx.connection()).await?;
    Ok(())
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    KNOWN.iter().map(String::as_str).chain([DROP]).collect()
}
