//! Problems as pages, for people who followed a link.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tenantry_actors::clock::Timestamp;

use super::frame::{Frame, MaybeVisitor, page};
use super::words;
use crate::layers::RequestIds;
use crate::problem::{Problem, ProblemKind};
use crate::routes::Web;

/// The text behind every kind, as the book has it.
const EXPLAINED: &str = include_str!("../../docs/src/problems.md");

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    status: u16,
    title: String,
    detail: String,
    errors: Vec<String>,
    back: &'static str,
    back_label: &'static str,
    request_id: String,
}

#[derive(Template)]
#[template(path = "quota.html")]
struct QuotaPage {
    frame: Frame,
    headline: String,
    detail: String,
    facts: Vec<Fact>,
    resets: Option<String>,
}

struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "problems.html")]
struct ProblemsPage {
    frame: Frame,
    problems: Vec<Explained>,
}

struct Explained {
    code: &'static str,
    status: u16,
    title: &'static str,
    text: String,
}

/// Nothing is there.
pub(super) async fn missing() -> Problem {
    Problem::new(ProblemKind::NotFound)
}

/// Shows a page instead of a problem document to those who ask for one.
pub(super) async fn as_pages(
    State(web): State<Web>,
    visitor: MaybeVisitor,
    request: Request,
    next: Next,
) -> Response {
    let wants_page = accepts_html(request.headers());
    let is_api = request.uri().path().starts_with("/api/");
    let ids = request.extensions().get::<RequestIds>().cloned();
    let response = next.run(request).await;
    if !wants_page || is_api {
        return response;
    }
    let problem = response.extensions().get::<Arc<Problem>>().cloned();
    let bare = || Problem::of_bare(&response).filter(|_| is_empty(&response)).map(Arc::new);
    let Some(problem) = problem.or_else(bare) else { return response };
    let frame = visitor.frame("");
    let mut shown = if problem.kind().status() == StatusCode::PAYMENT_REQUIRED {
        page(StatusCode::PAYMENT_REQUIRED, &quota_page(&web, frame, &problem))
    } else {
        let is_signed_in = frame.csrf.is_some();
        let request_id = ids.map(|ids| ids.text().to_owned()).unwrap_or_default();
        page(problem.kind().status(), &error_page(frame, is_signed_in, &problem, request_id))
    };
    for (name, value) in response.headers() {
        if name != http::header::CONTENT_TYPE && name != http::header::CONTENT_LENGTH {
            shown.headers_mut().insert(name, value.clone());
        }
    }
    shown.extensions_mut().insert(problem);
    shown
}

fn is_empty(response: &Response) -> bool {
    !response.headers().contains_key(http::header::CONTENT_TYPE)
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

fn error_page(
    frame: Frame,
    is_signed_in: bool,
    problem: &Problem,
    request_id: String,
) -> ErrorPage {
    let detail = problem.text();
    let errors = problem.fields().iter().map(|e| format!("{} {}", e.pointer, e.detail));
    ErrorPage {
        frame,
        status: problem.kind().status().as_u16(),
        title: problem.kind().title().to_owned(),
        detail: if detail == problem.kind().title() { String::new() } else { detail.to_owned() },
        errors: errors.collect(),
        back: if is_signed_in { "/create" } else { "/login" },
        back_label: if is_signed_in { "Go on" } else { "Sign in" },
        request_id,
    }
}

/// What is used up, when it resets, and where to upgrade.
fn quota_page(web: &Web, frame: Frame, problem: &Problem) -> QuotaPage {
    let meter = problem.member("meter").and_then(Value::as_str).unwrap_or_default();
    let title = words::meter(&web.catalogue, meter);
    let unit = words::unit(&web.catalogue, meter);
    let number = |name: &str| problem.member(name).and_then(Value::as_u64);
    let plan = problem.member("plan").and_then(Value::as_str).unwrap_or_default().to_owned();
    let fact = |name: &'static str, member: &str| {
        number(member).map(|units| Fact { name, value: words::amount(units, unit) })
    };
    let facts = [
        fact("Limit", "limit"),
        fact("Used", "used"),
        fact("Held for running work", "reserved"),
        fact("Left", "remaining"),
        fact("This needs", "requested"),
    ];
    let resets = problem.member("resets_at").and_then(Value::as_str);
    let resets = resets.and_then(|text| text.parse::<Timestamp>().ok()).map(words::moment);
    let (headline, detail) = if problem.kind() == ProblemKind::QuotaExceeded {
        (
            format!("{title}: not enough is left"),
            format!("Your plan, {plan}, does not have that much left."),
        )
    } else {
        let feature = problem.member("feature").and_then(Value::as_str).unwrap_or("this");
        (format!("Your plan does not include {feature}"), format!("You are on the plan {plan}."))
    };
    QuotaPage { frame, headline, detail, facts: facts.into_iter().flatten().collect(), resets }
}

/// Explains every kind of problem: their `type` leads here.
pub(super) async fn explain(visitor: MaybeVisitor) -> Response {
    let problems = ProblemKind::ALL.iter().map(|kind| Explained {
        code: kind.code(),
        status: kind.status().as_u16(),
        title: kind.title(),
        text: explanation(kind.code()),
    });
    page(StatusCode::OK, &ProblemsPage { frame: visitor.frame(""), problems: problems.collect() })
}

fn explanation(code: &str) -> String {
    let heading = format!("\n## {code}\n");
    let after = EXPLAINED.split_once(&heading).map_or("", |(_, after)| after);
    after.split("\n## ").next().unwrap_or_default().replace('`', "").trim().to_owned()
}
