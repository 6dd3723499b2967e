//! Phases run in order, each has its share, and the whole keeps its budget.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// What tokio's timer may be late, which rounds up to whole milliseconds.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn phases_run_in_order_one_after_the_other() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let step = |name: &'static str| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(name);
            tokio::time::sleep(SECOND).await;
            log.lock().unwrap().push("end");
        }
    };

    let shutdown = Shutdown::new(10 * SECOND).phase("a", 3 * SECOND, step("a"));
    let report = shutdown.phase("b", 3 * SECOND, step("b")).run().await;

    assert_eq!(*log.lock().unwrap(), ["a", "end", "b", "end"]);
    assert!(report.is_clean());
    assert_eq!(report.took, 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_phase_is_reported_and_the_next_one_runs() {
    let report = Shutdown::new(10 * SECOND)
        .phase("broken", SECOND, async { panic!("on purpose") })
        .phase("last commit", SECOND, async {})
        .run()
        .await;

    let outcomes: Vec<_> = report.phases.iter().map(|phase| phase.outcome).collect();
    assert_eq!(outcomes, [Outcome::Panicked, Outcome::Done]);
}

#[tokio::test(start_paused = true)]
async fn a_phase_may_use_what_earlier_ones_left_over() {
    let report = Shutdown::new(10 * SECOND)
        .phase("quick", 6 * SECOND, async {})
        .phase("slow", 4 * SECOND, tokio::time::sleep(9 * SECOND))
        .run()
        .await;

    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn shares_beyond_the_budget_squeeze_the_earlier_phases() {
    let report = Shutdown::new(5 * SECOND)
        .phase("early", 5 * SECOND, std::future::pending())
        .phase("late", 5 * SECOND, tokio::time::sleep(4 * SECOND))
        .run()
        .await;

    assert_eq!(report.phases[0].took, Duration::ZERO);
    assert_eq!(report.phases[1].outcome, Outcome::Done);
}

proptest! {
    #[test]
    fn the_budget_holds_and_no_phase_loses_its_share(
        phases in prop::collection::vec((0_u64..5_000, 0_u64..8_000), 0..8),
        slack_ms in 0_u64..3_000,
    ) {
        let shares_ms: u64 = phases.iter().map(|(share, _)| share).sum();
        let budget = Duration::from_millis(shares_ms + slack_ms);
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();

        let report = paused.block_on(async {
            let mut shutdown = Shutdown::new(budget);
            for (share_ms, work_ms) in &phases {
                let work = tokio::time::sleep(Duration::from_millis(*work_ms));
                shutdown = shutdown.phase("phase", Duration::from_millis(*share_ms), work);
            }
            shutdown.run().await
        });

        prop_assert!(report.took <= budget + TIMER_GRAIN, "{:?} of {budget:?}", report.took);
        for ((share_ms, work_ms), phase) in phases.iter().zip(&report.phases) {
            if work_ms + 2 < *share_ms {
                prop_assert_eq!(phase.outcome, Outcome::Done);
            }
        }
    }
}
