//! What of a tenant's entries is handed over but not yet on disk, and the answers that wait for it.
//!
//! The committer says when an entry is on disk, from its own task; the actor asks whether an
//! answer may leave. **Invariant:** an answer that depends on entry `n` leaves only after `n` is
//! committed, or as an error if `n` failed. Nothing runs while the lock is held.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::journal::AppendError;

/// Called once it is known whether the entry that an answer depends on is on disk.
pub(super) type Release = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// One tenant's entries between hand-over and disk.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Default)]
struct State {
    handed_over: u64,
    durable: u64,
    failed: Option<AppendError>,
    waiting: VecDeque<(u64, Release)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("handed_over", &self.handed_over)
            .field("durable", &self.durable)
            .field("failed", &self.failed)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl InFlight {
    /// Begins with everything up to `seq` on disk.
    pub(super) fn settled_at(seq: u64) -> Self {
        let state = State { handed_over: seq, durable: seq, ..State::default() };
        Self { state: Mutex::new(state), settled: Notify::new() }
    }

    /// Notes that entries up to `seq` are with the committer.
    pub(super) fn hand_over(&self, seq: u64) {
        self.lock().handed_over = seq;
    }

    /// Runs `release` once everything up to `seq` is on disk: at once if it is already.
    pub(super) fn after(&self, seq: u64, release: Release) {
        let mut state = self.lock();
        let known = match state.failed {
            Some(error) => Err(error),
            None if state.durable >= seq => Ok(()),
            None => {
                state.waiting.push_back((seq, release));
                return;
            }
        };
        drop(state);
        release(known);
    }

    /// Notes that entries up to `seq` are on disk.
    pub(super) fn committed(&self, seq: u64) {
        let mut ready = Vec::new();
        {
            let mut state = self.lock();
            state.durable = state.durable.max(seq);
            while state.waiting.front().is_some_and(|(needs, _)| *needs <= seq) {
                ready.extend(state.waiting.pop_front());
            }
        }
        self.settled.notify_waiters();
        for (_, release) in ready {
            release(Ok(()));
        }
    }

    /// Notes that an entry will never be on disk: what waited or will ask gets the error.
    pub(super) fn fail(&self, error: AppendError) {
        let waiting = {
            let mut state = self.lock();
            state.failed.get_or_insert(error);
            std::mem::take(&mut state.waiting)
        };
        self.settled.notify_waiters();
        for (_, release) in waiting {
            release(Err(error));
        }
    }

    /// The newest entry that is on disk.
    pub(super) fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// Says whether everything that was handed over is on disk.
    pub(super) fn is_settled(&self) -> bool {
        let state = self.lock();
        state.failed.is_none() && state.durable >= state.handed_over
    }

    /// Waits until nothing is in flight; `false` when an entry failed.
    pub(super) async fn settle(&self) -> bool {
        loop {
            let notified = self.settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let state = self.lock();
                if state.failed.is_some() {
                    return false;
                }
                if state.durable >= state.handed_over {
                    return true;
                }
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave these numbers half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
