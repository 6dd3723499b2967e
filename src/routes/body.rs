//! The JSON body as an argument: read within limits, once, with errors that name the field.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;
use tokio::time::timeout;

use super::Web;
use crate::problem::{Problem, ProblemKind, Result};

/// Of a body that is too large, so many bytes are read and thrown away.
const DISCARDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// And for so long.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The largest body.
    pub size_max: usize,
    /// The longest pause between two pieces.
    pub pause_max: Duration,
}

/// A JSON body of a known shape.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// A JSON body of any shape, for those who name its errors themselves.
#[derive(Clone, Debug)]
pub(crate) struct AnyJson(pub Value);

/// A call without arguments: no body, or an empty object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoBody;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl<T: DeserializeOwned> FromRequest<Web> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self> {
        read_json(request, web.body_limits()).await.map(Self)
    }
}

/// Reads a JSON body of a known shape, from whatever it comes in.
pub(super) async fn read_json<T: DeserializeOwned, B: Piecewise>(
    request: http::Request<B>,
    limits: BodyLimits,
) -> Result<T> {
    expect_json(request.headers())?;
    let bytes = read(request, limits).await?;
    parse(&bytes)
}

impl FromRequest<Web> for AnyJson {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self> {
        let JsonBody(value) = JsonBody::<Value>::from_request(request, web).await?;
        Ok(Self(value))
    }
}

impl FromRequest<Web> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self> {
        let has_type = request.headers().contains_key(CONTENT_TYPE);
        let checked = expect_json(request.headers());
        let bytes = read(request, web.body_limits()).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        if has_type {
            checked?;
        }
        parse::<Empty>(&bytes).map(|_| Self)
    }
}

/// Refuses a body that does not say it is JSON.
fn expect_json(headers: &HeaderMap) -> Result<()> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    if is_json {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::UnsupportedMediaType)
        .detail("Send the body as `Content-Type: application/json`."))
}

/// A body that comes in pieces.
pub trait Piecewise: hyper::body::Body<Data = Bytes> + Unpin {}

impl<B: hyper::body::Body<Data = Bytes> + Unpin> Piecewise for B {}

/// Reads a body to its end, within the limits.
pub async fn read<B: Piecewise>(request: http::Request<B>, limits: BodyLimits) -> Result<Bytes> {
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut body = request.into_body();
    if announced.is_some_and(|size| size > limits.size_max) {
        discard(body).await;
        return Err(too_large(limits));
    }
    let mut whole = BytesMut::new();
    loop {
        let next = timeout(limits.pause_max, body.frame()).await;
        let Some(frame) = next.map_err(|_| Problem::new(ProblemKind::RequestTimeout))? else {
            return Ok(whole.freeze());
        };
        let Ok(frame) = frame else {
            return Err(Problem::new(ProblemKind::MalformedBody).detail("The body broke off."));
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limits.size_max {
            discard(body).await;
            return Err(too_large(limits));
        }
        // Small bodies come in one piece, which needs no copy.
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
}

/// Reads on for a moment without keeping anything: a client that is cut off while it still sends
/// never sees its answer.
async fn discard(mut body: impl Piecewise) {
    let mut left = DISCARDED_BYTES_MAX;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = rest;
        }
    };
    // Whoever sends for longer than this is cut off.
    let _ = timeout(DISCARD_WITHIN, read).await;
}

fn too_large(limits: BodyLimits) -> Problem {
    let text = format!("A body may have {} bytes at most.", limits.size_max);
    Problem::new(ProblemKind::BodyTooLarge).detail(text)
}

/// Parses a body in one pass; only a refused one is read again to name the field.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = text_of(bytes)?;
    refuse_nul(text)?;
    // Derived readers take a list for an object, by position; a client never means that.
    if !text.trim_start().starts_with('{') {
        well_formed(text)?;
        return Err(Problem::invalid("", "expected an object"));
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => well_formed(text).err().unwrap_or_else(|| explain::<T>(text)),
        _ => malformed_at(&error),
    })
}

