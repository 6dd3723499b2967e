//! Rows of mails that are owed.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::many::{Many, Value};
use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::journal::changes::Changes;

const OUTBOX: &str = "mail_outbox";
/// How long an alert is tried: after a day it is no news.
const ALERT_S: u64 = 24 * 60 * 60;
/// When an alert is due first. Not at its entry's time: a tenant with a clock of its own may be
/// years away.
const AT_ONCE: i64 = 0;

const INSERT: &str = "INSERT INTO mail_outbox (id, kind, tenant_id, facts, secret_sealed, state, \
     attempts, due_at, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, 'pending', 0, $6, $6, $7) ON CONFLICT (id) DO NOTHING";
static INSERT_ALERTS: Many = Many::new(
    "INSERT INTO mail_outbox (id, kind, tenant_id, facts, state, attempts, due_at, created_at, \
     expires_at) VALUES",
    9,
    "ON CONFLICT (id) DO NOTHING",
);
const CLAIM: &str = "UPDATE mail_outbox SET attempts = attempts + 1, due_at = $2 \
     WHERE id IN (SELECT id FROM mail_outbox WHERE state = 'pending' AND due_at <= $1 \
         ORDER BY due_at LIMIT $3) AND state = 'pending' AND due_at <= $1 \
     RETURNING id, kind, tenant_id, facts, secret_sealed, attempts, created_at, expires_at";
const RELEASE: &str = "UPDATE mail_outbox SET due_at = $1 WHERE state = 'pending' AND due_at > $1";
const POSTPONE: &str = "UPDATE mail_outbox SET due_at = $3, last_error = $4 \
     WHERE id = $1 AND state = 'pending' AND attempts = $2";
const HAND_BACK: &str = "UPDATE mail_outbox SET due_at = $3, attempts = attempts - 1 \
     WHERE id = $1 AND state = 'pending' AND attempts = $2";
const SETTLE: &str = "UPDATE mail_outbox SET state = $2, settled_at = $3, last_error = $4, \
     secret_sealed = NULL WHERE id = $1 AND state = 'pending'";
const NEXT_DUE: &str = "SELECT MIN(due_at) AS due_at FROM mail_outbox WHERE state = 'pending'";
const DEPTH: &str = "SELECT COUNT(*) AS depth FROM mail_outbox WHERE state = 'pending'";
const PURGE: &str = "DELETE FROM mail_outbox WHERE settled_at < $1";

/// A mail that is owed from now on.
#[derive(Debug)]
pub(crate) struct NewMail<'a> {
    /// Names the mail for ever: the Message-ID is made of it.
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) tenant: Option<TenantId>,
    /// What the mail tells, as JSON without anything personal.
    pub(crate) facts: Option<&'a str>,
    /// Address and secret, sealed by the system's cipher.
    pub(crate) secret_sealed: Option<&'a str>,
    pub(crate) at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// A mail that the relay has taken.
#[derive(Debug)]
pub(crate) struct MailRow {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) facts: Option<String>,
    pub(crate) secret_sealed: Option<String>,
    pub(crate) attempts: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Inserts a mail; one that is owed already is left alone.
pub(crate) async fn insert(
    session: &mut impl Session,
    mail: &NewMail<'_>,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT)
        .bind(mail.id)
        .bind(mail.kind)
        .bind(mail.tenant.map(|tenant| tenant.to_string()))
        .bind(mail.facts)
        .bind(mail.secret_sealed)
        .bind(mail.at.as_micros())
        .bind(mail.expires_at.as_micros());
    query.execute(session.connection()).await?;
    Ok(())
}

/// Inserts the alerts that projected lines owe; projecting a line again owes nothing more.
pub(super) async fn insert_alerts(
    connection: &mut AnyConnection,
    names: &[String],
    changes: &[&Changes],
) -> Result<(), StoreError> {
    for (tenant, change) in names.iter().zip(changes) {
        for alert in &change.alerts {
            let id = format!("threshold-{tenant}-{}", alert.seq);
            let facts = serde_json::to_string(&alert.facts).map_err(|_| StoreError::Corrupt {
                table: OUTBOX,
                id: id.clone(),
                column: "facts",
            })?;
            let (at, until) = (alert.at.as_micros(), alert.at.plus_s(ALERT_S).as_micros());
            let kind = Value::from("usage_threshold");
            let (pending, number) = ("pending".into(), Value::from);
            let values = [
                (&id).into(),
                kind,
                tenant.into(),
                (&facts).into(),
                pending,
                number(0_i64),
                number(AT_ONCE),
                number(at),
                number(until),
            ];
            INSERT_ALERTS.run(connection, &values).await?;
        }
    }
    Ok(())
}

