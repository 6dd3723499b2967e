//! The handle of all tenants: every call of the usage plane goes through it.

use futures_util::stream::BoxStream;
use tenantry_supervision::Deadline;

use super::call::{Answer, CallContext, TenantError};
use super::history::{HistoryPoint, HistoryQuery};
use super::job_view::{JobEvent, JobSummary, JobView, JobsQuery, Page, StoredArtifact};
use super::plan::PlanName;
use super::quota::{Consumed, Item, Reservation, UsageReport};
use crate::ids::{JobId, ReservationId, TenantId};

/// The tenants of this node; a cheap handle.
#[derive(Clone, Debug)]
pub struct Tenants {}

#[expect(clippy::unused_async, reason = "the signatures are ahead of the bodies")]
impl Tenants {
    /// Uses units at once, all items or none.
    pub async fn consume(
        &self,
        tenant: TenantId,
        items: Vec<Item>,
        context: CallContext,
    ) -> Result<Answer<Consumed>, TenantError> {
        let _ = (tenant, items, context);
        Err(TenantError::Unavailable)
    }

    /// Holds units before the work.
    pub async fn reserve(
        &self,
        tenant: TenantId,
        items: Vec<Item>,
        ttl_s: u64,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        let _ = (tenant, items, ttl_s, context);
        Err(TenantError::Unavailable)
    }

    /// Describes a hold, open or ended.
    pub async fn reservation(
        &self,
        tenant: TenantId,
        id: ReservationId,
    ) -> Result<Reservation, TenantError> {
        let _ = (tenant, id);
        Err(TenantError::Unavailable)
    }

    /// Uses held units and gives back the rest; all of them unless items say otherwise.
    pub async fn commit(
        &self,
        tenant: TenantId,
        id: ReservationId,
        items: Option<Vec<Item>>,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        let _ = (tenant, id, items, context);
        Err(TenantError::Unavailable)
    }

    /// Gives back a hold.
    pub async fn release(
        &self,
        tenant: TenantId,
        id: ReservationId,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        let _ = (tenant, id, context);
        Err(TenantError::Unavailable)
    }

    /// Lets a hold live longer.
    pub async fn extend(
        &self,
        tenant: TenantId,
        id: ReservationId,
        ttl_s: u64,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        let _ = (tenant, id, ttl_s, context);
        Err(TenantError::Unavailable)
    }

    /// Reports where the tenant stands.
    pub async fn usage(&self, tenant: TenantId) -> Result<UsageReport, TenantError> {
        let _ = (tenant,);
        Err(TenantError::Unavailable)
    }

    /// Names the plan in force.
    pub async fn plan_name(&self, tenant: TenantId) -> Result<PlanName, TenantError> {
        let _ = (tenant,);
        Err(TenantError::Unavailable)
    }

    /// Says whether the plan in force includes a feature.
    pub async fn allows(&self, tenant: TenantId, feature: &str) -> Result<bool, TenantError> {
        let _ = (tenant, feature);
        Err(TenantError::Unavailable)
    }

    /// Reports usage of past days or months.
    pub async fn usage_history(
        &self,
        tenant: TenantId,
        query: HistoryQuery,
    ) -> Result<Vec<HistoryPoint>, TenantError> {
        let _ = (tenant, query);
        Err(TenantError::Unavailable)
    }

    /// Describes a job.
    pub async fn job(&self, tenant: TenantId, id: JobId) -> Result<JobView, TenantError> {
        let _ = (tenant, id);
        Err(TenantError::Unavailable)
    }

    /// Lists jobs, newest first.
    pub async fn jobs(
        &self,
        tenant: TenantId,
        query: JobsQuery,
    ) -> Result<Page<JobSummary>, TenantError> {
        let _ = (tenant, query);
        Err(TenantError::Unavailable)
    }

    /// Ends a job that is no longer wanted.
    pub async fn cancel(
        &self,
        tenant: TenantId,
        id: JobId,
        context: CallContext,
    ) -> Result<Answer<JobView>, TenantError> {
        let _ = (tenant, id, context);
        Err(TenantError::Unavailable)
    }

    /// Begins an ended, unfinished job again where it stopped.
    pub async fn retry(
        &self,
        tenant: TenantId,
        id: JobId,
        context: CallContext,
    ) -> Result<Answer<JobView>, TenantError> {
        let _ = (tenant, id, context);
        Err(TenantError::Unavailable)
    }

    /// Removes a job and what it stored.
    pub async fn delete(
        &self,
        tenant: TenantId,
        id: JobId,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        let _ = (tenant, id, context);
        Err(TenantError::Unavailable)
    }

    /// Follows a job's changes; after `after` where that is still known, else from the whole job on.
    pub async fn watch(
        &self,
        tenant: TenantId,
        id: JobId,
        after: Option<u64>,
    ) -> Result<BoxStream<'static, JobEvent>, TenantError> {
        let _ = (tenant, id, after);
        Err(TenantError::Unavailable)
    }

    /// Finds a file that a job made.
    pub async fn artifact(
        &self,
        tenant: TenantId,
        job: JobId,
        name: &str,
    ) -> Result<StoredArtifact, TenantError> {
        let _ = (tenant, job, name);
        Err(TenantError::Unavailable)
    }

    /// Puts a plan of the catalogue in force.
    pub async fn set_plan(
        &self,
        tenant: TenantId,
        plan: PlanName,
        context: CallContext,
    ) -> Result<Answer<()>, TenantError> {
        let _ = (tenant, plan, context);
        Err(TenantError::Unavailable)
    }

    /// Puts every tenant to sleep; nothing wakes any more. Says whether all slept in time.
    pub async fn drain(&self, deadline: Deadline) -> bool {
        let _ = deadline;
        true
    }
}
