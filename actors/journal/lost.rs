//! The shards that another server has taken from this one.
//!
//! Nothing of a lost shard is answered from memory any more: whoever took it may have decided
//! something else since. It comes back only by being acquired again, at the next start.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::metrics;
use super::row::shard_of;
use crate::ids::TenantId;

/// Which shards are lost, readable on every call.
#[derive(Debug)]
pub(super) struct Lost {
    shard_count: u16,
    // A bit a shard: there are never more than 64.
    bits: AtomicU64,
    changed: watch::Sender<u64>,
}

impl Lost {
    pub(super) fn new(shard_count: u16) -> Self {
        assert!(shard_count <= 64, "a bit a shard");
        metrics::lost(0);
        Self { shard_count, bits: AtomicU64::new(0), changed: watch::Sender::new(0) }
    }

    /// Notes that a shard belongs to somebody else.
    pub(super) fn add(&self, shard: u16) {
        let bit = 1_u64.checked_shl(u32::from(shard)).unwrap_or(0);
        let before = self.bits.fetch_or(bit, Ordering::AcqRel);
        if before & bit == 0 {
            tracing::error!(shard, "another server has taken a shard; its tenants stop here");
            metrics::lost((before | bit).count_ones());
            self.changed.send_replace(before | bit);
        }
    }

    /// Whether the tenant's shard is lost.
    pub(super) fn holds(&self, tenant: TenantId) -> bool {
        let bits = self.bits.load(Ordering::Acquire);
        bits != 0 && bits >> shard_of(tenant, self.shard_count) & 1 == 1
    }

    /// How many are lost.
    pub(super) fn count(&self) -> u32 {
        self.bits.load(Ordering::Acquire).count_ones()
    }

    /// Changes whenever a shard is lost.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tenants_of_lost_shards_are_held_back() {
        let lost = Lost::new(64);
        let (theirs, ours) = (TenantId::from_bits(63), TenantId::from_bits(62));

        lost.add(63);
        lost.add(63);

        assert!(lost.holds(theirs) && !lost.holds(ours));
        assert_eq!(lost.count(), 1);
    }

    #[test]
    fn the_one_shard_of_a_file_is_everyones() {
        let lost = Lost::new(1);

        assert!(!lost.holds(TenantId::from_bits(7)));
        lost.add(0);
        assert!(lost.holds(TenantId::from_bits(7)));
    }
}
