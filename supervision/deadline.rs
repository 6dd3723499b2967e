//! A deadline: a point in time that is passed down, where a timeout is a duration started here.
//!
//! Each layer narrows the deadline that it was given and never widens it, so the answer to "how long
//! may this take" is the same at the bottom as at the edge.

use std::time::Duration;

use tokio::time::Instant;

/// What "no deadline" means, in seconds: 30 years, so that adding to it cannot overflow.
const FAR_FUTURE_S: u64 = 30 * 365 * 24 * 3600;

/// The point in time by which something must be done.
///
/// ```
/// use std::time::Duration;
/// use tenantry_supervision::Deadline;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let request = Deadline::after(Duration::from_secs(5));
/// let query = request.within(Duration::from_secs(1));
///
/// assert_eq!(query.run(async { 42 }).await, Ok(42));
/// assert!(query.run(std::future::pending::<()>()).await.is_err());
/// assert!(query.is_past() && !request.is_past());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// Sets the deadline a duration from now; one beyond what the clock can hold is far away.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        let far = now + Duration::from_secs(FAR_FUTURE_S);
        Self(now.checked_add(duration).map_or(far, |at| at.min(far)))
    }

    /// Sets the deadline at an instant.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// Sets a deadline that practically never comes.
    #[must_use]
    pub fn never() -> Self {
        Self::after(Duration::from_secs(FAR_FUTURE_S))
    }

    /// Tells the instant of the deadline.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Tells how much time is left: zero once the deadline is past.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Tells whether the deadline is past.
    #[must_use]
    pub fn is_past(self) -> bool {
        self.remaining().is_zero()
    }

    /// Narrows the deadline to at most a duration from now; it is never widened.
    #[must_use]
    pub fn within(self, at_most: Duration) -> Self {
        self.min(Self::after(at_most))
    }

    /// Moves the deadline forward, to leave a caller time for its own answer.
    #[must_use]
    pub fn earlier_by(self, margin: Duration) -> Self {
        Self(self.0.checked_sub(margin).unwrap_or(self.0))
    }

    /// Runs a future until the deadline, and drops it there. Nothing is started once it is past.
    pub async fn run<F: Future>(self, future: F) -> Result<F::Output, DeadlineExceeded> {
        if self.is_past() {
            return Err(DeadlineExceeded);
        }
        tokio::time::timeout_at(self.0, future).await.map_err(|_| DeadlineExceeded)
    }
}

/// The deadline came before the end of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline exceeded")]
pub struct DeadlineExceeded;

#[cfg(test)]
mod tests;
