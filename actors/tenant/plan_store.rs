//! Render plans at rest: sealed under the tenant's key, in the tenant's store.
//!
//! A plan is client text, so the journal holds its keyed digest alone. It is stored before its
//! job is submitted and removed with the job.

use std::sync::Arc;

use super::call::TenantError;
use super::shell::Shell;
use super::steps::JobShape;
use crate::ids::{JobId, TenantId};
use crate::privacy::keys::Place;
use crate::storage::StorageError;
use crate::studio::plan::RenderPlan;
use crate::studio::runner::job_folder;

/// The longest sealed plan in bytes: the longest valid one takes a quarter of it.
const MAX_SEALED_BYTES: u64 = 4 * 1024 * 1024;

/// Measures a plan, and digests it under the tenant's key.
pub(super) async fn measure(
    shell: &Shell,
    tenant: TenantId,
    plan: &RenderPlan,
) -> Result<JobShape, TenantError> {
    let cipher = shell.keys.tenant_cipher(tenant).await.map_err(|_| TenantError::Unavailable)?;
    let digest = cipher.digest("render-plan", text_of(plan).as_bytes());
    // The language was looked up when the plan was validated.
    plan.shape(digest).map_err(|_| TenantError::Unavailable)
}

/// Stores a plan; its job may be submitted afterwards.
pub(super) async fn write(
    shell: &Shell,
    tenant: TenantId,
    job: JobId,
    plan: &RenderPlan,
) -> Result<(), TenantError> {
    let cipher = shell.keys.tenant_cipher(tenant).await.map_err(|_| TenantError::Unavailable)?;
    let sealed = cipher
        .seal(place(&job.to_string()), text_of(plan).as_bytes())
        .map_err(|_| TenantError::Unavailable)?;
    let stored = shell.storage.tenant(tenant).put(&key(job), sealed.into()).await;
    stored.map(drop).map_err(|error| match error {
        StorageError::Full => TenantError::StorageFull,
        error => {
            tracing::warn!(tenant.id = %tenant, %error, "a plan cannot be stored");
            TenantError::Unavailable
        }
    })
}

/// Removes the plan of a job that was refused.
pub(super) async fn remove(shell: &Shell, tenant: TenantId, job: JobId) {
    if let Err(error) = shell.storage.tenant(tenant).delete(&key(job)).await {
        tracing::debug!(tenant.id = %tenant, %error, "a refused plan was left behind");
    }
}

/// Reads a plan back; `None` if it is gone or not what was submitted.
pub(super) async fn read(
    shell: &Shell,
    tenant: TenantId,
    job: JobId,
    digest: &str,
) -> Result<Option<Arc<RenderPlan>>, TenantError> {
    let cipher = shell.keys.tenant_cipher(tenant).await.map_err(|_| TenantError::Unavailable)?;
    let sealed = match shell.storage.tenant(tenant).read(&key(job), MAX_SEALED_BYTES).await {
        Ok(sealed) => sealed,
        Err(StorageError::NotFound) => return Ok(None),
        Err(error) => {
            tracing::warn!(tenant.id = %tenant, %error, "a plan cannot be read");
            return Err(TenantError::Unavailable);
        }
    };
    let row = job.to_string();
    let Some(plain) =
        std::str::from_utf8(&sealed).ok().and_then(|text| cipher.open(place(&row), text).ok())
    else {
        return Ok(None);
    };
    if cipher.digest("render-plan", &plain) != digest {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&plain).ok().map(Arc::new))
}

fn key(job: JobId) -> String {
    format!("{}/plan", job_folder(job))
}

fn place(row: &str) -> Place<'_> {
    Place { table: "jobs", column: "plan", row }
}

fn text_of(plan: &RenderPlan) -> String {
    serde_json::to_string(plan).expect("a plan has a JSON form")
}
