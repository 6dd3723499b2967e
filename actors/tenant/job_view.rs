//! A render job as callers see it.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::tenant::quota::Item;
use crate::tenant::steps::{
    Artifact, Cause, Job, JobError, JobState, Resolution, Step, StepName, StepState,
};

/// A job with its steps, as `GET /api/render/{id}` answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobView {
    /// Its name.
    pub id: JobId,
    /// How it stands.
    pub state: JobState,
    /// How much of the work is done, in hundredths.
    pub progress_percent: u8,
    /// The step that a person is told about.
    pub step: Option<StepName>,
    /// Its steps; empty for jobs that ended long ago.
    pub steps: Vec<StepView>,
    /// In what it is less than asked for.
    pub degraded: Vec<Cause>,
    /// What can be fetched.
    pub artifacts: Vec<ArtifactView>,
    /// What it used so far.
    pub usage: Vec<Item>,
    /// The size of the picture.
    pub resolution: Resolution,
    /// How many scenes it has.
    pub scenes: usize,
    /// How long the video will be, as far as is known.
    pub length_ms: u64,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobProblem>,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// Its name.
    pub name: StepName,
    /// How it stands.
    pub state: StepState,
    /// How many attempts were started.
    pub attempts: u32,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When the last attempt ended.
    pub ended_at: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A file that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArtifactView {
    /// Its name.
    pub name: String,
    /// How much it weighs.
    pub bytes: u64,
    /// What it is.
    pub content_type: String,
    /// Where it is fetched.
    pub url: String,
}

/// Why a job failed, in the form of a problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobProblem {
    /// A slug: `quota-exceeded`, `step-timeout`, `job-expired`.
    pub code: String,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What it means and what can be done.
    pub detail: String,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
}

/// A line of the list of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobSummary {
    /// Its name.
    pub id: JobId,
    /// How it stands.
    pub state: JobState,
    /// How much of the work is done, in hundredths.
    pub progress_percent: u8,
    /// The step that a person is told about.
    pub step: Option<StepName>,
    /// The size of the picture.
    pub resolution: Resolution,
    /// How many scenes it has.
    pub scenes: usize,
    /// In what it is less than asked for.
    pub degraded: Vec<Cause>,
    /// What can be fetched.
    pub artifacts: Vec<ArtifactView>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The part.
    pub data: Vec<T>,
    /// Where the next part begins; none at the end.
    pub next_cursor: Option<String>,
}

// === impl JobView ===

impl JobView {
    /// Describes a job.
    pub fn of(job: &Job) -> Self {
        Self {
            id: job.id,
            state: job.state,
            progress_percent: job.progress_percent(),
            step: job.current_step(),
            steps: job.steps.iter().map(StepView::of).collect(),
            degraded: job.degraded.clone(),
            artifacts: artifacts(job),
            usage: job.usage.clone(),
            resolution: job.shape.resolution,
            scenes: job.shape.scenes.len(),
            length_ms: job.length_ms(),
            created_at: job.submitted_at,
            ended_at: job.ended_at,
            error: job.error.as_ref().map(JobProblem::of),
        }
    }
}

// === impl JobSummary ===

impl JobSummary {
    /// Describes a job in short.
    pub fn of(job: &Job) -> Self {
        Self {
            id: job.id,
            state: job.state,
            progress_percent: job.progress_percent(),
            step: job.current_step(),
            resolution: job.shape.resolution,
            scenes: job.shape.scenes.len(),
            degraded: job.degraded.clone(),
            artifacts: artifacts(job),
            created_at: job.submitted_at,
            ended_at: job.ended_at,
        }
    }
}

// === impl StepView ===

impl StepView {
    pub(super) fn of(step: &Step) -> Self {
        Self {
            name: step.name,
            state: step.state,
            attempts: step.attempts,
            started_at: step.started_at,
            ended_at: step.ended_at,
            error: step.error.clone(),
        }
    }
}

// === impl JobProblem ===

impl JobProblem {
    fn of(error: &JobError) -> Self {
        let (title, advice) = match error.code.as_str() {
            "quota-exceeded" => (
                "The plan's limit was reached",
                "More was needed than was reserved, and nothing was left. Upgrade the plan or \
                 wait for the next period, then retry the job.",
            ),
            "step-timeout" => (
                "A step took too long",
                "It was tried four times and never ended in time. Retry the job later.",
            ),
            "job-expired" => {
                ("The job took too long", "A job may be open for a day. Retry it to go on.")
            }
            "storage-full" => {
                ("There is no room", "The server's storage is full. Retry the job later.")
            }
            "plan-missing" => {
                ("The job's plan is gone", "It cannot be read any more. Submit the plan again.")
            }
            _ => (
                "A step failed",
                "Every attempt failed. What was finished is kept: retry the job to go on there.",
            ),
        };
        let detail = match error.step {
            Some(step) => format!("{advice} The step was {step}."),
            None => advice.to_owned(),
        };
        Self { code: error.code.clone(), title, detail, step: error.step }
    }
}

fn artifacts(job: &Job) -> Vec<ArtifactView> {
    let view = |artifact: &Artifact| ArtifactView {
        name: artifact.name.clone(),
        bytes: artifact.bytes,
        content_type: artifact.content_type.clone(),
        url: format!("/api/artifacts/{}/{}", job.id, artifact.name),
    };
    job.artifacts.iter().map(view).collect()
}

/// A change of a job, for who watches it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobEvent {
    /// The tenant's entry that made the change: what a reader resumes after.
    pub seq: u64,
    /// `job` (the whole job) or `step` (one step and the progress).
    pub event: String,
    /// The document: a [`JobView`], or `{id, state, progress_percent, step: StepView}`.
    pub data: serde_json::Value,
}

impl JobEvent {
    /// The name of an event that carries a whole job.
    pub const JOB: &'static str = "job";
    /// The name of an event that carries one step and the progress.
    pub const STEP: &'static str = "step";
}

/// Which jobs are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobsQuery {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Where the part before ended.
    pub cursor: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// A file that a job made: where it lies in the tenant's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredArtifact {
    /// Its key in the tenant's store.
    pub key: String,
    /// How much it weighs.
    pub bytes: u64,
    /// What it is.
    pub content_type: String,
}
