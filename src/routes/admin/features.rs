//! Features that operators switch on or off, whatever a tenant's plan says.

use axum::extract::{Path, State};
use axum::response::Response;
use tenantry_actors::ids::TenantId;

use super::super::openapi::Problems;
use super::super::schema::FeatureBody;
use super::super::{IdempotencyKey, JsonBody, OperatorCall, Web, done};
use crate::problem::{Problem, ProblemKind, Result};

/// Switches a feature on or off for a tenant, whatever its plan says; `null` leaves it to the plan
/// again.
#[utoipa::path(
    put, path = "/api/admin/tenants/{id}/features/{feature}", tag = "operations",
    request_body = FeatureBody,
    params(
        ("id" = String, Path, description = "The tenant"),
        ("feature" = String, Path, description = "The feature, as the catalogue names it"),
        ("Idempotency-Key" = Option<String>, Header, description = "The operation's name")
    ),
    responses((status = 204), Problems), security(("operator" = []))
)]
pub(in super::super) async fn set_feature(
    State(web): State<Web>,
    call: OperatorCall,
    key: IdempotencyKey,
    path: std::result::Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    JsonBody(body): JsonBody<FeatureBody>,
) -> Result<Response> {
    let missing = || Problem::new(ProblemKind::NotFound);
    let Path((id, feature)) = path.map_err(|_| missing())?;
    let id: TenantId = id.parse().map_err(|_| missing())?;
    web.identity.tenant(id).await?;
    if !web.catalogue.features().contains(&feature) {
        return Err(missing());
    }
    let canonical = serde_json::to_vec(&(&feature, &body)).map_err(Problem::internal)?;
    let context = call.keyed(&web, "admin.feature", key.0.as_deref(), &canonical);
    let answer = web.tenants.set_feature(id, feature, body.allowed, context).await?;
    Ok(done(&answer))
}
