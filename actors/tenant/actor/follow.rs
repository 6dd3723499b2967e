//! What follows from entries and from the passing of time: events, steps, alarms.

use std::time::Duration;

use tenantry_supervision::{Deadline, spawn};
use tokio::time::Instant;

use super::super::book::{Decided, draw};
use super::super::call::TenantError;
use super::super::feed::Event;
use super::super::job_view::{JobEvent, JobView, StepView};
use super::super::jobs::{Busy, StepEnd, StepReady, StepReport};
use super::super::message::{Read, TenantMsg};
use super::super::metrics;
use super::super::quota::{Command, Refusal, Verdict};
use super::super::state::TenantCommand;
use super::super::steps::{FailKind, Job, JobCommand, JobFact, JobState, StepName};
use super::Life;
use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::journal::Line;
use crate::journal::entry::{Author, EntryBody};
use crate::studio::runner::{Discard, StepInput};

/// How long the actor rests before it tries again what the journal had no room for.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// How long it rests before a step that got no slot, or a plan that could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A job that an entry changed, and which of its steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    seq: u64,
    job: JobId,
    step: Option<StepName>,
    is_end: bool,
}

impl Life {
    /// Answers a look at the state once that state is on disk.
    pub(super) fn read(&self, read: Read) {
        let Read { look, admission } = read;
        let release = look(self);
        self.book.after(Box::new(move |result| {
            release(result);
            drop(admission);
        }));
    }

    /// Does what is due, and starts what an earlier life left to do.
    pub(super) fn ring(&mut self) {
        self.alarm_at = None;
        if !self.is_resumed {
            self.is_resumed = self.resume();
        }
        let now = self.book.now();
        if self.book.state().next_due().is_some_and(|due| due <= now) {
            let more = self.enter(&TenantCommand::Usage(Command::Tick));
            if !matches!(more, Some(Verdict::Admitted(()))) {
                self.alarm_in(NO_ROOM_PAUSE);
            }
        }
        self.jobs.drive_all(self.book.state().jobs(), now);
        self.set_alarm();
    }

    /// Settles the attempts that ended with an earlier life. Says whether all are settled.
    fn resume(&mut self) -> bool {
        let interrupted: Vec<_> = self
            .book
            .state()
            .jobs()
            .open()
            .flat_map(|job| job.running().map(|step| (job.id, step.name, step.attempts)))
            .collect();
        for (job, step, attempt) in interrupted {
            let command = JobCommand::Fail {
                job,
                step,
                attempt,
                kind: FailKind::Interrupted,
                code: "interrupted".to_owned(),
                draw: draw(),
            };
            if self.enter(&TenantCommand::Job(command)).is_none() {
                self.alarm_in(NO_ROOM_PAUSE);
                return false;
            }
        }
        true
    }

    /// Enters a command of the actor's own; `None` when the journal has no room for it now.
    fn enter(&mut self, command: &TenantCommand) -> Option<Verdict<()>> {
        let room = self.shell.node_gate.room(self.tenant).ok()?;
        let Decided { lines, verdict } = self.book.decide(command, &Author::SYSTEM);
        let changes = changes(&lines);
        let events = self.events(&changes);
        let feed = std::sync::Arc::clone(&self.feed);
        self.book.hand_over(
            lines,
            room,
            Box::new(move |result| {
                if result.is_ok() {
                    feed.publish(events);
                }
            }),
        );
        self.follow(&changes);
        Some(match verdict {
            Verdict::Admitted(_) => Verdict::Admitted(()),
            Verdict::Refused(refusal) => Verdict::Refused(refusal),
            Verdict::MoreDue => Verdict::MoreDue,
        })
    }

