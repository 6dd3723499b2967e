//! A circuit breaker: a dependency that fails is left alone for a while, then probed by one call.
//!
//! When to open and for how long is the crate `failsafe`'s policy of consecutive failures, which needs
//! no clock; it is named in this file alone. Its state machine is not used, because it lacks what this
//! file adds: in half-open it lets every call through (here exactly one probe), it never counts a call
//! that hangs or is dropped (here the timeout is inside and a dropped call is a failure), a late answer
//! to a call from before the opening can close it (here every call carries its generation), its backoff
//! counts whole seconds, and it reads the system clock (here tokio's, which tests can pause).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failsafe::FailurePolicy as _;
use failsafe::failure_policy::{ConsecutiveFailures, consecutive_failures};
use tokio::time::Instant;

use crate::measured::{BREAKER_CALLS_TOTAL, BREAKER_STATE, BREAKER_TRANSITIONS_TOTAL};
use crate::retry::Retryable;

mod types;

use types::Doubling;
pub use types::{BreakerError, BreakerSettings, BreakerState};

/// What is called after each change of state.
pub type Hook = Arc<dyn Fn(&'static str, BreakerState) + Send + Sync>;

/// A circuit breaker around one dependency. Clones are the same breaker.
///
/// ```
/// use std::time::Duration;
/// use tenantry_supervision::{Breaker, BreakerError, BreakerSettings, BreakerState};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let breaker = Breaker::new(BreakerSettings {
///     name: "mail",
///     failures: 2,
///     open_for: Duration::from_secs(1),
///     max_open_for: Duration::from_secs(30),
///     timeout: Duration::from_secs(5),
/// });
/// let hang = || std::future::pending::<Result<(), std::io::Error>>();
/// for _ in 0..2 {
///     let hung = breaker.call_with(|_| true, hang).await;
///     assert!(matches!(hung, Err(BreakerError::TimedOut { .. })));
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// assert!(matches!(breaker.call_with(|_| true, hang).await, Err(BreakerError::Open { .. })));
///
/// tokio::time::advance(Duration::from_secs(1)).await;
/// let probe = breaker.call_with(|_| true, || async { Ok::<_, std::io::Error>("sent") }).await;
/// assert_eq!(probe.unwrap(), "sent");
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker {
    inner: Arc<Inner>,
}

struct Inner {
    settings: BreakerSettings,
    machine: Mutex<Machine>,
    hook: Option<Hook>,
    /// Whether it is the only one of its name, so that a gauge can show its state.
    is_shown: bool,
}

impl Breaker {
    /// Makes a closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self::build(settings, None, true)
    }

    /// Makes a closed breaker that shares its name with others: its calls and changes of state are
    /// counted under the name, and no gauge shows its state.
    #[must_use]
    pub fn one_of_many(settings: BreakerSettings) -> Self {
        Self::build(settings, None, false)
    }

    /// Makes a closed breaker that calls a hook after each change of state, besides the metrics.
    #[must_use]
    pub fn with_hook(settings: BreakerSettings, hook: Hook) -> Self {
        Self::build(settings, Some(hook), true)
    }

    fn build(settings: BreakerSettings, hook: Option<Hook>, is_shown: bool) -> Self {
        if is_shown {
            metrics::gauge!(BREAKER_STATE, "dependency" => settings.name).set(0.0);
        }
        let machine = Mutex::new(Machine::new(&settings));
        Self { inner: Arc::new(Inner { settings, machine, hook, is_shown }) }
    }

    /// Calls the dependency, unless the breaker is open. A retryable error counts against it, any
    /// other shows that the dependency answers.
    pub async fn call<T, E, F, Fut>(&self, call: F) -> Result<T, BreakerError<E>>
    where
        E: Retryable,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(Retryable::is_retryable, call).await
    }

    /// Calls the dependency, unless the breaker is open; the predicate says which errors count
    /// against it. A call that takes too long, panics or is dropped counts in any case.
    pub async fn call_with<T, E, P, F, Fut>(&self, counts: P, call: F) -> Result<T, BreakerError<E>>
    where
        P: FnOnce(&E) -> bool,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let ticket = self.admit()?;
        let timeout = self.inner.settings.timeout;
        match tokio::time::timeout(timeout, call()).await {
            Ok(Ok(value)) => {
                ticket.settle(Outcome::Answered, "ok");
                Ok(value)
            }
            Ok(Err(error)) if counts(&error) => {
                ticket.settle(Outcome::Failed, "failed");
                Err(BreakerError::Failed(error))
            }
            Ok(Err(error)) => {
                ticket.settle(Outcome::Answered, "refused");
                Err(BreakerError::Failed(error))
            }
            Err(_) => {
                ticket.settle(Outcome::Failed, "timed_out");
                Err(BreakerError::TimedOut { after: timeout })
            }
        }
    }

    /// Tells what the breaker would do with the next call.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.machine(|machine| machine.state_at(Instant::now()))
    }

    /// Tells the dependency's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.inner.settings.name
    }

    fn admit<E>(&self) -> Result<Ticket<'_>, BreakerError<E>> {
        let (admitted, moved) = self.machine(|machine| {
            let before = machine.phase();
            let admitted = machine.admit(Instant::now());
            (admitted, machine.moved_from(before))
        });
        self.announce(moved);
        match admitted {
            Ok(generation) => Ok(Ticket { breaker: self, generation, is_settled: false }),
            Err(retry_after) => {
                self.count("open");
                Err(BreakerError::Open { retry_after })
            }
        }
    }

    fn settle(&self, generation: u64, outcome: Outcome, label: &'static str) {
        self.count(label);
        let moved = self.machine(|machine| {
            let before = machine.phase();
            machine.settle(generation, outcome, Instant::now());
            machine.moved_from(before)
        });
        self.announce(moved);
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!(BREAKER_CALLS_TOTAL, "dependency" => self.name(), "outcome" => outcome)
            .increment(1);
    }

    fn announce(&self, moved: Option<BreakerState>) {
        let Some(to) = moved else { return };
        let name = self.name();
        if self.inner.is_shown {
            metrics::gauge!(BREAKER_STATE, "dependency" => name).set(to.as_gauge());
        }
        metrics::counter!(BREAKER_TRANSITIONS_TOTAL, "dependency" => name, "to" => to.as_str())
            .increment(1);
        tracing::info!(dependency = name, state = to.as_str(), "breaker changed state");
        if let Some(hook) = &self.inner.hook {
            hook(name, to);
        }
    }

    fn machine<T>(&self, with: impl FnOnce(&mut Machine) -> T) -> T {
        // Nothing panics while the lock is held, so a poisoned one is still whole.
        with(&mut self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.debug_struct("Breaker").field("name", &name).field("state", &self.state()).finish()
    }
}

