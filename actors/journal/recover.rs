//! Activation: what a tenant's actor is rebuilt from, and the caches that make it short.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::entry::{Entry, EntryError, EntryHash, Head};
use super::marks::of_key;
use super::{Committed, Incarnation, Journal, JournalError, Line};
use crate::clock::Timestamp;
use crate::database::Reader;
use crate::database::chunks::{self, StoredSnapshot};
use crate::database::marks;
use crate::ids::TenantId;

/// How long a used key is kept at the least: the longest month, and the day after it.
pub(crate) const KEEP_KEYS_FOR: Duration = Duration::from_hours(24 * 32);

/// A tenant's committed state as its actor wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it contains.
    pub seq: u64,
    /// That entry's hash.
    pub hash: EntryHash,
    /// The state as JSON.
    pub body: String,
}

/// What a new incarnation starts from.
#[derive(Debug)]
pub struct Recovered {
    /// Marks everything that the actor hands over.
    pub incarnation: Incarnation,
    /// The state to begin with, if there is one that the log bears out.
    pub snapshot: Option<Snapshot>,
    /// Every entry after it, numbered without gaps and chained.
    pub entries: Vec<Entry>,
}

impl Journal {
    /// Starts a new incarnation of a tenant's actor: waits until what older ones handed over is
    /// decided, refuses what they still send, and reads the state up to there.
    pub async fn activate(&self, tenant: TenantId) -> Result<Recovered, JournalError> {
        if self.inner.quarantine.holds(tenant) {
            return Err(JournalError::Quarantined { tenant });
        }
        let incarnation = self.barrier(tenant).await?;
        // First the tail, then the tables: a row leaves the tail after it came into them.
        let tail = self.inner.tail.lines_of(tenant, |_| true);
        let mut reader = self.inner.database.reader().await?;
        if let Some(stored) = chunks::snapshot(&mut reader, tenant).await? {
            let seq = stored.seq;
            let lines =
                gather(&mut reader, tenant, seq.saturating_sub(1)..=u64::MAX, &tail).await?;
            if let Some((snapshot, entries)) = after_snapshot(tenant, stored, lines)? {
                return Ok(Recovered { incarnation, snapshot: Some(snapshot), entries });
            }
            tracing::error!(tenant.id = %tenant, seq, "a snapshot is refused");
            self.forget_snapshot(tenant).await?;
        }
        let lines = gather(&mut reader, tenant, 0..=u64::MAX, &tail).await?;
        let entries = chained(tenant, Head::GENESIS, lines.values())?;
        Ok(Recovered { incarnation, snapshot: None, entries })
    }

