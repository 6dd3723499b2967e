//! Reads of the projections that have the shape of a list: jobs, usage by day, wake-ups.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Session, StoreError};
use crate::clock::Timestamp;
use crate::ids::{JobId, TenantId};

const JOBS: &str = "SELECT job_id, state, created_at, updated_at FROM jobs \
     WHERE tenant_id = $1 AND job_id < $2 ORDER BY job_id DESC LIMIT $3";
const JOBS_IN_STATE: &str = "SELECT job_id, state, created_at, updated_at FROM jobs \
     WHERE tenant_id = $1 AND job_id < $2 AND state = $4 ORDER BY job_id DESC LIMIT $3";
const USAGE: &str = "SELECT meter, day_at, amount FROM usage_days \
     WHERE tenant_id = $1 AND meter = $2 AND day_at >= $3 AND day_at < $4 ORDER BY day_at";
const DUE: &str = "SELECT due_at, tenant_id FROM wakeups \
     WHERE due_at <= $1 AND (due_at, tenant_id) > ($2, $3) AND NOT EXISTS ( \
         SELECT 1 FROM wakeups still \
         WHERE still.tenant_id = wakeups.tenant_id AND still.subject = 'test_clock') \
     ORDER BY due_at, tenant_id LIMIT $4";
/// Sorts after every job's id.
const AFTER_ALL_JOBS: &str = "job_~";

/// A job as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedJob {
    /// Names the job.
    pub id: JobId,
    /// Its state, as API.md spells it.
    pub state: String,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When its last entry was made.
    pub updated_at: Timestamp,
}

/// What was used of a meter on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedOnDay {
    /// The day's start in UTC.
    pub start: Timestamp,
    /// In the meter's base unit.
    pub amount: i64,
}

/// Lists a tenant's jobs, newest first, after the one that a page ended with.
pub(crate) async fn jobs(
    session: &mut impl Session,
    tenant: TenantId,
    state: Option<&str>,
    before: Option<JobId>,
    limit: i64,
) -> Result<Vec<ListedJob>, StoreError> {
    let before = before.map_or_else(|| AFTER_ALL_JOBS.into(), |id| id.to_string());
    let text = if state.is_some() { JOBS_IN_STATE } else { JOBS };
    let mut query = sqlx::query(text).bind(tenant.to_string()).bind(before).bind(limit);
    if let Some(state) = state {
        query = query.bind(state);
    }
    query.fetch_all(session.connection()).await?.iter().map(read_job).collect()
}

fn read_job(row: &AnyRow) -> Result<ListedJob, StoreError> {
    let id: &str = row.try_get(0)?;
    let corrupt = |_| StoreError::Corrupt { table: "jobs", id: id.into(), column: "job_id" };
    Ok(ListedJob {
        id: id.parse().map_err(corrupt)?,
        state: row.try_get(1)?,
        created_at: Timestamp::from_micros(row.try_get(2)?),
        updated_at: Timestamp::from_micros(row.try_get(3)?),
    })
}

/// Reads what was used of a meter by day, from `from` to before `to`.
pub(crate) async fn usage(
    session: &mut impl Session,
    tenant: TenantId,
    meter: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<UsedOnDay>, StoreError> {
    let rows = sqlx::query(USAGE)
        .bind(tenant.to_string())
        .bind(meter)
        .bind(from.as_micros())
        .bind(to.as_micros())
        .fetch_all(session.connection())
        .await?;
    rows.iter()
        .map(|row| {
            let start = Timestamp::from_micros(row.try_get(1)?);
            Ok(UsedOnDay { start, amount: row.try_get(2)? })
        })
        .collect()
}

/// A place in the list of what is due: when, and for whom. A tenant may stand there often.
pub(crate) type Due = (Timestamp, TenantId);

/// Lists what is due, the longest due first, after the one that a page ended with.
pub(crate) async fn due(
    session: &mut impl Session,
    until: Timestamp,
    after: Option<Due>,
    limit: i64,
) -> Result<Vec<Due>, StoreError> {
    let (at, tenant) =
        after.map_or((-1, String::new()), |(at, tenant)| (at.as_micros(), tenant.to_string()));
    let query = sqlx::query(DUE).bind(until.as_micros()).bind(at).bind(tenant).bind(limit);
    let rows = query.fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            let tenant: &str = row.try_get(1)?;
            let corrupt = |_| StoreError::Corrupt {
                table: "wakeups",
                id: tenant.into(),
                column: "tenant_id",
            };
            Ok((Timestamp::from_micros(row.try_get(0)?), tenant.parse().map_err(corrupt)?))
        })
        .collect()
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![JOBS, JOBS_IN_STATE, USAGE, DUE]
}
