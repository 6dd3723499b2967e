//! The rows of the journal: appended by one connection, read by any, never changed.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use sqlx::any::AnyRow;
use sqlx::{Connection, Row as _};

use super::{JournalWriter, Session, StoreError, connect, placeholders};
use crate::journal::row::{Row, RowHash};

/// Shards that one statement can append to.
pub(crate) const MAX_ROWS: usize = 64;
const COLUMNS: usize = 6;

const LAST: &str = "SELECT shard, seq, epoch, batch_id, body, hash FROM journal \
     WHERE shard = $1 ORDER BY seq DESC LIMIT 1";
const AFTER: &str = "SELECT shard, seq, epoch, batch_id, body, hash FROM journal \
     WHERE shard = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const AT: &str = "SELECT shard, seq, epoch, batch_id, body, hash FROM journal \
     WHERE shard = $1 AND seq = $2";
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
        let appended = query.fetch_all(&mut self.connection).await?;
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
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Replaces the connection: the old one may be broken.
    pub(crate) async fn reopen(&mut self) -> Result<(), StoreError> {
        self.connection = connect::single(self.backend, &self.url).await?;
        Ok(())
    }

    /// Ends the connection.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

/// The last row of a shard.
pub(crate) async fn last(
    session: &mut impl Session,
    shard: u16,
) -> Result<Option<Row>, StoreError> {
    let row = sqlx::query(LAST).bind(i64::from(shard)).fetch_optional(session.connection()).await?;
    row.as_ref().map(read).transpose()
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
    let hash: &str = row.try_get(5)?;
    let hash = RowHash::parse(hash).ok_or_else(|| StoreError::Corrupt {
        table: "journal",
        id: format!("{shard}/{seq}"),
        column: "hash",
    })?;
    let body = Arc::new(row.try_get(4)?);
    Ok(Row { shard, seq, epoch: row.try_get(2)?, batch_id: row.try_get(3)?, body, hash })
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
    all.extend([LAST, AFTER, AT, BATCH_AT]);
    all
}
