//! Which tenants are awake, where they live, and who may wake one.
//!
//! Our own map in place of ractor's names: a name there is free again before the old actor has
//! flushed. A tenant is activated by one task however many callers wait for it; every life has a
//! generation, so that the end of an old one never touches a newer. A tenant that failed is
//! started again lazily, by the next call, and put in quarantine when it fails too often.
//!
//! ```text
//! (asleep) -> Starting -> Live -> Stopping -> (asleep)
//!                          Live -> Down -> Starting | Quarantined -> Starting
//! ```

mod census;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::ActorId;
use tenantry_supervision::{Intensity, IntensitySettings, Verdict};
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::TenantError;
use super::live::Live;
use super::metrics;
use crate::ids::TenantId;

/// Parts of the map: callers of different tenants seldom wait for one lock.
const SHARDS: usize = 64;

/// When a failing tenant is no longer started at once.
const INTENSITY: IntensitySettings = IntensitySettings {
    max_crashes: 3,
    within: Duration::from_mins(1),
    quarantine: Duration::from_secs(30),
    max_quarantine: Duration::from_mins(10),
};

/// A tenant that is down this long without a new failure has no history worth keeping.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// How one life of a tenant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was put to sleep, or stopped itself after a failed append.
    Stopped,
    /// It panicked, or could not trust its state any more.
    Failed,
}

enum Slot {
    Starting(watch::Receiver<Option<TenantError>>),
    Live(Arc<Live>),
    Stopping(Arc<Live>, watch::Receiver<Option<TenantError>>),
    Down,
    Quarantined(Instant),
}

struct Resident {
    slot: Slot,
    failures: Option<Failures>,
    /// Closed when the state that callers wait for has ended.
    done: Option<watch::Sender<Option<TenantError>>>,
}

/// The history of a tenant that failed.
struct Failures {
    intensity: Intensity,
    last: Instant,
}

/// What a caller has to do next.
pub(super) enum Route {
    /// Send to this one.
    Live(Arc<Live>),
    /// Wait for the change, then ask again.
    Wait(watch::Receiver<Option<TenantError>>),
    /// Start it, and wait for that: this caller was the first.
    Start(watch::Receiver<Option<TenantError>>),
    /// It may not be started now.
    Refused(TenantError),
}

/// The map of awake tenants.
pub(super) struct Directory {
    shards: Box<[Mutex<HashMap<TenantId, Resident>>]>,
    by_actor: Mutex<HashMap<ActorId, (TenantId, u64)>>,
    awake: AtomicUsize,
    generations: AtomicU64,
    is_draining: AtomicBool,
    began: Instant,
}

// === impl Resident ===

impl Resident {
    fn failed(&mut self, tenant: TenantId, now: Instant) {
        let failures = self
            .failures
            .get_or_insert_with(|| Failures { intensity: Intensity::new(INTENSITY), last: now });
        failures.last = now;
        if let Verdict::Quarantine { for_ } = failures.intensity.crashed(now) {
            let seconds = for_.as_secs();
            tracing::error!(tenant.id = %tenant, seconds, "tenant quarantined");
            metrics::quarantined();
        }
    }

    /// Where a tenant is that does not run.
    fn at_rest(&self, now: Instant) -> Slot {
        let left = self.failures.as_ref().and_then(|f| f.intensity.quarantined_for(now));
        left.map_or(Slot::Down, |left| Slot::Quarantined(now + left))
    }
}

// === impl Directory ===

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("awake", &self.awake).finish_non_exhaustive()
    }
}