/// The right to make one call, which must be settled: dropped unsettled (the caller went away, or
/// the call panicked) it is a failure, because a dependency that hangs looks exactly like that.
struct Ticket<'a> {
    breaker: &'a Breaker,
    generation: u64,
    is_settled: bool,
}

impl Ticket<'_> {
    fn settle(mut self, outcome: Outcome, label: &'static str) {
        self.is_settled = true;
        self.breaker.settle(self.generation, outcome, label);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.breaker.settle(self.generation, Outcome::Failed, "cancelled");
        }
    }
}

/// What a settled call says about the dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Failed,
}

/// The state machine: no clock and no tasks, time comes in.
// Closed => Open (failures in a row) => HalfOpen (the time is over and a probe starts)
// HalfOpen => Closed (the probe was answered) | Open (it failed; twice the time)
struct Machine {
    phase: Phase,
    /// Counts the changes of state, so that a call from before one cannot speak about what is now.
    generation: u64,
    policy: ConsecutiveFailures<Doubling>,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// A probe is on its way, and must have settled by then.
    HalfOpen {
        probe_until: Instant,
    },
}

impl Phase {
    fn name(self) -> BreakerState {
        match self {
            Self::Closed => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Machine {
    fn new(settings: &BreakerSettings) -> Self {
        let open_for = Doubling { next: settings.open_for, max: settings.max_open_for };
        let policy = consecutive_failures(settings.failures.max(1), open_for);
        Self { phase: Phase::Closed, generation: 0, policy, timeout: settings.timeout }
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn moved_from(&self, before: Phase) -> Option<BreakerState> {
        (self.phase != before).then(|| self.phase.name())
    }

    fn state_at(&self, now: Instant) -> BreakerState {
        match self.phase {
            Phase::Open { until } if until <= now => BreakerState::HalfOpen,
            phase => phase.name(),
        }
    }

    /// Lets a call through under the present generation, or says how long to stay away.
    fn admit(&mut self, now: Instant) -> Result<u64, Duration> {
        if let Phase::HalfOpen { probe_until } = self.phase
            && probe_until <= now
        {
            // Nobody polls the probe any more, so its own timeout never fires. Without this the
            // breaker would wait for it for ever.
            self.settle(self.generation, Outcome::Failed, now);
        }
        match self.phase {
            Phase::Closed => Ok(self.generation),
            Phase::Open { until } if until <= now => {
                self.enter(Phase::HalfOpen { probe_until: now + self.timeout });
                Ok(self.generation)
            }
            Phase::Open { until } | Phase::HalfOpen { probe_until: until } => {
                Err(until.saturating_duration_since(now))
            }
        }
    }

    fn settle(&mut self, generation: u64, outcome: Outcome, now: Instant) {
        if generation != self.generation {
            return;
        }
        match (outcome, self.phase) {
            (_, Phase::Open { .. }) => {}
            (Outcome::Answered, Phase::Closed) => self.policy.record_success(),
            (Outcome::Answered, Phase::HalfOpen { .. }) => {
                self.policy.revived();
                self.enter(Phase::Closed);
            }
            (Outcome::Failed, Phase::Closed | Phase::HalfOpen { .. }) => {
                if let Some(open_for) = self.policy.mark_dead_on_failure() {
                    self.enter(Phase::Open { until: now + open_for });
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests;
