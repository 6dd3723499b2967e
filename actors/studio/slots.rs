//! Bounded worker slots, shared fairly between tenants.
//!
//! A tenant with a thousand scenes and a tenant with one take turns: a slot that becomes free goes
//! to the tenant that has waited longest since its last turn, whatever the length of its own queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{describe_gauge, gauge};
use tokio::sync::oneshot;

use crate::ids::TenantId;

/// Most waiters of one kind; beyond it work is refused for now, because each costs memory.
const WAITERS_MAX: usize = 20_000;

/// Worker slots there are, by pool.
pub const CAPACITY: &str = "tenantry_studio_slots";
/// Worker slots that are taken, by pool.
pub const BUSY: &str = "tenantry_studio_slots_busy";
/// Steps that wait for a worker slot, by pool.
pub const WAITING: &str = "tenantry_studio_slots_waiting";

/// The slots of one kind of work; cheap to clone.
#[derive(Debug, Clone)]
pub struct Slots {
    shared: Arc<Shared>,
}

/// The right to occupy one slot; dropping it gives the slot to the next tenant.
#[derive(Debug)]
pub struct SlotPermit {
    shared: Option<Arc<Shared>>,
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much work is waiting")]
pub struct SlotsFull;

#[derive(Debug)]
struct Shared {
    pool: &'static str,
    turns: Mutex<Turns<oneshot::Sender<SlotPermit>>>,
}

impl Slots {
    /// Makes slots, at least one; the pool's name is a metric's label.
    pub fn new(pool: &'static str, capacity: usize) -> Self {
        let turns = Turns::new(capacity.max(1));
        gauge!(CAPACITY, "pool" => pool).set(to_f64(turns.capacity));
        let slots = Self { shared: Arc::new(Shared { pool, turns: Mutex::new(turns) }) };
        slots.shared.with(|_| ());
        slots
    }

    /// Waits for a slot. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self, tenant: TenantId) -> Result<SlotPermit, SlotsFull> {
        let (sender, receiver) = oneshot::channel();
        let is_taken = self.shared.with(|turns| {
            if turns.try_take() {
                return Ok(true);
            }
            if turns.waiting >= WAITERS_MAX {
                turns.forget(oneshot::Sender::is_closed);
            }
            if turns.waiting >= WAITERS_MAX {
                return Err(SlotsFull);
            }
            turns.join(tenant, sender);
            Ok(false)
        })?;
        if is_taken {
            return Ok(SlotPermit { shared: Some(Arc::clone(&self.shared)) });
        }
        receiver.await.map_err(|_| SlotsFull)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.shared.with(|turns| turns.waiting)
    }

    /// How many slots are taken.
    pub fn busy(&self) -> usize {
        self.shared.with(|turns| turns.busy)
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.shared.with(|turns| turns.capacity)
    }
}

impl SlotPermit {
    /// A permit of no pool, for work that takes none.
    pub fn unlimited() -> Self {
        Self { shared: None }
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        loop {
            let next = shared.with(Turns::pass_on);
            // Sent outside the lock: a receiver that is gone hands the permit back, whose drop
            // would take the lock again.
            let Some(waiter) = next else { return };
            match waiter.send(Self { shared: Some(Arc::clone(&shared)) }) {
                Ok(()) => return,
                // That waiter left; its slot is still ours to pass on.
                Err(mut returned) => returned.shared = None,
            }
        }
    }
}

impl Shared {
    /// Changes or reads the turns, and tells the metrics how they stand.
    fn with<T>(&self, change: impl FnOnce(&mut Turns<oneshot::Sender<SlotPermit>>) -> T) -> T {
        // Nothing that can panic runs under the lock.
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut turns);
        gauge!(BUSY, "pool" => self.pool).set(to_f64(turns.busy));
        gauge!(WAITING, "pool" => self.pool).set(to_f64(turns.waiting));
        result
    }
}

/// Describes the metrics of slots, once at start.
pub(super) fn describe() {
    describe_gauge!(CAPACITY, "worker slots there are, by pool");
    describe_gauge!(BUSY, "worker slots that are taken, by pool");
    describe_gauge!(WAITING, "steps that wait for a worker slot, by pool");
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^53")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

/// The order of turns: pure, so that fairness can be tested as a property.
///
/// A tenant stands in `order` exactly when its queue is not empty.
#[derive(Debug)]
struct Turns<W> {
    capacity: usize,
    busy: usize,
    order: VecDeque<TenantId>,
    queues: BTreeMap<TenantId, VecDeque<W>>,
    waiting: usize,
}

impl<W> Turns<W> {
    fn new(capacity: usize) -> Self {
        Self { capacity, busy: 0, order: VecDeque::new(), queues: BTreeMap::new(), waiting: 0 }
    }

    /// Takes a slot when one is free and nobody waits for it.
    fn try_take(&mut self) -> bool {
        let is_free = self.busy < self.capacity && self.order.is_empty();
        self.busy += usize::from(is_free);
        is_free
    }

    /// Queues a waiter behind its tenant's earlier ones.
    fn join(&mut self, tenant: TenantId, waiter: W) {
        let queue = self.queues.entry(tenant).or_default();
        if queue.is_empty() {
            self.order.push_back(tenant);
        }
        queue.push_back(waiter);
        self.waiting += 1;
    }

    /// Ends one occupation: the slot goes to the next tenant's first waiter, or becomes free.
    fn pass_on(&mut self) -> Option<W> {
        let Some(tenant) = self.order.pop_front() else {
            self.busy -= 1;
            return None;
        };
        let queue = self.queues.get_mut(&tenant)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        self.waiting -= 1;
        waiter
    }

    /// Drops waiters that have left.
    fn forget(&mut self, has_left: impl Fn(&W) -> bool) {
        self.queues.retain(|_, queue| {
            queue.retain(|waiter| !has_left(waiter));
            !queue.is_empty()
        });
        let queues = &self.queues;
        self.order.retain(|tenant| queues.contains_key(tenant));
        self.waiting = self.queues.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests;
