//! Marks as they stand in the tables: read in order, removed, and the numbers between.

use sqlx::{AnyConnection, Row as _};

use super::super::StoreError;
use crate::journal::Line;
use crate::journal::entry::Entry;
use crate::journal::marks::{self, Mark};

const LAST: &str = "SELECT last_seq FROM chunks WHERE tenant_id = $1 \
     ORDER BY first_seq DESC LIMIT 1";
/// The marks of chunks that reach to a number and begin before another.
const OF_CHUNKS: &str = "SELECT first_seq, marks FROM chunks \
     WHERE tenant_id = $1 AND last_seq >= $2 AND first_seq >= COALESCE(\
         (SELECT MAX(first_seq) FROM chunks WHERE tenant_id = $1 AND first_seq <= $2), 0) \
         AND first_seq < $3 AND marks IS NOT NULL \
     ORDER BY first_seq";
const BODIES: &str = "SELECT body FROM chunks \
     WHERE tenant_id = $1 AND last_seq >= $2 AND marks IS NOT NULL ORDER BY first_seq";
const RUNS: &str = "SELECT first_seq, last_seq, last_at, mark_count, digits, body FROM mark_runs \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3 ORDER BY first_seq";
const PARTS: &str = "SELECT first_seq, body FROM mark_parts \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3 ORDER BY first_seq, part";
const DROP_RUNS: &str = "DELETE FROM mark_runs \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3";
const DROP_PARTS: &str = "DELETE FROM mark_parts \
     WHERE tenant_id = $1 AND first_seq >= $2 AND first_seq < $3";
/// A run without its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(super) last_at: i64,
    pub(super) mark_count: u64,
    pub(super) digits: u32,
    pub(super) body: String,
}

pub(super) async fn last_of(
    connection: &mut AnyConnection,
    tenant: &str,
) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(LAST).bind(tenant).fetch_optional(connection).await?;
    row.map(|row| unsigned(tenant, row.try_get(0)?)).transpose()
}

/// The marks of chunks that reach to `first` and begin before `end`, in the order of entries.
pub(super) async fn of_chunks(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<Vec<Mark>, StoreError> {
    let query = sqlx::query(OF_CHUNKS).bind(tenant).bind(signed(first)).bind(signed(end));
    let mut marks = Vec::new();
    for row in query.fetch_all(connection).await? {
        marks.extend(decode(tenant, unsigned(tenant, row.try_get(0)?)?, row.try_get(1)?)?);
    }
    Ok(marks)
}

/// The marks of the lines of chunks that reach to `first`, in the order of entries.
pub(super) async fn of_lines(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
) -> Result<Vec<Mark>, StoreError> {
    let query = sqlx::query(BODIES).bind(tenant).bind(signed(first));
    let mut marks = Vec::new();
    for row in query.fetch_all(connection).await? {
        let body: &str = row.try_get(0)?;
        let entries = body.lines().filter_map(|text| Some((Entry::parse(text).ok()?, text)));
        marks.extend(
            entries.flat_map(|(entry, text)| {
                marks::of_line(&Line::of(entry, text)).collect::<Vec<_>>()
            }),
        );
    }
    Ok(marks)
}

pub(super) async fn runs_between(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<Vec<Run>, StoreError> {
    let query = sqlx::query(RUNS).bind(tenant).bind(signed(first)).bind(signed(end));
    let rows = query.fetch_all(connection).await?;
    let run = |row: &sqlx::any::AnyRow| {
        Ok(Run {
            first: unsigned(tenant, row.try_get(0)?)?,
            last: unsigned(tenant, row.try_get(1)?)?,
            last_at: row.try_get(2)?,
            mark_count: unsigned(tenant, row.try_get(3)?)?,
            digits: u32::try_from(row.try_get::<i64, _>(4)?).map_err(|_| corrupt(tenant))?,
            body: row.try_get(5)?,
        })
    };
    rows.iter().map(run).collect()
}

pub(super) async fn parts_between(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<Vec<Mark>, StoreError> {
    let query = sqlx::query(PARTS).bind(tenant).bind(signed(first)).bind(signed(end));
    let mut marks = Vec::new();
    for row in query.fetch_all(connection).await? {
        marks.extend(decode(tenant, unsigned(tenant, row.try_get(0)?)?, row.try_get(1)?)?);
    }
    Ok(marks)
}

pub(super) async fn drop_between(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<(), StoreError> {
    let query = sqlx::query(DROP_RUNS).bind(tenant).bind(signed(first)).bind(signed(end));
    query.execute(&mut *connection).await?;
    drop_parts(connection, tenant, first, end).await
}

/// Removes the parts of runs that begin in a range.
pub(super) async fn drop_parts(
    connection: &mut AnyConnection,
    tenant: &str,
    first: u64,
    end: u64,
) -> Result<(), StoreError> {
    let query = sqlx::query(DROP_PARTS).bind(tenant).bind(signed(first)).bind(signed(end));
    query.execute(connection).await?;
    Ok(())
}

pub(super) fn decode(tenant: &str, first: u64, text: &str) -> Result<Vec<Mark>, StoreError> {
    marks::decode(first, text).ok_or_else(|| corrupt(tenant))
}

pub(super) fn corrupt(tenant: &str) -> StoreError {
    StoreError::Corrupt { table: "mark_runs", id: tenant.to_owned(), column: "body" }
}

pub(super) fn unsigned(tenant: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(tenant))
}

/// What is beyond every number that is stored stays so.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The statements of this part.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 7] =
    [LAST, OF_CHUNKS, BODIES, RUNS, PARTS, DROP_RUNS, DROP_PARTS];
