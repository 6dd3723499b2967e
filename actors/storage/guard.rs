//! The breaker around the store.

use std::time::Duration;

use tenantry_supervision::{Breaker, BreakerError, BreakerSettings};

use super::StorageError;

/// Failures in a row before the store is left alone.
const FAILURES: u32 = 8;
/// How long it is left alone at first, and at most.
const OPEN_FOR: Duration = Duration::from_millis(500);
const MAX_OPEN_FOR: Duration = Duration::from_secs(30);
/// Longest single call; a stream's bytes are not part of it.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls the store unless it keeps failing. A missing file or a full disk is an answer.
#[derive(Debug)]
pub(super) struct Guard {
    breaker: Breaker,
}

impl Guard {
    pub(super) fn new() -> Self {
        let settings = BreakerSettings {
            name: "storage",
            failures: FAILURES,
            open_for: OPEN_FOR,
            max_open_for: MAX_OPEN_FOR,
            timeout: CALL_TIMEOUT,
        };
        Self { breaker: Breaker::new(settings) }
    }

    pub(super) async fn call<T, F, Fut>(&self, call: F) -> Result<T, StorageError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, StorageError>>,
    {
        let counts = |error: &StorageError| matches!(error, StorageError::Unavailable(_));
        match self.breaker.call_with(counts, call).await {
            Ok(value) => Ok(value),
            Err(BreakerError::Failed(error)) => Err(error),
            Err(BreakerError::Open { .. }) => Err(StorageError::Unavailable("breaker open".into())),
            Err(BreakerError::TimedOut { .. }) => {
                Err(StorageError::Unavailable("timed out".into()))
            }
        }
    }

    /// Counts the outcome of work that took longer than a single call may.
    pub(super) async fn note<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(StorageError::Unavailable(_)) = &result {
            let failed = || std::future::ready(Err::<(), ()>(()));
            // The answer is known already; the breaker only hears of it.
            let _ = self.breaker.call_with(|()| true, failed).await;
        }
        result
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}
