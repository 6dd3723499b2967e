//! Rows of users, tenants and memberships.

use sqlx::any::AnyRow;

use super::{Session, StoreError, column, ensure_rows};
use crate::clock::Timestamp;
use crate::identity::Role;
use crate::ids::{TenantId, UserId};

const USERS: &str = "users";
const TENANTS: &str = "tenants";
const MEMBERSHIPS: &str = "memberships";

const INSERT_USER: &str = "INSERT INTO users (id, email_digest, email_sealed, created_at) \
     VALUES ($1, $2, $3, $4)";
const USER_BY_EMAIL: &str =
    "SELECT id, email_sealed, disabled_at FROM users WHERE email_digest = $1";
const USER: &str = "SELECT id, email_sealed, disabled_at FROM users WHERE id = $1";
const INSERT_TENANT: &str = "INSERT INTO tenants (id, name_sealed, created_at) VALUES ($1, $2, $3)";
const INSERT_MEMBERSHIP: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
     VALUES ($1, $2, $3, $4)";
const MEMBERSHIPS_OF: &str = "SELECT m.tenant_id, m.role, t.name_sealed \
     FROM memberships m JOIN tenants t ON t.id = m.tenant_id \
     WHERE m.user_id = $1 AND t.deleted_at IS NULL ORDER BY m.created_at, m.tenant_id";
const OWNERS: &str = "SELECT u.id, u.email_sealed, u.disabled_at \
     FROM memberships m JOIN users u ON u.id = m.user_id \
     WHERE m.tenant_id = $1 AND m.role = 'owner' AND u.disabled_at IS NULL \
     ORDER BY m.created_at LIMIT $2";

/// A user's row.
#[derive(Debug)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    pub(crate) email_sealed: String,
    pub(crate) disabled_at: Option<Timestamp>,
}

/// A tenant to which a user belongs.
#[derive(Debug)]
pub(crate) struct MembershipRow {
    pub(crate) tenant: TenantId,
    pub(crate) role: Role,
    pub(crate) name_sealed: String,
}

pub(crate) async fn insert_user(
    session: &mut impl Session,
    user: UserId,
    email_digest: &str,
    email_sealed: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT_USER)
        .bind(user.to_string())
        .bind(email_digest)
        .bind(email_sealed)
        .bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(USERS, result.rows_affected(), 1)
}

pub(crate) async fn user_by_email(
    session: &mut impl Session,
    email_digest: &str,
) -> Result<Option<UserRow>, StoreError> {
    let query = sqlx::query(USER_BY_EMAIL).bind(email_digest);
    query.fetch_optional(session.connection()).await?.as_ref().map(read_user).transpose()
}

pub(crate) async fn user(
    session: &mut impl Session,
    user: UserId,
) -> Result<Option<UserRow>, StoreError> {
    let query = sqlx::query(USER).bind(user.to_string());
    query.fetch_optional(session.connection()).await?.as_ref().map(read_user).transpose()
}

pub(crate) async fn insert_tenant(
    session: &mut impl Session,
    tenant: TenantId,
    name_sealed: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query =
        sqlx::query(INSERT_TENANT).bind(tenant.to_string()).bind(name_sealed).bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(TENANTS, result.rows_affected(), 1)
}

pub(crate) async fn insert_membership(
    session: &mut impl Session,
    tenant: TenantId,
    user: UserId,
    role: Role,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT_MEMBERSHIP)
        .bind(tenant.to_string())
        .bind(user.to_string())
        .bind(role.as_str())
        .bind(at.as_micros());
    let result = query.execute(session.connection()).await?;
    ensure_rows(MEMBERSHIPS, result.rows_affected(), 1)
}

/// The tenants of a user, the oldest membership first.
pub(crate) async fn memberships_of(
    session: &mut impl Session,
    user: UserId,
) -> Result<Vec<MembershipRow>, StoreError> {
    let query = sqlx::query(MEMBERSHIPS_OF).bind(user.to_string());
    let rows = query.fetch_all(session.connection()).await?;
    let read = |row: &AnyRow| {
        Ok(MembershipRow {
            tenant: column::parsed(row, MEMBERSHIPS, "tenant_id")?,
            role: column::parsed(row, MEMBERSHIPS, "role")?,
            name_sealed: column::plain(row, "name_sealed")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The first `limit` owners of a tenant.
pub(crate) async fn owners(
    session: &mut impl Session,
    tenant: TenantId,
    limit: i64,
) -> Result<Vec<UserRow>, StoreError> {
    let query = sqlx::query(OWNERS).bind(tenant.to_string()).bind(limit);
    query.fetch_all(session.connection()).await?.iter().map(read_user).collect()
}

fn read_user(row: &AnyRow) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        id: column::parsed(row, USERS, "id")?,
        email_sealed: column::plain(row, "email_sealed")?,
        disabled_at: column::optional_time(row, "disabled_at")?,
    })
}

/// Changes a member's role.
#[cfg(test)]
pub(crate) async fn set_role(
    session: &mut impl Session,
    tenant: TenantId,
    user: UserId,
    role: Role,
) -> Result<(), StoreError> {
    let query =
        sqlx::query("UPDATE memberships SET role = $3 WHERE tenant_id = $1 AND user_id = $2")
            .bind(tenant.to_string())
            .bind(user.to_string())
            .bind(role.as_str());
    let result = query.execute(session.connection()).await?;
    ensure_rows(MEMBERSHIPS, result.rows_affected(), 1)
}

/// Every statement of this family, for the test that prepares them all.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    vec![INSERT_USER, USER_BY_EMAIL, USER, INSERT_TENANT, INSERT_MEMBERSHIP, MEMBERSHIPS_OF, OWNERS]
}
