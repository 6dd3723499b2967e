//! The job machine: what a render job consists of, what may run next, and what becomes of it.
//!
//! Pure like the quota machine: a command is judged against the jobs as they are and becomes a
//! [`JobFact`]; facts alone change the jobs. The shell starts what is runnable and reports back.
//! The meters of a job move inside the same fact, so a step's result and its charge are one.
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod bounds;
mod decide;
mod fact;
mod job;
mod name;
mod record;
mod shape;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

pub use self::bounds::{
    SEGMENT_MAX_MS, STORAGE_BASE_BYTES, StepTimeouts, TTS_MS_BASE, TTS_MS_PER_BYTE,
    length_bound_ms, segment_lengths_ms, speech_bound_ms, upper_bounds,
};
pub use self::fact::{JobEnd, JobFact};
pub use self::job::{Job, JobError, JobState, Span, Step, StepState};
pub use self::name::{InvalidStepName, StepName};
pub use self::shape::{
    Artifact, Cause, FailKind, InvalidLanguage, JobShape, Language, Resolution, SceneShape,
    StepResult, Voice,
};
#[cfg(test)]
pub(in crate::tenant) use self::tests::fixture;
use crate::clock::Timestamp;
use crate::ids::JobId;

/// How often a step may fail before its job does: one attempt and three retries.
pub const MAX_FAILURES: u32 = 4;
/// How often a step may be cut off by the server's own end before its job fails: such a cut is
/// nobody's failure, but a step that takes the server down must not do so for ever.
pub const MAX_INTERRUPTIONS: u32 = 16;
/// The first retry comes within this; each later one within twice as much.
pub const RETRY_BASE_MS: u64 = 1_000;
/// No retry waits longer than this.
pub const RETRY_CAP_MS: u64 = 30_000;
/// How long a job may be open: its hold must not live for ever.
pub const MAX_JOB_S: u64 = 86_400;
/// The longest video.
pub const MAX_PLAN_MS: u64 = 30 * 60 * 1_000;
/// The most scenes of a plan.
pub const MAX_SCENES: usize = 20;
/// The most jobs of one tenant that are open at once; every one of them is kept in memory.
pub const MAX_OPEN_JOBS: usize = 1_000;
/// How many ended jobs keep their steps in memory; older ones keep their result alone.
const MAX_DETAILED_JOBS: usize = 50;

/// What can be asked of a tenant's jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobCommand {
    /// Begins a job and holds its upper bounds.
    Submit {
        /// The job's name, made by the caller.
        job: JobId,
        /// What is known of its plan.
        shape: Box<JobShape>,
    },
    /// Begins an attempt at a step.
    Start {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// How long the attempt may take.
        timeout_ms: u64,
    },
    /// Reports that an attempt succeeded.
    Succeed {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// The attempt that reports.
        attempt: u32,
        /// What came of it.
        result: Box<StepResult>,
    },
    /// Reports that an attempt failed.
    Fail {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// The attempt that reports.
        attempt: u32,
        /// Whether it is worth another.
        kind: FailKind,
        /// A slug that says why, never a client's text: `provider-unavailable`.
        code: String,
        /// A random number, which spreads retries.
        draw: u64,
    },
    /// Ends an attempt that passed its deadline.
    Timeout {
        /// The job.
        job: JobId,
        /// The step.
        step: StepName,
        /// The attempt that is cut off.
        attempt: u32,
        /// A random number, which spreads retries.
        draw: u64,
    },
    /// Ends a job that is no longer wanted.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Begins an ended, unfinished job again where it stopped.
    Retry {
        /// The job.
        job: JobId,
    },
    /// Removes a job and frees what it stored; an open one is cancelled by the same entry.
    Delete {
        /// The job.
        job: JobId,
    },
}

/// All jobs of a tenant that were not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    by_id: BTreeMap<JobId, Job>,
    /// The open jobs by the time at which they end at the latest.
    expiries: BTreeSet<(Timestamp, JobId)>,
    /// Ended jobs that still have their steps, oldest first.
    detailed: VecDeque<JobId>,
}

impl Jobs {
    /// Returns a job.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.by_id.get(&id)
    }

    /// Lists all jobs, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.by_id.values()
    }

    /// Lists the open jobs.
    pub fn open(&self) -> impl Iterator<Item = &Job> {
        self.expiries.iter().filter_map(|(_, id)| self.by_id.get(id))
    }

    /// Returns when the next open job must end.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Checks every invariant by recomputing what the jobs keep.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check(&self) {
        for job in self.by_id.values() {
            let is_open = self.expiries.contains(&(job.expires_at, job.id));
            assert_eq!(is_open, !job.state.is_ended(), "{} is open", job.id);
            assert!(job.steps.is_sorted_by_key(|step| step.name), "steps are in order");
        }
        assert!(self.expiries.iter().all(|(_, id)| self.by_id.contains_key(id)));
        assert!(self.detailed.len() <= MAX_DETAILED_JOBS);
    }

    /// Returns the next deadline of a running step.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.open().filter_map(Job::next_deadline).min()
    }

    /// Returns when the next failed step may be tried again.
    pub fn next_retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.open().filter_map(|job| job.next_retry_at(now)).min()
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod properties;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that panics has failed")]
mod tests;
