//! The pages' own files, out of the binary.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH,
};
use http::{HeaderMap, StatusCode};
use tenantry_actors::privacy::keys::sha256_hex;

use crate::problem::{Problem, ProblemKind, Result};

/// Browsers ask each time whether a file has changed; the answer is short.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// Other front ends load the module of the usage element.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset { name: $name, content_type: $kind, content: include_str!(concat!("assets/", $name)) }
    };
}

const ASSETS: &[Asset] = &[
    asset!("tenantry.css", "text/css; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("login.js", "text/javascript; charset=utf-8"),
    asset!("create.js", "text/javascript; charset=utf-8"),
    asset!("job.js", "text/javascript; charset=utf-8"),
    asset!("tenantry-usage.js", "text/javascript; charset=utf-8"),
];

/// The one module that is meant for pages of others.
const EMBEDDED: &str = "tenantry-usage.js";

pub(super) async fn show(
    path: std::result::Result<Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
) -> Result<Response> {
    let missing = || Problem::new(ProblemKind::NotFound);
    let Path(name) = path.map_err(|_| missing())?;
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(missing)?;
    Ok(send(asset, &headers))
}

pub(super) async fn icon(headers: HeaderMap) -> Result<Response> {
    let asset = ASSETS.iter().find(|asset| asset.name == "icon.svg");
    asset.map(|asset| send(asset, &headers)).ok_or_else(|| Problem::new(ProblemKind::NotFound))
}

fn send(asset: &Asset, headers: &HeaderMap) -> Response {
    let digest = sha256_hex(asset.content.as_bytes());
    let etag = format!("\"{}\"", digest.get(..16).unwrap_or_default());
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, asset.content_type)], asset.content).into_response()
    };
    let out = response.headers_mut();
    out.insert(CACHE_CONTROL, REVALIDATE);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        out.insert(ETAG, etag);
    }
    if asset.name == EMBEDDED {
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        out.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    }
    response
}
