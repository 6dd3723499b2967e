//! Rows of the audit trail: inserted, never changed.

use super::{Session, StoreError, ensure_rows};
use crate::clock::Timestamp;

const INSERT: &str = "INSERT INTO audit (tenant_id, id, at, actor, action, resource, request_id, \
     details_sealed, details_digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// One record.
#[derive(Debug)]
pub(crate) struct AuditRow<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) id: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) request: &'a str,
    pub(crate) details_sealed: &'a str,
    pub(crate) details_digest: &'a str,
}

pub(crate) async fn insert(
    session: &mut impl Session,
    row: &AuditRow<'_>,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT)
        .bind(row.tenant)
        .bind(row.id)
        .bind(row.at.as_micros())
        .bind(row.actor)
        .bind(row.action)
        .bind(row.resource)
        .bind(row.request)
        .bind(row.details_sealed)
        .bind(row.details_digest);
    let result = query.execute(session.connection()).await?;
    ensure_rows("audit", result.rows_affected(), 1)
}

/// Every action on record, in order.
#[cfg(test)]
pub(crate) async fn actions(session: &mut impl Session) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query("SELECT action FROM audit ORDER BY at, id")
        .fetch_all(session.connection())
        .await?;
    rows.iter().map(|row| super::column::plain(row, "action")).collect()
}

/// Lets every insert fail, or mends what that broke.
#[cfg(test)]
pub(crate) async fn set_broken(
    session: &mut impl Session,
    is_broken: bool,
) -> Result<(), StoreError> {
    let query = if is_broken {
        "ALTER TABLE audit RENAME TO audit_away"
    } else {
        "ALTER TABLE audit_away RENAME TO audit"
    };
    sqlx::query(query).execute(session.connection()).await?;
    Ok(())
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT]
}
