//! Shutdown: named phases in order, bounded in total by a budget.
//!
//! Each phase may take its own share and whatever the phases before it left over. So an early phase
//! that hangs cannot eat the time of a later one (the last commit, say), and the sum never exceeds
//! the budget.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::spawn::caught;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An ordered shutdown.
///
/// ```
/// use std::time::Duration;
/// use tenantry_supervision::{Shutdown, shutdown::Outcome};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let report = Shutdown::new(Duration::from_secs(25))
///     .phase("finish requests", Duration::from_secs(10), std::future::pending())
///     .phase("last commit", Duration::from_secs(5), async {})
///     .run()
///     .await;
/// assert_eq!(report.phases[0].outcome, Outcome::TimedOut);
/// assert_eq!(report.phases[1].outcome, Outcome::Done);
/// assert!(report.took <= Duration::from_secs(25) && !report.is_clean());
/// # }
/// ```
#[must_use = "nothing is shut down before `run`"]
pub struct Shutdown {
    budget: Duration,
    phases: Vec<Phase>,
}

struct Phase {
    name: &'static str,
    share: Duration,
    work: Work,
}

impl Shutdown {
    /// Starts a list of phases that together take at most the budget.
    pub fn new(budget: Duration) -> Self {
        Self { budget, phases: Vec::new() }
    }

    /// Appends a phase. Its share is what no earlier phase can take from it; if the shares add up to
    /// more than the budget, the earlier phases are squeezed.
    pub fn phase(
        mut self,
        name: &'static str,
        share: Duration,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.phases.push(Phase { name, share, work: Box::pin(work) });
        self
    }

    /// Runs the phases one after the other. A phase that takes too long is dropped, one that panics
    /// is reported, and the next one runs all the same.
    pub async fn run(self) -> Report {
        let started = Instant::now();
        let end = started + self.budget;
        let mut kept_for_later: Duration = self.phases.iter().map(|phase| phase.share).sum();
        let mut phases = Vec::with_capacity(self.phases.len());
        for phase in self.phases {
            kept_for_later = kept_for_later.saturating_sub(phase.share);
            let left = end.saturating_duration_since(Instant::now());
            phases.push(phase.run(left.saturating_sub(kept_for_later)).await);
        }
        Report { phases, took: started.elapsed() }
    }
}

impl Phase {
    async fn run(self, limit: Duration) -> PhaseReport {
        let Self { name, work, .. } = self;
        let started = Instant::now();
        let outcome = match tokio::time::timeout(limit, caught(name, work)).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(_)) => Outcome::Panicked,
            Err(_) => Outcome::TimedOut,
        };
        let took = started.elapsed();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if outcome == Outcome::Done {
            tracing::info!(phase = name, took_ms, "shutdown phase done");
        } else {
            tracing::warn!(phase = name, took_ms, ?outcome, "shutdown phase not done");
        }
        PhaseReport { name, outcome, took }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.phases.iter().map(|phase| phase.name).collect();
        f.debug_struct("Shutdown").field("budget", &self.budget).field("phases", &names).finish()
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It came to its end.
    Done,
    /// It was dropped at its limit.
    TimedOut,
    /// It panicked.
    Panicked,
}

/// What one phase did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseReport {
    /// The phase's name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What the whole shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every phase, in order.
    pub phases: Vec<PhaseReport>,
    /// How long it took in all.
    pub took: Duration,
}

impl Report {
    /// Tells whether every phase came to its end.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.phases.iter().all(|phase| phase.outcome == Outcome::Done)
    }
}

#[cfg(test)]
mod tests;