impl Directory {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            by_actor: Mutex::default(),
            awake: AtomicUsize::new(0),
            generations: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            began: Instant::now(),
        }
    }

    /// Says what a caller of `tenant` has to do; the first of a sleeping tenant starts it.
    pub(super) fn route(&self, tenant: TenantId) -> Route {
        let mut shard = self.shard(tenant);
        if let Some(resident) = shard.get_mut(&tenant) {
            match &resident.slot {
                Slot::Live(live) => {
                    live.vitals.used_at_ms.store(self.elapsed_ms(), Ordering::Relaxed);
                    return Route::Live(Arc::clone(live));
                }
                Slot::Starting(done) | Slot::Stopping(_, done) => return Route::Wait(done.clone()),
                Slot::Quarantined(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        let retry_after_s = left.as_secs().max(1);
                        return Route::Refused(TenantError::Quarantined { retry_after_s });
                    }
                }
                Slot::Down => {}
            }
        }
        if self.is_draining.load(Ordering::Acquire) {
            return Route::Refused(TenantError::Unavailable);
        }
        let (done, wait) = watch::channel(None);
        let resident = shard.entry(tenant).or_insert_with(|| Resident {
            slot: Slot::Down,
            failures: None,
            done: None,
        });
        resident.slot = Slot::Starting(wait.clone());
        resident.done = Some(done);
        Route::Start(wait)
    }

    /// Says whether anybody still waits for a tenant that is to be started.
    pub(super) fn is_awaited(&self, tenant: TenantId) -> bool {
        // The slot itself holds one end.
        let waits = |done: &watch::Sender<_>| done.receiver_count() > 1;
        self.shard(tenant)
            .get(&tenant)
            .and_then(|resident| resident.done.as_ref())
            .is_some_and(waits)
    }

    /// The tenant, if it is awake; does not count as a use.
    pub(super) fn live(&self, tenant: TenantId) -> Option<Arc<Live>> {
        match &self.shard(tenant).get(&tenant)?.slot {
            Slot::Live(live) => Some(Arc::clone(live)),
            _ => None,
        }
    }

    /// A number for the next life; never given twice.
    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes whose life an actor is, before anything can reach it.
    pub(super) fn register(&self, actor: ActorId, tenant: TenantId, generation: u64) {
        lock(&self.by_actor).insert(actor, (tenant, generation));
    }

    /// Makes a started tenant reachable.
    pub(super) fn started(&self, live: Arc<Live>) {
        let mut shard = self.shard(live.tenant);
        let known = lock(&self.by_actor).contains_key(&live.actor.get_id());
        let Some(resident) = shard.get_mut(&live.tenant) else { return };
        let now_ms = self.elapsed_ms();
        live.vitals.used_at_ms.store(now_ms, Ordering::Relaxed);
        live.vitals.durable_at_ms.store(now_ms, Ordering::Relaxed);
        // It may have ended between its start and now; its end was noted then.
        if known {
            self.awake.fetch_add(1, Ordering::Relaxed);
            resident.slot = Slot::Live(live);
        } else {
            resident.slot = resident.at_rest(Instant::now());
        }
        resident.done = None;
    }

    /// Notes that a tenant could not be started; whoever waits gets the reason. What is wrong with
    /// the tenant itself counts as a failure of it: it is not read again and again.
    pub(super) fn start_failed(&self, tenant: TenantId, error: TenantError) {
        let mut shard = self.shard(tenant);
        if let Some(resident) = shard.get_mut(&tenant) {
            let now = Instant::now();
            if matches!(error, TenantError::Quarantined { .. }) {
                resident.failed(tenant, now);
            }
            if let Some(done) = resident.done.take() {
                done.send_replace(Some(error));
            }
            resident.slot = resident.at_rest(now);
        }
    }

    /// Forgets a tenant's failures, so that the next call starts it. Says whether it was kept from
    /// being started.
    pub(super) fn lift(&self, tenant: TenantId) -> bool {
        let mut shard = self.shard(tenant);
        let Some(resident) = shard.get_mut(&tenant) else { return false };
        resident.failures = None;
        let is_kept = matches!(resident.slot, Slot::Quarantined(_));
        if is_kept {
            resident.slot = Slot::Down;
        }
        is_kept
    }

    /// Notes that an actor is gone. Returns the tenant, and whether it should be woken again.
    pub(super) fn ended(&self, actor: ActorId, ending: Ending) -> Option<(TenantId, bool)> {
        let (tenant, generation) = lock(&self.by_actor).remove(&actor)?;
        let mut shard = self.shard(tenant);
        let resident = shard.get_mut(&tenant)?;
        if ending == Ending::Failed {
            resident.failed(tenant, Instant::now());
        }
        let live = match &resident.slot {
            Slot::Live(live) | Slot::Stopping(live, _) if live.generation == generation => {
                Arc::clone(live)
            }
            // It ended before it was reachable; whoever starts it sees that it is gone.
            _ => return Some((tenant, false)),
        };
        self.awake.fetch_sub(1, Ordering::Relaxed);
        resident.slot = resident.at_rest(Instant::now());
        resident.done = None;
        let has_work = live.vitals.wake_again.load(Ordering::Acquire)
            || live.vitals.busy.load(Ordering::Acquire) > 0;
        Some((tenant, has_work && !self.is_draining.load(Ordering::Acquire)))
    }

    /// Begins to put a tenant to sleep, unless something runs there. Calls that come now wait.
    pub(super) fn put_to_sleep(&self, tenant: TenantId, is_forced: bool) -> bool {
        let mut shard = self.shard(tenant);
        let Some(resident) = shard.get_mut(&tenant) else { return false };
        let Slot::Live(live) = &resident.slot else { return false };
        if !is_forced && !live.vitals.is_quiet() {
            return false;
        }
        let live = Arc::clone(live);
        let (done, wait) = watch::channel(None);
        let is_sent = live.actor.drain().is_ok();
        resident.slot = Slot::Stopping(live, wait);
        resident.done = Some(done);
        is_sent
    }

    /// Refuses to start tenants from now on, and names those that are awake or on their way.
    pub(super) fn begin_drain(&self) -> Vec<TenantId> {
        self.is_draining.store(true, Ordering::Release);
        let mut awake = Vec::new();
        self.each_live(|live| awake.push(live.tenant));
        awake
    }

    /// Says whether no tenant is awake, starting or stopping.
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| {
            lock(shard).values().all(|r| matches!(r.slot, Slot::Down | Slot::Quarantined(_)))
        })
    }

    /// Awake tenants.
    pub(super) fn awake(&self) -> usize {
        self.awake.load(Ordering::Relaxed)
    }

    /// Calls `f` for every awake tenant, one part of the map after another.
    pub(super) fn each_live(&self, mut f: impl FnMut(&Arc<Live>)) {
        for shard in &self.shards {
            for resident in lock(shard).values() {
                if let Slot::Live(live) = &resident.slot {
                    f(live);
                }
            }
        }
    }

    fn shard(&self, tenant: TenantId) -> MutexGuard<'_, HashMap<TenantId, Resident>> {
        let mut hasher = DefaultHasher::new();
        tenant.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[index])
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single assignment: a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