/// Takes mails that are due and puts them off until `lease_until`, should the relay die.
pub(crate) async fn claim(
    session: &mut impl Session,
    now: Timestamp,
    lease_until: Timestamp,
    limit: i64,
) -> Result<Vec<MailRow>, StoreError> {
    let query = sqlx::query(CLAIM).bind(now.as_micros()).bind(lease_until.as_micros()).bind(limit);
    query.fetch_all(session.connection()).await?.iter().map(read).collect()
}

/// Makes every mail due, also those that a relay which died had taken.
pub(crate) async fn release(session: &mut impl Session, now: Timestamp) -> Result<u64, StoreError> {
    let query = sqlx::query(RELEASE).bind(now.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

/// Puts a mail off after a failed attempt.
pub(crate) async fn postpone(
    session: &mut impl Session,
    mail: &MailRow,
    due_at: Timestamp,
    error: &str,
) -> Result<(), StoreError> {
    let query = sqlx::query(POSTPONE)
        .bind(mail.id.as_str())
        .bind(mail.attempts)
        .bind(due_at.as_micros())
        .bind(error);
    let result = query.execute(session.connection()).await?;
    ensure_rows(OUTBOX, result.rows_affected(), 1)
}

/// Gives a mail back that was not tried.
pub(crate) async fn hand_back(
    session: &mut impl Session,
    mail: &MailRow,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    let query =
        sqlx::query(HAND_BACK).bind(mail.id.as_str()).bind(mail.attempts).bind(due_at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(OUTBOX, result.rows_affected(), 1)
}

/// Ends a mail and wipes its secret.
pub(crate) async fn settle(
    session: &mut impl Session,
    mail: &MailRow,
    state: &str,
    at: Timestamp,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let query =
        sqlx::query(SETTLE).bind(mail.id.as_str()).bind(state).bind(at.as_micros()).bind(error);
    let result = query.execute(session.connection()).await?;
    ensure_rows(OUTBOX, result.rows_affected(), 1)
}

/// When the next mail is due.
pub(crate) async fn next_due(session: &mut impl Session) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(NEXT_DUE).fetch_one(session.connection()).await?;
    column::optional_time(&row, "due_at")
}

/// How many mails are owed.
pub(crate) async fn depth(session: &mut impl Session) -> Result<i64, StoreError> {
    Ok(sqlx::query(DEPTH).fetch_one(session.connection()).await?.try_get(0)?)
}

/// Removes mails that ended before a time.
pub(crate) async fn purge(
    session: &mut impl Session,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(PURGE).bind(before.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

fn read(row: &AnyRow) -> Result<MailRow, StoreError> {
    let tenant: Option<String> = column::plain(row, "tenant_id")?;
    let wrong = |id: String| StoreError::Corrupt { table: OUTBOX, id, column: "tenant_id" };
    Ok(MailRow {
        id: column::plain(row, "id")?,
        kind: column::plain(row, "kind")?,
        tenant: tenant.map(|text| text.parse().map_err(|_| wrong(text))).transpose()?,
        facts: column::plain(row, "facts")?,
        secret_sealed: column::plain(row, "secret_sealed")?,
        attempts: column::plain(row, "attempts")?,
        created_at: column::time(row, "created_at")?,
        expires_at: column::time(row, "expires_at")?,
    })
}

/// How every mail ended, in order.
#[cfg(test)]
pub(crate) async fn ends(
    session: &mut impl Session,
) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let query = "SELECT state, last_error FROM mail_outbox ORDER BY created_at";
    let rows = sqlx::query(query).fetch_all(session.connection()).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// How many rows still hold a secret.
#[cfg(test)]
pub(crate) async fn secrets(session: &mut impl Session) -> Result<i64, StoreError> {
    let query = "SELECT COUNT(*) FROM mail_outbox WHERE secret_sealed IS NOT NULL";
    Ok(sqlx::query(query).fetch_one(session.connection()).await?.try_get(0)?)
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all = vec![INSERT, CLAIM, RELEASE, POSTPONE, HAND_BACK, SETTLE, NEXT_DUE, DEPTH, PURGE];
    all.extend(INSERT_ALERTS.texts().iter().map(String::as_str));
    all
}
