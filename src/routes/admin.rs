//! Operators' calls: whoever has the operators' token sees tenants and changes what they may use.

pub(super) mod features;
pub(super) mod grants;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tenantry_actors::ids::TenantId;
use tenantry_actors::tenant::Exceptions;
use tenantry_actors::tenant::inspect::NodeReport;
use tenantry_actors::tenant::plan::{MeterKind, PlanName};
use tenantry_actors::tenant::quota::PlanChange;

use super::openapi::Problems;
use super::schema::{
    CycleBody, EnforcementBody, LevelAnswer, ListAnswer, NodeAnswer, PlanBody, PlanChangeBody,
    TenantDetailAnswer, TenantListedAnswer,
};
use super::{IdempotencyKey, JsonBody, OperatorCall, PathId, QueryArgs, Web, done};
use crate::auth::Operator;
use crate::problem::{Problem, ProblemKind, Result};

/// Items of a page, unless it is said otherwise.
const PAGE_DEFAULT: u32 = 50;
/// Items of a page, at most.
const PAGE_MAX: u32 = 200;

/// Tells how busy this node is.
#[utoipa::path(
    get, path = "/api/admin/node", tag = "operations",
    responses((status = 200, body = NodeAnswer), Problems), security(("operator" = []))
)]
pub(super) async fn node(State(web): State<Web>, _operator: Operator) -> axum::Json<NodeReport> {
    axum::Json(web.tenants.inspect())
}

/// Which tenants are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TenantsArgs {
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most.
    limit: Option<u32>,
}

/// Lists tenants, the oldest first, with where their levels stand.
#[utoipa::path(
    get, path = "/api/admin/tenants", tag = "operations", params(TenantsArgs),
    responses((status = 200, body = ListAnswer<TenantListedAnswer>), Problems),
    security(("operator" = []))
)]
pub(super) async fn tenants(
    State(web): State<Web>,
    _operator: Operator,
    QueryArgs(args): QueryArgs<TenantsArgs>,
) -> Result<axum::Json<ListAnswer<TenantListedAnswer>>> {
    let malformed = |text: &'static str| Problem::new(ProblemKind::MalformedQuery).detail(text);
    let limit = args.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(malformed("`limit` must be 1 to 200"));
    }
    let after = args.cursor.as_deref().map(str::parse::<TenantId>).transpose();
    let after = after.map_err(|_| malformed("`cursor` is not one of this list"))?;
    let mut found = web.identity.tenants(after, limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = found.len() > wanted;
    found.truncate(wanted);
    let next_cursor = found.last().filter(|_| is_more).map(|last| last.id.to_string());
    let mut data: Vec<TenantListedAnswer> =
        found.into_iter().map(|tenant| TenantListedAnswer { tenant, levels: Vec::new() }).collect();
    add_levels(&web, &mut data).await?;
    Ok(axum::Json(ListAnswer { data, next_cursor }))
}

/// Adds to a page where each tenant's levels stand.
async fn add_levels(web: &Web, page: &mut [TenantListedAnswer]) -> Result<()> {
    let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
    let range = (first.tenant.id, last.tenant.id);
    for meter in web.catalogue.meters().iter().filter(|meter| meter.kind == MeterKind::Level) {
        let levels = web.tenants.levels(range.0, range.1, &meter.name).await?;
        for listed in &mut *page {
            let known = levels.binary_search_by_key(&listed.tenant.id, |(tenant, _)| *tenant);
            let used = known.ok().and_then(|index| levels.get(index)).map_or(0, |(_, used)| *used);
            listed.levels.push(LevelAnswer { meter: meter.name.to_string(), used });
        }
    }
    Ok(())
}

/// Shows a tenant: who it is, where it stands, and its actor.
#[utoipa::path(
    get, path = "/api/admin/tenants/{id}", tag = "operations",
    params(("id" = String, Path, description = "The tenant")),
    responses((status = 200, body = TenantDetailAnswer), Problems), security(("operator" = []))
)]
pub(super) async fn tenant(
    State(web): State<Web>,
    _operator: Operator,
    PathId(id): PathId<TenantId>,
) -> Result<axum::Json<TenantDetailAnswer>> {
    let tenant = web.identity.tenant(id).await?;
    let usage = web.tenants.usage(id).await?;
    let Exceptions { grants, enforcement, features, cycle } = web.tenants.exceptions(id).await?;
    let actor = web.tenants.inspect_tenant(id).await?;
    Ok(axum::Json(TenantDetailAnswer {
        tenant,
        usage,
        cycle,
        grants,
        enforcement,
        features,
        actor,
    }))
}

/// Puts a plan of the catalogue in force, whatever was paid for: at once, or when the open period
/// ends; and with it, if one is given, another rule for its periods. At once, what is used stays
/// used, and what is owed stays owed.
#[utoipa::path(
    put, path = "/api/admin/tenants/{id}/plan", tag = "operations", request_body = PlanBody,
    params(
        ("id" = String, Path, description = "The tenant"),
        ("Idempotency-Key" = Option<String>, Header, description = "The operation's name")
    ),
    responses((status = 204), Problems), security(("operator" = []))
)]
pub(super) async fn set_plan(
    State(web): State<Web>,
    call: OperatorCall,
    key: IdempotencyKey,
    PathId(id): PathId<TenantId>,
    JsonBody(body): JsonBody<PlanBody>,
) -> Result<Response> {
    web.identity.tenant(id).await?;
    let unknown = || Problem::invalid("/plan", "no such plan");
    let plan: PlanName = body.plan.parse().map_err(|_| unknown())?;
    if web.catalogue.plan(plan.as_str()).is_none() {
        return Err(unknown());
    }
    let when = match body.when {
        PlanChangeBody::Now => PlanChange::Now,
        PlanChangeBody::PeriodEnd => PlanChange::PeriodEnd,
    };
    let canonical = serde_json::to_vec(&body).map_err(Problem::internal)?;
    let cycle = body.cycle.map(CycleBody::checked).transpose()?;
    let context = call.keyed(&web, "admin.plan", key.0.as_deref(), &canonical);
    let answer = web.tenants.change_plan(id, &plan, cycle, when, context).await?;
    Ok(done(&answer))
}

/// Says whether a tenant's limits refuse. In shadow mode what would be refused is admitted, and
/// marked `would_refuse` in answers and in the journal.
#[utoipa::path(
    put, path = "/api/admin/tenants/{id}/enforcement", tag = "operations",
    request_body = EnforcementBody,
    params(
        ("id" = String, Path, description = "The tenant"),
        ("Idempotency-Key" = Option<String>, Header, description = "The operation's name")
    ),
    responses((status = 204), Problems), security(("operator" = []))
)]
pub(super) async fn set_enforcement(
    State(web): State<Web>,
    call: OperatorCall,
    key: IdempotencyKey,
    PathId(id): PathId<TenantId>,
    JsonBody(body): JsonBody<EnforcementBody>,
) -> Result<Response> {
    web.identity.tenant(id).await?;
    let canonical = serde_json::to_vec(&body).map_err(Problem::internal)?;
    let context = call.keyed(&web, "admin.enforcement", key.0.as_deref(), &canonical);
    let answer = web.tenants.set_enforcement(id, body.mode, context).await?;
    Ok(done(&answer))
}
