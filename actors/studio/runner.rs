//! The seam between a tenant's jobs and the studio: what a step gets and what it gives back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenantry_supervision::Deadline;
use tokio_util::sync::CancellationToken;

use super::plan::RenderPlan;
use super::slots::SlotPermit;
use crate::ids::{JobId, TenantId};
use crate::storage::StorageError;
use crate::tenant::steps::{FailKind, Span, StepName, StepResult};

/// Runs the steps of render jobs. The tenant actor holds one and owns every deadline.
pub trait StepRunner: Send + Sync + fmt::Debug {
    /// Waits for a worker slot of the step's kind; slots are shared fairly between tenants.
    ///
    /// The permit is held while the step runs. Waiting is no part of the step's time.
    fn acquire(
        &self,
        tenant: TenantId,
        step: StepName,
    ) -> BoxFuture<'static, Result<SlotPermit, StepError>>;

    /// Runs one attempt at a step, or finds that an earlier attempt finished it.
    ///
    /// Ends within two seconds of its deadline or of the cancellation, with every child of it
    /// killed and reaped. Dropping the future kills its children too.
    fn run(
        &self,
        input: StepInput,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<StepResult, StepError>>;

    /// Removes what a job stored.
    fn discard(
        &self,
        tenant: TenantId,
        job: JobId,
        what: Discard,
    ) -> BoxFuture<'static, Result<(), StorageError>>;
}

/// What of a job is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// What only steps need: images, speech, segments. The plan and the video stay.
    Intermediates,
    /// Everything.
    Everything,
}

/// One attempt at a step.
#[derive(Debug, Clone)]
pub struct StepInput {
    /// Whose step it is.
    pub tenant: TenantId,
    /// The job it belongs to.
    pub job: JobId,
    /// Which step.
    pub step: StepName,
    /// The attempt's number, from 1; names its scratch folder.
    pub attempt: u32,
    /// Whether no further attempt follows: then a fallback is better than a failure.
    pub is_last_attempt: bool,
    /// When it must have ended.
    pub deadline: Deadline,
    /// Which part of its scene a segment is.
    pub span: Option<Span>,
    /// The whole plan.
    pub plan: Arc<RenderPlan>,
    /// The results of the steps that are done.
    pub results: BTreeMap<StepName, StepResult>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct StepError {
    /// Whether another attempt may succeed.
    pub kind: FailKind,
    /// A slug for the entry and the client: `provider-unavailable`.
    pub code: &'static str,
    /// What happened, for the log alone; holds nothing of the client's text.
    pub detail: String,
}

impl StepError {
    /// A failure that another attempt may not meet.
    pub fn retryable(code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: FailKind::Retryable, code, detail: detail.into() }
    }

    /// A failure that every attempt would meet.
    pub fn permanent(code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: FailKind::Permanent, code, detail: detail.into() }
    }

    /// The attempt was cut off by its caller; counts for nobody.
    pub fn interrupted() -> Self {
        Self { kind: FailKind::Interrupted, code: "cancelled", detail: String::new() }
    }

    /// The attempt took too long.
    pub fn timed_out() -> Self {
        Self::retryable("step-timeout", "the attempt passed its deadline")
    }
}

impl From<StorageError> for StepError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Full => Self::retryable("storage-full", "the store is full"),
            StorageError::NotFound => Self::permanent("input-missing", "a result is gone"),
            other => Self::retryable("storage-unavailable", source_chain(&other)),
        }
    }
}

impl From<std::io::Error> for StepError {
    fn from(error: std::io::Error) -> Self {
        match StorageError::from(error) {
            StorageError::Full => Self::retryable("storage-full", "the scratch folder is full"),
            other => Self::retryable("scratch-unavailable", source_chain(&other)),
        }
    }
}

/// Everything of a job lies below this folder of the tenant's store.
pub fn job_folder(job: JobId) -> String {
    format!("jobs/{job}")
}

/// The folder of what only steps need.
pub(super) fn steps_folder(job: JobId) -> String {
    format!("jobs/{job}/steps")
}

/// Joins an error's message with those of its sources.
pub(super) fn source_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
