//! Rows of login links and codes.

use sqlx::any::AnyRow;

use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;

const LINKS: &str = "magic_links";

const INSERT: &str = "INSERT INTO magic_links (id, email_digest, email_sealed, token_digest, \
     code_digest, next_path, attempts, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)";
const REQUESTED_SINCE: &str = "SELECT created_at FROM magic_links \
     WHERE email_digest = $1 AND created_at > $2 ORDER BY created_at";
const ATTEMPTS_SINCE: &str = "SELECT CAST(COALESCE(SUM(attempts), 0) AS BIGINT) AS attempts \
     FROM magic_links WHERE email_digest = $1 AND created_at > $2";
const END_OPEN: &str = "UPDATE magic_links SET ended_at = $3, ended_as = $2 \
     WHERE email_digest = $1 AND ended_at IS NULL";
const USE_TOKEN: &str = "UPDATE magic_links SET ended_at = $2, ended_as = 'used' \
     WHERE token_digest = $1 AND ended_at IS NULL AND expires_at > $2 \
     RETURNING id, email_digest, email_sealed, code_digest, next_path, attempts";
const COUNT_ATTEMPT: &str = "UPDATE magic_links SET attempts = attempts + 1 \
     WHERE email_digest = $1 AND ended_at IS NULL AND expires_at > $2 AND attempts < $3 \
     RETURNING id, email_digest, email_sealed, code_digest, next_path, attempts";
const END: &str = "UPDATE magic_links SET ended_at = $3, ended_as = $2 \
     WHERE id = $1 AND ended_at IS NULL";
const PURGE: &str = "DELETE FROM magic_links WHERE expires_at < $1";

/// A link that is about to be mailed.
#[derive(Debug)]
pub(crate) struct NewLink<'a> {
    pub(crate) id: &'a str,
    pub(crate) email_digest: &'a str,
    pub(crate) email_sealed: &'a str,
    pub(crate) token_digest: &'a str,
    pub(crate) code_digest: &'a str,
    pub(crate) next_path: &'a str,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// A link that someone tries.
#[derive(Debug)]
pub(crate) struct LinkRow {
    pub(crate) id: String,
    pub(crate) email_digest: String,
    pub(crate) email_sealed: String,
    pub(crate) code_digest: String,
    pub(crate) next_path: String,
    pub(crate) attempts: i64,
}

pub(crate) async fn insert(
    session: &mut impl Session,
    link: &NewLink<'_>,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT)
        .bind(link.id)
        .bind(link.email_digest)
        .bind(link.email_sealed)
        .bind(link.token_digest)
        .bind(link.code_digest)
        .bind(link.next_path)
        .bind(link.created_at.as_micros())
        .bind(link.expires_at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(LINKS, result.rows_affected(), 1)
}

/// When links were requested for an address after a time, the oldest first.
pub(crate) async fn requested_since(
    session: &mut impl Session,
    email_digest: &str,
    since: Timestamp,
) -> Result<Vec<Timestamp>, StoreError> {
    let query = sqlx::query(REQUESTED_SINCE).bind(email_digest).bind(since.as_micros());
    let rows = query.fetch_all(session.connection()).await?;
    rows.iter().map(|row| column::time(row, "created_at")).collect()
}

/// How many codes were tried for an address on links made after a time.
pub(crate) async fn attempts_since(
    session: &mut impl Session,
    email_digest: &str,
    since: Timestamp,
) -> Result<i64, StoreError> {
    let query = sqlx::query(ATTEMPTS_SINCE).bind(email_digest).bind(since.as_micros());
    column::plain(&query.fetch_one(session.connection()).await?, "attempts")
}

/// Ends every open link of an address.
pub(crate) async fn end_open(
    session: &mut impl Session,
    email_digest: &str,
    ended_as: &str,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(END_OPEN).bind(email_digest).bind(ended_as).bind(at.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

/// Uses an open link up; of many at once one gets it.
pub(crate) async fn use_token(
    session: &mut impl Session,
    token_digest: &str,
    at: Timestamp,
) -> Result<Option<LinkRow>, StoreError> {
    let query = sqlx::query(USE_TOKEN).bind(token_digest).bind(at.as_micros());
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// Counts an attempt at the code of an open link that has some left, and returns the link.
pub(crate) async fn count_attempt(
    session: &mut impl Session,
    email_digest: &str,
    at: Timestamp,
    limit: i64,
) -> Result<Option<LinkRow>, StoreError> {
    let query = sqlx::query(COUNT_ATTEMPT).bind(email_digest).bind(at.as_micros()).bind(limit);
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// Ends one open link.
pub(crate) async fn end(
    session: &mut impl Session,
    id: &str,
    ended_as: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(END).bind(id).bind(ended_as).bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(LINKS, result.rows_affected(), 1)
}

/// Removes links that expired before a time.
pub(crate) async fn purge(
    session: &mut impl Session,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(PURGE).bind(before.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

fn read(row: &AnyRow) -> Result<LinkRow, StoreError> {
    Ok(LinkRow {
        id: column::plain(row, "id")?,
        email_digest: column::plain(row, "email_digest")?,
        email_sealed: column::plain(row, "email_sealed")?,
        code_digest: column::plain(row, "code_digest")?,
        next_path: column::plain(row, "next_path")?,
        attempts: column::plain(row, "attempts")?,
    })
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT, REQUESTED_SINCE, ATTEMPTS_SINCE, END_OPEN, USE_TOKEN, COUNT_ATTEMPT, END, PURGE]
}
