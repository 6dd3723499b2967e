//! Tasks that are named, owned and ended: the only place of the workspace that starts one.
//!
//! A [`Tasks`] owns what is spawned into it. It tells its tasks to end through a token, waits for them
//! within a budget, and aborts what is left; a panic is caught, logged and counted, never lost.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use crate::measured::{TASKS_PANICKED_TOTAL, TASKS_RUNNING, TASKS_STARTED_TOTAL};

/// How long aborted tasks get to be dropped, in milliseconds: one that blocks its thread never is.
const ABORT_GRACE_MS: u64 = 100;

/// Spawns a named task into its owner. The task should end when `tasks.cancelled()` completes;
/// one that does not is aborted by [`Tasks::finish`] after its budget.
pub fn spawn<F>(name: &'static str, tasks: &Tasks, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let entry = Entry::new(name, tasks);
    let handle = tasks.inner.tracker.spawn(async move {
        let result = caught(name, future).await;
        drop(entry);
        result
    });
    tasks.remember(handle.abort_handle());
    Task { name, handle }
}

/// Spawns named blocking work into its owner. It cannot be aborted once it runs, so keep it short.
pub fn spawn_blocking<F, T>(name: &'static str, tasks: &Tasks, work: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let entry = Entry::new(name, tasks);
    let handle = tasks.inner.tracker.spawn_blocking(move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| report(name, &*panic));
        drop(entry);
        result
    });
    Task { name, handle }
}

/// The owner of tasks. Clones are the same owner.
///
/// ```
/// use std::time::Duration;
/// use tenantry_supervision::{Tasks, spawn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let tasks = Tasks::new();
/// let owner = tasks.clone();
/// let relay = spawn("relay", &tasks, async move {
///     owner.cancelled().await;
///     "ended"
/// });
/// let answer = spawn("answer", &tasks, async { 42 });
/// assert_eq!(answer.await.unwrap(), 42);
/// assert_eq!(tasks.running(), [("relay", 1)].into());
///
/// assert!(tasks.finish(Duration::from_secs(5)).await.is_empty());
/// assert_eq!(relay.await.unwrap(), "ended");
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    tracker: TaskTracker,
    token: CancellationToken,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    running: BTreeMap<&'static str, Named>,
    aborts: Vec<AbortHandle>,
    /// When the list of abort handles is next cleared of ended tasks: doubling keeps it amortised.
    sweep_at: usize,
    /// Set once the owner has ended: what is spawned later is aborted at once.
    is_ended: bool,
}

/// The running tasks of one name, with the handles of their metrics: looking those up for every task
/// would cost more than counting.
struct Named {
    count: usize,
    running: metrics::Gauge,
    started: metrics::Counter,
}

impl Named {
    fn new(name: &'static str) -> Self {
        Self {
            count: 0,
            running: metrics::gauge!(TASKS_RUNNING, "task" => name),
            started: metrics::counter!(TASKS_STARTED_TOTAL, "task" => name),
        }
    }
}

impl Tasks {
    /// Makes an owner without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an owner that is told to end when this one is, and can be ended before it alone.
    /// Its tasks are its own: this one's `finish` does not wait for them.
    #[must_use]
    pub fn child(&self) -> Self {
        let inner = Inner { token: self.inner.token.child_token(), ..Inner::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Completes once the tasks are told to end.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.inner.token.cancelled()
    }

    /// Hands out the token that tells the tasks to end.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// Tells the tasks to end, without waiting.
    pub fn cancel(&self) {
        self.inner.token.cancel();
    }

    /// Tells whether the tasks were told to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// Counts the tasks that still run, by name.
    #[must_use]
    pub fn running(&self) -> BTreeMap<&'static str, usize> {
        self.book(|book| {
            let counts = book.running.iter().map(|(name, named)| (*name, named.count));
            counts.filter(|(_, count)| *count > 0).collect()
        })
    }

