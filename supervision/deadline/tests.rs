//! A deadline starts nothing late, ends what runs, and only ever gets narrower.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn work_is_dropped_exactly_at_the_deadline() {
    let started = Instant::now();
    let deadline = Deadline::after(3 * SECOND);

    let result = deadline.run(std::future::pending::<()>()).await;

    assert_eq!(result, Err(DeadlineExceeded));
    assert_eq!(started.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_past_the_deadline() {
    let deadline = Deadline::after(SECOND);
    tokio::time::advance(SECOND).await;
    let is_started = Cell::new(false);

    let result = deadline.run(async { is_started.set(true) }).await;

    assert_eq!(result, Err(DeadlineExceeded));
    assert!(!is_started.get());
}

#[tokio::test(start_paused = true)]
async fn the_longest_duration_is_a_deadline_too() {
    let deadline = Deadline::after(Duration::MAX);

    assert!(deadline <= Deadline::never() && deadline.remaining() > 365 * 24 * 3600 * SECOND);
    assert_eq!(deadline.run(async { 1 }).await, Ok(1));
}

proptest! {
    #[test]
    fn narrowing_never_widens(first_ms in 0_u64..100_000, second_ms in 0_u64..100_000) {
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        paused.block_on(async {
            let outer = Deadline::after(Duration::from_millis(first_ms));
            let inner = outer.within(Duration::from_millis(second_ms));
            assert!(inner <= outer);
            assert_eq!(inner.remaining(), Duration::from_millis(first_ms.min(second_ms)));
            assert!(inner.earlier_by(Duration::from_millis(1)) < inner);
        });
    }
}
