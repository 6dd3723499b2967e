//! What a breaker is given and what it says: settings, state, error, and how long it stays open.

use std::fmt;
use std::time::Duration;

/// The limits of a [`Breaker`](super::Breaker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// The dependency's name, as a metric label.
    pub name: &'static str,
    /// How many failures in a row open it; at least 1.
    pub failures: u32,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// What the time open never exceeds; it doubles with each failed probe.
    pub max_open_for: Duration,
    /// How long one call may take: longer is a failure.
    pub timeout: Duration,
}

/// What a breaker does with the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// It passes calls.
    Closed,
    /// It lets a single probe through, or waits for the one that runs.
    HalfOpen,
    /// It refuses calls.
    Open,
}

impl BreakerState {
    /// Names the state as metrics and pages show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// Encodes the state as the metric has it.
    pub(super) fn as_gauge(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open => 2.0,
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call through a breaker has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// The breaker refused it; the dependency was not called.
    #[error("the breaker is open")]
    Open {
        /// When the next probe may be let through.
        retry_after: Duration,
    },
    /// The call took too long and was dropped; it may have had its effect.
    #[error("the call took longer than {after:?}")]
    TimedOut {
        /// The limit of one call.
        after: Duration,
    },
    /// The dependency's own error.
    #[error(transparent)]
    Failed(E),
}

/// Durations that double up to a maximum.
#[derive(Clone, Debug)]
pub(super) struct Doubling {
    pub(super) next: Duration,
    pub(super) max: Duration,
}

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next.min(self.max);
        self.next = now.saturating_mul(2).min(self.max);
        Some(now)
    }
}
