//! The breaker against a reference model, and the cases that the usual breaker gets wrong.

use std::sync::Mutex as StdMutex;

use tokio::sync::oneshot;

use super::*;
use crate::spawn::{Task, Tasks, spawn};

mod model;

const SETTINGS: BreakerSettings = BreakerSettings {
    name: "test",
    failures: 3,
    open_for: Duration::from_millis(100),
    max_open_for: Duration::from_millis(300),
    timeout: Duration::from_millis(50),
};

type Reply = Result<(), &'static str>;
type Call = Task<Result<(), BreakerError<&'static str>>>;

async fn reply(breaker: &Breaker, reply: Reply) -> Result<(), BreakerError<&'static str>> {
    breaker.call_with(|error| *error != "mistake", || async move { reply }).await
}

/// Starts a call that is answered through the channel, and lets it get under way.
async fn start(breaker: &Breaker, tasks: &Tasks) -> (oneshot::Sender<Reply>, Call) {
    let (answer, answered) = oneshot::channel();
    let breaker = breaker.clone();
    let task = spawn("call", tasks, async move {
        let call = || async { answered.await.unwrap_or(Err("gone")) };
        breaker.call_with(|error| *error != "mistake", call).await
    });
    tokio::task::yield_now().await;
    (answer, task)
}

fn broken() -> Result<(), ()> {
    panic!("on purpose")
}

async fn opened() -> Breaker {
    let breaker = Breaker::new(SETTINGS);
    for _ in 0..3 {
        assert_eq!(reply(&breaker, Err("down")).await, Err(BreakerError::Failed("down")));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_does_not_call() {
    let breaker = opened().await;
    let is_called = StdMutex::new(false);

    let result: Result<(), _> = breaker
        .call_with(
            |(): &()| true,
            || async {
                *is_called.lock().unwrap() = true;
                Ok(())
            },
        )
        .await;

    assert_eq!(result, Err(BreakerError::Open { retry_after: SETTINGS.open_for }));
    assert!(!*is_called.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn exactly_one_of_a_hundred_probes() {
    let breaker = opened().await;
    let tasks = Tasks::new();
    tokio::time::advance(SETTINGS.open_for).await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen);

    let mut calls = Vec::new();
    for _ in 0..100 {
        calls.push(start(&breaker, &tasks).await);
    }

    let (running, refused): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|(_, task)| !task.is_finished());
    assert_eq!((running.len(), refused.len()), (1, 99));
    for (answer, task) in running {
        answer.send(Ok(())).unwrap();
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn hung_calls_open_it_after_the_timeout() {
    let breaker = Breaker::new(SETTINGS);
    let started = Instant::now();

    for _ in 0..3 {
        let hang = || std::future::pending::<Reply>();
        let hung = breaker.call_with(|_| true, hang).await;
        assert_eq!(hung, Err(BreakerError::TimedOut { after: SETTINGS.timeout }));
    }

    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(started.elapsed() < 3 * SETTINGS.timeout + Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn cancelled_and_panicking_calls_count() {
    let breaker = Breaker::new(SETTINGS);
    let tasks = Tasks::new();

    let (_answer, cancelled) = start(&breaker, &tasks).await;
    cancelled.abort();
    assert!(cancelled.await.is_err());
    let own = breaker.clone();
    let panicking =
        spawn(
            "call",
            &tasks,
            async move { own.call_with(|&()| true, || async { broken() }).await },
        );
    assert!(panicking.await.is_err());
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert!(reply(&breaker, Err("down")).await.is_err());

    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_polled_does_not_count() {
    let breaker = Breaker::new(SETTINGS);

    for _ in 0..10 {
        drop(reply(&breaker, Err("down")));
    }

    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_clients_mistake_does_not_count_and_shows_life() {
    let breaker = Breaker::new(SETTINGS);

    for failure in ["down", "down", "mistake", "down", "down"] {
        assert!(reply(&breaker, Err(failure)).await.is_err());
    }

    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn time_open_doubles_with_failed_probes_to_the_cap() {
    let breaker = opened().await;

    for open_ms in [100, 200, 300, 300] {
        let Err(BreakerError::Open { retry_after }) = reply(&breaker, Ok(())).await else {
            panic!("the breaker must be open");
        };
        assert_eq!(retry_after, Duration::from_millis(open_ms));
        tokio::time::advance(retry_after).await;
        assert_eq!(reply(&breaker, Err("down")).await, Err(BreakerError::Failed("down")));
    }
    tokio::time::advance(SETTINGS.max_open_for).await;
    assert_eq!(reply(&breaker, Ok(())).await, Ok(()));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn late_answers_from_before_neither_close_nor_reopen_it() {
    let breaker = Breaker::new(BreakerSettings { timeout: Duration::from_secs(9), ..SETTINGS });
    let tasks = Tasks::new();
    let (answer, late) = start(&breaker, &tasks).await;
    let (failure, later) = start(&breaker, &tasks).await;
    for _ in 0..3 {
        assert!(reply(&breaker, Err("down")).await.is_err());
    }
    tokio::time::advance(SETTINGS.open_for).await;
    let (probe_answer, probe) = start(&breaker, &tasks).await;

    answer.send(Ok(())).unwrap();
    assert_eq!(late.await.unwrap(), Ok(()));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    failure.send(Err("down")).unwrap();
    assert!(later.await.unwrap().is_err());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);

    probe_answer.send(Ok(())).unwrap();
    assert_eq!(probe.await.unwrap(), Ok(()));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_polls_does_not_block_for_ever() {
    let breaker = opened().await;
    tokio::time::advance(SETTINGS.open_for).await;
    let mut forgotten = Box::pin(breaker.call_with(|_| true, std::future::pending::<Reply>));
    assert!(futures_poll_once(forgotten.as_mut()).await);

    tokio::time::advance(SETTINGS.timeout).await;
    assert!(matches!(reply(&breaker, Ok(())).await, Err(BreakerError::Open { .. })));
    tokio::time::advance(2 * SETTINGS.open_for).await;
    assert_eq!(reply(&breaker, Ok(())).await, Ok(()));

    drop(forgotten);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// Polls once and tells whether the future is still pending.
async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn every_change_of_state_reaches_the_hook() {
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let hook: Hook = Arc::new(move |name, state| sink.lock().unwrap().push((name, state)));
    let breaker = Breaker::with_hook(BreakerSettings { failures: 1, ..SETTINGS }, hook);

    assert!(reply(&breaker, Err("down")).await.is_err());
    tokio::time::advance(SETTINGS.open_for).await;
    assert!(reply(&breaker, Ok(())).await.is_ok());

    let (open, half_open) = (BreakerState::Open, BreakerState::HalfOpen);
    let expected = [open, half_open, BreakerState::Closed].map(|state| ("test", state));
    assert_eq!(*seen.lock().unwrap(), expected);
}
