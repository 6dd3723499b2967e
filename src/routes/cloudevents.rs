//! CloudEvents 1.0 as usage: structured, batch and binary mode become the same readings.
//!
//! Bytes and headers in, readings out; nothing here waits or asks. What is wrong with one event
//! is that event's own refusal and never its neighbours'. Only a request that cannot be told
//! apart into events fails as a whole.

mod attributes;
mod binary;

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::value::RawValue;
use tenantry_actors::clock::Timestamp;
use tenantry_actors::ids::TenantId;
use tenantry_actors::tenant::plan::MeterName;

use super::body::{self, explain};
use crate::problem::{Problem, ProblemKind, Result};
use attributes::{Attributes, Structured};

/// Events in one request, at most.
pub(super) const EVENTS_MAX: usize = 1_000;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Usage that was already spent, as its producer reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reported<'a> {
    /// Who produced it; with the id it names the event.
    pub(super) source: Cow<'a, str>,
    /// The event's name at its source.
    pub(super) id: Cow<'a, str>,
    /// The meter: the last part of the event's type.
    pub(super) meter: MeterName,
    /// Units.
    pub(super) amount: u64,
    /// When it happened; without it, now.
    pub(super) at: Option<Timestamp>,
}

/// One event of a request: what it reports, or why it is none.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    /// Its id as it was sent, if that can be read.
    pub(super) id: Option<Cow<'a, str>>,
    /// What it reports.
    pub(super) found: Result<Reported<'a>>,
}

/// How events come in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One event as a JSON object.
    Structured,
    /// Many of them as a JSON array.
    Batch,
    /// Plain JSON: an object is one event, an array many.
    Either,
    /// Attributes in headers, the data alone as the body.
    Binary,
}

/// Reads the events of a request, in their order.
pub(super) fn read<'a>(
    headers: &'a HeaderMap,
    body: &'a [u8],
    tenant: TenantId,
) -> Result<Vec<Reading<'a>>> {
    let mode = mode(headers)?;
    let text = body::text_of(body)?;
    if mode == Mode::Binary {
        return Ok(vec![binary::read(headers, text, tenant)]);
    }
    let first = text.trim_start().as_bytes().first();
    match (first, mode) {
        (Some(b'['), Mode::Batch | Mode::Either) => batch(text, tenant),
        (Some(b'{'), Mode::Structured | Mode::Either) => {
            body::well_formed(text)?;
            Ok(vec![structured(text, tenant)])
        }
        (_, mode) => {
            body::well_formed(text)?;
            let expected = match mode {
                Mode::Structured => "expected an event, as an object",
                Mode::Batch => "expected events, as an array",
                _ => "expected an event or an array of events",
            };
            Err(Problem::invalid("", expected))
        }
    }
}

fn mode(headers: &HeaderMap) -> Result<Mode> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        STRUCTURED => Ok(Mode::Structured),
        BATCH => Ok(Mode::Batch),
        _ if binary::is_binary(headers) => Ok(Mode::Binary),
        "application/json" => Ok(Mode::Either),
        _ => Err(Problem::new(ProblemKind::UnsupportedMediaType).detail(format!(
            "Send `{STRUCTURED}`, `{BATCH}`, or JSON with the attributes in `ce-` headers."
        ))),
    }
}

fn batch(text: &str, tenant: TenantId) -> Result<Vec<Reading<'_>>> {
    let events: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| body::malformed_at(&error))?;
    if events.len() > EVENTS_MAX {
        let detail = format!("{} events were sent; {EVENTS_MAX} fit into one call.", events.len());
        return Err(Problem::new(ProblemKind::TooManyEvents).detail(detail));
    }
    Ok(events.into_iter().map(|event| structured(event.get(), tenant)).collect())
}

/// Reads one event out of JSON that is known to be well-formed.
fn structured(text: &str, tenant: TenantId) -> Reading<'_> {
    // A derived reader also takes a list for an object, by position.
    if !text.trim_start().starts_with('{') {
        let found = Err(Problem::invalid("", "expected an event, as an object"));
        return Reading { id: None, found };
    }
    if let Ok(event) = serde_json::from_str::<Structured<'_>>(text) {
        let attributes = Attributes::from(event);
        return Reading { id: attributes.id.clone(), found: attributes.reported(tenant) };
    }
    let event: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let id = event.as_ref().and_then(|event| event.get("id")?.as_str());
    let id = id.map(|id| Cow::Owned(id.to_owned()));
    Reading { id, found: Err(explain::<Structured<'_>>(text)) }
}

/// The data of an event: an object with an `amount`, and whatever else its producer keeps there.
#[derive(Debug, serde::Deserialize)]
struct Amount {
    amount: u64,
}

fn amount(data: &str) -> Result<u64> {
    if !data.trim_start().starts_with('{') {
        return Err(Problem::invalid("/data", "expected an object with `amount`"));
    }
    if let Ok(Amount { amount }) = serde_json::from_str(data) {
        return Ok(amount);
    }
    let problem = explain::<Amount>(data);
    let field = problem.fields().first();
    let pointer = field.map_or("", |field| field.pointer.as_str());
    let detail = field.map_or("not the expected shape", |field| field.detail.as_str());
    Err(Problem::invalid(format!("/data{pointer}"), detail))
}

#[cfg(test)]
mod tests;
