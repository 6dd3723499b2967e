//! Lets a tenant run again that failed too often, by an operator's word.

use axum::extract::State;
use tenantry_actors::ids::TenantId;
use tenantry_actors::tenant::inspect::Lifted;

use super::body::NoBody;
use super::openapi::Problems;
use super::schema::LiftedAnswer;
use super::{PathId, Web};
use crate::auth::Operator;
use crate::problem::Result;

/// Lets a quarantined tenant run again; the next call starts it.
#[utoipa::path(
    post, path = "/api/admin/tenants/{id}/lift-quarantine", tag = "operations",
    params(("id" = String, Path, description = "The tenant")),
    responses((status = 200, body = LiftedAnswer), Problems), security(("operator" = []))
)]
pub(super) async fn lift(
    State(web): State<Web>,
    _operator: Operator,
    PathId(id): PathId<TenantId>,
    _body: NoBody,
) -> Result<axum::Json<Lifted>> {
    web.identity.tenant(id).await?;
    Ok(axum::Json(web.tenants.lift_quarantine(id).await?))
}
