//! Checks every chain of the log, the signed heads, and the projections against it.
//!
//! The check reads beside a running server: the projections in one view, the log up to its end.
//! It stops at the first thing that is wrong and names it.

mod projections;
mod report;

use std::collections::{BTreeMap, HashMap};

use super::Line;
use super::entry::{Entry, EntryError, Head};
use super::heads::head_message;
use super::read::{self, Read};
use super::row::{Row, RowHash, shard_of};
use crate::clock::Timestamp;
use crate::database::heads::StoredHead;
use crate::database::{Database, Reader, StoreError, heads, journal, projections as tables};
use crate::ids::TenantId;
use crate::privacy::keys::PublicKey;

pub use self::report::{Fault, VerifyReport, Wrong};

/// Rows that are read at once: each is up to a mebibyte.
const PAGE_ROWS: i64 = 16;

/// Checks the log and what is projected from it. `keys` are those that signed heads.
pub async fn verify(database: &Database, keys: &[PublicKey]) -> Result<VerifyReport, StoreError> {
    let mut main = database.reader().await?;
    let mut view = main.freeze().await?;
    let mut log = database.journal_reader().await?;
    let mut ledger = Ledger::default();
    let watermarks = tables::watermarks(&mut view).await?;
    for shard in 0..database.backend().shard_count() {
        let signed = heads::of_shard(&mut view, shard).await?;
        let projected = watermarks.iter().find(|(of, ..)| *of == i64::from(shard));
        let projected = projected.map(|(_, seq, hash)| (*seq, hash.as_str()));
        let walk = Walk { shard, signed: &signed, keys, projected, ledger: &mut ledger };
        match walk.run(&mut log, database.backend().shard_count()).await {
            Ok(()) => {}
            Err(Halt::Fault(fault)) => return Ok(ledger.report(Some(*fault))),
            Err(Halt::Store(error)) => return Err(error),
        }
    }
    let fault = projections::compare(&mut view, &ledger).await?;
    Ok(ledger.report(fault))
}

/// What the log says, as far as it was read.
#[derive(Debug, Default)]
struct Ledger {
    rows: u64,
    entries: u64,
    signatures: u64,
    tenants: HashMap<TenantId, Chain>,
    // By tenant, meter and day, as far as it is projected.
    usage: BTreeMap<(String, String, i64), i64>,
}

/// Where a tenant's chain stands at the end of the log, and at the projections' watermark.
#[derive(Debug, Clone, Copy)]
struct Chain {
    end: Head,
    projected: Head,
}

impl Default for Chain {
    fn default() -> Self {
        Self { end: Head::GENESIS, projected: Head::GENESIS }
    }
}

impl Ledger {
    fn report(&self, fault: Option<Fault>) -> VerifyReport {
        VerifyReport {
            rows: self.rows,
            entries: self.entries,
            tenants: self.tenants.len() as u64,
            signatures: self.signatures,
            fault,
        }
    }
}

/// Why the check ends early.
enum Halt {
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
struct Walk<'a> {
    shard: u16,
    signed: &'a [StoredHead],
    keys: &'a [PublicKey],
    projected: Option<(i64, &'a str)>,
    ledger: &'a mut Ledger,
}

impl Walk<'_> {
    async fn run(mut self, log: &mut Reader, shard_count: u16) -> Result<(), Halt> {
        let (mut seq, mut hash, mut epoch) = (0, RowHash::START, 0);
        loop {
            let page = journal::after(log, self.shard, seq, PAGE_ROWS).await;
            let page = page.map_err(|error| self.unreadable(error, seq + 1))?;
            let Some(last) = page.last() else { break };
            let last_seq = last.seq;
            for row in &page {
                if row.seq != seq + 1 {
                    return Err(self.fault(seq + 1, Wrong::RowMissing).into());
                }
                self.lines(row, shard_count)?;
                // After the lines: they name the entry, the row's hash can only name the row.
                if row.chain(hash) != row.hash || row.epoch < epoch {
                    return Err(self.fault(row.seq, Wrong::RowChanged).into());
                }
                self.signatures(row)?;
                (seq, hash, epoch) = (row.seq, row.hash, row.epoch);
                self.ledger.rows += 1;
            }
            seq = last_seq;
        }
        let signed = self.signed.iter().map(|head| head.seq).max().unwrap_or(0);
        let known = signed.max(self.projected.map_or(0, |(seq, _)| seq));
        if known > seq {
            return Err(self.fault(seq + 1, Wrong::TailMissing { known }).into());
        }
        Ok(())
    }

    fn lines(&mut self, row: &Row, shard_count: u16) -> Result<(), Fault> {
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
            if shard_of(entry.tenant, shard_count) != self.shard {
                return Err(Fault { entry: at, ..self.fault(row.seq, Wrong::OtherShard) });
            }
            let chain = self.ledger.tenants.entry(entry.tenant).or_default();
            if let Err(error) = follow(&mut chain.end, &entry) {
                return Err(Fault { entry: at, ..self.fault(row.seq, Wrong::Entry(error)) });
            }
            if is_projected {
                chain.projected = chain.end;
                projections::count(&mut self.ledger.usage, &Line::of(entry, text));
            }
            self.ledger.entries += 1;
        }
        Ok(())
    }

    /// Checks the heads that were signed at this row, and the projections' own memory of it.
    fn signatures(&mut self, row: &Row) -> Result<(), Fault> {
        let hash = row.hash.to_string();
        if self.projected.is_some_and(|(seq, seen)| seq == row.seq && seen != hash) {
            return Err(self.fault(row.seq, Wrong::NotAsProjected));
        }
        for head in self.signed.iter().filter(|head| head.seq == row.seq) {
            let at = Timestamp::from_micros(head.signed_at);
            let message = head_message(head.shard, head.seq, &head.hash, at);
            let key = self.keys.iter().find(|key| key.kid == head.key_id);
            if key.is_some_and(|key| !key.verifies(message.as_bytes(), &head.signature)) {
                return Err(self.fault(row.seq, Wrong::SignatureForged));
            }
            if head.hash != hash {
                return Err(self.fault(row.seq, Wrong::NotAsSigned));
            }
            self.ledger.signatures += u64::from(key.is_some());
        }
        Ok(())
    }

    fn fault(&self, row: i64, wrong: Wrong) -> Fault {
        Fault { shard: Some(self.shard), row: Some(row), entry: None, wrong }
    }

    /// A row that cannot even be read is a finding, not a failure of the check.
    fn unreadable(&self, error: StoreError, row: i64) -> Halt {
        match error {
            StoreError::Corrupt { id, .. } => {
                let named = id.split_once('/').and_then(|(_, seq)| seq.parse().ok());
                self.fault(named.unwrap_or(row), Wrong::RowChanged).into()
            }
            other => other.into(),
        }
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
