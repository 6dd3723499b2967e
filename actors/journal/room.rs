//! Admission to the committer's queue: bounded in count and bytes, and per tenant.
//!
//! A [`Room`] is taken at the gate and travels with the entries, so that an actor never waits for
//! the queue: whoever holds one has a place in it. Dropping it gives the place back.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ids::TenantId;

/// Hand-overs that may wait for the next commit.
pub(super) const MAX_QUEUED: usize = 16_384;
/// Bytes of entries that may wait for the next commit.
const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of one row of the journal: what one statement writes for a shard.
pub(super) const MAX_ROW_BYTES: usize = 1024 * 1024;
/// Bytes of one commit over all shards: what one statement carries, and what one refusal repeats.
pub(super) const MAX_BATCH_BYTES: usize = 4 * MAX_ROW_BYTES;
/// A quarter of a row, so that one busy tenant leaves the others their share of every commit.
const MAX_TENANT_BYTES: usize = MAX_ROW_BYTES / 4;
/// Bytes of committed lines that wait to be projected; beyond it nothing new is admitted. Four
/// turns of the projector.
const MAX_TAIL_BYTES: usize = 4 * super::projector::MAX_TURN_BYTES;
/// Locks that the tenants' shares are spread over.
const STRIPES: usize = 64;

/// What a caller is told to wait, by cause: the queue drains in milliseconds, a disk does not.
const RETRY_QUEUE_AFTER: Duration = Duration::from_secs(1);
const RETRY_DISK_AFTER: Duration = Duration::from_secs(30);

/// Why there is no room; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// The queue is full for everyone.
    #[error("the journal's queue is full")]
    Queue,
    /// This tenant has its share of the queue in use.
    #[error("the tenant's share of the journal's queue is in use")]
    Tenant,
    /// The projections are too far behind.
    #[error("the projections are too far behind")]
    Projector,
    /// The disk is full: the last batch is tried again until it fits.
    #[error("the disk is full")]
    DiskFull,
    /// The journal cannot be written right now.
    #[error("the journal cannot be written right now")]
    Unavailable,
}

impl Overloaded {
    /// After how long another try makes sense.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::DiskFull => RETRY_DISK_AFTER,
            Self::Queue | Self::Tenant | Self::Projector | Self::Unavailable => RETRY_QUEUE_AFTER,
        }
    }
}

/// Whether the log takes entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    Open,
    DiskFull,
    Unavailable,
    Stopped,
}

/// The counters behind every [`Room`].
#[derive(Debug)]
pub(super) struct Admission {
    gate: AtomicU8,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    tail_bytes: AtomicUsize,
    shares: Vec<Mutex<HashMap<TenantId, usize>>>,
}

impl Admission {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: AtomicU8::new(Gate::Open as u8),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            tail_bytes: AtomicUsize::new(0),
            shares: (0..STRIPES).map(|_| Mutex::default()).collect(),
        })
    }

    /// Takes a place for one hand-over of about `bytes`.
    pub(super) fn room(
        self: &Arc<Self>,
        tenant: TenantId,
        bytes: usize,
    ) -> Result<Room, Overloaded> {
        match self.gate.load(Ordering::Relaxed) {
            gate if gate == Gate::Open as u8 => {}
            gate if gate == Gate::DiskFull as u8 => return Err(Overloaded::DiskFull),
            _ => return Err(Overloaded::Unavailable),
        }
        if self.tail_bytes.load(Ordering::Relaxed) > MAX_TAIL_BYTES {
            return Err(Overloaded::Projector);
        }
        if self.queued.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUED {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(Overloaded::Queue);
        }
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_QUEUED_BYTES {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Overloaded::Queue);
        }
        // From here on dropping the room gives everything back.
        let room = Room { admission: Arc::clone(self), tenant, bytes, shared: 0 };
        room.share(bytes)
    }

    pub(super) fn set_gate(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Relaxed);
    }

    pub(super) fn set_tail_bytes(&self, bytes: usize) {
        self.tail_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many hand-overs have a place.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn stripe(&self, tenant: TenantId) -> &Mutex<HashMap<TenantId, usize>> {
        // The low bits of a time-ordered id are random.
        &self.shares[usize::try_from(tenant.bits() % STRIPES as u128).unwrap_or(0)]
    }
}

