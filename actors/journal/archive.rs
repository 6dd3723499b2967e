//! Rows that moved out of the database into files: JSON Lines, one row a line.
//!
//! `journal/journal-<shard>-<first row>-<last row>.jsonl` in the data folder. The files and then
//! the table are one chain; a file is trusted no more than the table is. **Invariant:** a row
//! leaves the table only after the file that has it was read back from the disk.

mod mover;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::row::{Row, RowHash};
use crate::database::Database;

pub(super) use self::mover::Mover;

/// The files' folder in the data folder.
const FOLDER: &str = "journal";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The archived rows of all shards.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    folder: PathBuf,
}

/// One file and the rows that its name promises.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) shard: u16,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) path: PathBuf,
}

/// A row as a file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchivedRow<T> {
    shard: u16,
    seq: i64,
    epoch: i64,
    batch_id: T,
    hash: T,
    body: T,
}

impl Archive {
    /// The archive beside a database; its folder is made with the first file.
    pub(super) fn of(database: &Database) -> Self {
        Self { folder: database.folder().path().join(FOLDER) }
    }

    /// The files in the order of their rows.
    pub(super) fn segments(&self) -> io::Result<Vec<Segment>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for entry in entries {
            segments.extend(Segment::parse(&entry?.path()));
        }
        segments.sort();
        Ok(segments)
    }

    /// Writes rows that follow each other into a file, durably, and says where it is.
    fn write(&self, rows: &mut dyn Iterator<Item = Row>) -> io::Result<Option<Segment>> {
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder)?;
        // One that a crash left half-written is begun again.
        let part = self.folder.join("next.part");
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(FILE_MODE);
        let mut file = io::BufWriter::new(options.open(&part)?);
        let (mut first, mut last) = (None, None);
        for row in rows {
            let (hash, place) = (row.hash.to_string(), (row.shard, row.seq));
            let archived = ArchivedRow {
                shard: row.shard,
                seq: row.seq,
                epoch: row.epoch,
                batch_id: row.batch_id.as_str(),
                hash: hash.as_str(),
                body: row.body.as_str(),
            };
            serde_json::to_writer(&mut file, &archived)?;
            file.write_all(b"\n")?;
            first = first.or(Some(place));
            last = Some(place);
        }
        let (Some((shard, first)), Some((_, last))) = (first, last) else { return Ok(None) };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let name = format!("journal-{shard:02}-{first:019}-{last:019}.jsonl");
        let path = self.folder.join(name);
        fs::rename(&part, &path)?;
        fs::File::open(&self.folder)?.sync_all()?;
        Ok(Some(Segment { shard, first, last, path }))
    }
}

impl Segment {
    /// Reads a file's name; none if it is no segment.
    fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("journal-")?.strip_suffix(".jsonl")?;
        let mut numbers = name.split('-');
        let shard = numbers.next()?.parse().ok()?;
        let (first, last) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        numbers.next().is_none().then(|| Self { shard, first, last, path: path.to_owned() })
    }

    /// Opens the file for reading its rows in order.
    pub(super) fn open(&self) -> io::Result<SegmentReader> {
        Ok(SegmentReader { lines: BufReader::new(fs::File::open(&self.path)?) })
    }
}

/// Reads one file from its beginning.
#[derive(Debug)]
pub(super) struct SegmentReader {
    lines: BufReader<fs::File>,
}

impl Iterator for SegmentReader {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        let mut line = Vec::new();
        match self.lines.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(read(&line)),
            Err(error) => Some(Err(error)),
        }
    }
}

fn read(line: &[u8]) -> io::Result<Row> {
    let wrong = |reason: &'static str| io::Error::new(io::ErrorKind::InvalidData, reason);
    // A writer that died has left a line without its end.
    let line = line.strip_suffix(b"\n").ok_or_else(|| wrong("the line has no end"))?;
    let row: ArchivedRow<String> = serde_json::from_slice(line)?;
    let hash = RowHash::parse(&row.hash).ok_or_else(|| wrong("the hash is none"))?;
    let ArchivedRow { shard, seq, epoch, batch_id, body, .. } = row;
    Ok(Row { shard, seq, epoch, batch_id, body: Arc::new(body), hash })
}
