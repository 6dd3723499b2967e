//! What a client sent and was told, recorded while it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, Reply};

/// Where events are reported.
const EVENTS: &str = "/api/events";

/// What a call asks for, by its method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Use units.
    Consume,
    /// Hold units.
    Reserve,
    /// End a hold with use.
    Commit(String),
    /// Give a hold back.
    Release(String),
    /// Let a hold live longer.
    Extend(String),
    /// Report events.
    Record,
    /// Correct the usage.
    Adjust,
    /// Look at the usage.
    Usage,
    /// Look at a hold.
    Look(String),
    /// Anything else: it is sent and recorded, and not judged.
    Other,
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The tenant whose credential it carried.
    pub tenant: String,
    /// What it asked for.
    pub verb: Verb,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The idempotency key; reads have none.
    pub key: Option<String>,
    /// The body.
    pub body: Value,
    /// When it was sent, in the recorder's order.
    pub sent: u64,
    /// When its answer was read to the end, in the recorder's order.
    pub ended: Option<u64>,
    /// The answer; without one the outcome is not known.
    pub answer: Option<Answer>,
}

/// An answer, as far as it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The request's id, which the entry carries too.
    pub request_id: String,
    /// Whether it is an earlier answer again.
    pub is_replayed: bool,
    /// The body.
    pub body: Value,
}

impl Answer {
    fn of(reply: &Reply) -> Self {
        Self {
            status: reply.status,
            request_id: reply.header("x-request-id").to_owned(),
            is_replayed: reply.header("idempotency-replayed") == "true",
            body: reply.body.clone(),
        }
    }

    /// The problem's code, empty when the answer is no problem.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Whether it says that the request was done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it leaves open what happened.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.status == 504
    }
}

impl Verb {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let mut parts = path.trim_start_matches("/api/").split('/');
        match (method.as_str(), parts.next(), parts.next(), parts.next()) {
            ("GET", Some("usage"), None, None) => Self::Usage,
            ("POST", Some("usage"), Some("consume"), None) => Self::Consume,
            ("POST", Some("usage"), Some("adjustments"), None) => Self::Adjust,
            ("POST", Some("events"), None, None) => Self::Record,
            ("POST", Some("reservations"), None, None) => Self::Reserve,
            ("GET", Some("reservations"), Some(id), None) => Self::Look(id.to_owned()),
            ("POST", Some("reservations"), Some(id), Some("commit")) => Self::Commit(id.to_owned()),
            ("POST", Some("reservations"), Some(id), Some("release")) => {
                Self::Release(id.to_owned())
            }
            ("POST", Some("reservations"), Some(id), Some("extend")) => Self::Extend(id.to_owned()),
            _ => Self::Other,
        }
    }
}

impl Call {
    /// The amount of a meter that the body asks for.
    #[must_use]
    pub fn requested(&self, meter: &str) -> u64 {
        let items = self.body["items"].as_array().map_or(&[][..], Vec::as_slice);
        let of_meter = items.iter().filter(|item| item["meter"] == meter);
        of_meter.filter_map(|item| item["amount"].as_u64()).sum()
    }

    /// The call in one line, for a message.
    pub(super) fn show(&self) -> String {
        let Self { method, path, body, key, sent, ended, .. } = self;
        let answer = self.answer.as_ref();
        let answer = answer.map(|answer| format!("{} {}", answer.status, answer.body));
        let key = key.as_deref().unwrap_or("-");
        let answer = answer.as_deref().unwrap_or("no answer");
        format!("[{sent}..{ended:?}] {method} {path} {body} ({key}) => {answer}")
    }
}

/// Sends calls and records them. Clones record into the same history.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    // One counter for all clients: what ended before another was sent has the smaller number.
    moment: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    /// Sends one write with its key; `None` when no answer came.
    pub async fn post(
        &self,
        api: &Api,
        (tenant, key): (&str, &str),
        path: &str,
        body: Value,
    ) -> Option<Answer> {
        let request = api.request(Method::POST, path).header("idempotency-key", key).json(&body);
        let call = self.begin(tenant, Method::POST, path, (Some(key), body));
        self.send(api, request, call).await
    }

    /// Reports events, which need no key; `None` when no answer came.
    pub async fn record(&self, api: &Api, tenant: &str, events: Value) -> Option<Answer> {
        let request = api.request(Method::POST, EVENTS).json(&events);
        let call = self.begin(tenant, Method::POST, EVENTS, (None, events));
        self.send(api, request, call).await
    }

    /// Sends one read; `None` when no answer came.
    pub async fn get(&self, api: &Api, tenant: &str, path: &str) -> Option<Answer> {
        let request = api.request(Method::GET, path);
        let call = self.begin(tenant, Method::GET, path, (None, json!({})));
        self.send(api, request, call).await
    }

    /// Sends once more what was sent before, with its key.
    pub async fn repeat(&self, api: &Api, call: &Call) -> Option<Answer> {
        let key = call.key.as_deref().unwrap_or_default();
        self.post(api, (&call.tenant, key), &call.path, call.body.clone()).await
    }

    /// Everything that was sent so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that a call leaves now; returns its place.
    fn begin(
        &self,
        tenant: &str,
        method: Method,
        path: &str,
        (key, body): (Option<&str>, Value),
    ) -> usize {
        let call = Call {
            tenant: tenant.to_owned(),
            verb: Verb::of(&method, path),
            method,
            path: path.to_owned(),
            key: key.map(ToOwned::to_owned),
            body,
            sent: self.now(),
            ended: None,
            answer: None,
        };
        let mut calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
        calls.len() - 1
    }

    async fn send(
        &self,
        api: &Api,
        request: reqwest::RequestBuilder,
        call: usize,
    ) -> Option<Answer> {
        let answer = Answer::of(&api.send(request).await.ok()?);
        let ended = self.now();
        let mut calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.get_mut(call) {
            (call.ended, call.answer) = (Some(ended), Some(answer.clone()));
        }
        Some(answer)
    }

    fn now(&self) -> u64 {
        self.shared.moment.fetch_add(1, Ordering::SeqCst)
    }
}
