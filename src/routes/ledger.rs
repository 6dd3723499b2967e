//! The tenant's entries as they were committed, and signed statements of what they come to.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tenantry_actors::ledger::{
    InvalidMonth, InvalidPeriod, LedgerQuery, Month, PublishedKey, SignedStatement, StatementPeriod,
};

use super::openapi::Problems;
use super::schema::{
    LedgerEntryAnswer, ListAnswer, PublishedKeyAnswer, SignedStatementAnswer, listed_whole,
};
use super::usage::unknown_meter;
use super::{QueryArgs, Web};
use crate::auth::{Caller, Scope};
use crate::problem::{Problem, ProblemKind, Result};

/// Entries of a page, unless asked for otherwise, and at most.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 200;

/// Which entries are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesArgs {
    /// Those after this number.
    after: Option<u64>,
    /// Those about this meter.
    meter: Option<String>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// How many at most.
    limit: Option<usize>,
}

/// Entries as they were committed.
#[derive(Debug, Serialize)]
pub(super) struct Entries {
    data: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// Lists the tenant's entries, the oldest first, each exactly as it was committed.
#[utoipa::path(
    get, path = "/api/ledger", tag = "ledger", params(EntriesArgs),
    responses((status = 200, body = ListAnswer<LedgerEntryAnswer>), Problems),
    security(("bearer" = []))
)]
pub(super) async fn entries(
    State(web): State<Web>,
    caller: Caller,
    QueryArgs(args): QueryArgs<EntriesArgs>,
) -> Result<axum::Json<Entries>> {
    caller.may(Scope::UsageRead)?;
    let (cursor, limit) = place(args.cursor.as_deref(), args.limit)?;
    let known =
        |name: String| web.catalogue.meter(&name).map(|meter| meter.name.clone()).ok_or(name);
    let meter = args.meter.map(known).transpose().map_err(|name| unknown_meter(&name))?;
    let query = LedgerQuery { after: cursor.or(args.after).unwrap_or(0), meter, kind: None, limit };
    let page = web.ledger.page(caller.tenant(), &query).await?;
    let next_cursor = page.next.map(|seq| seq.to_string());
    Ok(axum::Json(Entries { data: page.entries, next_cursor }))
}

/// Reads where a page of entries begins, and how long it may be.
pub(super) fn place(cursor: Option<&str>, limit: Option<usize>) -> Result<(Option<u64>, usize)> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(malformed("`limit` must be 1 to 200"));
    }
    let cursor = cursor.map(str::parse::<u64>).transpose();
    Ok((cursor.map_err(|_| malformed("`cursor` is not one of this list"))?, limit))
}

/// Which month is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportArgs {
    /// The month in UTC, `2026-11`.
    month: String,
}

/// Sends the tenant's entries of a month as JSON Lines, each exactly as it was committed.
#[utoipa::path(
    get, path = "/api/ledger/export", tag = "ledger", params(ExportArgs),
    responses(
        (status = 200, description = "One entry a line", content_type = "application/x-ndjson",
            body = String),
        Problems
    ),
    security(("bearer" = []))
)]
pub(super) async fn export(
    State(web): State<Web>,
    caller: Caller,
    QueryArgs(args): QueryArgs<ExportArgs>,
) -> Result<Response> {
    caller.may(Scope::UsageRead)?;
    let month: Month =
        args.month.parse().map_err(|error: InvalidMonth| malformed(error.to_string()))?;
    let name = format!("attachment; filename=\"ledger-{}.jsonl\"", args.month);
    let head = [
        (CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (CONTENT_DISPOSITION, name),
        (CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    let lines = web.ledger.export(caller.tenant(), month);
    Ok((head, Body::from_stream(lines)).into_response())
}

/// Which period is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatementArgs {
    /// The period's name, as entries carry it: `2026-11`, or `2026-11-23` with periods that begin
    /// on another day.
    period: String,
}

/// Signs what the entries of a period come to.
#[utoipa::path(
    get, path = "/api/ledger/statement", tag = "ledger", params(StatementArgs),
    responses((status = 200, body = SignedStatementAnswer), Problems),
    security(("bearer" = []))
)]
pub(super) async fn statement(
    State(web): State<Web>,
    caller: Caller,
    QueryArgs(args): QueryArgs<StatementArgs>,
) -> Result<axum::Json<SignedStatement>> {
    caller.may(Scope::UsageRead)?;
    let period: StatementPeriod =
        args.period.parse().map_err(|error: InvalidPeriod| malformed(error.to_string()))?;
    let signed = web.ledger.statement(caller.tenant(), &period).await?;
    let missing =
        || Problem::new(ProblemKind::NotFound).detail("There is no entry of this period.");
    signed.map(axum::Json).ok_or_else(missing)
}

/// Lists the public keys that statements and the journal's heads are signed with.
#[utoipa::path(
    get, path = "/api/ledger/keys", tag = "ledger",
    responses((status = 200, body = ListAnswer<PublishedKeyAnswer>))
)]
pub(super) async fn keys(State(web): State<Web>) -> axum::Json<ListAnswer<PublishedKey>> {
    axum::Json(listed_whole(web.ledger.keys().to_vec()))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::MalformedQuery).detail(detail)
}
