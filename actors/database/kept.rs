//! The tables that follow the journal, as texts in the order of their tenants: what a check of the
//! log compares.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Session, StoreError};
use crate::clock::Timestamp;
use crate::webhooks;

const USAGE_DAYS: &str = "SELECT tenant_id, meter, day_at, amount FROM usage_days \
     WHERE (tenant_id, meter, day_at) > ($1, $2, $3) \
     ORDER BY tenant_id, meter, day_at LIMIT $4";
const JOBS: &str = "SELECT tenant_id, job_id, state, created_at, updated_at FROM jobs \
     WHERE (tenant_id, job_id) > ($1, $2) ORDER BY tenant_id, job_id LIMIT $3";
const WAKEUPS: &str = "SELECT tenant_id, subject, due_at FROM wakeups \
     WHERE (tenant_id, subject) > ($1, $2) ORDER BY tenant_id, subject LIMIT $3";
const KEYS: &str = "SELECT tenant_id, digest, seq, used_at FROM idempotency_keys \
     WHERE (tenant_id, digest) > ($1, $2) ORDER BY tenant_id, digest LIMIT $3";
const EVENTS: &str = "SELECT tenant_id, digest, seq, used_at FROM event_keys \
     WHERE (tenant_id, digest) > ($1, $2) ORDER BY tenant_id, digest LIMIT $3";
const ALERTS: &str = "SELECT id, facts, created_at FROM mail_outbox \
     WHERE kind = 'usage_threshold' AND id > $1 ORDER BY id LIMIT $2";
const WEBHOOKS: &str = "SELECT tenant_id, id, endpoint_id, event_id, kind, once, seq, body, \
     created_at FROM webhook_deliveries \
     WHERE (tenant_id, id) > ($1, $2) ORDER BY tenant_id, id LIMIT $3";
const SNAPSHOTS: &str = "SELECT tenant_id, seq, hash FROM snapshots \
     WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2";
const FAILURES: &str = "SELECT tenant_id, seq, reason FROM projection_failures \
     WHERE (tenant_id, seq) > ($1, $2) ORDER BY tenant_id, seq LIMIT $3";
const RUNS: &str = "SELECT tenant_id, first_seq, last_seq FROM mark_runs \
     WHERE (tenant_id, first_seq) > ($1, $2) ORDER BY tenant_id, first_seq LIMIT $3";

/// What the ids of alerts begin with.
const ALERT_PREFIX: &str = "threshold-";

/// A table that follows the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// By meter and day: the amount.
    UsageDays,
    /// By job: state, creation and last change.
    Jobs,
    /// By subject: when it is due.
    Wakeups,
    /// By digest: the entry and when it was made.
    Keys,
    /// By digest: the entry that counted the event, and when it was made.
    Events,
    /// By entry: the facts and when it was made.
    Alerts,
    /// By entry and event: what is told to each endpoint.
    Webhooks,
    /// One a tenant: the entry and its hash.
    Snapshots,
    /// By entry: why it could not be projected.
    Failures,
    /// By first entry: the last one of a run of marks.
    Runs,
}

impl Table {
    pub(crate) const ALL: [Self; 10] = [
        Self::UsageDays,
        Self::Jobs,
        Self::Wakeups,
        Self::Keys,
        Self::Events,
        Self::Alerts,
        Self::Webhooks,
        Self::Snapshots,
        Self::Failures,
        Self::Runs,
    ];

    /// The table's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UsageDays => "usage_days",
            Self::Jobs => "jobs",
            Self::Wakeups => "wakeups",
            Self::Keys => "idempotency_keys",
            Self::Events => "event_keys",
            Self::Alerts => "mail_outbox",
            Self::Webhooks => "webhook_deliveries",
            Self::Snapshots => "snapshots",
            Self::Failures => "projection_failures",
            Self::Runs => "mark_runs",
        }
    }

    const fn statement(self) -> &'static str {
        match self {
            Self::UsageDays => USAGE_DAYS,
            Self::Jobs => JOBS,
            Self::Wakeups => WAKEUPS,
            Self::Keys => KEYS,
            Self::Events => EVENTS,
            Self::Alerts => ALERTS,
            Self::Webhooks => WEBHOOKS,
            Self::Snapshots => SNAPSHOTS,
            Self::Failures => FAILURES,
            Self::Runs => RUNS,
        }
    }
}

/// One row: what of the tenant it is about, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) tenant: String,
    pub(crate) key: String,
    pub(crate) value: String,
    place: Place,
}

impl Kept {
    /// Where the row stands, for reading on after it.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

/// A place in a table's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    tenant: String,
    text: String,
    number: i64,
}

