//! A gate never holds more than its capacity and never loses a place.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::spawn::{Tasks, spawn};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn a_full_gate_refuses_at_once_and_waits_until_the_deadline() {
    let gate = Gate::new("test", 1);
    let _inside = gate.try_enter().unwrap();

    assert_eq!(gate.try_enter().unwrap_err(), Full { gate: "test" });
    let started = tokio::time::Instant::now();
    let waited = gate.enter(soon()).await.unwrap_err();

    assert_eq!(waited, EnterError::DeadlineExceeded { gate: "test" });
    assert_eq!(started.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn waiters_enter_in_the_order_of_arrival() {
    let (tasks, gate) = (Tasks::new(), Gate::new("test", 1));
    let inside = gate.try_enter().unwrap();
    let (order, mut entered) = tokio::sync::mpsc::channel(3);
    for number in 0..3 {
        let (gate, order) = (gate.clone(), order.clone());
        drop(spawn("waiter", &tasks, async move {
            let permit = gate.enter(soon()).await.unwrap();
            order.send(number).await.unwrap();
            drop(permit);
        }));
        tokio::task::yield_now().await;
    }

    drop(inside);

    for number in 0..3 {
        assert_eq!(entered.recv().await, Some(number));
    }
}

#[tokio::test]
async fn a_panic_inside_gives_the_place_back() {
    let (tasks, gate) = (Tasks::new(), Gate::new("test", 1));
    let permit = gate.try_enter().unwrap();

    let inside = spawn("panicking", &tasks, async move {
        let _permit = permit;
        panic!("on purpose");
    });

    assert!(inside.await.is_err());
    assert_eq!(gate.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_loses_no_place() {
    let gate = Gate::new("test", 3);
    let inside = gate.try_enter_with(2).unwrap();

    // Two places are asked for and one is free: the waiter leaves with half of them in hand.
    let left = tokio::time::timeout(Duration::from_millis(1), gate.enter_with(2, soon())).await;

    assert!(left.is_err());
    assert_eq!(gate.depth(), 2);
    drop(inside);
    assert_eq!(gate.try_enter_with(3).unwrap().places(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_without_waiting() {
    let gate = Gate::new("test", 3);

    let error = gate.enter_with(4, Deadline::never()).await.unwrap_err();

    assert_eq!(error, EnterError::TooLarge { places: 4, capacity: 3 });
}

#[tokio::test(start_paused = true)]
async fn nobody_enters_a_closed_gate() {
    let gate = Gate::new("test", 3);
    let inside = gate.try_enter().unwrap();

    gate.close();

    assert!(gate.try_enter().is_err());
    assert_eq!(gate.enter(soon()).await.unwrap_err(), EnterError::Closed);
    assert_eq!(inside.places(), 1);
}

proptest! {
    #[test]
    fn the_gate_equals_a_counter(
        capacity in 1_u32..20,
        steps in prop::collection::vec((any::<bool>(), 1_u32..8), 1..60),
    ) {
        let gate = Gate::new("test", capacity);
        let mut inside: Vec<Permit> = Vec::new();
        let mut counter = 0;
        for (enters, places) in steps {
            if enters {
                let entered = gate.try_enter_with(places);
                prop_assert_eq!(entered.is_ok(), counter + places <= capacity);
                counter += entered.as_ref().map_or(0, |_| places);
                inside.extend(entered);
            } else if let Some(permit) = inside.pop() {
                counter -= u32::try_from(permit.places()).unwrap();
            }
            prop_assert_eq!(gate.depth(), counter);
        }
        inside.clear();
        prop_assert_eq!(gate.depth(), 0);
    }
}
