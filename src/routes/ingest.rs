//! Usage that was already spent, as CloudEvents: each event counts once, however often it comes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use tenantry_actors::clock::Timestamp;
use tenantry_actors::tenant::quota::{Event, EventDigest, EventRejection, MAX_AMOUNT, Recorded};
use tenantry_actors::tenant::{Answer, WHEN_RECORDED};

use super::cloudevents::{self, Reading};
use super::openapi::Problems;
use super::schema::{EventBody, EventResult, EventStatus, EventsAnswer};
use super::{Call, IdempotencyKey, Web, answered, read};
use crate::auth::Scope;
use crate::problem::{Problem, ProblemKind, Result};

/// Records events. The answer has a result for each, in their order.
///
/// Takes one event (`application/cloudevents+json`, or with its attributes in `ce-` headers) or up
/// to 1,000 (`application/cloudevents-batch+json`). An event that comes again is a `duplicate`,
/// which is as good as accepted.
#[utoipa::path(
    post, path = "/api/events", tag = "usage",
    request_body(
        content(
            (EventBody = "application/cloudevents+json"),
            (Vec<EventBody> = "application/cloudevents-batch+json"),
            (EventBody = "application/json")
        )
    ),
    params(("Idempotency-Key" = Option<String>, Header, description = "The operation's name")),
    responses((status = 200, body = EventsAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn record(
    State(web): State<Web>,
    call: Call,
    key: IdempotencyKey,
    request: Request,
) -> Result<Response> {
    call.caller.may(Scope::UsageWrite)?;
    let headers = request.headers().clone();
    let body = read(request, web.body_limits()).await?;
    let tenant = call.caller.tenant();
    let readings = cloudevents::read(&headers, &body, tenant)?;
    let places: Vec<Place<'_>> = readings.into_iter().map(|read| Place::of(&web, read)).collect();
    let canonical = canonical(&places);
    let events = events(&places);
    if events.is_empty() {
        let results = results(&web, places, &Recorded::default());
        return Ok(answered(StatusCode::OK, Answer::first(results)));
    }
    let context = call.keyed(&web, "events", key.0.as_deref(), &canonical);
    let answer = web.tenants.record(tenant, events, context).await?;
    let results = results(&web, places, &answer.value);
    let replayed = answer.replayed;
    Ok(answered(StatusCode::OK, Answer { value: results, replayed }))
}

/// An event in its place in the request.
struct Place<'a> {
    id: Option<Cow<'a, str>>,
    found: Result<Event>,
}

impl<'a> Place<'a> {
    fn of(web: &Web, reading: Reading<'a>) -> Self {
        let Reading { id, found } = reading;
        let found = found.map(|found| Event {
            digest: web.tenants.event_digest(&found.source, &found.id),
            meter: found.meter,
            amount: found.amount,
            at: found.at.unwrap_or(WHEN_RECORDED),
        });
        Self { id, found }
    }
}

/// The events to record: of those that are named twice the first.
fn events(places: &[Place<'_>]) -> Vec<Event> {
    let mut seen = BTreeSet::new();
    let found = places.iter().filter_map(|place| place.found.as_ref().ok());
    found.filter(|event| seen.insert(event.digest)).cloned().collect()
}

/// The request written again. An event without a time is the same whenever it comes.
fn canonical(places: &[Place<'_>]) -> Vec<u8> {
    let mut text = Vec::with_capacity(places.len() * 64);
    for place in places {
        match &place.found {
            Ok(event) => {
                text.extend_from_slice(event.digest.as_bytes());
                text.extend_from_slice(event.meter.as_str().as_bytes());
                text.push(b'=');
                text.extend_from_slice(&event.amount.to_le_bytes());
                text.extend_from_slice(&event.at.as_micros().to_le_bytes());
            }
            Err(problem) => {
                text.push(b'!');
                text.extend_from_slice(problem.kind().code().as_bytes());
                text.extend_from_slice(place.id.as_deref().unwrap_or_default().as_bytes());
            }
        }
        text.push(0);
    }
    text
}

/// Says of each event what became of it.
fn results(web: &Web, places: Vec<Place<'_>>, recorded: &Recorded) -> EventsAnswer {
    let mut accepted: BTreeSet<EventDigest> = recorded.accepted.iter().copied().collect();
    let rejected: BTreeMap<EventDigest, EventRejection> =
        recorded.rejected.iter().copied().collect();
    let result = |place: Place<'_>| {
        let (status, problem) = match place.found {
            Err(problem) => (EventStatus::Rejected, Some(problem)),
            Ok(event) => match rejected.get(&event.digest) {
                Some(reason) => (EventStatus::Rejected, Some(rejection(*reason, &event))),
                // The same event further down in the batch is a duplicate of this one.
                None if accepted.remove(&event.digest) => (EventStatus::Accepted, None),
                None => (EventStatus::Duplicate, None),
            },
        };
        let problem = problem.map(|problem| problem.embedded(&web.public_url));
        EventResult { id: place.id.map(Cow::into_owned), status, problem }
    };
    EventsAnswer { results: places.into_iter().map(result).collect() }
}

fn rejection(reason: EventRejection, event: &Event) -> Problem {
    let at: Timestamp = event.at;
    match reason {
        EventRejection::UnknownMeter => Problem::new(ProblemKind::UnknownMeter)
            .detail(format!("There is no meter `{}`.", event.meter))
            .with("meter", event.meter.as_str())
            .field("/type", "its last part names no meter"),
        EventRejection::EventTooOld => Problem::new(ProblemKind::EventTooOld)
            .detail(format!("{at} lies before the periods that are open for events."))
            .field("/time", "too old"),
        EventRejection::EventInFuture => Problem::new(ProblemKind::EventInFuture)
            .detail(format!("{at} lies more than 5 minutes ahead."))
            .field("/time", "in the future"),
        EventRejection::InvalidAmount => {
            Problem::invalid("/data/amount", format!("the period's sum would pass {MAX_AMOUNT}"))
        }
    }
}
