//! Where a tenant wants its events sent, what was sent, and sending it again.

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, TRANSFER_ENCODING};
use http::{Extensions, HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tenantry_actors::ids::{DeliveryId, EndpointId};
use tenantry_actors::webhooks::{
    Delivery, DeliveryState, Endpoint, EndpointChange, NewEndpoint, OVERLAP_DEFAULT_S, Subscription,
};

use super::body::NoBody;
use super::openapi::Problems;
use super::schema::{
    DeliveryAnswer, EndpointAnswer, EndpointBody, EndpointPatch, ListAnswer, NewEndpointAnswer,
    RotateBody, SecretAnswer,
};
use super::{JsonBody, PathId, QueryArgs, Web};
use crate::auth::{Caller, Role, client_info};
use crate::problem::{Problem, ProblemKind, Result};

/// Items of a page, unless it is said otherwise.
const PAGE_DEFAULT: u32 = 50;
/// Items of a page, at most.
const PAGE_MAX: u32 = 200;

/// Lists the endpoints, oldest first.
#[utoipa::path(
    get, path = "/api/webhook-endpoints", tag = "webhooks", operation_id = "list_webhook_endpoints",
    responses((status = 200, body = ListAnswer<EndpointAnswer>), Problems),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(web): State<Web>,
    caller: Caller,
) -> Result<axum::Json<ListAnswer<EndpointAnswer>>> {
    caller.at_least(Role::Admin)?;
    let endpoints = web.webhooks.list(caller.tenant()).await?;
    let data = endpoints.into_iter().map(endpoint_answer).collect();
    Ok(axum::Json(ListAnswer { data, next_cursor: None }))
}

/// Names a new endpoint. The answer holds its secret, which is never shown again.
#[utoipa::path(
    post, path = "/api/webhook-endpoints", tag = "webhooks", request_body = EndpointBody,
    operation_id = "create_webhook_endpoint",
    responses((status = 201, body = NewEndpointAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn create(
    State(web): State<Web>,
    caller: Caller,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<EndpointBody>,
) -> Result<Response> {
    caller.at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let new = NewEndpoint { url: body.url, events: subscription(&body.events)? };
    let webhooks = web.webhooks.clone();
    let create = async move { Ok(webhooks.create(&caller.0, new, &client).await?) };
    let (endpoint, secret) = web.detached("webhooks.create", create).await?;
    let location = format!("/api/webhook-endpoints/{}", endpoint.id);
    let location = HeaderValue::from_str(&location).map_err(Problem::internal)?;
    let secret = secret.expose_secret().to_owned();
    let answer = NewEndpointAnswer { endpoint: endpoint_answer(endpoint), secret };
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(answer)).into_response())
}

/// Shows one endpoint.
#[utoipa::path(
    get, path = "/api/webhook-endpoints/{id}", tag = "webhooks",
    operation_id = "show_webhook_endpoint",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 200, body = EndpointAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn show(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<EndpointId>,
) -> Result<axum::Json<EndpointAnswer>> {
    caller.at_least(Role::Admin)?;
    let endpoint = web.webhooks.show(caller.tenant(), id).await?;
    Ok(axum::Json(endpoint_answer(endpoint)))
}

/// Changes an endpoint: its address, its events, or whether it is on.
#[utoipa::path(
    patch, path = "/api/webhook-endpoints/{id}", tag = "webhooks", request_body = EndpointPatch,
    operation_id = "change_webhook_endpoint",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 200, body = EndpointAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn change(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<EndpointId>,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<EndpointPatch>,
) -> Result<axum::Json<EndpointAnswer>> {
    caller.at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let events = body.events.as_deref().map(subscription).transpose()?;
    let change = EndpointChange { url: body.url, events, enabled: body.enabled };
    let webhooks = web.webhooks.clone();
    let change = async move { Ok(webhooks.change(&caller.0, id, change, &client).await?) };
    let endpoint = web.detached("webhooks.change", change).await?;
    Ok(axum::Json(endpoint_answer(endpoint)))
}

