//! The numbered list of what every node must forget about credentials.

use sqlx::Row as _;

use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;

const NEXT: &str =
    "UPDATE sequences SET value = value + 1 WHERE name = 'revocations' RETURNING value";
const LAST: &str = "SELECT value FROM sequences WHERE name = 'revocations'";
const INSERT: &str = "INSERT INTO revocations (seq, subject, revoked_at) VALUES ($1, $2, $3)";
const AFTER: &str = "SELECT seq, subject FROM revocations WHERE seq > $1 ORDER BY seq LIMIT $2";
const PURGE: &str = "DELETE FROM revocations WHERE revoked_at < $1";

/// Adds a subject and returns its number. The row of the sequence stays locked until the
/// transaction ends, so numbers become visible in their order.
pub(crate) async fn insert(
    session: &mut impl Session,
    subject: &str,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let row = sqlx::query(NEXT).fetch_one(session.connection()).await?;
    let seq: i64 = row.try_get(0)?;
    let query = sqlx::query(INSERT).bind(seq).bind(subject).bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows("revocations", result.rows_affected(), 1)?;
    number(seq)
}

/// The last number that was given.
pub(crate) async fn last(session: &mut impl Session) -> Result<u64, StoreError> {
    let row = sqlx::query(LAST).fetch_one(session.connection()).await?;
    number(row.try_get(0)?)
}

/// The subjects after a number, in order.
pub(crate) async fn after(
    session: &mut impl Session,
    seq: u64,
    limit: i64,
) -> Result<Vec<(u64, String)>, StoreError> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let rows = sqlx::query(AFTER).bind(seq).bind(limit).fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| Ok((number(column::plain(row, "seq")?)?, column::plain(row, "subject")?)))
        .collect()
}

/// Removes entries that are older than any credential they could concern.
pub(crate) async fn purge(
    session: &mut impl Session,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(PURGE).bind(before.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

fn number(seq: i64) -> Result<u64, StoreError> {
    let wrong = || StoreError::Corrupt { table: "revocations", id: seq.to_string(), column: "seq" };
    u64::try_from(seq).map_err(|_| wrong())
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![NEXT, LAST, INSERT, AFTER, PURGE]
}
