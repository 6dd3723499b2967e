//! The rows of the journal: appended by one connection, read by any, never changed.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{Connection, Row as _};
use tokio::time::timeout;

use super::dialect::Role;
use super::{Backend, JournalWriter, Session, StoreError, connect, placeholders};
use crate::journal::row::{Row, RowHash};

/// Shards that one statement can append to.
pub(crate) const MAX_ROWS: usize = 64;
const COLUMNS: usize = 6;
/// Places that are looked at in one statement: two a shard.
const MAX_PLACES: usize = 2 * MAX_ROWS;
/// How long a server may take to commit a batch before its connection is given up: after that the
/// outcome is not known, and the same rows are submitted on another connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const AFTER: &str = "SELECT shard, seq, epoch, batch_id, body, hash FROM journal \
     WHERE shard = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const AT: &str = "SELECT shard, seq, epoch, batch_id, body, hash FROM journal \
     WHERE shard = $1 AND seq = $2";
/// The last row of a shard without its lines.
const END: &str = "SELECT seq, epoch, hash FROM journal WHERE shard = $1 ORDER BY seq DESC LIMIT 1";
const FORGET: &str = "DELETE FROM journal WHERE shard = $1 AND seq <= $2";
const BATCH_AT: &str = "SELECT batch_id FROM journal WHERE shard = $1 AND seq = $2";

/// The statement that appends `rows` rows; what exists already is left alone and not returned.
fn append_statement(rows: usize) -> &'static str {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let text = |rows| {
            let mut text = String::from(
                "INSERT INTO journal (shard, seq, epoch, batch_id, body, hash) VALUES ",
            );
            let end = "ON CONFLICT (shard, seq) DO NOTHING RETURNING shard, seq";
            write!(text, "{} {end}", placeholders(rows, COLUMNS)).expect("a String never refuses");
            text
        };
        (1..=MAX_ROWS).map(text).collect()
    });
    &texts[rows - 1]
}

/// The statement that reads the hashes at as many places as two a shard.
fn hashes_statement() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        // A list of values has no column to take its types from: those of the first row tell.
        let places = placeholders(MAX_PLACES, 2);
        let typed = places.replacen("$1, $2", "CAST($1 AS BIGINT), CAST($2 AS BIGINT)", 1);
        format!("SELECT shard, seq, hash FROM journal WHERE (shard, seq) IN (VALUES {typed})")
    })
}

impl JournalWriter {
    /// Appends the rows in one statement and returns the places that were free.
    ///
    /// Every row of the answer is read to its end: SQLite commits in the last step of the
    /// statement, so that a reader who stops at the first row would miss that the commit failed.
    pub(crate) async fn append(&mut self, rows: &[Row]) -> Result<Vec<(u16, i64)>, StoreError> {
        let mut query = sqlx::query(append_statement(rows.len()));
        for row in rows {
            query = query
                .bind(i64::from(row.shard))
                .bind(row.seq)
                .bind(row.epoch)
                .bind(row.batch_id.as_str())
                .bind(Arc::clone(&row.body))
                .bind(row.hash.to_string());
        }
        let appended = query.fetch_all(&mut self.connection);
        let appended = match self.backend {
            // A file answers or fails.
            Backend::Sqlite => appended.await?,
            Backend::Postgres => {
                timeout(ANSWER_WITHIN, appended).await.map_err(|_| StoreError::timed_out())??
            }
        };
        appended.iter().map(|row| Ok((shard(row, 0)?, row.try_get(1)?))).collect()
    }

