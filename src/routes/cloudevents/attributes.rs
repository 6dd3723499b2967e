//! The attributes of an event, and what makes them usage.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tenantry_actors::clock::Timestamp;
use tenantry_actors::ids::TenantId;
use tenantry_actors::tenant::WHEN_RECORDED;
use tenantry_actors::tenant::quota::MAX_AMOUNT;

use super::{Reported, amount};
use crate::problem::{Problem, ProblemKind, Result};

/// The longest attribute, in bytes. The specification sets none; a name needs no more.
const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// The version of the specification that is read here.
const SPEC_VERSION: &str = "1.0";

/// An event in JSON. Attributes that are not named here are extensions, which anyone may add.
#[derive(Debug, Deserialize)]
pub(super) struct Structured<'a> {
    #[serde(borrow, default)]
    specversion: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    source: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    subject: Option<Text<'a>>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    datacontenttype: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// A text that is borrowed from the body wherever it has no escapes in it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The attributes that matter here, however they came.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    pub(super) specversion: Option<Cow<'a, str>>,
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) source: Option<Cow<'a, str>>,
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) time: Option<Cow<'a, str>>,
    pub(super) datacontenttype: Option<Cow<'a, str>>,
    pub(super) data: Option<&'a str>,
}

impl<'a> From<Structured<'a>> for Attributes<'a> {
    fn from(event: Structured<'a>) -> Self {
        let text = |text: Option<Text<'a>>| text.map(|Text(text)| text);
        Self {
            specversion: text(event.specversion),
            id: text(event.id),
            source: text(event.source),
            kind: text(event.kind),
            subject: text(event.subject),
            time: text(event.time),
            datacontenttype: text(event.datacontenttype),
            data: event.data.map(RawValue::get),
        }
    }
}

impl<'a> Attributes<'a> {
    /// Says what the event reports; the first thing that is wrong with it otherwise.
    pub(super) fn reported(self, tenant: TenantId) -> Result<Reported<'a>> {
        let specversion = required(self.specversion, "/specversion")?;
        if specversion != SPEC_VERSION {
            return Err(Problem::invalid("/specversion", "expected `1.0`"));
        }
        let id = required(self.id, "/id")?;
        let source = required(self.source, "/source")?;
        let kind = required(self.kind, "/type")?;
        if let Some(subject) = &self.subject
            && subject.parse::<TenantId>().is_ok_and(|named| named != tenant)
        {
            return Err(Problem::invalid("/subject", "names another tenant than the credential"));
        }
        if self.datacontenttype.is_some_and(|kind| !is_json(&kind)) {
            return Err(Problem::invalid("/datacontenttype", "expected JSON"));
        }
        let at = self.time.map(|time| time.parse::<Timestamp>()).transpose();
        let at = at.map_err(|_| Problem::invalid("/time", "expected a time as RFC 3339 has it"))?;
        if at == Some(WHEN_RECORDED) {
            return Err(Problem::new(ProblemKind::EventInFuture).field("/time", "in the future"));
        }
        let Some(data) = self.data else {
            return Err(Problem::invalid("/data", "expected an object with `amount`"));
        };
        let amount = amount(data)?;
        if !(1..=MAX_AMOUNT).contains(&amount) {
            let detail = format!("expected 1 to {MAX_AMOUNT}");
            return Err(Problem::invalid("/data/amount", detail));
        }
        // `com.example.images` and `images` name the same meter: no meter has a dot in its name.
        let name = kind.rsplit('.').next().unwrap_or_default();
        let meter = name.parse().map_err(|_| unknown_meter(name))?;
        Ok(Reported { source, id, meter, amount, at })
    }
}

/// An attribute that no event goes without.
fn required<'a>(text: Option<Cow<'a, str>>, pointer: &'static str) -> Result<Cow<'a, str>> {
    let invalid = |detail: String| Problem::invalid(pointer, detail);
    let text = text.ok_or_else(|| invalid("is missing".to_owned()))?;
    if text.is_empty() || text.len() > ATTRIBUTE_BYTES_MAX {
        return Err(invalid(format!("expected 1 to {ATTRIBUTE_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid("must not contain control characters".to_owned()));
    }
    Ok(text)
}

/// Says whether a media type is JSON: `application/json`, `application/…+json`.
pub(super) fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| {
        subtype == "json" || subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty())
    })
}

fn unknown_meter(name: &str) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Problem::new(ProblemKind::UnknownMeter)
        .detail(format!("There is no meter `{shown}`."))
        .with("meter", shown)
        .field("/type", "its last part names no meter")
}
