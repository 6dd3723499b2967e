//! Render jobs: a written plan becomes a video.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use tenantry_actors::ids::JobId;
use tenantry_actors::studio::plan::RenderPlan;
use tenantry_actors::tenant::Answer;
use tenantry_actors::tenant::job_view::{JobSummary, JobView, JobsQuery, Page};
use tenantry_actors::tenant::steps::JobState;

use super::body::{AnyJson, NoBody};
use super::openapi::Problems;
use super::schema::{JobAnswer, ListAnswer, RenderBody};
use super::{Call, IdempotencyKey, PathId, QueryArgs, Web, answered};
use crate::auth::{Caller, Scope};
use crate::problem::{Problem, ProblemKind, Result};

/// Items of a page, unless it is said otherwise.
const PAGE_DEFAULT: usize = 50;
/// Items of a page, at most.
const PAGE_MAX: usize = 200;

/// Begins a job.
#[utoipa::path(
    post, path = "/api/render", tag = "studio", request_body = RenderBody,
    params(("Idempotency-Key" = String, Header, description = "The operation's name")),
    responses((status = 202, body = JobAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn submit(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    AnyJson(body): AnyJson,
) -> Result<Response> {
    call.caller.may(Scope::RenderWrite)?;
    let key = key.required()?;
    let plan = RenderPlan::from_value(&body, &web.voices)?;
    let answer = begin(&web, &call, key, plan).await?;
    let location = format!("/api/render/{}", answer.value.id);
    let mut response = answered(StatusCode::ACCEPTED, answer);
    let location = HeaderValue::from_str(&location).map_err(Problem::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Hands a checked plan to its tenant; it is stored and entered also when the client leaves.
pub(crate) async fn begin(
    web: &Web,
    call: &Call,
    key: &str,
    plan: RenderPlan,
) -> Result<Answer<JobView>> {
    let canonical = serde_json::to_vec(&plan).map_err(Problem::internal)?;
    let context = call.keyed(web, "render", Some(key), &canonical);
    let (tenants, tenant) = (web.tenants.clone(), call.caller.tenant());
    let submit = async move { Ok(tenants.submit(tenant, plan, context).await?) };
    web.detached("render.submit", submit).await
}

/// Which jobs are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListArgs {
    /// Only jobs in this state.
    state: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most.
    limit: Option<usize>,
}

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/api/render", tag = "studio", params(ListArgs),
    responses((status = 200, body = ListAnswer<JobAnswer>), Problems), security(("bearer" = []))
)]
pub(super) async fn list(
    State(web): State<Web>,
    caller: Caller,
    QueryArgs(args): QueryArgs<ListArgs>,
) -> Result<axum::Json<Page<JobSummary>>> {
    caller.may(Scope::RenderRead)?;
    let malformed = |text: &'static str| Problem::new(ProblemKind::MalformedQuery).detail(text);
    let limit = args.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(malformed("`limit` must be 1 to 200"));
    }
    let state = args.state.as_deref().map(job_state).transpose();
    let state = state.map_err(|()| malformed("`state` is not a state of jobs"))?;
    let query = JobsQuery { state, cursor: args.cursor, limit };
    Ok(axum::Json(web.tenants.jobs(caller.tenant(), query).await?))
}

fn job_state(text: &str) -> std::result::Result<JobState, ()> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    JobState::deserialize(text).map_err(drop)
}

/// Describes a job.
#[utoipa::path(
    get, path = "/api/render/{id}", tag = "studio",
    params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn show(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<JobId>,
) -> Result<axum::Json<JobView>> {
    caller.may(Scope::RenderRead)?;
    Ok(axum::Json(web.tenants.job(caller.tenant(), id).await?))
}

/// Ends a job that is no longer wanted.
#[utoipa::path(
    post, path = "/api/render/{id}/cancel", tag = "studio",
    params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn cancel(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    PathId(id): PathId<JobId>,
    _body: NoBody,
) -> Result<Response> {
    call.caller.may(Scope::RenderWrite)?;
    let context = call.keyed(&web, "cancel", key.0.as_deref(), &id.bits().to_le_bytes());
    let answer = web.tenants.cancel(call.caller.tenant(), id, context).await?;
    Ok(answered(StatusCode::OK, answer))
}

/// Begins a failed or cancelled job again where it stopped.
#[utoipa::path(
    post, path = "/api/render/{id}/retry", tag = "studio",
    params(("id" = String, Path, description = "The job")),
    responses((status = 202, body = JobAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn retry(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    PathId(id): PathId<JobId>,
    _body: NoBody,
) -> Result<Response> {
    call.caller.may(Scope::RenderWrite)?;
    let context = call.keyed(&web, "retry", key.0.as_deref(), &id.bits().to_le_bytes());
    let answer = web.tenants.retry(call.caller.tenant(), id, context).await?;
    Ok(answered(StatusCode::ACCEPTED, answer))
}

/// Removes a job and frees its storage.
#[utoipa::path(
    delete, path = "/api/render/{id}", tag = "studio",
    params(("id" = String, Path, description = "The job")),
    responses((status = 204), Problems), security(("bearer" = []))
)]
pub(super) async fn delete(
    State(web): State<Web>,
    call: Call,
    PathId(id): PathId<JobId>,
) -> Result<StatusCode> {
    call.caller.may(Scope::RenderWrite)?;
    remove(&web, &call, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a job; its files go also when the client leaves.
pub(crate) async fn remove(web: &Web, call: &Call, id: JobId) -> Result<()> {
    let (tenants, tenant, context) = (web.tenants.clone(), call.caller.tenant(), call.context());
    let remove = async move {
        tenants.delete(tenant, id, context).await?;
        Ok(())
    };
    web.detached("render.delete", remove).await
}
