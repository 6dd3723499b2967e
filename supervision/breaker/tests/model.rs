//! A naive reference model beside the real breaker, driven by generated histories in paused time.

use proptest::prelude::*;

use super::*;

/// The grain of the model's time, in milliseconds; every limit of [`SETTINGS`] is a multiple.
const TICK_MS: u64 = 10;

/// A call may take longer than the breaker stays open, so that late answers meet a probe.
const SETTINGS: BreakerSettings =
    BreakerSettings { timeout: Duration::from_millis(150), ..super::SETTINGS };

#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    /// Ends the call with this index, modulo the number of running ones.
    End(usize, End),
    Ticks(u64),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Answer,
    Mistake,
    Fail,
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        2 => Just(End::Answer),
        1 => Just(End::Mistake),
        4 => Just(End::Fail),
        2 => Just(End::Drop),
    ];
    let step = prop_oneof![
        5 => Just(Step::Start),
        4 => (0_usize..16, end).prop_map(|(index, end)| Step::End(index, end)),
        3 => (1_u64..20).prop_map(Step::Ticks),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the breaker should be, written as simply as it can be said.
#[derive(Default)]
struct Model {
    now_ms: u64,
    failures_in_a_row: u32,
    openings_in_a_row: u32,
    /// Set while it is open or a probe runs.
    open_until_ms: Option<u64>,
    probe: Option<u64>,
    /// A call's number, when it started, and which opening it belongs to.
    running: Vec<(u64, u64, u64)>,
    calls: u64,
    changes: u64,
}

impl Model {
    fn start(&mut self) -> bool {
        self.calls += 1;
        if let Some(until_ms) = self.open_until_ms {
            if self.now_ms < until_ms || self.probe.is_some() {
                return false;
            }
            self.probe = Some(self.calls);
            self.changes += 1;
        }
        self.running.push((self.calls, self.now_ms, self.changes));
        true
    }

    fn end(&mut self, index: usize, is_failure: bool) {
        let (call, _, belongs_to) = self.running.remove(index);
        if belongs_to != self.changes {
            return;
        }
        let is_probe = self.probe == Some(call);
        if is_failure {
            self.failures_in_a_row += 1;
            if is_probe || self.failures_in_a_row >= SETTINGS.failures {
                let open_ms = u64::try_from(SETTINGS.open_for.as_millis()).unwrap();
                let max_ms = u64::try_from(SETTINGS.max_open_for.as_millis()).unwrap();
                let doubled_ms = open_ms << self.openings_in_a_row.min(10);
                self.open_until_ms = Some(self.now_ms + doubled_ms.min(max_ms));
                self.openings_in_a_row += 1;
                self.probe = None;
                self.changes += 1;
            }
        } else {
            self.failures_in_a_row = 0;
            if is_probe {
                (self.open_until_ms, self.probe, self.openings_in_a_row) = (None, None, 0);
                self.changes += 1;
            }
        }
    }

    fn tick(&mut self) {
        self.now_ms += TICK_MS;
        let timeout_ms = u64::try_from(SETTINGS.timeout.as_millis()).unwrap();
        while let Some(late) =
            self.running.iter().position(|(_, at, _)| at + timeout_ms <= self.now_ms)
        {
            self.end(late, true);
        }
    }

    fn state(&self) -> BreakerState {
        match self.open_until_ms {
            None => BreakerState::Closed,
            Some(until_ms) if self.now_ms < until_ms => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

/// The real breaker, with its running calls by the same numbers as the model's.
struct Real {
    breaker: Breaker,
    tasks: Tasks,
    running: Vec<(u64, Option<oneshot::Sender<Reply>>, Call)>,
    calls: u64,
}

impl Real {
    async fn start(&mut self) -> bool {
        self.calls += 1;
        let (answer, task) = start(&self.breaker, &self.tasks).await;
        let is_admitted = !task.is_finished();
        if is_admitted {
            self.running.push((self.calls, Some(answer), task));
        }
        is_admitted
    }

    async fn end(&mut self, index: usize, end: End) {
        let (_, answer, task) = &mut self.running[index];
        let answer = answer.take().unwrap();
        match end {
            End::Answer => answer.send(Ok(())).unwrap(),
            End::Mistake => answer.send(Err("mistake")).unwrap(),
            End::Fail => answer.send(Err("down")).unwrap(),
            End::Drop => task.abort(),
        }
        self.settle().await;
    }

    async fn tick(&mut self) {
        tokio::time::advance(Duration::from_millis(TICK_MS)).await;
        self.settle().await;
    }

    /// Lets every task that can move do so, and forgets those that ended.
    async fn settle(&mut self) {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.running.retain(|(_, _, task)| !task.is_finished());
    }

    fn numbers(&self) -> Vec<u64> {
        self.running.iter().map(|(call, _, _)| *call).collect()
    }
}

async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let breaker = Breaker::new(SETTINGS);
    let mut real = Real { breaker, tasks: Tasks::new(), running: Vec::new(), calls: 0 };
    for step in steps {
        match step {
            Step::Start => prop_assert_eq!(real.start().await, model.start()),
            Step::End(..) if model.running.is_empty() => {}
            Step::End(index, end) => {
                let index = index % model.running.len();
                real.end(index, end).await;
                model.end(index, matches!(end, End::Fail | End::Drop));
            }
            Step::Ticks(count) => {
                for _ in 0..count {
                    real.tick().await;
                    model.tick();
                }
            }
        }
        let running: Vec<_> = model.running.iter().map(|(call, _, _)| *call).collect();
        prop_assert_eq!(real.numbers(), running);
        prop_assert_eq!(real.breaker.state(), model.state());
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_breaker_equals_its_model(steps in steps()) {
        let paused = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        paused.block_on(compare(steps))?;
    }
}
