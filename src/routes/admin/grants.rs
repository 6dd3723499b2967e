//! Grants: units on top of a plan's limit, given and taken back by operators.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tenantry_actors::clock::Timestamp;
use tenantry_actors::identity::IdentityError;
use tenantry_actors::ids::{GrantId, TenantId};
use tenantry_actors::tenant::CallContext;
use tenantry_actors::tenant::plan::MeterName;
use tenantry_actors::tenant::quota::{GrantSource, GrantTerms, MAX_AMOUNT};

use crate::problem::{Problem, Result};
use crate::routes::openapi::Problems;
use crate::routes::schema::{
    ExtensionBody, GrantBody, GrantEndedAnswer, GrantedAnswer, RevokeBody,
};
use crate::routes::usage::unknown_meter;
use crate::routes::{IdempotencyKey, JsonBody, OperatorCall, PathId, Web, answered};

/// Extensions are used after what was bought or given for longer.
const EXTENSION_PRIORITY: u8 = 200;

/// Puts units on top of a tenant's limit.
#[utoipa::path(
    post, path = "/api/admin/grants", tag = "operations", request_body = GrantBody,
    params(("Idempotency-Key" = String, Header, description = "The operation's name")),
    responses((status = 201, body = GrantedAnswer), Problems), security(("operator" = []))
)]
pub(in crate::routes) async fn grant(
    State(web): State<Web>,
    call: OperatorCall,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<GrantBody>,
) -> Result<Response> {
    let canonical = serde_json::to_vec(&body).map_err(Problem::internal)?;
    let context = call.keyed(&web, "admin.grant", Some(key.required()?), &canonical);
    let gift = Gift {
        tenant_id: &body.tenant_id,
        meter: &body.meter,
        amount: body.amount,
        priority: body.priority,
        lasts: (body.expires_at, body.rollover),
        source: if body.is_top_up { GrantSource::TopUp } else { GrantSource::Operator },
    };
    give(&web, gift, context).await
}

/// Raises a tenant's limit until its open period ends.
#[utoipa::path(
    post, path = "/api/admin/quota-extensions", tag = "operations", request_body = ExtensionBody,
    params(("Idempotency-Key" = String, Header, description = "The operation's name")),
    responses((status = 201, body = GrantedAnswer), Problems), security(("operator" = []))
)]
pub(in crate::routes) async fn extend(
    State(web): State<Web>,
    call: OperatorCall,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<ExtensionBody>,
) -> Result<Response> {
    let canonical = serde_json::to_vec(&body).map_err(Problem::internal)?;
    let context = call.keyed(&web, "admin.extend", Some(key.required()?), &canonical);
    let gift = Gift {
        tenant_id: &body.tenant_id,
        meter: &body.meter,
        amount: body.amount,
        priority: EXTENSION_PRIORITY,
        lasts: (None, false),
        source: GrantSource::Extension,
    };
    give(&web, gift, context).await
}

/// Takes back what is left of a grant. What was used of it stays used.
#[utoipa::path(
    post, path = "/api/admin/grants/{id}/revoke", tag = "operations", request_body = RevokeBody,
    params(
        ("id" = String, Path, description = "The grant"),
        ("Idempotency-Key" = Option<String>, Header, description = "The operation's name")
    ),
    responses((status = 200, body = GrantEndedAnswer), Problems), security(("operator" = []))
)]
pub(in crate::routes) async fn revoke(
    State(web): State<Web>,
    call: OperatorCall,
    key: IdempotencyKey,
    PathId(id): PathId<GrantId>,
    JsonBody(body): JsonBody<RevokeBody>,
) -> Result<Response> {
    let tenant = tenant(&web, &body.tenant_id).await?;
    let context = call.keyed(&web, "admin.revoke", key.0.as_deref(), &id.bits().to_le_bytes());
    let answer = web.tenants.revoke_grant(tenant, id, context).await?;
    Ok(answered(StatusCode::OK, answer))
}

/// Units that a body puts on top of a limit.
struct Gift<'a> {
    tenant_id: &'a str,
    meter: &'a str,
    amount: u64,
    priority: u8,
    /// Until when, and whether it outlives the period.
    lasts: (Option<Timestamp>, bool),
    source: GrantSource,
}

async fn give(web: &Web, gift: Gift<'_>, context: CallContext) -> Result<Response> {
    let tenant = tenant(web, gift.tenant_id).await?;
    let (expires_at, rollover) = gift.lasts;
    let terms = GrantTerms {
        id: web.tenants.new_grant_id(),
        meter: meter(gift.meter)?,
        amount: amount(gift.amount)?,
        priority: gift.priority,
        expires_at,
        rollover,
        source: gift.source,
    };
    let answer = web.tenants.grant(tenant, terms, context).await?;
    Ok(answered(StatusCode::CREATED, answer))
}

/// Finds the tenant that a body names.
async fn tenant(web: &Web, id: &str) -> Result<TenantId> {
    let unknown = || Problem::invalid("/tenant_id", "no such tenant");
    let id: TenantId = id.parse().map_err(|_| unknown())?;
    match web.identity.tenant(id).await {
        Ok(_) => Ok(id),
        Err(IdentityError::NotFound) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn meter(name: &str) -> Result<MeterName> {
    name.parse().map_err(|_| unknown_meter(name).field("/meter", "no such meter"))
}

fn amount(amount: u64) -> Result<u64> {
    if (1..=MAX_AMOUNT).contains(&amount) {
        return Ok(amount);
    }
    Err(Problem::invalid("/amount", format!("expected 1 to {MAX_AMOUNT}")))
}