    /// Says which batch stands at a place.
    pub(crate) async fn batch_at(
        &mut self,
        shard: u16,
        seq: i64,
    ) -> Result<Option<String>, StoreError> {
        let row = sqlx::query(BATCH_AT)
            .bind(i64::from(shard))
            .bind(seq)
            .fetch_optional(&mut self.connection);
        let row = timeout(ANSWER_WITHIN, row).await.map_err(|_| StoreError::timed_out())??;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The hashes of the rows that stand at some of these places, at most two a shard.
    pub(crate) async fn hashes(
        &mut self,
        places: &[(u16, i64)],
    ) -> Result<Vec<(u16, i64, RowHash)>, StoreError> {
        let mut query = sqlx::query(hashes_statement());
        // No row has a negative number: what is left of the statement finds nothing.
        let nowhere = std::iter::repeat((0, -1));
        for (shard, seq) in places.iter().copied().chain(nowhere).take(MAX_PLACES) {
            query = query.bind(i64::from(shard)).bind(seq);
        }
        let rows = query.fetch_all(&mut self.connection);
        let rows = timeout(ANSWER_WITHIN, rows).await.map_err(|_| StoreError::timed_out())??;
        rows.iter()
            .map(|row| {
                let (shard, seq) = (shard(row, 0)?, row.try_get(1)?);
                Ok((shard, seq, hash(row, 2, shard, seq)?))
            })
            .collect()
    }

    /// Where a shard ends: its last row, the epoch and the hash of it.
    pub(crate) async fn end(
        &mut self,
        shard: u16,
    ) -> Result<Option<(i64, i64, RowHash)>, StoreError> {
        let query = sqlx::query(END).bind(i64::from(shard));
        let Some(row) = query.fetch_optional(&mut self.connection).await? else { return Ok(None) };
        let seq = row.try_get(0)?;
        Ok(Some((seq, row.try_get(1)?, hash(&row, 2, shard, seq)?)))
    }

    /// Removes the rows of a shard up to a place.
    pub(crate) async fn forget(&mut self, shard: u16, through: i64) -> Result<(), StoreError> {
        let query = sqlx::query(FORGET).bind(i64::from(shard)).bind(through);
        let removed = query.execute(&mut self.connection);
        timeout(ANSWER_WITHIN, removed).await.map_err(|_| StoreError::timed_out())??;
        Ok(())
    }

    /// Replaces the connection: the old one may be broken.
    pub(crate) async fn reopen(&mut self) -> Result<(), StoreError> {
        self.connection = connect::single(self.backend, &self.url, Role::Journal).await?;
        Ok(())
    }

    /// Ends the connection.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

/// The row at a place.
pub(crate) async fn at(
    session: &mut impl Session,
    shard: u16,
    seq: i64,
) -> Result<Option<Row>, StoreError> {
    let query = sqlx::query(AT).bind(i64::from(shard)).bind(seq);
    let row = query.fetch_optional(session.connection()).await?;
    row.as_ref().map(read).transpose()
}

/// At most `limit` rows of a shard after `seq`, in order.
pub(crate) async fn after(
    session: &mut impl Session,
    shard: u16,
    seq: i64,
    limit: i64,
) -> Result<Vec<Row>, StoreError> {
    let query = sqlx::query(AFTER).bind(i64::from(shard)).bind(seq).bind(limit);
    query.fetch_all(session.connection()).await?.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<Row, StoreError> {
    let (shard, seq) = (shard(row, 0)?, row.try_get(1)?);
    let hash = hash(row, 5, shard, seq)?;
    let body = Arc::new(row.try_get(4)?);
    Ok(Row { shard, seq, epoch: row.try_get(2)?, batch_id: row.try_get(3)?, body, hash })
}

fn hash(row: &AnyRow, column: usize, shard: u16, seq: i64) -> Result<RowHash, StoreError> {
    let text: &str = row.try_get(column)?;
    RowHash::parse(text).ok_or_else(|| StoreError::Corrupt {
        table: "journal",
        id: format!("{shard}/{seq}"),
        column: "hash",
    })
}

fn shard(row: &AnyRow, column: usize) -> Result<u16, StoreError> {
    let shard: i64 = row.try_get(column)?;
    u16::try_from(shard).map_err(|_| StoreError::Corrupt {
        table: "journal",
        id: shard.to_string(),
        column: "shard",
    })
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all: Vec<_> = (1..=MAX_ROWS).map(append_statement).collect();
    all.extend([AFTER, AT, FORGET, BATCH_AT, END, hashes_statement()]);
    all
}