    /// Counts the tasks that still run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.tracker.len()
    }

    /// Tells whether no task runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.tracker.is_empty()
    }

    /// Tells the tasks to end and waits for them within the budget; what still runs then is aborted,
    /// and what is spawned later is aborted at once.
    /// Returns those that had to be aborted, by name: empty means a clean end.
    pub async fn finish(&self, budget: Duration) -> BTreeMap<&'static str, usize> {
        self.cancel();
        self.drain(budget).await
    }

    /// Waits for the tasks to end by themselves within the budget, as [`Tasks::finish`] does, but
    /// without telling them: for work that should come to its own end, like open requests.
    pub async fn drain(&self, budget: Duration) -> BTreeMap<&'static str, usize> {
        let tracker = &self.inner.tracker;
        tracker.close();
        if tokio::time::timeout(budget, tracker.wait()).await.is_ok() {
            self.end();
            return BTreeMap::new();
        }
        self.cancel();
        let left = self.running();
        tracing::warn!(tasks = ?left, "aborting tasks that did not end in time");
        self.end();
        let _ = tokio::time::timeout(Duration::from_millis(ABORT_GRACE_MS), tracker.wait()).await;
        left
    }

    fn end(&self) {
        self.cancel();
        self.book(|book| {
            book.is_ended = true;
            book.aborts.drain(..).for_each(|abort| abort.abort());
        });
    }

    fn remember(&self, abort: AbortHandle) {
        self.book(|book| {
            if book.is_ended {
                abort.abort();
                return;
            }
            if book.aborts.len() >= book.sweep_at {
                book.aborts.retain(|abort| !abort.is_finished());
                book.sweep_at = (book.aborts.len() * 2).max(64);
            }
            book.aborts.push(abort);
        });
    }

    fn book<T>(&self, with: impl FnOnce(&mut Book) -> T) -> T {
        // Nothing panics while the lock is held, so a poisoned one is still whole.
        with(&mut self.inner.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running()).finish_non_exhaustive()
    }
}

/// A task's entry in its owner's book, struck out when the task ends in whatever way.
struct Entry {
    name: &'static str,
    tasks: Tasks,
}

impl Entry {
    fn new(name: &'static str, tasks: &Tasks) -> Self {
        tasks.book(|book| {
            let named = book.running.entry(name).or_insert_with(|| Named::new(name));
            named.count += 1;
            named.started.increment(1);
            named.running.increment(1.0);
        });
        Self { name, tasks: tasks.clone() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tasks.book(|book| {
            if let Some(named) = book.running.get_mut(self.name) {
                named.count -= 1;
                named.running.decrement(1.0);
            }
        });
    }
}

/// A running task. Dropping it leaves the task to its owner.
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<Result<T, TaskError>>,
}

impl<T> Task<T> {
    /// Ends the task at its next await.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Tells whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Tells the task's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.handle)
            .poll(cx)
            .map(|joined| joined.unwrap_or_else(|_: JoinError| Err(TaskError::Aborted { name })))
    }
}

/// Why a task ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It panicked.
    #[error("task {name} panicked: {message}")]
    Panicked {
        /// The task's name.
        name: &'static str,
        /// The panic's text.
        message: String,
    },
    /// It was aborted, or its runtime ended.
    #[error("task {name} was aborted")]
    Aborted {
        /// The task's name.
        name: &'static str,
    },
}

/// Runs a future to its end and turns a panic into an error.
pub(crate) async fn caught<F: Future>(
    name: &'static str,
    future: F,
) -> Result<F::Output, TaskError> {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| {
        // The future is never polled again after a panic, so no broken state is seen.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(report(name, &*panic))),
        }
    })
    .await
}

fn report(name: &'static str, panic: &(dyn Any + Send)) -> TaskError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("no text").to_owned();
    metrics::counter!(TASKS_PANICKED_TOTAL, "task" => name).increment(1);
    tracing::error!(task.name = name, panic.message = message, "a task panicked");
    TaskError::Panicked { name, message }
}

#[cfg(test)]
mod tests;
