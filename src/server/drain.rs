//! How the connections of a server learn that it ends, at the cost of one atomic read a poll.
//!
//! A connection is polled twice a request. Tokens and channels take a lock that all connections
//! share at each poll; here a connection leaves its waker once, and looks at a number after that.
//!
//! ```text
//! Open -> Draining (finish what was begun) -> Cut (end now)
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Go on.
    Open = 0,
    /// Finish the requests that were begun.
    Draining = 1,
    /// End now.
    Cut = 2,
}

/// All connections of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Drain {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    members: Mutex<Members>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    /// Those that run; without a waker before their first poll.
    wakers: HashMap<u64, Option<Waker>>,
}

/// One connection's membership, ended when dropped.
#[derive(Debug)]
pub(super) struct Member {
    inner: Arc<Inner>,
    number: u64,
    waker: Option<Waker>,
}

impl Drain {
    /// Adds a connection.
    pub(super) fn join(&self) -> Member {
        let mut members = self.inner.lock();
        let number = members.next;
        members.next += 1;
        members.wakers.insert(number, None);
        Member { inner: Arc::clone(&self.inner), number, waker: None }
    }

    /// Tells all connections.
    pub(super) fn tell(&self, phase: Phase) {
        self.inner.phase.store(phase as u8, Ordering::Release);
        let wakers: Vec<_> = self.inner.lock().wakers.values().flatten().cloned().collect();
        // Outside of the lock: who is woken may leave at once.
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Waits until no connection is left.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.inner.left.notified();
            if self.inner.lock().wakers.is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Members> {
        // Every change is one insertion or removal: a panic leaves nothing half done.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Cut,
        }
    }
}

impl Member {
    /// What the connection is told; it is woken when that changes.
    pub(super) fn phase(&mut self, cx: &Context<'_>) -> Phase {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            let waker = cx.waker().clone();
            self.inner.lock().wakers.insert(self.number, Some(waker.clone()));
            self.waker = Some(waker);
        }
        // After the waker is there: whoever tells later finds it.
        self.inner.phase()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let is_last = {
            let mut members = self.inner.lock();
            members.wakers.remove(&self.number);
            members.wakers.is_empty()
        };
        if is_last {
            self.inner.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    async fn until(mut member: Member, wanted: Phase) {
        poll_fn(|cx| if member.phase(cx) >= wanted { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    #[tokio::test]
    async fn everyone_is_told_and_the_last_one_to_leave_ends_the_wait() {
        let drain = Drain::default();
        let (first, second) =
            (until(drain.join(), Phase::Draining), until(drain.join(), Phase::Cut));

        let teller = async {
            drain.tell(Phase::Draining);
            tokio::task::yield_now().await;
            drain.tell(Phase::Cut);
        };
        tokio::join!(first, second, drain.emptied(), teller);
    }

    #[tokio::test]
    async fn who_joins_late_is_told_at_once() {
        let drain = Drain::default();
        drain.tell(Phase::Draining);

        until(drain.join(), Phase::Draining).await;

        drain.emptied().await;
    }
}
