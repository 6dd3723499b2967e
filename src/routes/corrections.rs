//! Corrections of usage, and the cap on what usage beyond the limits may cost.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use tenantry_actors::ids::TenantId;
use tenantry_actors::ledger::LedgerQuery;
use tenantry_actors::tenant::Correction;
use tenantry_actors::tenant::quota::{MAX_AMOUNT, SpendCap};

use super::openapi::Problems;
use super::schema::{
    AdjustBody, AdjustedAnswer, CorrectionAnswer, ListAnswer, SpendCapAnswer, SpendCapBody,
};
use super::usage::unknown_meter;
use super::{Call, IdempotencyKey, JsonBody, QueryArgs, Web, answered, ledger};
use crate::auth::{Caller, Role, Scope};
use crate::problem::{Problem, Result};

/// The longest reason and reference, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// Corrects what is used, up or down, never below nothing.
#[utoipa::path(
    post, path = "/api/usage/adjustments", tag = "usage", request_body = AdjustBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The operation's name")),
    responses((status = 200, body = AdjustedAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn adjust(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<AdjustBody>,
) -> Result<Response> {
    call.caller.at_least(Role::Admin)?;
    let meter = body.meter.parse().map_err(|_| unknown_meter(&body.meter))?;
    if body.delta == 0 || body.delta.unsigned_abs() > MAX_AMOUNT {
        let detail = format!("expected -{MAX_AMOUNT} to {MAX_AMOUNT}, and not 0");
        return Err(Problem::invalid("/delta", detail));
    }
    checked(&body.reason, "/reason")?;
    body.reference.as_deref().map_or(Ok(()), |reference| checked(reference, "/reference"))?;
    let canonical = serde_json::to_vec(&body).map_err(Problem::internal)?;
    let AdjustBody { delta, reason, reference, .. } = body;
    let correction = Correction { meter, delta, reason, reference };
    let context = call.keyed(&web, "adjust", key.0.as_deref(), &canonical);
    // The words are stored before the entry, so the client's leaving must not come between.
    let (tenants, tenant) = (web.tenants.clone(), call.caller.tenant());
    let adjust = async move { Ok(tenants.adjust(tenant, correction, context).await?) };
    Ok(answered(StatusCode::OK, web.detached("usage.adjust", adjust).await?))
}

/// Which corrections are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListArgs {
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most.
    limit: Option<usize>,
}

/// What is read of a correction's entry.
#[derive(Deserialize)]
struct Entry {
    seq: u64,
    at: String,
    by: String,
    items: Vec<Item>,
    delta: i64,
    reason: String,
    reference: Option<String>,
    period: String,
}

/// Where its meter stood afterwards.
#[derive(Deserialize)]
struct Item {
    meter: String,
    used: u64,
}

/// Lists the corrections, the oldest first, with the words that came with them.
#[utoipa::path(
    get, path = "/api/usage/adjustments", tag = "usage", params(ListArgs),
    responses((status = 200, body = ListAnswer<CorrectionAnswer>), Problems),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(web): State<Web>,
    caller: Caller,
    QueryArgs(args): QueryArgs<ListArgs>,
) -> Result<axum::Json<ListAnswer<CorrectionAnswer>>> {
    caller.at_least(Role::Admin)?;
    let (cursor, limit) = ledger::place(args.cursor.as_deref(), args.limit)?;
    let kind = Some("adjusted");
    let query = LedgerQuery { after: cursor.unwrap_or(0), meter: None, kind, limit };
    let page = web.ledger.page(caller.tenant(), &query).await?;
    let mut data = Vec::with_capacity(page.entries.len());
    for line in page.entries {
        let entry = serde_json::from_str(line.get()).map_err(Problem::internal)?;
        data.push(with_words(&web, caller.tenant(), entry).await?);
    }
    Ok(axum::Json(ListAnswer { data, next_cursor: page.next.map(|seq| seq.to_string()) }))
}

/// A correction with its words: the entry has their digests.
async fn with_words(web: &Web, tenant: TenantId, entry: Entry) -> Result<CorrectionAnswer> {
    let reason = web.tenants.note(tenant, &entry.reason).await?;
    let reference = match &entry.reference {
        Some(digest) => web.tenants.note(tenant, digest).await?,
        None => None,
    };
    let erased = reason.is_none() || entry.reference.is_some() != reference.is_some();
    let no_item = || Problem::internal("a correction without a meter");
    let Item { meter, used } = entry.items.into_iter().next().ok_or_else(no_item)?;
    let Entry { seq, at, by, delta, period, .. } = entry;
    Ok(CorrectionAnswer { seq, at, by, meter, delta, used, period, reason, reference, erased })
}

/// A text for people: something, not too much, on one or several lines.
fn checked(text: &str, pointer: &'static str) -> Result<()> {
    if (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && !text.trim().is_empty() {
        return Ok(());
    }
    Err(Problem::invalid(pointer, format!("expected 1 to {TEXT_CHARS_MAX} characters")))
}

/// Tells how much overage a period may cost.
#[utoipa::path(
    get, path = "/api/billing/spend-cap", tag = "billing",
    responses((status = 200, body = SpendCapAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn spend_cap(
    State(web): State<Web>,
    caller: Caller,
) -> Result<axum::Json<SpendCap>> {
    caller.may(Scope::BillingRead)?;
    Ok(axum::Json(web.tenants.spend_cap(caller.tenant()).await?))
}

/// Says how much overage a period may cost; 0, the default, makes every limit hard.
#[utoipa::path(
    put, path = "/api/billing/spend-cap", tag = "billing", request_body = SpendCapBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The operation's name")),
    responses((status = 200, body = SpendCapAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn set_spend_cap(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<SpendCapBody>,
) -> Result<Response> {
    call.caller.at_least(Role::Owner)?;
    let canonical = body.amount_minor.to_le_bytes();
    let context = call.keyed(&web, "spend-cap", key.0.as_deref(), &canonical);
    let tenant = call.caller.tenant();
    let answer = web.tenants.set_spend_cap(tenant, body.amount_minor, context).await?;
    Ok(answered(StatusCode::OK, answer))
}
