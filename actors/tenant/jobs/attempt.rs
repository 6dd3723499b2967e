//! One attempt at a step, from the wait for its slot to its report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ractor::ActorRef;
use tenantry_supervision::spawn;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::message::TenantMsg;
use super::super::metrics;
use super::super::shell::Shell;
use crate::ids::{JobId, TenantId};
use crate::studio::runner::{StepError, StepInput};
use crate::tenant::steps::{FailKind, StepName, StepResult};

/// How long an attempt that was told to end may take to do so; then it is dropped, which kills
/// its children as well.
const END_WITHIN: Duration = Duration::from_secs(3);

/// Asks the actor to enter an attempt's start; the input comes once that is on disk.
#[derive(Debug)]
pub(in super::super) struct StepReady {
    pub(in super::super) job: JobId,
    pub(in super::super) step: StepName,
    pub(in super::super) go: oneshot::Sender<StepInput>,
}

/// Tells the actor how an attempt ended.
#[derive(Debug)]
pub(in super::super) struct StepReport {
    pub(in super::super) job: JobId,
    pub(in super::super) step: StepName,
    pub(in super::super) attempt: u32,
    pub(in super::super) end: StepEnd,
}

/// How an attempt ended.
#[derive(Debug)]
pub(in super::super) enum StepEnd {
    /// It never began: no slot, no room, or no longer wanted.
    NotBegun,
    Succeeded(Box<StepResult>),
    Failed(StepError),
    TimedOut,
}

/// What an attempt's task is made of.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) shell: Arc<Shell>,
    pub(super) tenant: TenantId,
    pub(super) actor: ActorRef<TenantMsg>,
    pub(super) job: JobId,
    pub(super) step: StepName,
    pub(super) cancel: CancellationToken,
}

impl Task {
    pub(super) async fn run(self) {
        // Without a report the step would count as under way for as long as the tenant lives.
        let attempt = AssertUnwindSafe(self.attempt()).catch_unwind().await;
        let (attempt, end) = attempt.unwrap_or((0, StepEnd::NotBegun));
        let report = StepReport { job: self.job, step: self.step, attempt, end };
        // An actor that is gone finds the step again by its journal.
        let _ = self.actor.send_message(TenantMsg::StepEnded(Box::new(report)));
    }

    async fn attempt(&self) -> (u32, StepEnd) {
        let slot = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return (0, StepEnd::NotBegun),
            slot = self.shell.studio.acquire(self.tenant, self.step) => slot,
        };
        let Ok(_slot) = slot else { return (0, StepEnd::NotBegun) };
        let (go, input) = oneshot::channel();
        let ready = StepReady { job: self.job, step: self.step, go };
        if self.actor.send_message(TenantMsg::StepReady(Box::new(ready))).is_err() {
            return (0, StepEnd::NotBegun);
        }
        let Ok(input) = input.await else { return (0, StepEnd::NotBegun) };
        let attempt = input.attempt;
        let (kind, began) = (self.step.kind(), Instant::now());
        metrics::step_started(kind);
        let end = self.work(input).await;
        metrics::step_ended(kind, end.label(), began.elapsed());
        (attempt, end)
    }

    async fn work(&self, input: StepInput) -> StepEnd {
        let deadline = input.deadline;
        let work = self.shell.studio.run(input, self.cancel.clone());
        // A task of its own, so that a panic in a provider is a failed attempt and no more.
        let mut work = spawn("step-work", &self.shell.steps, work);
        let is_late = tokio::select! {
            biased;
            done = &mut work => return StepEnd::of(done.unwrap_or_else(|_| Err(panicked()))),
            () = tokio::time::sleep_until(deadline.instant()) => true,
            () = self.cancel.cancelled() => false,
        };
        self.cancel.cancel();
        if tokio::time::timeout(END_WITHIN, &mut work).await.is_err() {
            tracing::warn!(step = %self.step, "a step did not end when told to");
            work.abort();
        }
        if is_late { StepEnd::TimedOut } else { StepEnd::Failed(StepError::interrupted()) }
    }
}

impl StepEnd {
    fn of(result: Result<StepResult, StepError>) -> Self {
        match result {
            Ok(result) => Self::Succeeded(Box::new(result)),
            Err(error) => Self::Failed(error),
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::NotBegun => "not-begun",
            Self::Succeeded(result) if result.degraded.is_some() => "degraded",
            Self::Succeeded(_) => "succeeded",
            Self::Failed(error) => match error.kind {
                FailKind::Retryable => "failed",
                FailKind::Permanent => "failed-for-good",
                FailKind::Interrupted => "interrupted",
            },
            Self::TimedOut => "timed-out",
        }
    }
}

fn panicked() -> StepError {
    StepError::retryable("step-crashed", "the step panicked")
}
