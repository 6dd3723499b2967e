//! One alarm clock for every tenant that is awake: what is due next, and for whom.
//!
//! One ordered map and one task, where a timer task for each tenant would be tens of thousands.
//! Each tenant has at most one alarm, its earliest; it sets the next one when that has rung.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ids::TenantId;

/// The alarms of a node.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    state: Mutex<State>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct State {
    by_time: BTreeSet<(Instant, TenantId)>,
    by_tenant: HashMap<TenantId, Instant>,
}

impl Alarms {
    /// Wakes the tenant at `at`, or earlier if an earlier alarm is set.
    pub(super) fn set(&self, tenant: TenantId, at: Instant) {
        let mut state = self.lock();
        match state.by_tenant.get(&tenant) {
            Some(known) if *known <= at => return,
            Some(known) => {
                let known = *known;
                state.by_time.remove(&(known, tenant));
            }
            None => {}
        }
        state.by_tenant.insert(tenant, at);
        state.by_time.insert((at, tenant));
        let is_first = state.by_time.first().is_some_and(|(_, first)| *first == tenant);
        drop(state);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Forgets the alarm of a tenant that went to sleep.
    pub(super) fn clear(&self, tenant: TenantId) {
        let mut state = self.lock();
        if let Some(at) = state.by_tenant.remove(&tenant) {
            state.by_time.remove(&(at, tenant));
        }
    }

    /// Waits for the next alarm and returns whose it is.
    pub(super) async fn next(&self) -> TenantId {
        loop {
            let first = self.lock().by_time.first().copied();
            match first {
                Some((at, tenant)) if at <= Instant::now() => {
                    self.clear(tenant);
                    return tenant;
                }
                Some((at, _)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Both maps change together without a call in between that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alarms_ring_in_order_of_time_and_the_earlier_one_wins() {
        let alarms = Alarms::default();
        let (first, second) = (TenantId::from_bits(1), TenantId::from_bits(2));
        let now = Instant::now();
        alarms.set(second, now + Duration::from_secs(9));
        alarms.set(first, now + Duration::from_secs(20));
        alarms.set(first, now + Duration::from_secs(5));
        alarms.set(first, now + Duration::from_secs(7));

        assert_eq!(alarms.next().await, first);
        assert_eq!(now.elapsed().as_secs(), 5);
        assert_eq!(alarms.next().await, second);
        assert_eq!(now.elapsed().as_secs(), 9);
    }
}
