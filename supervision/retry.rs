//! Retry: capped exponential delays with full jitter, within a budget and a deadline.
//!
//! Retries stand at one layer only and repeat only what is idempotent. The delay before attempt n is
//! drawn from `[0, cap(n)]`, where the cap doubles up to a maximum; a [`Budget`] keeps retries below a
//! fifth of the calls, so that a failing dependency does not get several times its usual load.
//!
//! The caps come from the crate `backoff`, which is named in this file alone: it is unmaintained, reads
//! the system clock and the thread's generator when asked (both without effect here, as no elapsed time
//! limit is set and its own randomisation is zero), and is replaced by editing this file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use rand::{Rng, RngCore};
use tokio::time::Instant;

use crate::breaker::BreakerError;
use crate::deadline::Deadline;
use crate::measured::RETRY_ATTEMPTS_TOTAL;

/// The share of calls that may be retries, in percent: above it retrying makes an outage worse.
pub const MAX_BUDGET_PERCENT: u32 = 20;
/// The budget counts in hundredths of a retry, so that a percentage is a whole number.
const HUNDREDTHS: u64 = 100;

/// An error that knows whether the same call may work later. Retry and breaker consult only this.
pub trait Retryable {
    /// Tells whether the dependency failed, so that the same call may work later; a mistake in the
    /// call itself is not retryable, and does not count against the dependency.
    fn is_retryable(&self) -> bool;

    /// Tells how long the dependency asked to be left alone, if it did.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

impl<E: Retryable> Retryable for BreakerError<E> {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Open { .. } | Self::TimedOut { .. } => true,
            Self::Failed(error) => error.is_retryable(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_after } => Some(*retry_after),
            Self::TimedOut { .. } => None,
            Self::Failed(error) => error.retry_after(),
        }
    }
}

/// How often and how far apart a call is tried.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The dependency's name, as a metric label.
    pub name: &'static str,
    /// How many attempts there are in all; at least 1.
    pub attempts: u32,
    /// The cap of the first delay.
    pub initial: Duration,
    /// What no delay's cap exceeds.
    pub max: Duration,
    /// What retries are paid from, shared by all calls to the dependency; without one, attempts alone
    /// limit them.
    pub budget: Option<Budget>,
    /// When the whole must have ended: no attempt starts that would have to wait beyond it.
    pub deadline: Option<Deadline>,
}

impl RetryPolicy {
    /// Sets a policy without budget and deadline.
    #[must_use]
    pub fn new(name: &'static str, attempts: u32, initial: Duration, max: Duration) -> Self {
        Self { name, attempts, initial, max, budget: None, deadline: None }
    }

    /// Pays retries from a budget.
    #[must_use]
    pub fn with_budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Ends the whole at a deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Starts the sequence of delays.
    #[must_use]
    pub fn delays(&self) -> Delays {
        let caps = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.initial.min(self.max))
            .with_max_interval(self.max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Delays { caps, max: self.max }
    }

    /// Draws the delay that follows failed attempt number `attempt` (the first is 1), for callers
    /// that keep the attempt's number themselves and wait by a timer of their own.
    pub fn delay_after(&self, attempt: u32, rng: &mut impl RngCore) -> Duration {
        let mut delays = self.delays();
        let mut cap = delays.next_cap();
        // Doubling reaches the maximum in at most 64 steps whatever the interval is.
        for _ in 1..attempt.min(64) {
            cap = delays.next_cap();
        }
        jittered(cap, rng)
    }
}

/// The delays between attempts: an endless sequence.
#[derive(Debug)]
pub struct Delays {
    caps: ExponentialBackoff,
    max: Duration,
}

impl Delays {
    /// Tells the cap of the next delay, and moves on.
    pub fn next_cap(&mut self) -> Duration {
        self.caps.next_backoff().unwrap_or(self.max).min(self.max)
    }

    /// Draws the next delay, from nothing to its cap.
    pub fn next_delay(&mut self, rng: &mut impl RngCore) -> Duration {
        let cap = self.next_cap();
        jittered(cap, rng)
    }
}

/// Draws evenly from `[0, cap]`.
fn jittered(cap: Duration, rng: &mut impl RngCore) -> Duration {
    let cap_ns = u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.random_range(0..=cap_ns))
}

