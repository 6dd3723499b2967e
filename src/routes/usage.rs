//! Usage: where a tenant stands, where it stood, and consuming.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use tenantry_actors::clock::Timestamp;
use tenantry_actors::tenant::history::{HistoryQuery, HistoryStep};
use tenantry_actors::tenant::quota::{Item, UsageReport};

use super::openapi::Problems;
use super::schema::{
    ConsumedAnswer, HistoryAnswer, HistoryPoint, ItemBody, ItemsBody, UsageAnswer,
};
use super::{Call, IdempotencyKey, JsonBody, QueryArgs, Web, answered, input};
use crate::auth::{Caller, Scope};
use crate::problem::{Problem, ProblemKind, Result};

/// Tells where the tenant stands.
#[utoipa::path(
    get, path = "/api/usage", tag = "usage",
    responses((status = 200, body = UsageAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn report(
    State(web): State<Web>,
    caller: Caller,
) -> Result<axum::Json<UsageReport>> {
    caller.may(Scope::UsageRead)?;
    Ok(axum::Json(web.tenants.usage(caller.tenant()).await?))
}

/// Which usage is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryArgs {
    /// The meter.
    meter: String,
    /// The first instant.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// The first instant that is not wanted any more.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// `day` or `month`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    by: HistoryStep,
}

/// Tells usage over time.
#[utoipa::path(
    get, path = "/api/usage/history", tag = "usage", params(HistoryArgs),
    responses((status = 200, body = HistoryAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn history(
    State(web): State<Web>,
    caller: Caller,
    QueryArgs(args): QueryArgs<HistoryArgs>,
) -> Result<axum::Json<HistoryAnswer>> {
    caller.may(Scope::UsageRead)?;
    let meter = web.catalogue.meter(&args.meter).ok_or_else(|| unknown_meter(&args.meter))?;
    let query = HistoryQuery {
        meter: meter.name.clone(),
        kind: meter.kind,
        from: args.from.unwrap_or(Timestamp::MIN),
        to: args.to.unwrap_or(Timestamp::MAX),
        by: args.by,
    };
    let points = web.tenants.usage_history(caller.tenant(), query).await?;
    let data = points
        .into_iter()
        .map(|point| HistoryPoint { start: point.start.to_string(), amount: point.amount });
    Ok(axum::Json(HistoryAnswer { data: data.collect() }))
}

/// Uses units: all items or none.
#[utoipa::path(
    post, path = "/api/usage/consume", tag = "usage", request_body = ItemsBody,
    params(("Idempotency-Key" = String, Header, description = "The operation's name")),
    responses((status = 200, body = ConsumedAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn consume(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<ItemsBody>,
) -> Result<Response> {
    use_units(&web, &call, key.0.as_deref(), &body).await
}

/// What [`consume`] does, whichever way the request came.
pub(super) async fn use_units(
    web: &Web,
    call: &Call,
    key: Option<&str>,
    body: &ItemsBody,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let key = input::named(key)?;
    let items = items(&body.items, 1)?;
    let context = call.keyed(web, "consume", Some(key), &canonical(&items));
    // The actor finishes what it was handed, whether or not the client waits for it.
    let answer = web.tenants.consume(call.caller.tenant(), items, context).await?;
    Ok(answered(StatusCode::OK, answer))
}

/// Reads amounts; `min` is 1, or 0 where nothing used is an answer.
pub(super) fn items(bodies: &[ItemBody], min: u64) -> Result<Vec<Item>> {
    let read = |(index, body): (usize, &ItemBody)| {
        if body.amount < min {
            let pointer = format!("/items/{index}/amount");
            return Err(Problem::invalid(pointer, format!("expected at least {min}")));
        }
        let meter = body.meter.parse().map_err(|_| {
            unknown_meter(&body.meter).field(format!("/items/{index}/meter"), "no such meter")
        })?;
        Ok(Item { meter, amount: body.amount })
    };
    bodies.iter().enumerate().map(read).collect()
}

/// The request written again, so that white space does not make another one.
pub(super) fn canonical(items: &[Item]) -> Vec<u8> {
    let mut text = Vec::with_capacity(items.len() * 32);
    for item in items {
        text.extend_from_slice(item.meter.as_str().as_bytes());
        text.push(b'=');
        text.extend_from_slice(&item.amount.to_le_bytes());
    }
    text
}

/// There is no such meter.
pub(super) fn unknown_meter(name: &str) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Problem::new(ProblemKind::UnknownMeter)
        .detail(format!("There is no meter `{shown}`."))
        .with("meter", shown)
}
