//! Problem documents (RFC 9457): the only shape in which an error leaves the API.
//!
//! A handler returns a [`Problem`]; the outermost layer writes the document, because only it
//! knows the request's id. What a 5xx says is fixed text: its cause goes to the log.

mod convert;
pub mod docs;
mod kind;

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};

pub(crate) use convert::UPGRADE_PATH;
pub use kind::ProblemKind;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The page of this site that explains the kinds; the kind's code is appended.
pub const TYPE_PATH: &str = "/problems#";
/// Members whose paths become addresses of this site.
const ADDRESSES: [&str; 1] = ["upgrade_url"];

/// Where a problem met its request.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence<'a> {
    /// What this site's addresses begin with.
    pub public_url: &'a str,
    /// The request's id, as its client was told.
    pub request_id: &'a str,
    /// The request's path.
    pub path: &'a str,
}

/// What went wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// A JSON pointer to the field, empty for the whole body.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// An error on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    errors: Vec<FieldProblem>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<str>>,
}

/// What a handler answers.
pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    /// A problem of that kind, explained by its title alone.
    pub fn new(kind: ProblemKind) -> Self {
        let detail =
            if kind.status().is_server_error() { fixed_detail(kind) } else { kind.title() };
        Self {
            kind,
            detail: Cow::Borrowed(detail),
            errors: Vec::new(),
            members: Map::new(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// A fault of ours: the cause is logged, never shown.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::Internal).caused_by(cause)
    }

    /// A refused field.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Invalid).field(pointer, detail)
    }

    /// Explains this very occurrence. Texts of 5xx stay fixed.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        if !self.kind.status().is_server_error() {
            self.detail = detail.into();
        }
        self
    }

    /// Names a field that is wrong.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldProblem { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Adds a member to the document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Remembers the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(Arc::from(cause.to_string()));
        self
    }

    /// The kind.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What a person reads.
    pub fn text(&self) -> &str {
        &self.detail
    }

    /// The fields that are wrong.
    pub fn fields(&self) -> &[FieldProblem] {
        &self.errors
    }

    /// A member of the document.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The cause, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The document.
    pub fn document(&self, at: Occurrence<'_>) -> Value {
        let Occurrence { public_url, request_id, path } = at;
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
        set("type", format!("{public_url}{TYPE_PATH}{}", self.kind.code()).into());
        set("title", self.kind.title().into());
        set("status", self.kind.status().as_u16().into());
        set("detail", self.detail.as_ref().into());
        set("code", self.kind.code().into());
        set("request_id", request_id.into());
        if !path.is_empty() {
            set("instance", path.into());
        }
        if !self.errors.is_empty() {
            let errors = self.errors.iter();
            let errors = errors.map(|e| json!({ "pointer": e.pointer, "detail": e.detail }));
            set("errors", errors.collect());
        }
        for (name, value) in &self.members {
            let value = match value.as_str() {
                Some(path) if ADDRESSES.contains(&name.as_str()) => {
                    format!("{public_url}{path}").into()
                }
                _ => value.clone(),
            };
            set(name, value);
        }
        Value::Object(object)
    }

    /// The document as a part of an answer that is no problem itself: without the request's id and
    /// path, which the whole answer has.
    pub fn embedded(&self, public_url: &str) -> Value {
        let mut document = self.document(Occurrence { public_url, request_id: "", path: "" });
        if let Some(members) = document.as_object_mut() {
            members.remove("request_id");
        }
        document
    }

    /// Writes the document into an answer that carries this problem.
    pub fn write(&self, response: &mut Response, at: Occurrence<'_>) {
        let body = serde_json::to_vec(&self.document(at)).unwrap_or_default();
        *response.body_mut() = body.into();
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }

    /// The problem behind a bare answer of the router or of a library.
    pub fn of_bare(response: &Response) -> Option<Self> {
        use http::StatusCode as S;
        let kind = match response.status() {
            S::BAD_REQUEST => ProblemKind::MalformedRequest,
            S::NOT_FOUND => ProblemKind::NotFound,
            S::METHOD_NOT_ALLOWED => ProblemKind::MethodNotAllowed,
            S::REQUEST_TIMEOUT => ProblemKind::RequestTimeout,
            S::PAYLOAD_TOO_LARGE => ProblemKind::BodyTooLarge,
            S::UNSUPPORTED_MEDIA_TYPE => ProblemKind::UnsupportedMediaType,
            status if status.is_client_error() => ProblemKind::MalformedRequest,
            status if status.is_server_error() => ProblemKind::Internal,
            _ => return None,
        };
        Some(Self::new(kind))
    }
}

/// 5xx texts say what the caller can do, and nothing about us.
fn fixed_detail(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Overloaded => "Nothing was changed. Try again a little later.",
        ProblemKind::Unavailable => "Nothing was changed. Try again later.",
        ProblemKind::TenantQuarantined => "Nothing was changed. Operators have been alerted.",
        ProblemKind::DeadlineExceeded => {
            "Try again; use the same Idempotency-Key if there was one."
        }
        ProblemKind::OutcomeUnknown => "Ask again with the same Idempotency-Key: its answer tells.",
        ProblemKind::StorageFull => "Nothing was changed. Delete files, or try again later.",
        _ => "The fault is ours and was logged under this request id.",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        if self.kind == ProblemKind::Unauthenticated {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests;