    /// Takes a plan that was read.
    pub(super) fn plan_read(
        &mut self,
        job: JobId,
        plan: Result<Option<std::sync::Arc<crate::studio::plan::RenderPlan>>, TenantError>,
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
        let feed = std::sync::Arc::clone(&self.feed);
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
            self.jobs.ended(job, step);
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
                self.jobs.ended(job, step);
                self.jobs.drive(self.book.state().jobs(), job, self.book.now());
                self.set_alarm();
            }
        }
    }

    /// Writes the events that tell of changes, as the state is now.
    pub(super) fn events(&self, changes: &[Change]) -> Vec<Event> {
        changes.iter().map(|change| self.event(*change)).collect()
    }

    fn event(&self, change: Change) -> Event {
        let Change { seq, job: id, step, is_end } = change;
        let (event, data) = match self.book.state().jobs().get(id) {
            None => (JobEvent::JOB, serde_json::json!({ "id": id, "state": "deleted" })),
            Some(job) => match step.filter(|_| !is_end).and_then(|step| job.step(step)) {
                Some(step) => (
                    JobEvent::STEP,
                    serde_json::json!({
                        "id": id,
                        "state": job.state,
                        "progress_percent": job.progress_percent(),
                        "step": StepView::of(step),
                    }),
                ),
                None => (JobEvent::JOB, document(&JobView::of(job))),
            },
        };
        Event { job: id, event: JobEvent { seq, event: event.to_owned(), data } }
    }

    /// The event that shows a whole job as it is now.
    pub(in super::super) fn whole(&self, id: JobId) -> Option<JobEvent> {
        let job = self.book.state().jobs().get(id)?;
        let data = document(&JobView::of(job));
        Some(JobEvent { seq: self.book.state().seq(), event: JobEvent::JOB.to_owned(), data })
    }

    /// Keeps the tenant awake for as long as the guard lives.
    pub(in super::super) fn stay_awake(&self) -> Busy {
        Busy::new(&self.vitals)
    }

    /// Starts and ends what the changes of jobs ask for, and sets the alarm.
    pub(super) fn follow(&mut self, changes: &[Change]) {
        let now = self.book.now();
        for change in changes {
            self.jobs.drive(self.book.state().jobs(), change.job, now);
            if change.is_end {
                self.tidy_up(change.job);
            }
        }
        self.set_alarm();
    }

    /// Removes what an ended job no longer needs.
    fn tidy_up(&self, id: JobId) {
        let job = self.book.state().jobs().get(id);
        if let Some(job) = job {
            let ended_at = job.ended_at.unwrap_or(job.submitted_at);
            metrics::job_ended(job.state.as_str(), ended_at.since(job.submitted_at));
        }
        let what = match job.map(|job| job.state) {
            None => Discard::Everything,
            Some(JobState::Succeeded) => Discard::Intermediates,
            // A retry goes on with what is finished.
            Some(_) => return,
        };
        let discard = self.shell.studio.discard(self.tenant, id, what);
        spawn("discard", &self.shell.tasks, async move {
            if let Err(error) = discard.await {
                tracing::warn!(job.id = %id, %error, "a job's files were left behind");
            }
        });
    }

    fn attempts_at(&self, job: JobId, step: StepName) -> u32 {
        let job = self.book.state().jobs().get(job);
        job.and_then(|job| job.step(step)).map_or(0, |step| step.attempts)
    }

    fn set_alarm(&mut self) {
        let Some(due) = self.book.next_due() else { return };
        if self.alarm_at.is_some_and(|set| set <= due) {
            return;
        }
        self.alarm_at = Some(due);
        self.shell.alarms.set(self.tenant, Instant::now() + due.since(self.book.now()));
    }

    fn alarm_in(&mut self, pause: Duration) {
        let at: Timestamp = self.book.now().checked_add(pause).unwrap_or(Timestamp::MAX);
        self.alarm_at = Some(self.alarm_at.map_or(at, |set| set.min(at)));
        self.shell.alarms.set(self.tenant, Instant::now() + pause);
    }
}

/// Names the jobs and steps that entries changed.
pub(super) fn changes(lines: &[Line]) -> Vec<Change> {
    let of = |line: &Line| match &line.body {
        EntryBody::Job(fact) => Some(Change {
            seq: line.seq,
            job: fact.job(),
            step: step_of(fact),
            is_end: fact.end().is_some() || matches!(fact, JobFact::JobDeleted { .. }),
        }),
        EntryBody::Usage(_) => None,
    };
    lines.iter().filter_map(of).collect()
}

fn step_of(fact: &JobFact) -> Option<StepName> {
    match fact {
        JobFact::StepStarted { step, .. }
        | JobFact::StepSucceeded { step, .. }
        | JobFact::StepFailed { step, .. } => Some(*step),
        _ => None,
    }
}

fn document(job: &JobView) -> serde_json::Value {
    serde_json::to_value(job).expect("a job has a JSON form")
}
