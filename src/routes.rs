//! The API: one list of routes that is the router and the OpenAPI document at once.

mod admin;
mod artifacts;
pub(crate) mod body;
mod catalogue;
mod clock;
mod cloudevents;
mod corrections;
mod events;
mod hot;
mod ingest;
pub(crate) mod input;
mod item;
mod ledger;
pub(crate) mod login;
mod openapi;
mod quarantine;
mod range;
pub(crate) mod render;
mod reservations;
pub mod schema;
mod sessions;
pub(crate) mod templates;
mod usage;
mod webhooks;

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tenantry_actors::clock::SharedClock;
use tenantry_actors::identity::Identity;
use tenantry_actors::ledger::Ledger;
use tenantry_actors::privacy::keys::KeyRing;
use tenantry_actors::storage::Storage;
use tenantry_actors::studio::voices::Voices;
use tenantry_actors::tenant::plan::Catalogue;
use tenantry_actors::tenant::{Answer, Tenants};
use tenantry_actors::webhooks::Webhooks;
use tenantry_supervision::spawn::{Tasks, spawn};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{SameOrigin, SessionCookie};
use crate::problem::{Problem, Result};

pub use body::{BodyLimits, JsonBody, read};
pub use hot::Entrance;
pub use input::{Call, IdempotencyKey, OperatorCall, PathId, QueryArgs};
pub use openapi::text as openapi_text;

/// Says that an answer was given before.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Most answers of the usage plane are shorter; longer ones grow the buffer.
const USUAL_ANSWER_BYTES: usize = 256;
/// Headers of an answer, at most.
const ANSWER_HEADERS: usize = 16;

/// What every route may use. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Web(Arc<WebParts>);

/// The parts behind [`Web`].
#[derive(Debug)]
pub struct WebParts {
    /// The usage plane.
    pub tenants: Tenants,
    /// The identity plane.
    pub identity: Identity,
    /// Outgoing webhooks.
    pub webhooks: Webhooks,
    /// The tenants' entries.
    pub ledger: Ledger,
    /// Files.
    pub storage: Storage,
    /// Languages that can be spoken.
    pub voices: Arc<Voices>,
    /// Meters and plans.
    pub catalogue: Arc<Catalogue>,
    /// Digests.
    pub keys: KeyRing,
    /// Time.
    pub clock: SharedClock,
    /// Owner of work that goes on when its client leaves.
    pub tasks: Tasks,
    /// Tells endless answers to end.
    pub draining: CancellationToken,
    /// What addresses begin with.
    pub public_url: String,
    /// The browser's session.
    pub cookie: SessionCookie,
    /// This site.
    pub same_origin: SameOrigin,
    /// What a body may cost.
    pub body: BodyLimits,
}

impl Deref for Web {
    type Target = WebParts;

    fn deref(&self) -> &WebParts {
        &self.0
    }
}

impl Web {
    /// Puts the parts behind a handle.
    pub fn new(parts: WebParts) -> Self {
        Self(Arc::new(parts))
    }

    /// What a body may cost.
    pub fn body_limits(&self) -> BodyLimits {
        self.body
    }

    /// Runs a change to its end, also when its client leaves before.
    pub async fn detached<T: Send + 'static>(
        &self,
        name: &'static str,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        use tracing::Instrument as _;
        let change = change.instrument(tracing::Span::current());
        spawn(name, &self.tasks, change).await.map_err(Problem::internal)?
    }
}

fn api() -> OpenApiRouter<Web> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(login::request_link))
        .routes(routes!(login::verify))
        .routes(routes!(login::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(login::logout_all))
        .routes(routes!(login::me))
        .routes(routes!(login::switch))
        .routes(routes!(login::jwks))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::revoke))
        .routes(routes!(sessions::rotate_api_key))
        .routes(routes!(usage::report))
        .routes(routes!(usage::history))
        .routes(routes!(usage::consume))
        .routes(routes!(ingest::record))
        .routes(routes!(corrections::list, corrections::adjust))
        .routes(routes!(corrections::spend_cap, corrections::set_spend_cap))
        .routes(routes!(reservations::reserve))
        .routes(routes!(reservations::show))
        .routes(routes!(reservations::commit))
        .routes(routes!(reservations::release))
        .routes(routes!(reservations::extend))
        .routes(routes!(clock::advance))
        .routes(routes!(catalogue::feature))
        .routes(routes!(catalogue::plans))
        .routes(routes!(catalogue::voices))
        .routes(routes!(catalogue::list_templates))
        .routes(routes!(render::submit, render::list))
        .routes(routes!(render::show, render::delete))
        .routes(routes!(render::cancel))
        .routes(routes!(render::retry))
        .routes(routes!(events::watch))
        .routes(routes!(artifacts::show))
        .routes(routes!(ledger::entries))
        .routes(routes!(ledger::export))
        .routes(routes!(ledger::statement))
        .routes(routes!(ledger::keys))
        .routes(routes!(admin::node))
        .routes(routes!(admin::tenants))
        .routes(routes!(admin::tenant))
        .routes(routes!(admin::set_plan))
        .routes(routes!(admin::set_enforcement))
        .routes(routes!(admin::features::set_feature))
        .routes(routes!(admin::grants::grant))
        .routes(routes!(admin::grants::extend))
        .routes(routes!(admin::grants::revoke))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::show, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::resend))
        .routes(routes!(quarantine::lift))
}

/// The API's router.
pub fn router(web: Web) -> Router {
    let (router, _document) = api().split_for_parts();
    router
        .route("/api/openapi.json", axum::routing::get(openapi::serve))
        .with_state(web)
        .layer(DefaultBodyLimit::disable())
}

/// An answer that may have been given before.
fn answered<T: Serialize>(status: StatusCode, answer: Answer<T>) -> Response {
    let Answer { value, replayed } = answer;
    let mut text = Vec::with_capacity(USUAL_ANSWER_BYTES);
    if let Err(error) = serde_json::to_writer(&mut text, &value) {
        return Problem::internal(error).into_response();
    }
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    // Room for what the front adds: growing would move them all.
    let mut headers = HeaderMap::with_capacity(ANSWER_HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.headers_mut() = headers;
    marked(response, replayed)
}

/// Says that it is done, now or before, and nothing more.
fn done(answer: &Answer<()>) -> Response {
    marked(StatusCode::NO_CONTENT.into_response(), answer.replayed)
}

fn marked(mut response: Response, is_replayed: bool) -> Response {
    if is_replayed {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, yes);
    }
    response
}
