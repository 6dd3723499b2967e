//! How many connections may be open, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    counts: Arc<Mutex<Counts>>,
    total_max: u64,
    address_max: u64,
}

#[derive(Debug, Default)]
struct Counts {
    total: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// One open connection; dropping it frees its place.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    address: IpAddr,
}

impl Slots {
    pub(super) fn new(total_max: u64, address_max: u64) -> Self {
        Self { counts: Arc::default(), total_max, address_max }
    }

    /// Takes a place, or refuses.
    pub(super) fn take(&self, address: IpAddr) -> Option<Slot> {
        let address = bucket_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.total_max {
            return None;
        }
        let here = counts.by_address.entry(address).or_insert(0);
        if *here >= self.address_max {
            return None;
        }
        *here += 1;
        counts.total += 1;
        Some(Slot { slots: self.clone(), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// The address that limits count by: of IPv6 the /64, because one client owns all of it.
pub fn bucket_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_after_its_connection_has_gone() {
        let slots = Slots::new(2, 1);
        let (one, two) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());

        let first = slots.take(one).unwrap();

        assert!(slots.take(one).is_none());
        let _second = slots.take(two).unwrap();
        assert!(slots.take([10, 0, 0, 3].into()).is_none());
        drop(first);
        assert!(slots.take(one).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let near: IpAddr = "2001:db8::1".parse().unwrap();
        let nearer: IpAddr = "2001:db8::ffff:0:1".parse().unwrap();
        let far: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();

        assert_eq!(bucket_of(near), bucket_of(nearer));
        assert_ne!(bucket_of(near), bucket_of(far));
        assert_eq!(bucket_of(mapped), IpAddr::from([10, 0, 0, 1]));
    }
}
