//! The calls about jobs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tenantry_supervision::{Deadline, spawn};

use super::super::call::{Answer, CallContext, TenantError};
use super::super::feed;
use super::super::job_view::{JobEvent, JobSummary, JobView, JobsQuery, Page, StoredArtifact};
use super::super::plan_store;
use super::super::quota::Refusal;
use super::super::state::{TenantCommand, TenantOutcome};
use super::super::steps::{Job, JobCommand};
use super::{Tenants, unexpected};
use crate::ids::{JobId, TenantId};
use crate::studio::plan::RenderPlan;
use crate::studio::runner::Discard;

/// The longest part of a list.
const MAX_PAGE: usize = 200;

/// How long a deletion waits for the steps of its job to end.
const STEPS_END_WITHIN: Duration = Duration::from_secs(5);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Tenants {
    /// Begins a render job: holds what it may use at most, and starts its steps.
    pub async fn submit(
        &self,
        tenant: TenantId,
        plan: RenderPlan,
        context: CallContext,
    ) -> Result<Answer<JobView>, TenantError> {
        let job = JobId::generate(&*self.shell.clock);
        let shape = Box::new(plan_store::measure(&self.shell, tenant, &plan).await?);
        // The entry must never name a plan that is nowhere.
        plan_store::write(&self.shell, tenant, job, &plan).await?;
        let command = TenantCommand::Job(JobCommand::Submit { job, shape });
        let answer = self.decide(tenant, command, &context).await;
        let is_kept = match &answer {
            Ok(answer) => !answer.replayed,
            Err(error) => *error == TenantError::OutcomeUnknown,
        };
        if !is_kept {
            let shell = Arc::clone(&self.shell);
            let tasks = self.shell.tasks.clone();
            spawn("remove-plan", &tasks, async move {
                plan_store::remove(&shell, tenant, job).await;
            });
        }
        answer?.try_map(|outcome| match outcome {
            TenantOutcome::Submitted(job) => Ok(JobView::of(&job)),
            other => Err(unexpected(&other)),
        })
    }

    /// Describes a job.
    pub async fn job(&self, tenant: TenantId, id: JobId) -> Result<JobView, TenantError> {
        self.see(tenant, id, |job| Ok(JobView::of(job))).await
    }

    /// Lists jobs, newest first.
    pub async fn jobs(
        &self,
        tenant: TenantId,
        query: JobsQuery,
    ) -> Result<Page<JobSummary>, TenantError> {
        let before = query.cursor.as_deref().map(str::parse::<JobId>).transpose();
        let before = before.map_err(|_| TenantError::InvalidCursor)?;
        let limit = query.limit.clamp(1, MAX_PAGE);
        self.read(tenant, move |life| {
            let mut wanted = life.book.state().jobs().iter().rev().filter(|job| {
                before.is_none_or(|before| job.id < before)
                    && query.state.is_none_or(|state| job.state == state)
            });
            let data: Vec<_> = wanted.by_ref().take(limit).map(JobSummary::of).collect();
            let is_more = wanted.next().is_some();
            let next_cursor = data.last().filter(|_| is_more).map(|job| job.id.to_string());
            Ok(Page { data, next_cursor })
        })
        .await
    }

    /// Ends a job that is no longer wanted.
    pub async fn cancel(
        &self,
        tenant: TenantId,
        id: JobId,
        context: CallContext,
    ) -> Result<Answer<JobView>, TenantError> {
        self.change(tenant, id, JobCommand::Cancel { job: id }, &context).await
    }

    /// Begins an ended, unfinished job again where it stopped.
    pub async fn retry(
        &self,
        tenant: TenantId,
        id: JobId,
        context: CallContext,
    ) -> Result<Answer<JobView>, TenantError> {
        self.change(tenant, id, JobCommand::Retry { job: id }, &context).await
    }

    /// Removes a job and what it stored.
    pub async fn delete(
        &self,
        tenant: TenantId,
        id: JobId,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        // The files go before the entry that says so: what a crash leaves in between is a job
        // that can be deleted again, not files that nobody knows of.
        match self.see(tenant, id, |job| Ok(job.state.is_ended())).await {
            Ok(is_ended) => {
                if !is_ended {
                    let mut system = context.clone();
                    system.idempotency = None;
                    let cancel = TenantCommand::Job(JobCommand::Cancel { job: id });
                    self.decide(tenant, cancel, &system).await?;
                }
                self.wait_for_steps(tenant, id).await?;
                let discard = self.shell.studio.discard(tenant, id, Discard::Everything);
                discard.await.map_err(|error| {
                    tracing::warn!(job.id = %id, %error, "a job's files cannot be removed");
                    TenantError::Unavailable
                })?;
            }
            // A repetition finds the job gone; its key has the answer.
            Err(TenantError::Refused(Refusal::JobNotFound)) => {}
            Err(error) => return Err(error),
        }
        let delete = TenantCommand::Job(JobCommand::Delete { job: id });
        self.decide(tenant, delete, &context).await?.try_map(|_| Ok(()))
    }

    /// Follows a job's changes; after `after` where that is still known, else from the whole job
    /// on. The stream ends with the job.
    pub async fn watch(
        &self,
        tenant: TenantId,
        id: JobId,
        after: Option<u64>,
    ) -> Result<BoxStream<'static, JobEvent>, TenantError> {
        self.read(tenant, move |life| {
            let not_found = TenantError::Refused(Refusal::JobNotFound);
            let whole = life.whole(id).ok_or(not_found)?;
            let subscription = life.feed.subscribe(id, after);
            // A reader who has seen the end of a job is told it again: nothing else would come.
            let missed =
                subscription.missed.filter(|missed| !missed.is_empty() || life.is_open(id));
            let first = missed.unwrap_or_else(|| vec![whole]);
            let guard: feed::Guard = Arc::new(life.stay_awake());
            Ok(feed::into_stream(first, subscription.live, guard).boxed())
        })
        .await
    }

    /// Finds a file that a job made.
    pub async fn artifact(
        &self,
        tenant: TenantId,
        job: JobId,
        name: &str,
    ) -> Result<StoredArtifact, TenantError> {
        let name = name.to_owned();
        self.see(tenant, job, move |job| {
            let found = job.artifacts.iter().find(|artifact| artifact.name == name);
            let artifact = found.ok_or(TenantError::Refused(Refusal::JobNotFound))?;
            Ok(StoredArtifact {
                key: artifact.key.clone(),
                bytes: artifact.bytes,
                content_type: artifact.content_type.clone(),
            })
        })
        .await
    }

    async fn change(
        &self,
        tenant: TenantId,
        id: JobId,
        command: JobCommand,
        context: &CallContext,
    ) -> Result<Answer<JobView>, TenantError> {
        let answer = self.decide(tenant, TenantCommand::Job(command), context).await?;
        // The line knows the new state alone; the rest is read as it is now.
        let value = self.job(tenant, id).await?;
        Ok(Answer { value, replayed: answer.replayed })
    }

    async fn see<T: Send + 'static>(
        &self,
        tenant: TenantId,
        id: JobId,
        look: impl Fn(&Job) -> Result<T, TenantError> + Send + Clone + 'static,
    ) -> Result<T, TenantError> {
        self.read(tenant, move |life| {
            let job = life.book.state().jobs().get(id);
            look(job.ok_or(TenantError::Refused(Refusal::JobNotFound))?)
        })
        .await
    }

    async fn wait_for_steps(&self, tenant: TenantId, id: JobId) -> Result<(), TenantError> {
        let deadline = Deadline::after(STEPS_END_WITHIN);
        while self.read(tenant, move |life| Ok(life.jobs.is_running(id))).await? {
            if deadline.is_past() {
                return Err(TenantError::Unavailable);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