/// Tries a call until it works, its error is not retryable, or attempts, budget or deadline are
/// used up; then the last error is returned as it is.
///
/// ```
/// use std::time::Duration;
/// use rand::{SeedableRng, rngs::StdRng};
/// use tenantry_supervision::{RetryPolicy, Retryable, retry};
///
/// #[derive(Debug, PartialEq)]
/// struct Unavailable;
/// impl Retryable for Unavailable {
///     fn is_retryable(&self) -> bool {
///         true
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let policy =
///     RetryPolicy::new("mail", 4, Duration::from_millis(100), Duration::from_secs(2));
/// let mut rng = StdRng::seed_from_u64(1);
/// let sent = retry(&policy, &mut rng, |attempt| async move {
///     if attempt < 3 { Err(Unavailable) } else { Ok(attempt) }
/// })
/// .await;
/// assert_eq!(sent, Ok(3));
/// # }
/// ```
pub async fn retry<T, E, F, Fut, R>(policy: &RetryPolicy, rng: &mut R, mut call: F) -> Result<T, E>
where
    E: Retryable,
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    R: RngCore,
{
    if let Some(budget) = &policy.budget {
        budget.record_call();
    }
    let mut delays = policy.delays();
    let mut attempt = 1;
    loop {
        let error = match call(attempt).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(delay) = policy.next_wait(attempt, &error, &mut delays, rng) else {
            return Err(error);
        };
        metrics::counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => policy.name, "outcome" => "retried")
            .increment(1);
        tokio::time::sleep(delay).await;
        attempt += 1;
    }
}

impl RetryPolicy {
    /// Tells how long to wait before the next attempt, or that there is none.
    fn next_wait<E: Retryable>(
        &self,
        attempt: u32,
        error: &E,
        delays: &mut Delays,
        rng: &mut impl RngCore,
    ) -> Option<Duration> {
        if !error.is_retryable() {
            return None;
        }
        let asked = error.retry_after().unwrap_or(Duration::ZERO);
        let delay = delays.next_delay(rng).max(asked);
        let outcome = if attempt >= self.attempts {
            "exhausted"
        } else if asked > self.max || self.deadline.is_some_and(|at| at.remaining() <= delay) {
            "too_late"
        } else if self.budget.as_ref().is_some_and(|budget| !budget.try_spend()) {
            "over_budget"
        } else {
            return Some(delay);
        };
        metrics::counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => self.name, "outcome" => outcome)
            .increment(1);
        None
    }
}

/// The limits of a [`Budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// How many retries 100 calls pay for; more than [`MAX_BUDGET_PERCENT`] counts as that.
    pub percent: u32,
    /// How many retries can be saved up, which is also what there is at the start.
    pub reserve: u32,
    /// How many retries a minute come back without calls, so that a rarely called dependency is
    /// retried at all.
    pub floor_per_minute: u32,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { percent: MAX_BUDGET_PERCENT, reserve: 10, floor_per_minute: 10 }
    }
}

/// A budget of retries, shared by all calls to one dependency. Clones are the same budget.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use tenantry_supervision::retry::{Budget, BudgetSettings};
///
/// let budget = Budget::new(BudgetSettings { percent: 20, reserve: 1, floor_per_minute: 0 });
/// assert!(budget.try_spend());
/// assert!(!budget.try_spend());
///
/// (0..5).for_each(|_| budget.record_call());
/// assert!(budget.try_spend());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    settings: BudgetSettings,
    account: Arc<Mutex<Account>>,
}

#[derive(Debug)]
struct Account {
    saved_hundredths: u64,
    floor_paid_at: Instant,
}

impl Budget {
    /// Starts with a full reserve.
    #[must_use]
    pub fn new(settings: BudgetSettings) -> Self {
        let saved_hundredths = u64::from(settings.reserve) * HUNDREDTHS;
        let account = Account { saved_hundredths, floor_paid_at: Instant::now() };
        Self { settings, account: Arc::new(Mutex::new(account)) }
    }

    /// Pays in for a first attempt.
    pub fn record_call(&self) {
        let paid = u64::from(self.settings.percent.min(MAX_BUDGET_PERCENT));
        self.with(|account| account.saved_hundredths += paid);
    }

    /// Takes out for a retry, or refuses.
    #[must_use]
    pub fn try_spend(&self) -> bool {
        self.with(|account| match account.saved_hundredths.checked_sub(HUNDREDTHS) {
            Some(left) => {
                account.saved_hundredths = left;
                true
            }
            None => false,
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Account) -> T) -> T {
        // Nothing panics while the lock is held, so a poisoned one is still whole.
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        self.pay_floor(&mut account);
        let result = change(&mut account);
        account.saved_hundredths =
            account.saved_hundredths.min(u64::from(self.settings.reserve) * HUNDREDTHS);
        result
    }

    fn pay_floor(&self, account: &mut Account) {
        let per_minute = u64::from(self.settings.floor_per_minute) * HUNDREDTHS;
        if per_minute == 0 {
            return;
        }
        let now = Instant::now();
        let passed = now.saturating_duration_since(account.floor_paid_at);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let earned = passed_ms.saturating_mul(per_minute) / 60_000;
        if earned > 0 {
            account.saved_hundredths = account.saved_hundredths.saturating_add(earned);
            account.floor_paid_at = now;
        }
    }
}

#[cfg(test)]
mod tests;