impl Place {
    /// Before every row of tenants that begin with `prefix`.
    pub(crate) fn before(prefix: &str) -> Self {
        Self { tenant: prefix.to_owned(), text: String::new(), number: i64::MIN }
    }
}

/// At most `limit` rows after a place.
pub(crate) async fn page(
    session: &mut impl Session,
    table: Table,
    after: &Place,
    limit: i64,
) -> Result<Vec<Kept>, StoreError> {
    let query = sqlx::query(table.statement());
    let query = match table {
        Table::Alerts => query.bind(format!("{ALERT_PREFIX}{}", alert_place(after))),
        _ => query.bind(after.tenant.clone()),
    };
    let query = match table {
        Table::UsageDays => query.bind(after.text.as_str()).bind(after.number),
        Table::Jobs | Table::Wakeups | Table::Keys | Table::Events | Table::Webhooks => {
            query.bind(after.text.as_str())
        }
        Table::Failures | Table::Runs => query.bind(after.number),
        Table::Alerts | Table::Snapshots => query,
    };
    let rows = query.bind(limit).fetch_all(session.connection()).await?;
    rows.iter().map(|row| read(table, row)).collect()
}

fn alert_place(after: &Place) -> String {
    if after.text.is_empty() {
        after.tenant.clone()
    } else {
        format!("{}-{}", after.tenant, after.text)
    }
}

fn read(table: Table, row: &AnyRow) -> Result<Kept, StoreError> {
    let first: String = row.try_get(0)?;
    let number = |column: usize| row.try_get::<i64, _>(column);
    let text = |column: usize| row.try_get::<String, _>(column);
    let (tenant, place_text, place_number, key, value) = match table {
        Table::UsageDays => {
            let (meter, day) = (text(1)?, number(2)?);
            let key = format!("{meter} {day}");
            (first, meter, day, key, number(3)?.to_string())
        }
        Table::Jobs => {
            let (job, value) = (text(1)?, format!("{} {} {}", text(2)?, number(3)?, number(4)?));
            (first, job.clone(), 0, job, value)
        }
        Table::Wakeups => {
            let subject = text(1)?;
            (first, subject.clone(), 0, subject, number(2)?.to_string())
        }
        Table::Keys | Table::Events => {
            let (digest, value) = (text(1)?, format!("{} {}", number(2)?, number(3)?));
            (first, digest.clone(), 0, digest, value)
        }
        Table::Alerts => {
            let rest = first.strip_prefix(ALERT_PREFIX).unwrap_or(&first);
            let (tenant, seq) = rest.rsplit_once('-').unwrap_or((rest, ""));
            let facts: Option<String> = row.try_get(1)?;
            let value = format!("{} {}", number(2)?, facts.unwrap_or_default());
            (tenant.to_owned(), seq.to_owned(), 0, seq.to_owned(), value)
        }
        Table::Webhooks => {
            let (id, key, value) = delivery(row)?;
            (first, id, 0, key, value)
        }
        Table::Snapshots => {
            let value = format!("{} {}", number(1)?, text(2)?);
            (first, String::new(), 0, String::new(), value)
        }
        Table::Failures => {
            let seq = number(1)?;
            (first, String::new(), seq, seq.to_string(), text(2)?)
        }
        Table::Runs => {
            let seq = number(1)?;
            (first, String::new(), seq, seq.to_string(), number(2)?.to_string())
        }
    };
    let place = Place { tenant: tenant.clone(), text: place_text, number: place_number };
    Ok(Kept { tenant, key, value, place })
}

/// The id of a delivery, the event that it is about, and what it tells.
fn delivery(row: &AnyRow) -> Result<(String, String, String), StoreError> {
    let (id, event, kind): (String, String, String) =
        (row.try_get("id")?, row.try_get("event_id")?, row.try_get("kind")?);
    let (once, seq, body): (String, i64, String) =
        (row.try_get("once")?, row.try_get("seq")?, row.try_get("body")?);
    let at: i64 = row.try_get("created_at")?;
    let (tenant, endpoint): (String, String) =
        (row.try_get("tenant_id")?, row.try_get("endpoint_id")?);
    let named = tenant.parse().ok().zip(endpoint.parse().ok()).map(|(tenant, endpoint)| {
        let at = Timestamp::from_micros(at);
        webhooks::delivery_id(tenant, (&kind, &once), at, endpoint).to_string()
    });
    let mut value = webhooks::fingerprint(&event, at, &body);
    if named.as_ref() != Some(&id) {
        // Two names for one message would be two messages to its receiver.
        value += " under another id";
    }
    Ok((id, format!("{seq} {kind} {once}"), value))
}

#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    Table::ALL.map(Table::statement).to_vec()
}
