//! Committed rows that are not projected yet: what activation needs beside the projections.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::Line;
use super::entry::EntryBody;
use super::events::events_of;
use super::room::Admission;
use super::row::{Row, RowHash, shard_of};
use crate::ids::TenantId;
use crate::tenant::quota::{EventDigest, Fact};

/// One committed row, as the projector and activation read it.
#[derive(Debug)]
pub(crate) struct CommittedRow {
    pub(crate) shard: u16,
    pub(crate) seq: i64,
    pub(crate) hash: RowHash,
    pub(crate) bytes: usize,
    pub(crate) lines: Vec<Line>,
    /// Lines that are no entries; never made by this version.
    pub(crate) unreadable: Vec<Unreadable>,
    // Where each tenant's lines are, so that an activation does not look at everyone's.
    places: Vec<(TenantId, usize)>,
    // Where each idempotency key was used and each event counted, by the hash of its digest.
    keys: Vec<(u64, usize)>,
    is_news: bool,
}

impl CommittedRow {
    /// Wraps the lines of a row that stands in the log.
    pub(crate) fn new(row: &Row, lines: Vec<Line>, unreadable: Vec<Unreadable>) -> Self {
        let mut places: Vec<_> = lines.iter().map(|line| line.tenant).zip(0..).collect();
        places.sort_unstable();
        let mut keys = Vec::with_capacity(lines.len());
        for (line, index) in lines.iter().zip(0..) {
            keys.extend(line.idem.as_deref().map(|idem| (hash(&idem), index)));
            keys.extend(events_of(line).map(|event| (hash(&event), index)));
        }
        keys.sort_unstable();
        let is_news = lines.iter().any(is_news);
        let Row { shard, seq, hash, .. } = *row;
        Self { shard, seq, hash, bytes: row.body.len(), lines, unreadable, places, keys, is_news }
    }

    /// The lines of one tenant, in order.
    fn lines_of(&self, tenant: TenantId) -> impl Iterator<Item = &Line> {
        let first = self.places.partition_point(|(of, _)| *of < tenant);
        let own = self.places[first..].iter().take_while(move |(of, _)| *of == tenant);
        own.filter_map(|(_, index)| self.lines.get(*index))
    }

    /// The lines of a tenant with a digest of that hash.
    fn lines_with(&self, tenant: TenantId, hash: u64) -> impl Iterator<Item = &Line> {
        let first = self.keys.partition_point(|(of, _)| *of < hash);
        let alike = self.keys[first..].iter().take_while(move |(of, _)| *of == hash);
        let lines = alike.filter_map(|(_, index)| self.lines.get(*index));
        lines.filter(move |line| line.tenant == tenant)
    }
}

/// Spreads digests over 64 bits: two that meet are told apart by their lines.
fn hash(digest: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    digest.hash(&mut hasher);
    hasher.finish()
}

/// Whether somebody is told of a line, or watches it: that does not wait long for company.
fn is_news(line: &Line) -> bool {
    matches!(line.body, EntryBody::Usage(Fact::ThresholdReached { .. }) | EntryBody::Job(_))
}

/// A stored line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) seq: u64,
    pub(crate) reason: String,
}

/// The rows between the projections' watermark and the end of the log, in order of commit.
#[derive(Debug)]
pub(super) struct Tail {
    rows: Mutex<Rows>,
    admission: Arc<Admission>,
    arrived: Notify,
    // The projected seq of each shard.
    watermarks: watch::Sender<Vec<i64>>,
}

#[derive(Debug, Default)]
struct Rows {
    queue: VecDeque<Arc<CommittedRow>>,
    bytes: usize,
    // Somebody waits for the watermark: the projector does not linger.
    is_urgent: bool,
    // Somebody is told of a line: the projector lingers for a moment alone.
    has_news: bool,
}

/// What waits to be projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// Somebody waits for the watermark.
    pub(super) is_urgent: bool,
    /// Somebody is told of a line.
    pub(super) has_news: bool,
}

