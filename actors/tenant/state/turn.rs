//! What goes into a tenant's state machine and what comes out of it.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::journal::entry::{EntryBody, EntryHash};
use crate::tenant::quota::{Command, Outcome, Verdict};
use crate::tenant::steps::{Job, JobCommand, JobFact, JobState};

/// What can be asked of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantCommand {
    /// Of its quota.
    Usage(Command),
    /// Of its jobs.
    Job(JobCommand),
}

/// What an admitted command is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TenantOutcome {
    /// By the quota.
    Usage(Outcome),
    /// A job as it was just submitted.
    Submitted(Box<Job>),
    /// A job changed.
    Job {
        /// The job.
        id: JobId,
        /// How it stands; none if it is gone.
        state: Option<JobState>,
    },
}

impl TenantOutcome {
    /// Answers from an entry: what a line can say by itself to its command's repetition.
    pub fn of(body: &EntryBody, seq: u64, at: Timestamp) -> Self {
        match body {
            EntryBody::Usage(fact) => Self::Usage(Outcome::of(fact, seq)),
            EntryBody::Job(JobFact::JobSubmitted { job, shape, expires_at, .. }) => {
                let job = Job::submitted(*job, (**shape).clone(), at, *expires_at);
                Self::Submitted(Box::new(job))
            }
            EntryBody::Job(fact) => {
                let state = match fact {
                    JobFact::JobDeleted { .. } => None,
                    JobFact::JobRetried { .. } => Some(JobState::Queued),
                    _ => Some(fact.end().map_or(JobState::Running, |end| end.state)),
                };
                Self::Job { id: fact.job(), state }
            }
        }
    }
}

/// A finished line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the tenant's journal.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, as the journal writes it.
    pub kind: &'static str,
    /// Its hash.
    pub hash: EntryHash,
    /// The line, without its line break.
    pub text: String,
    /// What happened.
    pub body: EntryBody,
}

/// What came of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The lines to append, in order; also beside a refusal.
    pub lines: Vec<Line>,
    /// Which of the lines is the command's own.
    pub own: Option<usize>,
    /// What the caller is told once they are on disk.
    pub verdict: Verdict<TenantOutcome>,
}
