//! The queues of endpoints: who waits, and taking the oldest of one.
//!
//! **Invariant:** no statement here reads more rows than there are endpoints of the tenants that it
//! looks at, and those that it takes: a long queue costs its own endpoint alone.

use sqlx::Row as _;

use super::super::{Session, StoreError, column};
use super::{Claimed, DELIVERIES};
use crate::clock::Timestamp;
use crate::ids::{EndpointId, TenantId};

// From one tenant that waits to the next by the index, and the oldest of each of its endpoints.
const WAITING: &str = "WITH RECURSIVE waiting (tenant_id, place) AS ( \
         SELECT (SELECT MIN(tenant_id) FROM webhook_deliveries \
             WHERE state = 'pending' AND tenant_id > $1), 1 \
         UNION ALL \
         SELECT (SELECT MIN(later.tenant_id) FROM webhook_deliveries AS later \
             WHERE later.state = 'pending' AND later.tenant_id > waiting.tenant_id), \
             waiting.place + 1 \
         FROM waiting WHERE waiting.tenant_id IS NOT NULL AND waiting.place < $2) \
     SELECT waiting.tenant_id, endpoints.id AS endpoint_id, \
         (SELECT MIN(due.due_at) FROM webhook_deliveries AS due \
             WHERE due.state = 'pending' AND due.tenant_id = waiting.tenant_id \
                 AND due.endpoint_id = endpoints.id) AS due_at \
     FROM waiting LEFT JOIN webhook_endpoints AS endpoints \
         ON endpoints.tenant_id = waiting.tenant_id \
     WHERE waiting.tenant_id IS NOT NULL ORDER BY waiting.tenant_id, endpoints.id";
// Asked again below: another server may take the same rows at the same time.
const CLAIM: &str = "UPDATE webhook_deliveries \
     SET attempts = attempts + 1, due_at = $4, leased_until = $4 \
     WHERE (tenant_id, id) IN ( \
         SELECT tenant_id, id FROM webhook_deliveries \
         WHERE tenant_id = $1 AND endpoint_id = $2 AND state = 'pending' AND due_at <= $3 \
         ORDER BY due_at, id LIMIT $5) \
     AND state = 'pending' AND due_at <= $3 \
     RETURNING tenant_id, id, endpoint_id, event_id, kind, body, attempts, step";
const RELEASE: &str = "UPDATE webhook_deliveries SET due_at = $1, leased_until = NULL \
     WHERE state = 'pending' AND leased_until IS NOT NULL";
const NEXT_DUE: &str =
    "SELECT MIN(due_at) AS due_at FROM webhook_deliveries WHERE state = 'pending'";
const DEPTH: &str = "SELECT COUNT(*) AS depth FROM webhook_deliveries WHERE state = 'pending'";
const HAS_REFUSED: &str = "SELECT id FROM webhook_deliveries WHERE settled_at = 0 LIMIT 1";
const SETTLE_REFUSED: &str = "UPDATE webhook_deliveries SET settled_at = $1 WHERE settled_at = 0";
// An endpoint may have been removed while the projector wrote what it was owed.
const DELETE_ORPHANS: &str = "DELETE FROM webhook_deliveries WHERE state = 'pending' \
     AND NOT EXISTS (SELECT 1 FROM webhook_endpoints AS endpoints \
         WHERE endpoints.tenant_id = webhook_deliveries.tenant_id \
             AND endpoints.id = webhook_deliveries.endpoint_id)";

/// An endpoint with deliveries that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: EndpointId,
    /// When the oldest is due.
    pub(crate) due_at: Timestamp,
}

/// Some tenants that wait, one after another.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) queues: Vec<Queue>,
    /// The last tenant that was looked at; none if there is none after it.
    pub(crate) last: Option<TenantId>,
}

/// Looks at the queues of at most `tenants` tenants after one, in their order.
pub(crate) async fn waiting(
    session: &mut impl Session,
    after: Option<TenantId>,
    tenants: i64,
) -> Result<Waiting, StoreError> {
    let after = after.map(|tenant| tenant.to_string()).unwrap_or_default();
    let query = sqlx::query(WAITING).bind(after).bind(tenants);
    let rows = query.fetch_all(session.connection()).await?;
    let (mut queues, mut seen) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        let tenant: TenantId = column::parsed(row, DELIVERIES, "tenant_id")?;
        if seen.last() != Some(&tenant) {
            seen.push(tenant);
        }
        let Some(due_at) = column::optional_time(row, "due_at")? else { continue };
        let endpoint = column::parsed(row, DELIVERIES, "endpoint_id")?;
        queues.push(Queue { tenant, endpoint, due_at });
    }
    let is_full = i64::try_from(seen.len()).is_ok_and(|seen| seen >= tenants);
    Ok(Waiting { queues, last: seen.pop().filter(|_| is_full) })
}

