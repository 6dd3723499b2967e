//! The clock of a tenant in test mode.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tenantry_actors::clock::Timestamp;

use super::openapi::Problems;
use super::schema::{AdvanceBody, AdvancedAnswer};
use super::{Call, IdempotencyKey, JsonBody, Web, answered};
use crate::auth::Scope;
use crate::problem::{Problem, Result};

/// Advances the clock of a tenant in test mode, and tells what happened on the way.
#[utoipa::path(
    post, path = "/api/test/clock/advance", tag = "usage", request_body = AdvanceBody,
    responses((status = 200, body = AdvancedAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn advance(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<AdvanceBody>,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let to: Timestamp = body
        .to
        .parse()
        .map_err(|_| Problem::invalid("/to", "expected an RFC 3339 time from 1970 to 9999"))?;
    let canonical = to.as_micros().to_le_bytes();
    let context = call.keyed(&web, "advance-clock", key.0.as_deref(), &canonical);
    let answer = web.tenants.advance_clock(call.caller.tenant(), to, context).await?;
    Ok(answered(StatusCode::OK, answer))
}
