//! What the services saw: a bounded list that tests read to know what a server really sent.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::switches::{Mode, Service};

/// How many requests are kept over all services; the oldest go first.
const MAX_SEEN: usize = 2_000;

/// How many characters of a request are kept.
const MAX_SUMMARY_CHARS: usize = 4_096;

/// One request that a service saw.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Counts requests over all services from 1.
    pub number: u64,
    /// Who saw it.
    pub service: Service,
    /// How the service behaved then.
    pub mode: Mode,
    /// The request's body, or the mail's envelope, cut to a bounded length.
    pub summary: String,
}

/// Every service's requests, the newest last.
#[derive(Debug, Default)]
pub struct Log {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    count: u64,
    seen: VecDeque<Seen>,
}

impl Log {
    /// The requests that a service saw, as far as they are kept.
    pub fn of(&self, service: Service) -> Vec<Seen> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seen.iter().filter(|seen| seen.service == service).cloned().collect()
    }

    pub(crate) fn add(&self, service: Service, mode: Mode, summary: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.count += 1;
        let number = inner.count;
        let summary = summary.chars().take(MAX_SUMMARY_CHARS).collect();
        if inner.seen.len() == MAX_SEEN {
            inner.seen.pop_front();
        }
        inner.seen.push_back(Seen { number, service, mode, summary });
    }
}