/// A place in the committer's queue.
#[derive(Debug)]
pub struct Room {
    admission: Arc<Admission>,
    tenant: TenantId,
    bytes: usize,
    shared: usize,
}

impl Room {
    fn share(mut self, bytes: usize) -> Result<Self, Overloaded> {
        {
            let mut shares = self.lock();
            let used = shares.entry(self.tenant).or_default();
            if *used > 0 && *used + bytes > MAX_TENANT_BYTES {
                drop(shares);
                return Err(Overloaded::Tenant);
            }
            *used += bytes;
        }
        self.shared = bytes;
        Ok(self)
    }

    /// The tenant that it was taken for.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Counts what is really handed over: an estimate that was too low may pass the limits once,
    /// but the next caller sees it.
    pub(super) fn settle(&mut self, bytes: usize) {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            self.admission.queued_bytes.fetch_add(more, Ordering::Relaxed);
            *self.lock().entry(self.tenant).or_default() += more;
            self.bytes = bytes;
            self.shared += more;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, usize>> {
        // Only numbers change under the lock, so a poisoned one is still whole.
        self.admission.stripe(self.tenant).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.admission.queued.fetch_sub(1, Ordering::Relaxed);
        self.admission.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.shared == 0 {
            return;
        }
        if let Slot::Occupied(mut slot) = self.lock().entry(self.tenant) {
            let left = slot.get().saturating_sub(self.shared);
            if left == 0 {
                slot.remove();
            } else {
                slot.insert(left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: TenantId = TenantId::from_bits(1);
    const CALM: TenantId = TenantId::from_bits(2);

    #[test]
    fn a_tenant_gets_a_quarter_of_a_row_and_leaves_the_rest() {
        let admission = Admission::new();
        let held: Vec<Room> =
            std::iter::from_fn(|| admission.room(BUSY, 1024).ok()).take(10_000).collect();

        assert_eq!(held.len(), MAX_TENANT_BYTES / 1024);
        assert_eq!(admission.room(BUSY, 1024).unwrap_err(), Overloaded::Tenant);
        assert!(admission.room(CALM, 1024).is_ok());
    }

    #[test]
    fn dropped_rooms_leave_nothing_behind() {
        let admission = Admission::new();
        let mut room = admission.room(BUSY, 10).unwrap();
        room.settle(5_000);
        room.settle(3);
        let refused = admission.room(BUSY, MAX_TENANT_BYTES).unwrap_err();
        drop(room);

        assert_eq!(refused, Overloaded::Tenant);
        assert_eq!(admission.queued(), 0);
        assert_eq!(admission.queued_bytes.load(Ordering::Relaxed), 0);
        assert!(admission.shares.iter().all(|share| share.lock().unwrap().is_empty()));
    }

    #[test]
    fn the_queue_is_bounded_for_all_tenants_together() {
        let admission = Admission::new();
        let rooms: Vec<Room> = (0..)
            .map_while(|n| admission.room(TenantId::from_bits(n), 1).ok())
            .take(MAX_QUEUED * 2)
            .collect();

        assert_eq!(rooms.len(), MAX_QUEUED);
        assert_eq!(admission.room(BUSY, 1).unwrap_err(), Overloaded::Queue);
    }

    #[test]
    fn a_closed_gate_says_why() {
        let admission = Admission::new();
        admission.set_gate(Gate::DiskFull);
        assert_eq!(admission.room(BUSY, 1).unwrap_err(), Overloaded::DiskFull);
        admission.set_gate(Gate::Open);
        admission.set_tail_bytes(MAX_TAIL_BYTES + 1);
        assert_eq!(admission.room(BUSY, 1).unwrap_err(), Overloaded::Projector);
    }
}