/// Takes the oldest of a queue that are due and puts them off until `lease_until`, should the
/// relay die.
pub(crate) async fn claim(
    session: &mut impl Session,
    queue: Queue,
    now: Timestamp,
    lease_until: Timestamp,
    limit: usize,
) -> Result<Vec<Claimed>, StoreError> {
    let query = sqlx::query(CLAIM)
        .bind(queue.tenant.to_string())
        .bind(queue.endpoint.to_string())
        .bind(now.as_micros())
        .bind(lease_until.as_micros())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = query.fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            Ok(Claimed {
                tenant: column::parsed(row, DELIVERIES, "tenant_id")?,
                id: column::parsed(row, DELIVERIES, "id")?,
                endpoint: column::parsed(row, DELIVERIES, "endpoint_id")?,
                event: column::parsed(row, DELIVERIES, "event_id")?,
                kind: column::plain(row, "kind")?,
                body: column::plain(row, "body")?,
                attempts: column::plain(row, "attempts")?,
                step: column::plain(row, "step")?,
            })
        })
        .collect()
}

/// Makes due what a relay that died had taken.
pub(crate) async fn release(session: &mut impl Session, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(RELEASE).bind(now.as_micros()).execute(session.connection()).await?;
    Ok(())
}

/// When the next delivery is due.
pub(crate) async fn next_due(session: &mut impl Session) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(NEXT_DUE).fetch_one(session.connection()).await?;
    column::optional_time(&row, "due_at")
}

/// How many deliveries are owed.
pub(crate) async fn depth(session: &mut impl Session) -> Result<i64, StoreError> {
    Ok(sqlx::query(DEPTH).fetch_one(session.connection()).await?.try_get(0)?)
}

/// Whether there is a delivery that was refused and not settled yet.
pub(crate) async fn has_refused(session: &mut impl Session) -> Result<bool, StoreError> {
    Ok(sqlx::query(HAS_REFUSED).fetch_optional(session.connection()).await?.is_some())
}

/// Settles deliveries that were refused, and says how many: each is told once.
pub(crate) async fn settle_refused(
    session: &mut impl Session,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(SETTLE_REFUSED).bind(now.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

/// Removes what endpoints are owed that are gone.
pub(crate) async fn delete_orphans(session: &mut impl Session) -> Result<(), StoreError> {
    sqlx::query(DELETE_ORPHANS).execute(session.connection()).await?;
    Ok(())
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![WAITING, CLAIM, RELEASE, NEXT_DUE, DEPTH, HAS_REFUSED, SETTLE_REFUSED, DELETE_ORPHANS]
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;
    use tenantry_supervision::Tasks;

    use super::*;
    use crate::database::testing::{backend, settings};
    use crate::database::{Backend, Database};

    /// How the embedded database finds the rows of a statement.
    async fn plan(reader: &mut impl Session, statement: &str, places: usize) -> Vec<String> {
        let query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        let query = (0..places).fold(query, |query, _| query.bind(1_i64));
        let rows = query.fetch_all(reader.connection()).await.unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }

    #[tokio::test]
    async fn no_look_at_one_queue_reads_another() {
        if backend() != Backend::Sqlite {
            return;
        }
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let database = Database::open(&settings(folder.path()).await, &tasks).await.unwrap();
        let mut reader = database.reader().await.unwrap();

        for (statement, places) in [(WAITING, 2), (CLAIM, 5)] {
            let steps = plan(&mut reader, statement, places).await;
            let of_rows = ["webhook_deliveries", "later", "due"];
            let reads = steps
                .iter()
                .filter(|step| of_rows.iter().any(|name| step.split(' ').nth(1) == Some(name)));
            for step in reads.clone() {
                let by_queue = step.contains("INDEX webhook_deliveries_queues (tenant_id");
                let by_name = step.contains("sqlite_autoindex_webhook_deliveries_1 (tenant_id=? ");
                assert!(step.starts_with("SEARCH") && (by_queue || by_name), "{steps:#?}");
            }
            assert!(reads.count() >= 2, "{steps:#?}");
        }
        drop(reader);
        tasks.finish(std::time::Duration::from_secs(20)).await;
    }
}
