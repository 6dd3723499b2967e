//! Who of the awake goes to sleep, and what is forgotten of those that are down.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Directory, FORGET_AFTER, Slot, lock};
use crate::ids::TenantId;

/// When an awake tenant was last needed, in milliseconds of the directory's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    /// The last entry on disk, as far as sweeps saw it: what the cap goes by.
    durable_ms: u64,
    /// The last call, also one that only read: what idleness goes by.
    used_ms: u64,
    tenant: TenantId,
}

impl Directory {
    /// Awake tenants that nobody called for `idle_for`, and beyond `cap` those whose last entry is
    /// the oldest: who is only looked at makes way for who works.
    pub(in crate::tenant) fn sleepy(&self, idle_for: Duration, cap: usize) -> Vec<TenantId> {
        let idle_ms = u64::try_from(idle_for.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.elapsed_ms();
        let mut quiet = Vec::new();
        self.each_live(|live| {
            let vitals = &live.vitals;
            // Sweeps compare numbers, so that a commit has no clock to read.
            let durable = vitals.in_flight.durable();
            if vitals.seen_durable.swap(durable, Ordering::Relaxed) != durable {
                vitals.durable_at_ms.store(now_ms, Ordering::Relaxed);
            }
            if vitals.is_quiet() {
                quiet.push(Rest {
                    durable_ms: vitals.durable_at_ms.load(Ordering::Relaxed),
                    used_ms: vitals.used_at_ms.load(Ordering::Relaxed),
                    tenant: live.tenant,
                });
            }
        });
        quiet.sort_unstable();
        let surplus = self.awake().saturating_sub(cap);
        let is_sleepy = |(n, rest): &(usize, Rest)| {
            *n < surplus || rest.used_ms.saturating_add(idle_ms) <= now_ms
        };
        quiet.into_iter().enumerate().filter(is_sleepy).map(|(_, rest)| rest.tenant).collect()
    }

    /// Forgets tenants that are down and have not failed lately.
    pub(in crate::tenant) fn tidy(&self) {
        let now = Instant::now();
        for shard in &self.shards {
            lock(shard).retain(|_, resident| match &resident.slot {
                Slot::Down => resident.failures.as_ref().is_some_and(|failures| {
                    now.saturating_duration_since(failures.last) < FORGET_AFTER
                }),
                _ => true,
            });
        }
    }
}
