//! Rows of sessions, and of what a session's token is worth now.

use sqlx::any::AnyRow;

use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;
use crate::identity::Role;
use crate::ids::{SessionId, TenantId, UserId};

const SESSIONS: &str = "sessions";

const INSERT: &str = "INSERT INTO sessions (id, user_id, tenant_id, generation, current_digest, \
     rotated_at, authenticated_at, created_at, expires_at, client_sealed) \
     VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7, $8)";
const ONE: &str = "SELECT id, user_id, tenant_id, generation, current_digest, previous_digest, \
     rotated_at, created_at, expires_at, client_sealed, revoked_at \
     FROM sessions WHERE id = $1";
const LIVE_OF_USER: &str = "SELECT id, user_id, tenant_id, generation, current_digest, \
     previous_digest, rotated_at, created_at, expires_at, client_sealed, revoked_at FROM sessions \
     WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY rotated_at DESC, id";
const ROTATE: &str = "UPDATE sessions SET previous_digest = current_digest, current_digest = $3, \
     generation = generation + 1, rotated_at = $4 \
     WHERE id = $1 AND current_digest = $2 AND revoked_at IS NULL AND expires_at > $4";
const SWITCH: &str = "UPDATE sessions SET tenant_id = $2 \
     WHERE id = $1 AND revoked_at IS NULL AND expires_at > $3";
const REVOKE: &str = "UPDATE sessions SET revoked_at = $3, revoked_as = $2 \
     WHERE id = $1 AND revoked_at IS NULL";
const REVOKE_ALL: &str = "UPDATE sessions SET revoked_at = $3, revoked_as = $2 \
     WHERE user_id = $1 AND revoked_at IS NULL";
const STANDING: &str = "SELECT s.authenticated_at, s.expires_at, m.role \
     FROM sessions s \
     JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL \
     JOIN memberships m ON m.tenant_id = $1 AND m.user_id = s.user_id \
     JOIN tenants t ON t.id = m.tenant_id AND t.deleted_at IS NULL \
     WHERE s.id = $2 AND s.user_id = $3 AND s.revoked_at IS NULL AND s.expires_at > $4";
const PURGE: &str = "DELETE FROM sessions WHERE expires_at < $1";

/// A session that begins.
#[derive(Debug)]
pub(crate) struct NewSession<'a> {
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    pub(crate) tenant: TenantId,
    pub(crate) generation: u32,
    pub(crate) digest: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) client_sealed: &'a str,
}

/// A session's row.
#[derive(Debug)]
pub(crate) struct SessionRow {
    pub(crate) id: SessionId,
    pub(crate) user: UserId,
    pub(crate) tenant: TenantId,
    pub(crate) generation: u32,
    pub(crate) current_digest: String,
    pub(crate) previous_digest: Option<String>,
    pub(crate) rotated_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) client_sealed: String,
    pub(crate) revoked_at: Option<Timestamp>,
}

/// What a session is worth for one tenant now.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    pub(crate) authenticated_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

pub(crate) async fn insert(
    session: &mut impl Session,
    new: &NewSession<'_>,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT)
        .bind(new.id.to_string())
        .bind(new.user.to_string())
        .bind(new.tenant.to_string())
        .bind(i64::from(new.generation))
        .bind(new.digest)
        .bind(new.at.as_micros())
        .bind(new.expires_at.as_micros())
        .bind(new.client_sealed);
    let result = query.execute(session.connection()).await?;
    ensure_rows(SESSIONS, result.rows_affected(), 1)
}

pub(crate) async fn one(
    session: &mut impl Session,
    id: SessionId,
) -> Result<Option<SessionRow>, StoreError> {
    let query = sqlx::query(ONE).bind(id.to_string());
    query.fetch_optional(session.connection()).await?.as_ref().map(read).transpose()
}

/// The sessions of a user that are neither revoked nor over, the last used first.
pub(crate) async fn live_of_user(
    session: &mut impl Session,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<SessionRow>, StoreError> {
    let query = sqlx::query(LIVE_OF_USER).bind(user.to_string()).bind(now.as_micros());
    query.fetch_all(session.connection()).await?.iter().map(read).collect()
}

/// Replaces the current digest, if it is still the current one.
pub(crate) async fn rotate(
    session: &mut impl Session,
    id: SessionId,
    from: &str,
    to: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(ROTATE).bind(id.to_string()).bind(from).bind(to).bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(SESSIONS, result.rows_affected(), 1)
}

/// Lets a live session speak for another tenant.
pub(crate) async fn switch(
    session: &mut impl Session,
    id: SessionId,
    tenant: TenantId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query =
        sqlx::query(SWITCH).bind(id.to_string()).bind(tenant.to_string()).bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(SESSIONS, result.rows_affected(), 1)
}

/// Revokes a session; tells whether it was live.
pub(crate) async fn revoke(
    session: &mut impl Session,
    id: SessionId,
    revoked_as: &str,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(REVOKE).bind(id.to_string()).bind(revoked_as).bind(at.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected() == 1)
}

/// Revokes every session of a user.
pub(crate) async fn revoke_all(
    session: &mut impl Session,
    user: UserId,
    revoked_as: &str,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let query =
        sqlx::query(REVOKE_ALL).bind(user.to_string()).bind(revoked_as).bind(at.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

/// What the session of a user is worth for a tenant: nothing if session, user, membership or tenant
/// has ended.
pub(crate) async fn standing(
    session: &mut impl Session,
    tenant: TenantId,
    id: SessionId,
    user: UserId,
    now: Timestamp,
) -> Result<Option<Standing>, StoreError> {
    let query = sqlx::query(STANDING)
        .bind(tenant.to_string())
        .bind(id.to_string())
        .bind(user.to_string())
        .bind(now.as_micros());
    let row = query.fetch_optional(session.connection()).await?;
    let read = |row: AnyRow| {
        Ok(Standing {
            role: column::parsed(&row, "memberships", "role")?,
            authenticated_at: column::time(&row, "authenticated_at")?,
            expires_at: column::time(&row, "expires_at")?,
        })
    };
    row.map(read).transpose()
}

/// Removes sessions that ended before a time.
pub(crate) async fn purge(
    session: &mut impl Session,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let query = sqlx::query(PURGE).bind(before.as_micros());
    Ok(query.execute(session.connection()).await?.rows_affected())
}

fn read(row: &AnyRow) -> Result<SessionRow, StoreError> {
    let generation: i64 = column::plain(row, "generation")?;
    let id: SessionId = column::parsed(row, SESSIONS, "id")?;
    let generation = u32::try_from(generation).map_err(|_| StoreError::Corrupt {
        table: SESSIONS,
        id: id.to_string(),
        column: "generation",
    })?;
    Ok(SessionRow {
        id,
        user: column::parsed(row, SESSIONS, "user_id")?,
        tenant: column::parsed(row, SESSIONS, "tenant_id")?,
        generation,
        current_digest: column::plain(row, "current_digest")?,
        previous_digest: column::plain(row, "previous_digest")?,
        rotated_at: column::time(row, "rotated_at")?,
        created_at: column::time(row, "created_at")?,
        expires_at: column::time(row, "expires_at")?,
        client_sealed: column::plain(row, "client_sealed")?,
        revoked_at: column::optional_time(row, "revoked_at")?,
    })
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT, ONE, LIVE_OF_USER, ROTATE, SWITCH, REVOKE, REVOKE_ALL, STANDING, PURGE]
}
