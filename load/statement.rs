//! The second arm of the comparison: a small service that keeps quotas in PostgreSQL, as many do.
//!
//! It checks the API key, takes the idempotency key, and decides with one statement, whose commit is
//! durable before the answer leaves. It is given every advantage that keeps this true: API keys are
//! held in memory, statements are prepared, connections are shared by pipelining, and it keeps
//! neither log, chain, period, threshold nor reservation.

mod store;
pub(crate) mod tune;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::http::{self, Answer};
use store::{Decision, Spend, Store};
pub(crate) use store::{prepare, spent};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The options of the service.
#[derive(Debug, Args)]
pub(crate) struct StatementArgs {
    /// The prepared database.
    #[arg(long)]
    database: String,
    /// How many connections to it.
    #[arg(long)]
    pool: usize,
}

/// What every request needs.
#[derive(Debug)]
struct Service {
    store: Store,
    accounts: HashMap<String, i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Consume {
    items: [Item; 1],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    meter: String,
    amount: i64,
}

/// Serves until killed.
pub(crate) fn serve(args: &StatementArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut carriers = JoinSet::new();
        let store = Store::open(&args.database, args.pool.max(1), &mut carriers).await?;
        let accounts = store.accounts().await?;
        let service = Arc::new(Service { store, accounts });
        http::serve(move |request| Arc::clone(&service).answer(request)).await
    })
}

impl Service {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        match self.consume(request).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    async fn consume(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| problem(StatusCode::BAD_REQUEST, "cut"))?;
        let api_key = text_of(&head.headers, &AUTHORIZATION);
        let api_key = api_key.and_then(|value| value.strip_prefix("Bearer "));
        let tenant = api_key.and_then(|api_key| self.accounts.get(api_key));
        let tenant = *tenant.ok_or_else(|| problem(StatusCode::UNAUTHORIZED, "unauthenticated"))?;
        let key = text_of(&head.headers, &IDEMPOTENCY_KEY)
            .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "idempotency-key-required"))?;
        let consume: Consume = serde_json::from_slice(&body.to_bytes())
            .map_err(|_| problem(StatusCode::UNPROCESSABLE_ENTITY, "validation-failed"))?;
        let Consume { items: [Item { meter, amount }] } = consume;
        if amount < 1 {
            return Err(problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid-amount"));
        }
        let spend = Spend { tenant, meter: &meter, amount, key };
        match self.store.consume(&spend).await {
            Ok(Decision::Admitted { used, limit }) => {
                let remaining = limit - used;
                Ok(json(
                    StatusCode::OK,
                    "application/json",
                    format!(
                        r#"{{"admitted":true,"items":[{{"meter":"{meter}","charged":{amount},"used":{used},"remaining":{remaining},"limit":{limit}}}]}}"#
                    ),
                ))
            }
            Ok(Decision::Refused) => Err(problem(StatusCode::PAYMENT_REQUIRED, "quota-exceeded")),
            Ok(Decision::Reused) => {
                Err(problem(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"))
            }
            Err(_) => Err(problem(StatusCode::SERVICE_UNAVAILABLE, "database-unavailable")),
        }
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn problem(status: StatusCode, code: &str) -> Answer {
    let body = format!(r#"{{"status":{},"code":"{code}"}}"#, status.as_u16());
    json(status, "application/problem+json", body)
}

fn json(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