impl Tail {
    pub(super) fn new(admission: Arc<Admission>, watermarks: Vec<i64>) -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::default(),
            admission,
            arrived: Notify::new(),
            watermarks: watch::Sender::new(watermarks),
        })
    }

    /// Takes the rows of one commit.
    pub(super) fn push(&self, rows: impl IntoIterator<Item = CommittedRow>) {
        let mut inner = self.lock();
        for row in rows {
            // Its commit was answered late: who took the shard meanwhile has projected it.
            if row.seq <= self.watermark(row.shard) {
                continue;
            }
            inner.bytes += row.bytes;
            inner.has_news |= row.is_news;
            inner.queue.push_back(Arc::new(row));
        }
        self.admission.set_tail_bytes(inner.bytes);
        drop(inner);
        self.arrived.notify_one();
    }

    /// Looks at the oldest rows, about `max_bytes` of them; they stay until [`Tail::advance`].
    pub(super) fn pending(&self, max_bytes: usize) -> Vec<Arc<CommittedRow>> {
        let mut taken = 0;
        let mut fits = |row: &&Arc<CommittedRow>| {
            let fits = taken < max_bytes;
            taken += row.bytes;
            fits
        };
        self.lock().queue.iter().take_while(|row| fits(row)).cloned().collect()
    }

    /// Drops the oldest `count` rows, which are projected now, and tells who waits.
    pub(super) fn advance(&self, count: usize) {
        let mut inner = self.lock();
        let projected: Vec<_> = inner.queue.drain(..count).collect();
        inner.bytes -= projected.iter().map(|row| row.bytes).sum::<usize>();
        inner.is_urgent &= !inner.queue.is_empty();
        inner.has_news = inner.queue.iter().any(|row| row.is_news);
        self.admission.set_tail_bytes(inner.bytes);
        drop(inner);
        self.watermarks.send_modify(|watermarks| {
            for row in &projected {
                watermarks[usize::from(row.shard)] = row.seq;
            }
        });
    }

    /// Goes to where the tables are: rows up to there were projected, by whomever.
    pub(super) fn settle(&self, shard: u16, seq: i64) {
        let mut inner = self.lock();
        let is_left = |row: &Arc<CommittedRow>| row.shard != shard || row.seq > seq;
        inner.queue.retain(is_left);
        inner.bytes = inner.queue.iter().map(|row| row.bytes).sum();
        inner.is_urgent &= !inner.queue.is_empty();
        inner.has_news = inner.queue.iter().any(|row| row.is_news);
        self.admission.set_tail_bytes(inner.bytes);
        // Under the lock, so that no row of before is pushed after it was thought settled.
        self.watermarks.send_modify(|watermarks| {
            let known = &mut watermarks[usize::from(shard)];
            *known = seq.max(*known);
        });
    }

    /// Waits for a row to arrive, or for somebody who is in a hurry.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Asks the projector not to wait for more.
    pub(super) fn hurry(&self) {
        self.lock().is_urgent = true;
        self.arrived.notify_one();
    }

    /// The projected seq of each shard, now and as it changes.
    pub(super) fn watermarks(&self) -> watch::Receiver<Vec<i64>> {
        self.watermarks.subscribe()
    }

    /// The projected seq of a shard.
    pub(super) fn watermark(&self, shard: u16) -> i64 {
        self.watermarks.borrow().get(usize::from(shard)).copied().unwrap_or(0)
    }

    /// What waits, and how urgently.
    pub(super) fn waiting(&self) -> Waiting {
        let inner = self.lock();
        let (rows, bytes) = (inner.queue.len(), inner.bytes);
        Waiting { rows, bytes, is_urgent: inner.is_urgent, has_news: inner.has_news }
    }

    /// Copies the newest line of a tenant that used an idempotency key.
    pub(super) fn line_with_key(&self, tenant: TenantId, key: &str) -> Option<Line> {
        let hash = hash(&key);
        let used = |line: &&Line| line.idem.as_deref() == Some(key);
        let found = |row: &Arc<CommittedRow>| row.lines_with(tenant, hash).find(used).cloned();
        self.rows_of(tenant).iter().rev().find_map(found)
    }

    /// Says which of the events a line of the tenant counted.
    pub(super) fn counted(&self, tenant: TenantId, asked: &[EventDigest]) -> Vec<EventDigest> {
        let mut rows = self.rows_of(tenant);
        // Most rows have nothing of the tenant: those are not searched for each event.
        rows.retain(|row| row.lines_of(tenant).any(|line| events_of(line).next().is_some()));
        let is_counted = |event: &&EventDigest| {
            let hash = hash(*event);
            let mut lines = rows.iter().flat_map(|row| row.lines_with(tenant, hash));
            lines.any(|line| events_of(line).any(|counted| counted == **event))
        };
        asked.iter().filter(is_counted).copied().collect()
    }

    /// Copies the lines of one tenant, oldest first, that satisfy `wanted`.
    pub(super) fn lines_of(&self, tenant: TenantId, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for row in self.rows_of(tenant) {
            lines.extend(row.lines_of(tenant).filter(|line| wanted(line)).cloned());
        }
        lines
    }

    /// Shares the rows of the tenant's shard out of the lock: the committer must not wait for who
    /// looks through them.
    fn rows_of(&self, tenant: TenantId) -> Vec<Arc<CommittedRow>> {
        let shards = self.watermarks.borrow().len();
        let shard = shard_of(tenant, u16::try_from(shards).unwrap_or(u16::MAX));
        self.lock().queue.iter().filter(|row| row.shard == shard).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // A panic under the lock could only come from arithmetic that cannot fail.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: i64) -> CommittedRow {
        let row = Row {
            shard: 0,
            seq,
            epoch: 1,
            batch_id: "b".to_owned(),
            body: Arc::new(String::new()),
            hash: RowHash::START,
        };
        CommittedRow::new(&row, Vec::new(), Vec::new())
    }

    #[test]
    fn a_row_whose_commit_is_answered_after_another_projected_it_is_not_projected_again() {
        let tail = Tail::new(Admission::new(), vec![3]);
        tail.push([row(4)]);

        tail.settle(0, 6);
        tail.push([row(5), row(7)]);

        let left: Vec<i64> = tail.pending(usize::MAX).iter().map(|row| row.seq).collect();
        assert_eq!((left, tail.watermark(0)), (vec![7], 6));
    }
}