/// Removes an endpoint, with the list of what was sent to it.
#[utoipa::path(
    delete, path = "/api/webhook-endpoints/{id}", tag = "webhooks",
    operation_id = "delete_webhook_endpoint",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 204), Problems), security(("bearer" = []))
)]
pub(super) async fn delete(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<EndpointId>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<StatusCode> {
    caller.at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let webhooks = web.webhooks.clone();
    let remove = async move { Ok(webhooks.remove(&caller.0, id, &client).await?) };
    web.detached("webhooks.delete", remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new secret. Until the overlap is over, messages carry a signature of each.
#[utoipa::path(
    post, path = "/api/webhook-endpoints/{id}/rotate-secret", tag = "webhooks",
    operation_id = "rotate_webhook_secret", request_body = Option<RotateBody>,
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 200, body = SecretAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn rotate_secret(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<EndpointId>,
    extensions: Extensions,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<SecretAnswer>> {
    caller.at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let body = if has_body(&headers) {
        JsonBody::<RotateBody>::from_request(request, &web).await?.0
    } else {
        RotateBody::default()
    };
    let overlap_s = body.overlap_seconds.unwrap_or(OVERLAP_DEFAULT_S);
    let webhooks = web.webhooks.clone();
    let rotate =
        async move { Ok(webhooks.rotate_secret(&caller.0, id, overlap_s, &client).await?) };
    let (secret, until) = web.detached("webhooks.rotate_secret", rotate).await?;
    let secret = secret.expose_secret().to_owned();
    Ok(axum::Json(SecretAnswer { secret, previous_expires_at: until.to_string() }))
}

/// Which deliveries are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListArgs {
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most.
    limit: Option<u32>,
}

/// Lists what was sent to an endpoint and what waits to be, newest first.
#[utoipa::path(
    get, path = "/api/webhook-endpoints/{id}/deliveries", tag = "webhooks",
    operation_id = "list_webhook_deliveries",
    params(("id" = String, Path, description = "The endpoint"), ListArgs),
    responses((status = 200, body = ListAnswer<DeliveryAnswer>), Problems),
    security(("bearer" = []))
)]
pub(super) async fn deliveries(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<EndpointId>,
    QueryArgs(args): QueryArgs<ListArgs>,
) -> Result<axum::Json<ListAnswer<DeliveryAnswer>>> {
    caller.at_least(Role::Admin)?;
    let limit = args.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let text = format!("`limit` must be 1 to {PAGE_MAX}");
        return Err(Problem::new(ProblemKind::MalformedQuery).detail(text));
    }
    let (tenant, cursor) = (caller.tenant(), args.cursor.as_deref());
    // One more than wanted tells whether there is another page.
    let mut found = web.webhooks.deliveries(tenant, id, cursor, limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > wanted;
    found.truncate(wanted);
    let last = found.last().map(|delivery| delivery.id.to_string());
    let data = found.into_iter().map(delivery_answer).collect();
    Ok(axum::Json(ListAnswer { data, next_cursor: last.filter(|_| has_more) }))
}

/// Sends a delivery again at once, under the same event id.
#[utoipa::path(
    post, path = "/api/webhook-endpoints/deliveries/{id}/resend", tag = "webhooks",
    operation_id = "resend_webhook_delivery",
    params(("id" = String, Path, description = "The delivery")),
    responses((status = 202, body = DeliveryAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn resend(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<DeliveryId>,
    extensions: Extensions,
    headers: HeaderMap,
    _body: NoBody,
) -> Result<Response> {
    caller.at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let webhooks = web.webhooks.clone();
    let resend = async move { Ok(webhooks.resend(&caller.0, id, &client).await?) };
    let delivery = web.detached("webhooks.resend", resend).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(delivery_answer(delivery))).into_response())
}

fn subscription(words: impl AsRef<[String]>) -> Result<Subscription> {
    let words = words.as_ref().iter().map(String::as_str);
    Subscription::parse(words).map_err(|_| {
        Problem::invalid("/events", "expected `[\"*\"]`, or one event or more, each once")
    })
}

fn has_body(headers: &HeaderMap) -> bool {
    let is_empty = |value: &HeaderValue| value.as_bytes() == b"0";
    headers.get(CONTENT_LENGTH).is_some_and(|length| !is_empty(length))
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.contains_key(CONTENT_TYPE)
}

fn endpoint_answer(endpoint: Endpoint) -> EndpointAnswer {
    EndpointAnswer {
        id: endpoint.id.to_string(),
        url: endpoint.url,
        events: endpoint.events.words().into_iter().map(str::to_owned).collect(),
        enabled: endpoint.disabled_at.is_none(),
        created_at: endpoint.created_at.to_string(),
        failing_since: endpoint.failing_since.map(|at| at.to_string()),
        disabled_at: endpoint.disabled_at.map(|at| at.to_string()),
        disabled_reason: endpoint.disabled_reason,
    }
}

fn delivery_answer(delivery: Delivery) -> DeliveryAnswer {
    let state = match delivery.state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
    };
    DeliveryAnswer {
        id: delivery.id.to_string(),
        endpoint_id: delivery.endpoint.to_string(),
        event_id: delivery.event.to_string(),
        r#type: delivery.kind,
        seq: delivery.seq,
        state: state.to_owned(),
        attempts: delivery.attempts,
        created_at: delivery.created_at.to_string(),
        last_attempt_at: delivery.last_attempt_at.map(|at| at.to_string()),
        next_attempt_at: delivery.next_attempt_at.map(|at| at.to_string()),
        last_status: delivery.last_status,
        last_error: delivery.last_error,
        payload: serde_json::from_str(&delivery.body).unwrap_or_default(),
    }
}
