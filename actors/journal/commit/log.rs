//! What the committer needs of a database: tests put a scripted one in its place.

use crate::database::{JournalWriter, StoreError};
use crate::journal::row::{Row, RowHash};

/// An append-only table whose places are taken once.
pub(crate) trait Log: Send + 'static {
    /// Appends rows in one statement; returns the places that were free.
    fn append(
        &mut self,
        rows: &[Row],
    ) -> impl Future<Output = Result<Vec<(u16, i64)>, StoreError>> + Send;

    /// Says which batch stands at a place.
    fn batch_at(
        &mut self,
        shard: u16,
        seq: i64,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// The hashes of the rows that stand at some of these places.
    fn hashes(
        &mut self,
        places: &[(u16, i64)],
    ) -> impl Future<Output = Result<Vec<(u16, i64, RowHash)>, StoreError>> + Send;

    /// Removes the rows of a shard up to a place.
    fn forget(
        &mut self,
        shard: u16,
        through: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a new connection in place of one that may be broken.
    fn reopen(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Log for JournalWriter {
    async fn append(&mut self, rows: &[Row]) -> Result<Vec<(u16, i64)>, StoreError> {
        Self::append(self, rows).await
    }

    async fn batch_at(&mut self, shard: u16, seq: i64) -> Result<Option<String>, StoreError> {
        Self::batch_at(self, shard, seq).await
    }

    async fn hashes(
        &mut self,
        places: &[(u16, i64)],
    ) -> Result<Vec<(u16, i64, RowHash)>, StoreError> {
        Self::hashes(self, places).await
    }

    async fn forget(&mut self, shard: u16, through: i64) -> Result<(), StoreError> {
        Self::forget(self, shard, through).await
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        Self::reopen(self).await
    }
}
