//! One life of a tenant's actor, as the committer knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Marks the entries of one life of an actor. Once it is retired the committer takes none of them:
/// they rest on state that the log does not have.
#[derive(Debug, Clone)]
pub struct Incarnation {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    number: u64,
    is_live: AtomicBool,
}

impl Incarnation {
    pub(super) fn new(number: u64) -> Self {
        Self { inner: Arc::new(Inner { number, is_live: AtomicBool::new(true) }) }
    }

    /// Its number, for logs; later ones are larger.
    pub fn number(&self) -> u64 {
        self.inner.number
    }

    /// Whether the committer still takes its entries.
    pub fn is_live(&self) -> bool {
        self.inner.is_live.load(Ordering::Acquire)
    }

    /// Refuses what is queued and what comes; the actor has stopped or must stop.
    pub fn retire(&self) {
        self.inner.is_live.store(false, Ordering::Release);
    }

    /// Whether anyone but the committer still knows it.
    pub(super) fn is_held(&self) -> bool {
        self.is_live() && Arc::strong_count(&self.inner) > 1
    }
}
