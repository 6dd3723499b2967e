//! What follows from entries and from the passing of time: events, steps, alarms.

use std::time::Duration;

use tenantry_supervision::spawn;
use tokio::time::Instant;

use super::super::book::{Decided, draw};
use super::super::feed::Event;
use super::super::job_view::{JobEvent, JobView, StepView};
use super::super::jobs::Busy;
use super::super::message::Read;
use super::super::metrics;
use super::super::quota::{Command, Verdict};
use super::super::state::TenantCommand;
use super::super::steps::{FailKind, JobCommand, JobFact, JobState, StepName};
use super::Life;
use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::journal::Line;
use crate::journal::entry::{Author, EntryBody};
use crate::planted::{self, Bug};
use crate::studio::runner::Discard;

/// How long the actor rests before it tries again what the journal had no room for.
pub(super) const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Entries after which a tenant that never sleeps has a new snapshot: about a second of replay.
const SNAPSHOT_EVERY: u64 = 50_000;

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
        if planted::is(Bug::DirtyRead) {
            return release(Ok(()));
        }
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
    pub(super) fn enter(&mut self, command: &TenantCommand) -> Option<Verdict<()>> {
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

    /// Says whether a job is queued or running.
    pub(in super::super) fn is_open(&self, id: JobId) -> bool {
        self.book.state().jobs().get(id).is_some_and(|job| !job.state.is_ended())
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
        if changes.is_empty() {
            self.set_alarm_for(self.book.state().next_due());
        } else {
            self.set_alarm();
        }
        self.checkpoint();
    }

    /// Stores a snapshot now and then also of a tenant that never sleeps: otherwise its next
    /// activation would read everything since the last one.
    fn checkpoint(&mut self) {
        let Some(checkpoint) = self.book.checkpoint(SNAPSHOT_EVERY) else { return };
        let (durable, is_durable) = tokio::sync::oneshot::channel();
        self.vitals.in_flight.after(
            checkpoint.seq,
            Box::new(move |result| {
                // The task below waits for as long as it lives.
                let _ = durable.send(result);
            }),
        );
        spawn("checkpoint", &self.shell.tasks, async move {
            if let Ok(Ok(())) = is_durable.await {
                checkpoint.store().await;
            }
        });
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

    pub(super) fn set_alarm(&mut self) {
        self.set_alarm_for(self.book.next_due());
    }

    fn set_alarm_for(&mut self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        if self.alarm_at.is_some_and(|set| set <= due) {
            return;
        }
        self.alarm_at = Some(due);
        self.shell.alarms.set(self.tenant, Instant::now() + due.since(self.book.now()));
    }

    pub(super) fn alarm_in(&mut self, pause: Duration) {
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
