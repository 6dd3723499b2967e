//! The rows of the log from its beginning, for those who read all of it.

use super::row::Row;
use crate::database::{Database, Reader, StoreError, journal};

/// Reads rows in order.
#[derive(Debug)]
pub(super) struct LogReader {
    reader: Reader,
}

impl LogReader {
    pub(super) async fn open(database: &Database) -> Result<Self, StoreError> {
        Ok(Self { reader: database.journal_reader().await? })
    }

    /// At most `limit` rows of a shard after `seq`.
    pub(super) async fn after(
        &mut self,
        shard: u16,
        seq: i64,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        journal::after(&mut self.reader, shard, seq, limit).await
    }
}
