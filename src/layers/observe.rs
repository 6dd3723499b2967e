//! One span, one latency sample and at most one log line for every request.
//!
//! Handles of metrics are kept by (route, method, status), so a request neither formats a label
//! nor asks the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::MatchedPath;
use axum::response::Response;
use http::{Method, StatusCode};
use metrics::{Gauge, Histogram};
use tokio::time::Instant;
use tracing::{Level, Span};

use super::request_id::RequestIds;
use crate::auth::Principal;
use crate::problem::Problem;

/// Latency by route, method and status, until the answer's head.
pub const REQUEST_SECONDS: &str = "http_server_request_duration_seconds";
/// Requests being worked on.
pub const ACTIVE_REQUESTS: &str = "http_server_active_requests";
/// Route label of what no route matched.
const NO_ROUTE: &str = "unmatched";
/// The one route whose successes are not logged: the journal has every decision already.
const HOT_ROUTE: &str = "/api/usage/consume";

type Handles = HashMap<(Route, Method, StatusCode), Histogram>;

/// A route's pattern; the router's own text, so a clone costs no allocation.
#[derive(Clone, Debug)]
pub enum Route {
    /// The router found it.
    Matched(MatchedPath),
    /// It was known before any router, or there is none.
    Named(&'static str),
}

impl Route {
    /// The route that every meter of a product is charged by.
    pub const CONSUME: Self = Self::Named(HOT_ROUTE);

    /// What the router found.
    pub fn of(matched: Option<MatchedPath>) -> Self {
        matched.map_or(Self::Named(NO_ROUTE), Self::Matched)
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Matched(path) => path.as_str(),
            Self::Named(name) => name,
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl std::hash::Hash for Route {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Measures and logs requests.
#[derive(Debug)]
pub(super) struct Observer {
    active: Gauge,
    handles: ArcSwap<Handles>,
}

/// A request under observation.
#[derive(Debug)]
pub(super) struct Observed {
    route: Route,
    method: Method,
    started: Instant,
    /// The span that everything of this request is logged under.
    pub(super) span: Span,
    active: Gauge,
}

impl Observer {
    pub(super) fn new() -> Self {
        Self { active: metrics::gauge!(ACTIVE_REQUESTS), handles: ArcSwap::default() }
    }

    /// Begins to observe.
    pub(super) fn begin(&self, route: Route, method: &Method, ids: &RequestIds) -> Observed {
        let method = method.clone();
        let span = if route.as_str() == HOT_ROUTE {
            new_span!(Level::DEBUG, method, route, ids)
        } else {
            new_span!(Level::INFO, method, route, ids)
        };
        self.active.increment(1);
        Observed { route, method, started: Instant::now(), span, active: self.active.clone() }
    }

    /// Ends the observation with an answer.
    pub(super) fn end(&self, observed: &Observed, response: &Response) {
        let (took, status) = (observed.started.elapsed(), response.status());
        let key = (observed.route.clone(), known(&observed.method), status);
        let handles = self.handles.load();
        match handles.get(&key) {
            Some(histogram) => histogram.record(took),
            None => self.register(&key).record(took),
        }
        log(observed, response, took);
    }

    fn register(&self, key: &(Route, Method, StatusCode)) -> Histogram {
        let (route, method, status) = key;
        let histogram = metrics::histogram!(
            REQUEST_SECONDS,
            "http_request_method" => method.to_string(),
            "http_route" => route.as_str().to_owned(),
            "http_response_status_code" => status.as_str().to_owned(),
        );
        self.handles.rcu(|handles| {
            let mut handles = Handles::clone(handles);
            handles.insert(key.clone(), histogram.clone());
            handles
        });
        histogram
    }
}

/// Opens a span at a level.
macro_rules! new_span {
    ($level:expr, $method:ident, $route:ident, $ids:ident) => {
        tracing::span!(
            $level,
            "http.server",
            http.request.method = %$method,
            http.route = $route.as_str(),
            request.id = $ids.text(),
            request.own_id = %$ids.own,
            tenant.id = tracing::field::Empty,
            user.id = tracing::field::Empty,
            api_key.id = tracing::field::Empty,
        )
    };
}
use new_span;

impl Observed {
    /// Says whose request this is, once that is known.
    pub(super) fn belongs_to(&self, principal: &Principal) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("tenant.id", tracing::field::display(principal.tenant));
        let name = if principal.user().is_some() { "user.id" } else { "api_key.id" };
        self.span.record(name, principal.actor());
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.active.decrement(1);
    }
}

/// Methods are labels: a client's inventions must not become series.
fn known(method: &Method) -> Method {
    const STANDARD: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let is_known = STANDARD.contains(method);
    if is_known { method.clone() } else { Method::from_bytes(b"OTHER").unwrap_or_default() }
}

fn log(observed: &Observed, response: &Response, took: Duration) {
    let status = response.status();
    let problem = response.extensions().get::<Arc<Problem>>();
    let code = problem.map_or("", |problem| problem.kind().code());
    let cause = problem.and_then(|problem| problem.cause()).unwrap_or_default();
    let _entered = observed.span.enter();
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let status_code = status.as_u16();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.response.status_code = status_code,
                duration_us = took_us,
                error.type = code,
                error.cause = cause,
                "request answered"
            )
        };
    }
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        line!(error);
    } else if status.is_server_error() {
        line!(warn);
    } else if observed.route.as_str() == HOT_ROUTE || is_chatter(observed) {
        line!(debug);
    } else {
        line!(info);
    }
}

/// Probes and files of pages say nothing about anyone.
fn is_chatter(observed: &Observed) -> bool {
    let route = observed.route.as_str();
    route.starts_with("/assets/") || matches!(route, "/healthz" | "/readyz" | "/metrics")
}
