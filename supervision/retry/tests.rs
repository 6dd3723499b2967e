//! Delays keep their bounds, attempts their number, retries their budget and all their deadline.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::deadline::Deadline;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Unavailable,
    Busy { retry_after: Duration },
    Mistake,
}

impl Retryable for Failure {
    fn is_retryable(&self) -> bool {
        *self != Self::Mistake
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } => Some(*retry_after),
            Self::Unavailable | Self::Mistake => None,
        }
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new("test", 4, Duration::from_millis(100), Duration::from_secs(2))
}

/// Runs a call that always fails, and returns how many attempts it got and how long it took.
async fn fail_with(policy: &RetryPolicy, failure: Failure) -> (u32, Duration) {
    let started = Instant::now();
    let mut attempts = 0;
    let result: Result<(), _> = retry(policy, &mut StdRng::seed_from_u64(7), |attempt| {
        attempts = attempt;
        async move { Err(failure) }
    })
    .await;
    assert_eq!(result, Err(failure));
    (attempts, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn attempts_end_at_their_number() {
    let (attempts, took) = fail_with(&policy(), Failure::Unavailable).await;

    assert_eq!(attempts, 4);
    assert!(took <= Duration::from_millis(100 + 200 + 400 + 3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_mistake_is_not_repeated() {
    assert_eq!(fail_with(&policy(), Failure::Mistake).await, (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_waits_beyond_the_deadline() {
    for deadline_ms in [0, 1, 50, 150, 300, 700] {
        let deadline = Deadline::after(Duration::from_millis(deadline_ms));
        let (_, took) = fail_with(&policy().with_deadline(deadline), Failure::Unavailable).await;
        assert!(took <= Duration::from_millis(deadline_ms), "{took:?} of {deadline_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dependency_is_left_alone_for_as_long_as_it_asks() {
    let busy = Failure::Busy { retry_after: Duration::from_secs(1) };
    let (attempts, took) = fail_with(&policy(), busy).await;
    assert_eq!(attempts, 4);
    assert!(took >= Duration::from_secs(3));

    let long = Failure::Busy { retry_after: Duration::from_mins(1) };
    assert_eq!(fail_with(&policy(), long).await, (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_ends_retries_for_all_who_share_it() {
    let budget = Budget::new(BudgetSettings { percent: 20, reserve: 2, floor_per_minute: 0 });
    let policy = policy().with_budget(&budget);

    assert_eq!(fail_with(&policy, Failure::Unavailable).await.0, 3);
    assert_eq!(fail_with(&policy, Failure::Unavailable).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_retryable_after_its_time() {
    let open = BreakerError::<Failure>::Open { retry_after: Duration::from_secs(9) };
    assert_eq!((open.is_retryable(), open.retry_after()), (true, Some(Duration::from_secs(9))));
    assert!(!BreakerError::Failed(Failure::Mistake).is_retryable());
}

#[test]
fn jitter_is_full() {
    let mut rng = StdRng::seed_from_u64(1);
    let delays: Vec<u128> =
        (0..10_000).map(|_| policy().delay_after(1, &mut rng).as_micros()).collect();

    let mean = delays.iter().sum::<u128>() / 10_000;
    assert!(delays.iter().any(|us| *us < 1_000) && delays.iter().any(|us| *us > 99_000));
    assert!((48_000..52_000).contains(&mean), "{mean}");
}

#[test]
fn the_same_seed_gives_the_same_delays() {
    let draw = || {
        let mut rng = StdRng::seed_from_u64(3);
        (1..10).map(|attempt| policy().delay_after(attempt, &mut rng)).collect::<Vec<_>>()
    };

    assert_eq!(draw(), draw());
}

proptest! {
    /// The reference doubles integers; the implementation is another crate's floats.
    #[test]
    fn delays_lie_between_nothing_and_the_doubled_cap(
        initial_us in 1_u64..10_000_000,
        max_us in 1_u64..3_600_000_000,
        attempt in 1_u32..100,
        seed: u64,
    ) {
        let (initial, max) = (Duration::from_micros(initial_us), Duration::from_micros(max_us));
        let policy = RetryPolicy::new("test", 100, initial, max);
        let doubled_us = u128::from(initial_us) << (attempt - 1).min(64);
        let cap = Duration::from_micros(
            u64::try_from(doubled_us.min(u128::from(max_us))).unwrap(),
        );

        let mut delays = policy.delays();
        let caps: Vec<_> = (0..attempt).map(|_| delays.next_cap()).collect();

        prop_assert_eq!(*caps.last().unwrap(), cap);
        prop_assert!(caps.is_sorted());
        prop_assert!(policy.delay_after(attempt, &mut StdRng::seed_from_u64(seed)) <= cap);
    }

    #[test]
    fn retries_never_exceed_a_fifth_of_the_calls(
        steps in prop::collection::vec(0_u8..3, 1..400),
        percent in 0_u32..200,
        reserve in 0_u32..20,
        floor_per_minute in 0_u32..100,
    ) {
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        paused.block_on(async {
            let budget = Budget::new(BudgetSettings { percent, reserve, floor_per_minute });
            let (mut calls, mut retries, mut passed_ms) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    0 => {
                        budget.record_call();
                        calls += 1;
                    }
                    1 => retries += u64::from(budget.try_spend()),
                    _ => {
                        tokio::time::advance(Duration::from_millis(700)).await;
                        passed_ms += 700;
                    }
                }
                let earned = calls * u64::from(percent.min(20)) * 600
                    + passed_ms * u64::from(floor_per_minute);
                assert!(retries * 60_000 <= u64::from(reserve) * 60_000 + earned);
            }
        });
    }
}
