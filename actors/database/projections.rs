//! The tables that follow the journal, written by the projector in the watermark's transaction.

use sqlx::{Acquire, Row};

use super::many::{Many, Value};
use super::webhook_deliveries::owed;
use super::{Session, StoreError, SystemTx, mail_outbox, marks};
use crate::ids::TenantId;
use crate::journal::changes::{Changes, Chunk};
use crate::journal::marks::{encode, loose};

static ADD_CHUNKS: Many = Many::new(
    "INSERT INTO chunks (tenant_id, first_seq, last_seq, body, marks) VALUES",
    5,
    "ON CONFLICT (tenant_id, first_seq) DO NOTHING",
);
static ADD_USAGE: Many = Many::new(
    "INSERT INTO usage_days (tenant_id, meter, day_at, amount) VALUES",
    4,
    "ON CONFLICT (tenant_id, meter, day_at) \
     DO UPDATE SET amount = usage_days.amount + excluded.amount",
);
static SET_JOBS: Many = Many::new(
    "INSERT INTO jobs (tenant_id, job_id, state, created_at, updated_at) VALUES",
    5,
    "ON CONFLICT (tenant_id, job_id) \
     DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at",
);
static DROP_JOBS: Many = Many::new("DELETE FROM jobs WHERE (tenant_id, job_id) IN (VALUES", 2, ")");
static SET_WAKEUPS: Many = Many::new(
    "INSERT INTO wakeups (tenant_id, subject, due_at) VALUES",
    3,
    "ON CONFLICT (tenant_id, subject) DO UPDATE SET due_at = excluded.due_at",
);
static DROP_WAKEUPS: Many =
    Many::new("DELETE FROM wakeups WHERE (tenant_id, subject) IN (VALUES", 2, ")");

const MOVE_WATERMARK: &str = "INSERT INTO journal_watermarks (shard, seq, hash) \
     VALUES ($1, $2, $3) \
     ON CONFLICT (shard) DO UPDATE SET seq = excluded.seq, hash = excluded.hash \
     WHERE journal_watermarks.seq = $4 AND journal_watermarks.seq < excluded.seq";
const HOLD_WATERMARK: &str =
    "UPDATE journal_watermarks SET seq = seq WHERE shard = $1 AND seq = $2";
const WATERMARKS: &str = "SELECT shard, seq, hash FROM journal_watermarks ORDER BY shard";
const ADD_FAILURE: &str = "INSERT INTO projection_failures \
     (tenant_id, seq, shard, row_seq, reason, failed_at) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (tenant_id, seq) DO NOTHING";
const FAILED_TENANTS: &str = "SELECT DISTINCT tenant_id FROM projection_failures";
const FAILURES_OF: &str = "SELECT seq, shard, row_seq FROM projection_failures \
     WHERE tenant_id = $1 ORDER BY seq";
const DROP_FAILURES: &str = "DELETE FROM projection_failures WHERE tenant_id = $1";

/// A line that could not be projected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Its tenant, when the line still tells.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) seq: u64,
    pub(crate) shard: u16,
    pub(crate) row_seq: i64,
    pub(crate) reason: String,
}

/// Writes the changes of many tenants. An error leaves the transaction useless.
pub(crate) async fn apply(tx: &mut SystemTx, changes: &[&Changes]) -> Result<(), StoreError> {
    apply_to(tx.connection(), changes).await
}

/// Writes the changes of one tenant, or none of them; the transaction goes on either way.
pub(crate) async fn apply_alone(tx: &mut SystemTx, changes: &Changes) -> Result<(), StoreError> {
    let mut savepoint = tx.connection().begin().await?;
    apply_to(&mut savepoint, &[changes]).await?;
    Ok(savepoint.commit().await?)
}

async fn apply_to(
    connection: &mut sqlx::AnyConnection,
    changes: &[&Changes],
) -> Result<(), StoreError> {
    let names: Vec<String> = changes.iter().map(|change| change.tenant.to_string()).collect();
    let named = || names.iter().map(Value::from).zip(changes);
    let mut values = Vec::new();

    let texts: Vec<_> = changes.iter().flat_map(|change| &change.chunks).map(text_of).collect();
    let mut rest = texts.iter();
    for (tenant, change) in named() {
        for (chunk, text) in change.chunks.iter().zip(rest.by_ref()) {
            let (first, last) = (number(chunk.first_seq)?, number(chunk.last_seq)?);
            values.extend([tenant, first, last, (&chunk.body).into(), text.into()]);
        }
    }
    ADD_CHUNKS.run(connection, &values).await?;
    values.clear();
    marks::extend(connection, &names, changes).await?;
    for (tenant, change) in named() {
        for ((meter, day_at), amount) in &change.usage {
            values.extend([tenant, meter.into(), (*day_at).into(), (*amount).into()]);
        }
    }
    ADD_USAGE.run(connection, &values).await?;
    apply_jobs(connection, &names, changes).await?;
    apply_wakeups(connection, &names, changes).await?;
    mail_outbox::insert_alerts(connection, &names, changes).await?;
    owed::insert(connection, &names, changes).await
}

async fn apply_jobs(
    connection: &mut sqlx::AnyConnection,
    names: &[String],
    changes: &[&Changes],
) -> Result<(), StoreError> {
    let (mut set, mut dropped) = (Vec::new(), Vec::new());
    for (tenant, change) in names.iter().zip(changes) {
        for (job, state) in &change.jobs {
            match state {
                Some(row) => set.extend([
                    tenant.into(),
                    job.into(),
                    row.state.into(),
                    Value::from(row.created_at),
                    row.updated_at.into(),
                ]),
                None => dropped.extend([Value::from(tenant), job.into()]),
            }
        }
    }
    SET_JOBS.run(connection, &set).await?;
    DROP_JOBS.run(connection, &dropped).await
}