    /// Drops a tenant's snapshot: the next activation reads every entry.
    pub async fn forget_snapshot(&self, tenant: TenantId) -> Result<(), JournalError> {
        let mut tx = self.inner.database.tenant_tx(tenant).await?;
        chunks::drop_snapshot(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Keeps a tenant's committed state, so that its next activation is short. Refused unless the
    /// log has the entry that the snapshot ends with.
    ///
    /// Keys that were used before `forget_keys_before`, in the tenant's own time, are forgotten.
    pub async fn snapshot(
        &self,
        tenant: TenantId,
        snapshot: Snapshot,
        forget_keys_before: Timestamp,
    ) -> Result<(), JournalError> {
        let found = self.find_entry(tenant, snapshot.seq).await?;
        if found.is_none_or(|entry| entry.hash != snapshot.hash) {
            return Err(JournalError::SnapshotRefused { tenant, seq: snapshot.seq });
        }
        let now = self.inner.clock.now().as_micros();
        let mut tx = self.inner.database.tenant_tx(tenant).await?;
        let stored = StoredSnapshot {
            seq: snapshot.seq,
            hash: snapshot.hash.to_string(),
            body: snapshot.body,
        };
        chunks::set_snapshot(&mut tx, &stored, now).await?;
        // A tenant that falls asleep is the moment to forget what nobody may repeat any more.
        chunks::drop_keys(&mut tx, forget_keys_before.as_micros()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Finds the entry that used an idempotency key, projected or not.
    pub async fn find_key(
        &self,
        tenant: TenantId,
        digest: &str,
    ) -> Result<Option<Entry>, JournalError> {
        if let Some(line) = self.inner.tail.line_with_key(tenant, digest) {
            return parse(tenant, &line.text).map(Some);
        }
        let mut reader = self.inner.database.reader().await?;
        let mut view = reader.freeze().await?;
        let mut found = marks::find(&mut view, tenant, &[of_key(digest)], false).await?;
        // Used before there were marks.
        let old = chunks::key(&mut view, tenant, digest).await?;
        drop(view);
        drop(reader);
        found.sort_unstable_by_key(|mark| Reverse(mark.seq));
        for seq in found.iter().map(|mark| mark.seq).chain(old) {
            // A mark is a part of a digest: the entry has the whole.
            let entry = self.find_entry(tenant, seq).await?;
            if let Some(entry) = entry.filter(|entry| entry.idem.as_deref() == Some(digest)) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Finds one entry of a tenant.
    pub async fn find_entry(
        &self,
        tenant: TenantId,
        seq: u64,
    ) -> Result<Option<Entry>, JournalError> {
        if let Some(line) = self.inner.tail.lines_of(tenant, |line| line.seq == seq).pop() {
            return parse(tenant, &line.text).map(Some);
        }
        let mut reader = self.inner.database.reader().await?;
        let Some((first, body)) = chunks::holding(&mut reader, tenant, seq).await? else {
            return Ok(None);
        };
        let index = usize::try_from(seq - first).unwrap_or(usize::MAX);
        body.lines().nth(index).map(|text| parse(tenant, text)).transpose()
    }

    /// Waits until the row is projected, and asks for it not to take long.
    pub async fn wait_projected(&self, committed: Committed) {
        let mut watermarks = self.inner.tail.watermarks();
        let shard = usize::from(committed.shard);
        let is_reached = |seen: &Vec<i64>| seen.get(shard).is_none_or(|seq| *seq >= committed.seq);
        if !is_reached(&watermarks.borrow()) {
            self.inner.tail.hurry();
        }
        // The sender lives as long as this handle.
        let _ = watermarks.wait_for(is_reached).await;
    }

    /// The projected row of every shard.
    pub fn watermark(&self) -> Vec<i64> {
        self.inner.tail.watermarks().borrow().clone()
    }

    /// Whether an entry of the tenant could not be projected.
    pub fn is_quarantined(&self, tenant: TenantId) -> bool {
        self.inner.quarantine.holds(tenant)
    }
}

/// Collects the text of a tenant's lines from tables and tail, by number: those after the first
/// number, up to the last.
pub(super) async fn gather(
    reader: &mut Reader,
    tenant: TenantId,
    range: RangeInclusive<u64>,
    tail: &[Line],
) -> Result<BTreeMap<u64, String>, JournalError> {
    let is_wanted = |seq: u64| seq > *range.start() && seq <= *range.end();
    let mut texts = BTreeMap::new();
    for (first, body) in chunks::between(reader, tenant, &range).await? {
        let numbered = (first..).zip(body.lines());
        texts.extend(numbered.filter(|(number, _)| is_wanted(*number)).map(owned));
    }
    for line in tail.iter().filter(|line| is_wanted(line.seq)) {
        let known = texts.entry(line.seq).or_insert_with(|| line.text.clone());
        if *known != line.text {
            let source = EntryError::Tampered { seq: line.seq };
            return Err(JournalError::Broken { tenant, source });
        }
    }
    Ok(texts)
}

fn owned((number, text): (u64, &str)) -> (u64, String) {
    (number, text.to_owned())
}

/// The entries after a snapshot; none if the log does not have the entry that it ends with.
fn after_snapshot(
    tenant: TenantId,
    stored: StoredSnapshot,
    mut texts: BTreeMap<u64, String>,
) -> Result<Option<(Snapshot, Vec<Entry>)>, JournalError> {
    let Some(last) = texts.remove(&stored.seq) else { return Ok(None) };
    let last = parse(tenant, &last)?;
    if last.tenant != tenant || last.seq != stored.seq || last.hash.to_string() != stored.hash {
        return Ok(None);
    }
    let head = Head { seq: last.seq, hash: last.hash, at: last.at };
    let entries = chained(tenant, head, texts.values())?;
    Ok(Some((Snapshot { seq: last.seq, hash: last.hash, body: stored.body }, entries)))
}

/// Checks that lines are whole, numbered without gaps and chained from `head` on.
pub(super) fn chained<'a>(
    tenant: TenantId,
    mut head: Head,
    texts: impl Iterator<Item = &'a String>,
) -> Result<Vec<Entry>, JournalError> {
    texts
        .map(|text| head.follow(tenant, text))
        .collect::<Result<_, _>>()
        .map_err(|source| JournalError::Broken { tenant, source })
}

fn parse(tenant: TenantId, text: &str) -> Result<Entry, JournalError> {
    Entry::parse(text).map_err(|source| JournalError::Broken { tenant, source })
}
