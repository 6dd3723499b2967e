use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn tenant(number: u8) -> TenantId {
    TenantId::from_bits(u128::from(number))
}

#[tokio::test]
async fn no_more_run_than_there_are_slots() {
    let slots = Slots::new("image", 2);
    let first = slots.acquire(tenant(1)).await.unwrap();
    let _second = slots.acquire(tenant(1)).await.unwrap();
    let mut third = Box::pin(slots.acquire(tenant(1)));

    assert!(futures_util::poll!(&mut third).is_pending());
    assert_eq!((slots.busy(), slots.waiting()), (2, 1));

    drop(first);
    let _third = third.await.unwrap();
    assert_eq!((slots.busy(), slots.waiting()), (2, 0));
}

#[tokio::test]
async fn a_waiter_that_left_keeps_no_slot() {
    let slots = Slots::new("image", 1);
    let permit = slots.acquire(tenant(1)).await.unwrap();
    let mut gone = Box::pin(slots.acquire(tenant(2)));
    let mut waiting = Box::pin(slots.acquire(tenant(3)));
    assert!(futures_util::poll!(&mut gone).is_pending());
    assert!(futures_util::poll!(&mut waiting).is_pending());

    drop(gone);
    drop(permit);
    drop(waiting.await.unwrap());

    assert_eq!((slots.busy(), slots.waiting()), (0, 0));
}

#[tokio::test]
async fn a_permit_that_nobody_takes_goes_on() {
    let slots = Slots::new("image", 1);
    let permit = slots.acquire(tenant(1)).await.unwrap();
    let mut granted = Box::pin(slots.acquire(tenant(2)));
    assert!(futures_util::poll!(&mut granted).is_pending());

    drop(permit);
    // The permit lies in the channel now, and the waiter leaves without looking.
    drop(granted);

    assert_eq!(slots.busy(), 0);
}

proptest! {
    /// Between two turns of a waiting tenant every other waiting tenant has at most one.
    #[test]
    fn turns_go_round(queue in prop::collection::vec(0u8..6, 1..200), capacity in 1usize..5) {
        let mut turns = Turns::new(capacity);
        let mut running = Vec::new();
        for (number, who) in queue.iter().enumerate() {
            if turns.try_take() {
                running.push((*who, number));
            } else {
                turns.join(tenant(*who), (*who, number));
            }
        }
        let mut left: BTreeMap<u8, usize> = BTreeMap::new();
        for who in queue.iter().skip(running.len()) {
            *left.entry(*who).or_default() += 1;
        }
        let mut granted: Vec<(u8, usize)> = Vec::new();
        while let Some(next) = turns.pass_on() {
            granted.push(next);
        }

        prop_assert_eq!(granted.len() + running.len(), queue.len());
        for who in left.keys() {
            let own: Vec<usize> =
                granted.iter().filter(|(w, _)| w == who).map(|(_, number)| *number).collect();
            prop_assert!(own.is_sorted(), "a tenant's own order is kept");
        }
        // In each round of the tenants that still wait, everybody has exactly one turn.
        let mut rest = granted.as_slice();
        while !left.is_empty() {
            let (round, later) = rest.split_at(left.len());
            let mut seen: Vec<u8> = round.iter().map(|(who, _)| *who).collect();
            seen.sort_unstable();
            prop_assert_eq!(&seen, &left.keys().copied().collect::<Vec<_>>());
            left.retain(|_, count| { *count -= 1; *count > 0 });
            rest = later;
        }
        prop_assert_eq!(turns.busy, running.len().saturating_sub(1));
    }
}