async fn apply_wakeups(
    connection: &mut sqlx::AnyConnection,
    names: &[String],
    changes: &[&Changes],
) -> Result<(), StoreError> {
    let (mut set, mut dropped) = (Vec::new(), Vec::new());
    for (tenant, change) in names.iter().zip(changes) {
        for (subject, due) in &change.wakeups {
            match due {
                Some(due_at) => {
                    set.extend([tenant.into(), subject.into(), Value::from(*due_at)]);
                }
                None => dropped.extend([Value::from(tenant), subject.into()]),
            }
        }
    }
    SET_WAKEUPS.run(connection, &set).await?;
    DROP_WAKEUPS.run(connection, &dropped).await
}

/// Moves the projected position of a shard on from where it was; false when it is not there, and
/// then the transaction must not go on. Who comes first locks the row: of two that project the
/// same lines, one does.
pub(crate) async fn move_watermark(
    tx: &mut SystemTx,
    shard: u16,
    from: i64,
    (seq, hash): (i64, &str),
) -> Result<bool, StoreError> {
    let query = sqlx::query(MOVE_WATERMARK).bind(i64::from(shard)).bind(seq).bind(hash).bind(from);
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

/// Keeps a shard's projected position where it is until the transaction ends; false when it is not
/// there.
pub(crate) async fn hold_watermark(
    tx: &mut SystemTx,
    shard: u16,
    at: i64,
) -> Result<bool, StoreError> {
    let query = sqlx::query(HOLD_WATERMARK).bind(i64::from(shard)).bind(at);
    Ok(query.execute(tx.connection()).await?.rows_affected() == 1)
}

/// The projected position of every shard that has one: shard, row, its hash.
pub(crate) async fn watermarks(
    session: &mut impl Session,
) -> Result<Vec<(i64, i64, String)>, StoreError> {
    let rows = sqlx::query(WATERMARKS).fetch_all(session.connection()).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Records a line that could not be projected.
pub(crate) async fn add_failure(
    tx: &mut SystemTx,
    failure: &Failure,
    failed_at: i64,
) -> Result<(), StoreError> {
    let tenant = failure.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
    sqlx::query(ADD_FAILURE)
        .bind(tenant)
        .bind(i64::try_from(failure.seq).unwrap_or(i64::MAX))
        .bind(i64::from(failure.shard))
        .bind(failure.row_seq)
        .bind(failure.reason.as_str())
        .bind(failed_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// An entry that keeps its tenant from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unprojected {
    pub(crate) seq: u64,
    pub(crate) shard: u16,
    pub(crate) row_seq: i64,
}

/// The entries for which a tenant is kept from running.
pub(crate) async fn failures_of(
    session: &mut impl Session,
    tenant: TenantId,
) -> Result<Vec<Unprojected>, StoreError> {
    let query = sqlx::query(FAILURES_OF).bind(tenant.to_string());
    let rows = query.fetch_all(session.connection()).await?;
    rows.iter()
        .map(|row| {
            let seq: i64 = row.try_get(0)?;
            let shard: i64 = row.try_get(1)?;
            let corrupt = |column| {
                let (table, id) = ("projection_failures", tenant.to_string());
                StoreError::Corrupt { table, id, column }
            };
            Ok(Unprojected {
                seq: u64::try_from(seq).map_err(|_| corrupt("seq"))?,
                shard: u16::try_from(shard).map_err(|_| corrupt("shard"))?,
                row_seq: row.try_get(2)?,
            })
        })
        .collect()
}

/// Forgets the entries for which a tenant was kept from running: they are projected now.
pub(crate) async fn drop_failures(tx: &mut SystemTx, tenant: TenantId) -> Result<u64, StoreError> {
    let query = sqlx::query(DROP_FAILURES).bind(tenant.to_string());
    Ok(query.execute(tx.connection()).await?.rows_affected())
}

/// The tenants with an entry that could not be projected.
pub(crate) async fn failed_tenants(
    session: &mut impl Session,
) -> Result<Vec<TenantId>, StoreError> {
    let rows = sqlx::query(FAILED_TENANTS).fetch_all(session.connection()).await?;
    let mut tenants = Vec::new();
    for row in rows {
        tenants.extend(row.try_get::<&str, _>(0)?.parse::<TenantId>().ok());
    }
    Ok(tenants)
}

/// The marks of a chunk as they stand beside its lines: of those that are in no run yet.
fn text_of(chunk: &Chunk) -> String {
    encode(chunk.first_seq, loose(&chunk.marks, chunk.last_seq))
}

/// Entry numbers are far below 2^63; one that is not is a bug of this program.
fn number(seq: u64) -> Result<Value<'static>, StoreError> {
    let corrupt = |_| StoreError::Corrupt { table: "chunks", id: seq.to_string(), column: "seq" };
    i64::try_from(seq).map(Value::Number).map_err(corrupt)
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let many = [&ADD_CHUNKS, &ADD_USAGE, &SET_JOBS, &DROP_JOBS, &SET_WAKEUPS, &DROP_WAKEUPS];
    let mut all: Vec<&str> =
        many.iter().flat_map(|many| many.texts()).map(String::as_str).collect();
    all.extend([
        MOVE_WATERMARK,
        HOLD_WATERMARK,
        WATERMARKS,
        ADD_FAILURE,
        FAILED_TENANTS,
        FAILURES_OF,
        DROP_FAILURES,
    ]);
    all
}
