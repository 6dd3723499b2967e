//! Binary mode: the attributes are headers, and the body is the data alone.

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use tenantry_actors::ids::TenantId;

use super::Reading;
use super::attributes::Attributes;
use crate::problem::{Problem, Result};

/// The attributes that every event has: a request with one of them is meant as an event.
const REQUIRED: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// Says whether the headers carry an event.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    REQUIRED.iter().any(|name| headers.contains_key(*name))
}

/// Reads the event.
pub(super) fn read<'a>(headers: &'a HeaderMap, body: &'a str, tenant: TenantId) -> Reading<'a> {
    let id = attribute(headers, "ce-id").ok().flatten();
    let found = attributes(headers, body).and_then(|attributes| attributes.reported(tenant));
    Reading { id, found }
}

fn attributes<'a>(headers: &'a HeaderMap, body: &'a str) -> Result<Attributes<'a>> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::to_str).transpose();
    let kind = kind.map_err(|_| Problem::invalid("/datacontenttype", "expected JSON"))?;
    Ok(Attributes {
        specversion: attribute(headers, "ce-specversion")?,
        id: attribute(headers, "ce-id")?,
        source: attribute(headers, "ce-source")?,
        kind: attribute(headers, "ce-type")?,
        subject: attribute(headers, "ce-subject")?,
        time: attribute(headers, "ce-time")?,
        datacontenttype: kind.map(Cow::Borrowed),
        data: Some(body),
    })
}

/// Reads a header. What is not printable ASCII comes percent-encoded, in UTF-8.
fn attribute<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<Cow<'a, str>>> {
    let pointer = name.replacen("ce-", "/", 1);
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid(pointer, "was sent more than once"));
    }
    let text = percent_decode(value.as_bytes()).decode_utf8();
    text.map(Some).map_err(|_| Problem::invalid(pointer, "is not UTF-8, percent-encoded"))
}
