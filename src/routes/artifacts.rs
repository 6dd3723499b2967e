//! Files that jobs made, streamed, whole or in ranges.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderName, HeaderValue, LAST_MODIFIED,
};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tenantry_actors::ids::JobId;

use super::openapi::Problems;
use super::{QueryArgs, Web, range};
use crate::auth::{Caller, Scope};
use crate::problem::{Problem, ProblemKind, Result};

/// Job and name in the path; what is no job has no file.
#[derive(Debug)]
pub(super) struct FilePath {
    job: JobId,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for FilePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let missing = || Problem::new(ProblemKind::NotFound);
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((job, name)) = path.map_err(|_| missing())?;
        Ok(Self { job: job.parse().map_err(|_| missing())?, name })
    }
}

/// How the file is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FileArgs {
    /// With `1`, browsers save the file instead of showing it.
    download: Option<String>,
}

/// Sends a file.
#[utoipa::path(
    get, path = "/api/artifacts/{job_id}/{name}", tag = "studio",
    params(
        ("job_id" = String, Path, description = "The job"),
        ("name" = String, Path, description = "The file's name"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        FileArgs
    ),
    responses(
        (status = 200, description = "The file", content_type = "video/mp4"),
        (status = 206, description = "The range", content_type = "video/mp4"),
        (status = 304, description = "The client has it"),
        Problems
    ),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(web): State<Web>,
    caller: Caller,
    path: FilePath,
    QueryArgs(args): QueryArgs<FileArgs>,
    headers: HeaderMap,
) -> Result<Response> {
    caller.may(Scope::RenderRead)?;
    let artifact = web.tenants.artifact(caller.tenant(), path.job, &path.name).await?;
    let store = web.storage.tenant(caller.tenant());
    let stored = store.head(&artifact.key).await?;
    let etag = format!("\"{}\"", stored.etag);
    if range::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let wanted = range::wanted(&headers, &etag);
    let opened = store.get(&artifact.key, wanted).await?;
    let (size, part) = (opened.stored.size_bytes, opened.range);
    let saved = if args.download.is_some() { "attachment" } else { "inline" };
    let mut head = vec![
        (CONTENT_TYPE, artifact.content_type),
        (CONTENT_LENGTH, (part.end - part.start).to_string()),
        (ETAG, etag),
        (LAST_MODIFIED, http_date(opened.stored.modified_at)),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
        (CONTENT_DISPOSITION, format!("{saved}; filename=\"{}\"", plain(&path.name))),
    ];
    let status = if wanted.is_some() {
        let last = part.end.saturating_sub(1);
        head.push((CONTENT_RANGE, format!("bytes {}-{last}/{size}", part.start)));
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let mut response = (status, Body::from_stream(opened.stream)).into_response();
    response.headers_mut().extend(head.into_iter().filter_map(header));
    Ok(response)
}

fn header((name, value): (HeaderName, String)) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(&value).ok().map(|value| (name, value))
}

/// A file's name without what could end the header's text.
fn plain(name: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || ".-_".contains(*c);
    name.chars().filter(is_plain).collect()
}

/// A time as HTTP writes it: `Mon, 23 Nov 2026 09:14:03 GMT`.
fn http_date(at: tenantry_actors::clock::Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    let days = usize::try_from(at.as_micros() / 86_400_000_000).unwrap_or_default();
    let part = |range| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1).clamp(1, 12);
    let (year, day, time) = (part(0..4), part(8..10), part(11..19));
    format!("{}, {day} {} {year} {time} GMT", DAYS[days % 7], MONTHS[month - 1])
}

#[cfg(test)]
mod tests {
    use tenantry_actors::clock::Timestamp;

    use super::*;

    #[test]
    fn times_are_written_as_http_wants_them() {
        let epoch = Timestamp::from_micros(0);
        let later = Timestamp::from_micros(1_795_425_243_120_482);

        assert_eq!(http_date(epoch), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(later), "Mon, 23 Nov 2026 09:14:03 GMT");
    }

    #[test]
    fn a_name_cannot_end_the_header_s_text() {
        assert_eq!(plain("vi\"deo\r\n.mp4"), "video.mp4");
    }
}