/// A body as text that has something in it.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str> {
    let malformed = |text: &'static str| Problem::new(ProblemKind::MalformedBody).detail(text);
    let text = str::from_utf8(bytes).map_err(|_| malformed("The body is not UTF-8."))?;
    if text.trim_start().is_empty() {
        return Err(malformed("The body is empty."));
    }
    Ok(text)
}

/// A text that is not JSON at all is malformed, whatever was wrong with its beginning.
pub(super) fn well_formed(text: &str) -> Result<()> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| malformed_at(&error))
}

/// A body that is not JSON, and where it stops being it.
pub(super) fn malformed_at(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let text = format!("The body is not JSON, at line {line}, column {column}.");
    Problem::new(ProblemKind::MalformedBody).detail(text)
}

/// A NUL is valid JSON, and nothing that a database or a font can hold.
fn refuse_nul(text: &str) -> Result<()> {
    if !text.contains("\\u0000") {
        return Ok(());
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Ok(()) };
    match find_nul(&value, &mut String::new()) {
        Some(pointer) => Err(Problem::invalid(pointer, "must not contain a NUL character")),
        None => Ok(()),
    }
}

fn find_nul(value: &Value, pointer: &mut String) -> Option<String> {
    let mut below = |name: &str, value: &Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&escaped(name));
        let found = find_nul(value, pointer);
        pointer.truncate(length);
        found
    };
    match value {
        Value::String(text) => text.contains('\0').then(|| pointer.clone()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(i, item)| below(&i.to_string(), item))
        }
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            if name.contains('\0') { Some(String::new()) } else { below(name, member) }
        }),
        _ => None,
    }
}

/// A name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Reads a refused body again, to say which field it was.
pub(super) fn explain<'de, T: Deserialize<'de>>(text: &'de str) -> Problem {
    use serde_path_to_error::Segment;
    let mut reader = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
        return Problem::invalid("", "not the expected shape");
    };
    let pointer: String = error
        .path()
        .iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escaped(key)),
            Segment::Enum { variant } => format!("/{}", escaped(variant)),
            Segment::Unknown => String::new(),
        })
        .collect();
    let reason = error.inner().to_string();
    // serde_json ends its texts with the place, which the pointer says better.
    let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
    Problem::invalid(pointer, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        items: Vec<Entry>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        amount: u64,
    }

    fn pointer(text: &str) -> String {
        let problem = parse::<Sample>(text.as_bytes()).unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::Invalid, "{text}");
        problem.fields()[0].pointer.clone()
    }

    #[test]
    fn a_body_of_the_expected_shape_is_read() {
        let sample = parse::<Sample>(br#" {"items":[{"amount":3}]} "#).unwrap();

        assert_eq!(sample.items[0].amount, 3);
    }

    #[test]
    fn a_refused_field_is_named_by_its_pointer() {
        assert_eq!(pointer(r#"{"items":[{"amount":1},{"amount":"x"}]}"#), "/items/1/amount");
        assert_eq!(pointer(r#"{"items":[{"amount":1,"b":2}]}"#), "/items/0/b");
        assert_eq!(pointer(r#"{"items":[{}]}"#), "/items/0");
        assert_eq!(pointer(r#"{"items":[],"items":[]}"#), "");
        assert_eq!(pointer("[[]]"), "");
        assert_eq!(pointer("3"), "");
        assert_eq!(pointer(r#"{"items":[{"amount":1}],"x\u0000":1}"#), "");
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        let deep = [b'['; 500];
        for bad in [&b""[..], b" ", b"{", b"{\"x\":1,", b"\xff", b"nope", &deep] {
            let problem = parse::<Sample>(bad).unwrap_err();
            assert_eq!(problem.kind(), ProblemKind::MalformedBody, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            if let Err(problem) = parse::<Sample>(&bytes) {
                prop_assert!(problem.kind().status().is_client_error());
            }
        }

        #[test]
        fn the_detail_never_repeats_what_was_sent(text in "[a-z]{12,20}") {
            let problem = parse::<Sample>(format!("{{\"items\":[{text}]}}").as_bytes());
            prop_assert!(!problem.unwrap_err().text().contains(&text));
        }
    }
}
