//! Reservations: units held before the work, then committed or released.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use tenantry_actors::ids::ReservationId;
use tenantry_actors::tenant::quota::{DEFAULT_HOLD_S, MAX_HOLD_S, Reservation};

use super::body::{NoBody, parse, read};
use super::openapi::Problems;
use super::schema::{CommitBody, ExtendBody, ReservationAnswer, ReserveBody};
use super::usage::{canonical, items};
use super::{Call, IdempotencyKey, JsonBody, PathId, Web, answered};
use crate::auth::{Caller, Scope};
use crate::problem::{Problem, ProblemKind, Result};

/// Holds units.
#[utoipa::path(
    post, path = "/api/reservations", tag = "usage", request_body = ReserveBody,
    params(("Idempotency-Key" = String, Header, description = "The operation's name")),
    responses((status = 201, body = ReservationAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn reserve(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<ReserveBody>,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let key = key.required()?;
    let items = items(&body.items, 1)?;
    let ttl_s = checked_ttl(body.ttl_s.unwrap_or(DEFAULT_HOLD_S))?;
    let mut canonical = canonical(&items);
    canonical.extend_from_slice(&ttl_s.to_le_bytes());
    let context = call.keyed(&web, "reserve", Some(key), &canonical);
    let answer = web.tenants.reserve(call.caller.tenant(), items, ttl_s, context).await?;
    let location = format!("/api/reservations/{}", answer.value.id);
    let mut response = answered(StatusCode::CREATED, answer);
    let location = HeaderValue::from_str(&location).map_err(Problem::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Tells how a hold stands.
#[utoipa::path(
    get, path = "/api/reservations/{id}", tag = "usage",
    params(("id" = String, Path, description = "The reservation")),
    responses((status = 200, body = ReservationAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn show(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<ReservationId>,
) -> Result<axum::Json<Reservation>> {
    caller.may(Scope::UsageRead)?;
    Ok(axum::Json(web.tenants.reservation(caller.tenant(), id).await?))
}

/// Uses what is held, or less, or more if it is available.
#[utoipa::path(
    post, path = "/api/reservations/{id}/commit", tag = "usage", request_body = CommitBody,
    params(("id" = String, Path, description = "The reservation")),
    responses((status = 200, body = ReservationAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn commit(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    PathId(id): PathId<ReservationId>,
    request: Request,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let has_type = request.headers().get(CONTENT_TYPE).cloned();
    let bytes = read(request, web.body_limits()).await?;
    let body = match (bytes.is_empty(), has_type) {
        (true, _) => CommitBody::default(),
        (false, Some(kind)) if is_json(&kind) => parse(&bytes)?,
        (false, _) => return Err(Problem::new(ProblemKind::UnsupportedMediaType)),
    };
    let items = body.items.map(|bodies| items(&bodies, 0)).transpose()?;
    let mut request = canonical_of(id, &items.as_deref().map(canonical).unwrap_or_default());
    if body.late {
        request.extend_from_slice(b"late");
    }
    let context = call.keyed(&web, "commit", key.0.as_deref(), &request);
    let answer = web.tenants.commit(call.caller.tenant(), id, (items, body.late), context).await?;
    Ok(answered(StatusCode::OK, answer))
}

/// Gives back what is held.
#[utoipa::path(
    post, path = "/api/reservations/{id}/release", tag = "usage",
    params(("id" = String, Path, description = "The reservation")),
    responses((status = 200, body = ReservationAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn release(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    PathId(id): PathId<ReservationId>,
    _body: NoBody,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let context = call.keyed(&web, "release", key.0.as_deref(), &canonical_of(id, &[]));
    let answer = web.tenants.release(call.caller.tenant(), id, context).await?;
    Ok(answered(StatusCode::OK, answer))
}

/// Lets a hold live longer.
#[utoipa::path(
    post, path = "/api/reservations/{id}/extend", tag = "usage", request_body = ExtendBody,
    params(("id" = String, Path, description = "The reservation")),
    responses((status = 200, body = ReservationAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn extend(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    PathId(id): PathId<ReservationId>,
    JsonBody(body): JsonBody<ExtendBody>,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let ttl_s = checked_ttl(body.ttl_s)?;
    let request = canonical_of(id, &ttl_s.to_le_bytes());
    let context = call.keyed(&web, "extend", key.0.as_deref(), &request);
    let answer = web.tenants.extend(call.caller.tenant(), id, ttl_s, context).await?;
    Ok(answered(StatusCode::OK, answer))
}

fn checked_ttl(ttl_s: u64) -> Result<u64> {
    if (1..=MAX_HOLD_S).contains(&ttl_s) {
        return Ok(ttl_s);
    }
    Err(Problem::invalid("/ttl_s", format!("expected 1 to {MAX_HOLD_S}")))
}

/// The id of the path belongs to the request like its body.
fn canonical_of(id: ReservationId, body: &[u8]) -> Vec<u8> {
    let mut request = id.bits().to_le_bytes().to_vec();
    request.extend_from_slice(body);
    request
}

fn is_json(kind: &HeaderValue) -> bool {
    let essence = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
