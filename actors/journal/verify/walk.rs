//! Reads one shard of the log from its beginning and checks that each row and entry follows.

use super::{Fault, Tenants, VerifyReport, Wrong};
use crate::clock::Timestamp;
use crate::database::heads::StoredHead;
use crate::database::{Frozen, StoreError, projections as tables};
use crate::journal::entry::{Entry, EntryError, Head};
use crate::journal::heads::head_message;
use crate::journal::read::{self, Read};
use crate::journal::row::{Row, RowHash, shard_of};
use crate::journal::source::LogReader;
use crate::privacy::keys::PublicKey;

/// Rows that are read at once: each is up to a mebibyte.
const PAGE_ROWS: i64 = 16;

/// Why the check ends early.
pub(super) enum Halt {
    Fault(Box<Fault>),
    Store(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

/// The way through one shard.
pub(super) struct Walk<'a> {
    pub(super) shard: u16,
    pub(super) shards: u16,
    pub(super) signed: &'a [StoredHead],
    pub(super) keys: &'a [PublicKey],
    pub(super) projected: Option<(i64, &'a str)>,
    pub(super) tenants: &'a mut Tenants,
    pub(super) report: &'a mut VerifyReport,
}

impl Walk<'_> {
    pub(super) async fn run(
        mut self,
        log: &mut LogReader,
        view: &mut Frozen<'_>,
    ) -> Result<(), Halt> {
        let (mut seq, mut hash, mut epoch) = (0, RowHash::START, 0);
        loop {
            let page = self.page(log, seq).await?;
            if page.is_empty() {
                break;
            }
            for row in &page {
                if row.seq != seq + 1 {
                    return Err(self.fault(seq + 1, Wrong::RowMissing).into());
                }
                self.lines(row)?;
                // After the lines: they name the entry, the row's hash can only name the row.
                if row.chain(hash) != row.hash || row.epoch < epoch {
                    return Err(self.fault(row.seq, Wrong::RowChanged).into());
                }
                self.signatures(row)?;
                (seq, hash, epoch) = (row.seq, row.hash, row.epoch);
                self.report.rows += 1;
            }
            // A transaction that stays silent for long is ended by some databases.
            tables::watermarks(view).await?;
        }
        let signed = self.signed.iter().map(|head| head.seq).max().unwrap_or(0);
        let known = signed.max(self.projected.map_or(0, |(seq, _)| seq));
        if known > seq {
            return Err(self.fault(seq + 1, Wrong::TailMissing { known }).into());
        }
        Ok(())
    }

    /// The next rows. One that cannot even be read is a finding, not a failure of the check.
    async fn page(&self, log: &mut LogReader, seq: i64) -> Result<Vec<Row>, Halt> {
        match log.after(self.shard, seq, PAGE_ROWS).await {
            Ok(page) => return Ok(page),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(_) => {}
        }
        // One by one, so that it is known which.
        match log.after(self.shard, seq, 1).await {
            Ok(page) => Ok(page),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(StoreError::Corrupt { id, .. }) => {
                let named = id.split_once('/').and_then(|(_, seq)| seq.parse().ok());
                Err(self.fault(named.unwrap_or(seq + 1), Wrong::RowChanged).into())
            }
            Err(error) => {
                let reason = crate::journal::commit::chain_of(&error);
                Err(self.fault(seq + 1, Wrong::RowUnreadable { reason }).into())
            }
        }
    }

    fn lines(&mut self, row: &Row) -> Result<(), Fault> {
        let is_projected = self.projected.is_some_and(|(seq, _)| row.seq <= seq);
        for text in row.body.lines() {
            let entry = match read::line(text) {
                Read::Entry(entry) => *entry,
                Read::Control => continue,
                Read::Unreadable(found) => {
                    let entry = found.tenant.map(|tenant| (tenant, found.seq));
                    let wrong = Wrong::EntryUnreadable { reason: found.reason };
                    return Err(Fault { entry, ..self.fault(row.seq, wrong) });
                }
            };
            let at = Some((entry.tenant, entry.seq));
            if shard_of(entry.tenant, self.shards) != self.shard {
                return Err(Fault { entry: at, ..self.fault(row.seq, Wrong::OtherShard) });
            }
            self.report.entries += 1;
            let Some(chain) = self.tenants.get_mut(&entry.tenant) else { continue };
            if let Err(error) = follow(&mut chain.end, &entry) {
                return Err(Fault { entry: at, ..self.fault(row.seq, Wrong::Entry(error)) });
            }
            if is_projected {
                chain.projected = chain.end;
            }
        }
        Ok(())
    }

    /// Checks the heads that were signed at this row, and the projections' own memory of it.
    fn signatures(&mut self, row: &Row) -> Result<(), Fault> {
        let hash = row.hash.to_string();
        if self.projected.is_some_and(|(seq, seen)| seq == row.seq && seen != hash) {
            return Err(self.fault(row.seq, Wrong::NotAsProjected));
        }
        let first = self.signed.partition_point(|head| head.seq < row.seq);
        for head in self.signed[first..].iter().take_while(|head| head.seq == row.seq) {
            let at = Timestamp::from_micros(head.signed_at);
            let message = head_message(head.shard, head.seq, &head.hash, at);
            let Some(key) = self.keys.iter().find(|key| key.kid == head.key_id) else {
                return Err(self.fault(row.seq, Wrong::SignerUnknown));
            };
            if !key.verifies(message.as_bytes(), &head.signature) {
                return Err(self.fault(row.seq, Wrong::SignatureForged));
            }
            if head.hash != hash {
                return Err(self.fault(row.seq, Wrong::NotAsSigned));
            }
            self.report.signatures += 1;
        }
        Ok(())
    }

    fn fault(&self, row: i64, wrong: Wrong) -> Fault {
        Fault { shard: Some(self.shard), row: Some(row), entry: None, wrong }
    }
}

/// As [`Head::follow`], for an entry that is parsed already.
fn follow(head: &mut Head, entry: &Entry) -> Result<(), EntryError> {
    let expected = head.seq + 1;
    if entry.seq != expected {
        return Err(EntryError::Gap { expected, found: entry.seq });
    }
    if entry.prev != head.hash || entry.at < head.at {
        return Err(EntryError::Unchained { seq: entry.seq });
    }
    *head = Head { seq: entry.seq, hash: entry.hash, at: entry.at };
    Ok(())
}
