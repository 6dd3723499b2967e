//! Committed rows that are not projected yet: what activation needs beside the projections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::Line;
use super::room::Admission;
use super::row::RowHash;
use crate::ids::TenantId;

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
            inner.bytes += row.bytes;
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
        self.admission.set_tail_bytes(inner.bytes);
        drop(inner);
        self.watermarks.send_modify(|watermarks| {
            for row in &projected {
                watermarks[usize::from(row.shard)] = row.seq;
            }
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

    /// The rows and bytes that wait, and whether somebody waits for them.
    pub(super) fn size(&self) -> (usize, usize, bool) {
        let inner = self.lock();
        (inner.queue.len(), inner.bytes, inner.is_urgent)
    }

    /// Copies the lines of one tenant, oldest first, that satisfy `wanted`.
    pub(super) fn lines_of(&self, tenant: TenantId, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        // The rows are shared out of the lock first: the committer must not wait for a scan.
        let rows: Vec<_> = self.lock().queue.iter().cloned().collect();
        let mut lines = Vec::new();
        for row in rows {
            let found = row.lines.iter().filter(|line| line.tenant == tenant);
            lines.extend(found.filter(|line| wanted(line)).cloned());
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // A panic under the lock could only come from arithmetic that cannot fail.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
