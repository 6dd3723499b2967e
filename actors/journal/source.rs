//! The rows of the log from its beginning, for those who read all of it: files first, then the
//! table.

use std::io;

use super::archive::{Archive, Segment, SegmentReader};
use super::row::Row;
use crate::database::{Database, Reader, StoreError, journal};

/// Reads rows in order, whether they were moved to files or not.
#[derive(Debug)]
pub(super) struct LogReader {
    reader: Reader,
    archive: Archive,
    segments: Vec<Segment>,
    open: Option<Open>,
}

/// A file that is being read, and the place of its next row.
#[derive(Debug)]
struct Open {
    shard: u16,
    next: i64,
    last: i64,
    rows: SegmentReader,
}

impl LogReader {
    pub(super) async fn open(database: &Database) -> Result<Self, StoreError> {
        let archive = Archive::of(database);
        let segments = archive.segments().map_err(|error| unreadable(0, 0, &error))?;
        Ok(Self { reader: database.journal_reader().await?, archive, segments, open: None })
    }

    /// Rows of a shard after `seq`: at most `limit`, and none only at the end.
    pub(super) async fn after(
        &mut self,
        shard: u16,
        seq: i64,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let archived = self.archived(shard, seq, limit)?;
        if !archived.is_empty() {
            return Ok(archived);
        }
        let rows = journal::after(&mut self.reader, shard, seq, limit).await?;
        if rows.first().is_none_or(|row| row.seq == seq + 1) {
            return Ok(rows);
        }
        // They may have been moved since the files were listed.
        self.segments = self.archive.segments().map_err(|error| unreadable(shard, seq, &error))?;
        let archived = self.archived(shard, seq, limit)?;
        Ok(if archived.is_empty() { rows } else { archived })
    }

    fn archived(&mut self, shard: u16, seq: i64, limit: i64) -> Result<Vec<Row>, StoreError> {
        let wrong = |error: io::Error| unreadable(shard, seq + 1, &error);
        let is_open = |open: &Open| open.shard == shard && open.next == seq + 1;
        if !self.open.as_ref().is_some_and(is_open) {
            self.open = None;
            let holds = |segment: &&Segment| segment.shard == shard && segment.last > seq;
            let Some(segment) = self.segments.iter().find(holds) else { return Ok(Vec::new()) };
            let rows = segment.open().map_err(wrong)?;
            let (next, last) = (segment.first, segment.last);
            self.open = Some(Open { shard, next, last, rows });
        }
        let Some(open) = &mut self.open else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        while i64::try_from(found.len()).is_ok_and(|count| count < limit) {
            let Some(row) = open.rows.next() else { break };
            let row = row.map_err(|error| unreadable(shard, open.next, &error))?;
            open.next = row.seq + 1;
            if row.seq > seq {
                found.push(row);
            }
        }
        if found.is_empty() || open.next > open.last {
            self.open = None;
        }
        Ok(found)
    }
}

fn unreadable(shard: u16, seq: i64, error: &io::Error) -> StoreError {
    tracing::error!(shard, seq, %error, "a file of the journal cannot be read");
    StoreError::Corrupt { table: "journal", id: format!("{shard}/{seq}"), column: "file" }
}
