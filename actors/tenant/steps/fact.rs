//! What happened to a job: the facts that the journal keeps, each with the charges it caused.

use serde::{Deserialize, Serialize};

use super::{FailKind, JobShape, JobState, StepName, StepResult};
use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::tenant::period::PeriodName;
use crate::tenant::quota::{Charge, Fact};

/// One change of a job. Facts alone rebuild the jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobFact {
    /// A job began, and its upper bounds are held.
    JobSubmitted {
        /// The job.
        job: JobId,
        /// The plan's measure.
        shape: Box<JobShape>,
        /// What is held.
        items: Vec<Charge>,
        /// When the job ends at the latest.
        expires_at: Timestamp,
        /// The period that it is charged to.
        period: PeriodName,
    },
    /// An attempt began.
    StepStarted {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// The attempt's number, from 1.
        attempt: u32,
        /// When it is cut off.
        deadline_at: Timestamp,
    },
    /// An attempt succeeded, and what it used is charged.
    StepSucceeded {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// The attempt.
        attempt: u32,
        /// What came of it.
        result: Box<StepResult>,
        /// The lengths of the scene's parts, once its speech is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        segments_ms: Vec<u32>,
        /// What was used.
        items: Vec<Charge>,
        /// The job's end, if this was its last step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<JobEnd>,
        /// The period that it is charged to.
        period: PeriodName,
    },
    /// An attempt failed, or was cut off at its deadline.
    StepFailed {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// The attempt.
        attempt: u32,
        /// Whether another would be worth it.
        failure: FailKind,
        /// Why, as a slug.
        code: String,
        /// When it is tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
        /// The job's end, if the step failed for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<JobEnd>,
        /// The period that it is charged to.
        period: PeriodName,
    },
    /// A job was no longer wanted.
    JobCancelled {
        /// The job.
        job: JobId,
        /// Its end.
        end: JobEnd,
        /// The period that it is charged to.
        period: PeriodName,
    },
    /// A job was open for too long.
    JobExpired {
        /// The job.
        job: JobId,
        /// Its end.
        end: JobEnd,
        /// The period that it is charged to.
        period: PeriodName,
    },
    /// An ended job began again where it stopped.
    JobRetried {
        /// The job.
        job: JobId,
        /// What is held.
        items: Vec<Charge>,
        /// When the job ends at the latest.
        expires_at: Timestamp,
        /// The period that it is charged to.
        period: PeriodName,
    },
    /// A job is gone.
    JobDeleted {
        /// The job.
        job: JobId,
        /// What it stored and no longer does.
        items: Vec<Charge>,
        /// Its end, if it was still open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<JobEnd>,
        /// The period that it is charged to.
        period: PeriodName,
    },
}

/// How a job ended, and what its hold gave back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// The state that it ended in.
    pub state: JobState,
    /// `held` left the job's hold.
    pub returned: Vec<Charge>,
}

impl JobFact {
    /// Returns the kind as the journal writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JobSubmitted { .. } => "job_submitted",
            Self::StepStarted { .. } => "step_started",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::StepFailed { .. } => "step_failed",
            Self::JobCancelled { .. } => "job_cancelled",
            Self::JobExpired { .. } => "job_expired",
            Self::JobRetried { .. } => "job_retried",
            Self::JobDeleted { .. } => "job_deleted",
        }
    }

    /// Returns the job.
    pub fn job(&self) -> JobId {
        match self {
            Self::JobSubmitted { job, .. }
            | Self::StepStarted { job, .. }
            | Self::StepSucceeded { job, .. }
            | Self::StepFailed { job, .. }
            | Self::JobCancelled { job, .. }
            | Self::JobExpired { job, .. }
            | Self::JobRetried { job, .. }
            | Self::JobDeleted { job, .. } => *job,
        }
    }

    /// Returns how the job ended by this, if it did.
    pub fn end(&self) -> Option<&JobEnd> {
        match self {
            Self::StepSucceeded { end, .. }
            | Self::StepFailed { end, .. }
            | Self::JobDeleted { end, .. } => end.as_ref(),
            Self::JobCancelled { end, .. } | Self::JobExpired { end, .. } => Some(end),
            Self::JobSubmitted { .. } | Self::StepStarted { .. } | Self::JobRetried { .. } => None,
        }
    }

    /// Returns what this means for the quota, in order.
    pub fn quota_facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let job = self.job();
        match self {
            Self::JobSubmitted { items, period, .. } | Self::JobRetried { items, period, .. } => {
                facts.push(Fact::JobHeld { job, items: items.clone(), period: period.clone() });
            }
            Self::StepSucceeded { items, period, .. } => {
                let items = items.clone();
                facts.push(Fact::PartCommitted { job, items, period: period.clone() });
            }
            _ => {}
        }
        if let (Some(end), Some(period)) = (self.end(), self.period()) {
            let items = end.returned.clone();
            facts.push(Fact::JobClosed { job, items, period: period.clone() });
        }
        if let Self::JobDeleted { items, period, .. } = self
            && !items.is_empty()
        {
            facts.push(Fact::Freed { items: items.clone(), period: period.clone() });
        }
        facts
    }

    fn period(&self) -> Option<&PeriodName> {
        match self {
            Self::JobSubmitted { period, .. }
            | Self::StepSucceeded { period, .. }
            | Self::StepFailed { period, .. }
            | Self::JobCancelled { period, .. }
            | Self::JobExpired { period, .. }
            | Self::JobRetried { period, .. }
            | Self::JobDeleted { period, .. } => Some(period),
            Self::StepStarted { .. } => None,
        }
    }
}
