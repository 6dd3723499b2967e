//! The steps of jobs, from their slot to their entry.

use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::Deadline;

use super::super::book::{Decided, draw};
use super::super::call::TenantError;
use super::super::jobs::{StepEnd, StepReady, StepReport};
use super::super::message::TenantMsg;
use super::super::quota::{Refusal, Verdict};
use super::super::state::TenantCommand;
use super::super::steps::{FailKind, Job, JobCommand, StepName};
use super::Life;
use super::follow::{NO_ROOM_PAUSE, changes};
use crate::ids::JobId;
use crate::journal::entry::Author;
use crate::studio::plan::RenderPlan;
use crate::studio::runner::StepInput;

/// How long the actor rests before a step that got no slot, or a plan that could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

impl Life {
    /// Takes a plan that was read.
    pub(super) fn plan_read(
        &mut self,
        job: JobId,
        plan: Result<Option<Arc<RenderPlan>>, TenantError>,
    ) {
        match plan {
            Ok(Some(plan)) => {
                self.jobs.plan_ready(job, plan);
                self.jobs.drive(self.book.state().jobs(), job, self.book.now());
            }
            Ok(None) => self.give_up(job),
            Err(_) => {
                self.jobs.plan_failed(job);
                self.alarm_in(RETRY_PAUSE);
            }
        }
    }

    /// Ends a job whose plan is gone: no attempt at any step could succeed.
    fn give_up(&mut self, job: JobId) {
        self.jobs.plan_failed(job);
        let now = self.book.now();
        let step =
            self.book.state().jobs().get(job).and_then(|job| job.runnable(now).first().copied());
        let Some(step) = step else { return };
        let timeout_ms = self.shell.settings.timeouts.timeout_ms(step, 0);
        let started = self.enter(&TenantCommand::Job(JobCommand::Start { job, step, timeout_ms }));
        let attempt = self.attempts_at(job, step);
        let failed = started.and_then(|_| {
            self.enter(&TenantCommand::Job(JobCommand::Fail {
                job,
                step,
                attempt,
                kind: FailKind::Permanent,
                code: "plan-missing".to_owned(),
                draw: 0,
            }))
        });
        if failed.is_none() {
            self.alarm_in(RETRY_PAUSE);
        }
    }

    /// Enters the start of a step that has its slot; the step begins once that is on disk.
    pub(super) fn step_ready(&mut self, ready: StepReady) {
        let StepReady { job, step, go } = ready;
        let Some(plan) = self.jobs.plan(job).filter(|_| self.jobs.is_wanted(job, step)) else {
            return;
        };
        // Whatever is missing, the dropped `go` tells the step that it does not begin.
        let Ok(room) = self.shell.node_gate.room(self.tenant) else { return };
        let bytes = self.book.state().jobs().get(job).map_or(0, Job::input_bytes);
        let timeout_ms = self.shell.settings.timeouts.timeout_ms(step, bytes);
        let command = TenantCommand::Job(JobCommand::Start { job, step, timeout_ms });
        let Decided { lines, verdict } = self.book.decide(&command, &Author::SYSTEM);
        let changes = changes(&lines);
        let events = self.events(&changes);
        let input = match (verdict, self.book.state().jobs().get(job)) {
            (Verdict::Admitted(_), Some(found)) => found.step(step).map(|state| StepInput {
                tenant: self.tenant,
                job,
                step,
                attempt: state.attempts,
                is_last_attempt: state.is_last_attempt(),
                deadline: Deadline::after(Duration::from_millis(timeout_ms)),
                span: state.span,
                plan,
                results: found
                    .steps
                    .iter()
                    .filter_map(|step| Some((step.name, step.result.clone()?)))
                    .collect(),
            }),
            _ => None,
        };
        let feed = Arc::clone(&self.feed);
        self.book.hand_over(
            lines,
            room,
            Box::new(move |result| {
                if let (true, Some(input)) = (result.is_ok(), input) {
                    // A step that was cancelled meanwhile is not there any more.
                    let _ = go.send(input);
                    feed.publish(events);
                }
            }),
        );
        self.follow(&changes);
    }

    /// Enters how an attempt ended.
    pub(super) fn step_ended(&mut self, report: StepReport) {
        let (job, step, attempt) = (report.job, report.step, report.attempt);
        let command = match &report.end {
            StepEnd::NotBegun => None,
            StepEnd::Succeeded(result) => {
                Some(JobCommand::Succeed { job, step, attempt, result: result.clone() })
            }
            StepEnd::Failed(error) => {
                tracing::info!(tenant.id = %self.tenant, job.id = %job, %step, attempt,
                    code = error.code, detail = error.detail, "a step's attempt failed");
                let (kind, code) = (error.kind, error.code.to_owned());
                Some(JobCommand::Fail { job, step, attempt, kind, code, draw: draw() })
            }
            StepEnd::TimedOut => Some(JobCommand::Timeout { job, step, attempt, draw: draw() }),
        };
        let Some(command) = command else {
            self.jobs.not_begun(job, step);
            self.alarm_in(RETRY_PAUSE);
            return;
        };
        match self.enter(&TenantCommand::Job(command)) {
            // What was worked out is not thrown away because the journal is busy.
            None => self.later("step-report", async move {
                tokio::time::sleep(NO_ROOM_PAUSE).await;
                TenantMsg::StepEnded(Box::new(report))
            }),
            Some(Verdict::MoreDue) => {
                let _ = self.myself.send_message(TenantMsg::StepEnded(Box::new(report)));
            }
            Some(verdict) => {
                if let Verdict::Refused(refusal) = verdict
                    && !matches!(
                        refusal,
                        Refusal::StaleAttempt | Refusal::JobNotFound | Refusal::JobState { .. }
                    )
                {
                    tracing::warn!(tenant.id = %self.tenant, job.id = %job, %step, %refusal,
                        "a step's end was refused");
                }
                self.jobs.ended(self.book.state().jobs(), (job, step), self.book.now());
                self.set_alarm();
            }
        }
    }

    fn attempts_at(&self, job: JobId, step: StepName) -> u32 {
        let job = self.book.state().jobs().get(job);
        job.and_then(|job| job.step(step)).map_or(0, |step| step.attempts)
    }
}
