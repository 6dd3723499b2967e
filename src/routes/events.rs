//! A job's changes as server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use tenantry_actors::ids::JobId;
use tenantry_actors::tenant::job_view::JobEvent;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::openapi::Problems;
use super::{PathId, Web};
use crate::auth::{Caller, Scope};
use crate::problem::Result;

/// What a client saw last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps proxies from collecting events before they pass them on.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// How often a silent stream says that it lives.
const BEAT_EVERY: Duration = Duration::from_secs(15);

/// Follows a job until it ends.
#[utoipa::path(
    get, path = "/api/render/{id}/events", tag = "studio",
    params(
        ("id" = String, Path, description = "The job"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen")
    ),
    responses((status = 200, description = "Events", content_type = "text/event-stream"), Problems),
    security(("bearer" = []))
)]
pub(super) async fn watch(
    State(web): State<Web>,
    caller: Caller,
    PathId(id): PathId<JobId>,
    headers: HeaderMap,
) -> Result<Response> {
    caller.may(Scope::RenderRead)?;
    // A number that is none is as if the client had seen nothing.
    let after = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.parse().ok());
    let events = web.tenants.watch(caller.tenant(), id, after).await?;
    let body = Body::from_stream(framed(events, web.draining.clone()));
    let head =
        [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    Ok((head, body).into_response())
}

/// Writes events as frames, with a beat in silence, until the job or the server ends.
fn framed(
    events: impl Stream<Item = JobEvent> + Send + 'static,
    draining: CancellationToken,
) -> impl Stream<Item = std::result::Result<Bytes, std::convert::Infallible>> {
    let mut beats = interval_at(tokio::time::Instant::now() + BEAT_EVERY, BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = Follow { events: events.boxed(), beats, draining };
    stream::unfold(state, |mut follow| async move {
        let frame = follow.next().await?;
        Some((Ok(frame), follow))
    })
}

struct Follow {
    events: stream::BoxStream<'static, JobEvent>,
    beats: Interval,
    draining: CancellationToken,
}

impl Follow {
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => None,
            event = self.events.next() => {
                self.beats.reset();
                event.map(|event| frame(&event))
            }
            _ = self.beats.tick() => Some(Bytes::from_static(b": still here\n\n")),
        }
    }
}

/// One event. Its data is one line: JSON has no raw line breaks.
fn frame(event: &JobEvent) -> Bytes {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.event, event.data).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_a_text_does_not_end_the_event() {
        let data = serde_json::json!({ "error": "one\ntwo" });
        let event = JobEvent { seq: 7, event: "step".to_owned(), data };

        let frame = frame(&event);

        assert_eq!(&frame[..], b"id: 7\nevent: step\ndata: {\"error\":\"one\\ntwo\"}\n\n");
    }
}
