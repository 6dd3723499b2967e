//! Tasks are counted by name, told to end, aborted when deaf, and their panics are not lost.

use super::*;

const BUDGET: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_panic_is_an_error_with_its_text() {
    let tasks = Tasks::new();

    let first = spawn("static", &tasks, async { panic!("plain") }).await;
    let second = spawn("formatted", &tasks, async { panic!("number {}", 7) }).await;
    let third = spawn_blocking("blocking", &tasks, || panic!("in a thread")).await;

    let panicked = |name, message: &str| {
        Err::<(), _>(TaskError::Panicked { name, message: message.to_owned() })
    };
    assert_eq!(first, panicked("static", "plain"));
    assert_eq!(second, panicked("formatted", "number 7"));
    assert_eq!(third, panicked("blocking", "in a thread"));
    assert!(tasks.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn tasks_are_counted_by_name_until_they_end() {
    let tasks = Tasks::new();
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let waiting = spawn("waiting", &tasks, gate);
    let endless: Vec<_> =
        (0..2).map(|_| spawn("endless", &tasks, std::future::pending::<()>())).collect();

    assert_eq!(tasks.running(), [("endless", 2), ("waiting", 1)].into());
    open.send(()).unwrap();
    waiting.await.unwrap().unwrap();
    endless[0].abort();

    tokio::task::yield_now().await;
    assert_eq!(tasks.running(), [("endless", 1)].into());
    assert_eq!(tasks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn finish_ends_listeners_cleanly_and_aborts_the_deaf() {
    let tasks = Tasks::new();
    let token = tasks.token();
    let listener = spawn("listener", &tasks, async move { token.cancelled().await });
    let deaf = spawn("deaf", &tasks, std::future::pending::<()>());
    let started = tokio::time::Instant::now();

    let left = tasks.finish(BUDGET).await;

    assert_eq!(left, [("deaf", 1)].into());
    assert_eq!(started.elapsed(), BUDGET);
    assert_eq!(listener.await, Ok(()));
    assert_eq!(deaf.await, Err(TaskError::Aborted { name: "deaf" }));
    assert!(tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn drain_lets_tasks_come_to_their_own_end() {
    let tasks = Tasks::new();
    let owner = tasks.clone();
    let request = spawn("request", &tasks, async move {
        tokio::time::sleep(BUDGET / 2).await;
        owner.is_cancelled()
    });

    let left = tasks.drain(BUDGET).await;

    assert!(left.is_empty());
    assert_eq!(request.await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_after_the_end() {
    let tasks = Tasks::new();
    assert!(tasks.finish(BUDGET).await.is_empty());

    let late = spawn("late", &tasks, std::future::pending::<()>());

    assert_eq!(late.await, Err(TaskError::Aborted { name: "late" }));
}

#[tokio::test]
async fn a_child_ends_with_its_parent_and_before_it_alone() {
    let parent = Tasks::new();
    let (first, second) = (parent.child(), parent.child());

    first.cancel();
    assert!(first.is_cancelled() && !parent.is_cancelled() && !second.is_cancelled());
    parent.cancel();
    assert!(second.is_cancelled());
}

#[tokio::test]
async fn a_dropped_handle_leaves_the_task_to_its_owner() {
    let tasks = Tasks::new();
    let (done, result) = tokio::sync::oneshot::channel();

    drop(spawn("detached", &tasks, async move { done.send(42) }));

    assert_eq!(result.await, Ok(42));
    assert!(tasks.finish(BUDGET).await.is_empty());
}

#[tokio::test]
async fn the_list_of_abort_handles_stays_bounded() {
    let tasks = Tasks::new();

    for _ in 0..10_000 {
        spawn("short", &tasks, async {}).await.unwrap();
    }

    assert!(tasks.book(|book| book.aborts.len()) <= 64);
}
