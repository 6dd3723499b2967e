//! Lists that are read from the projections; they follow the log by a moment.

use super::{Journal, JournalError};
use crate::clock::Timestamp;
use crate::database::listings::{self, ListedJob, UsedOnDay};
use crate::ids::{JobId, TenantId};

impl Journal {
    /// Lists a tenant's jobs, newest first, those before `before` alone.
    pub async fn jobs(
        &self,
        tenant: TenantId,
        state: Option<&str>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<ListedJob>, JournalError> {
        let mut reader = self.inner.database.reader().await?;
        Ok(listings::jobs(&mut reader, tenant, state, before, i64::from(limit)).await?)
    }

    /// Reads what a tenant used of a meter by day, from `from` to before `to`.
    pub async fn usage_days(
        &self,
        tenant: TenantId,
        meter: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<UsedOnDay>, JournalError> {
        let mut reader = self.inner.database.reader().await?;
        Ok(listings::usage(&mut reader, tenant, meter, from, to).await?)
    }
}
