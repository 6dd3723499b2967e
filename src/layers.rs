//! What every request passes on its way in and every answer on its way out.
//!
//! The whole list stands in [`Front::pass`], in order: a tower layer for each would allocate and
//! copy the stack below it once per request. [`FrontLayer`] puts it around the router; the one
//! route that programs call all the time goes through it without a router.

mod address;
mod headers;
mod observe;
mod passage;
mod rate;
mod request_id;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri};
use tenantry_actors::clock::SharedClock;
use tenantry_supervision::deadline::Deadline;
use tenantry_supervision::gate::Gate;
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::auth::Gatekeeper;
use crate::problem::{Occurrence, Problem, ProblemKind};
use crate::server::Peer;
use observe::{Observed, Observer};

pub use address::client_address;
pub use observe::{ACTIVE_REQUESTS, REQUEST_SECONDS, Route};
pub use passage::Passage;
pub use rate::{Charge, Limiter, Policy};
pub use request_id::{RequestIds, X_REQUEST_ID};

/// A longer address is refused.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Seconds after which a client that met a full house should come back.
const OVERLOADED_RETRY_S: u64 = 1;
/// What a request that has no time of its own may take before its answer begins.
const UPLOAD_GRACE: Duration = Duration::from_secs(45);

/// Settings of the front.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// How long a request may take until its answer begins.
    pub request_timeout: Duration,
    /// Requests being worked on, at most.
    pub in_flight_max: u32,
    /// Proxies whose word about a client's address is taken.
    pub trusted_proxies: Vec<IpAddr>,
    /// What this site's addresses begin with.
    pub public_url: String,
}

/// What all requests share on their way.
#[derive(Debug)]
pub struct Front {
    settings: FrontSettings,
    clock: SharedClock,
    gate: Gate,
    observer: Observer,
    gatekeeper: Arc<Gatekeeper>,
}

/// The client's address, as far as it can be believed.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

impl Front {
    /// Builds the front.
    pub fn new(settings: FrontSettings, clock: SharedClock, gatekeeper: Arc<Gatekeeper>) -> Self {
        let gate = Gate::new("http.requests", settings.in_flight_max);
        Self { settings, clock, gate, observer: Observer::new(), gatekeeper }
    }

    /// The list: what happens to a request, from the outside in and back. `inner` has the last
    /// word about how long it may take.
    pub async fn pass<B, F, Inner>(
        &self,
        request: http::Request<B>,
        peer: Option<Peer>,
        route: Route,
        inner: F,
    ) -> Response
    where
        F: FnOnce(http::Request<B>, Passage) -> Inner,
        Inner: Future<Output = Result<Response, Problem>>,
    {
        let ids = RequestIds::of(request.headers(), &self.clock);
        let observed = self.observer.begin(route, request.method(), &ids);
        // A copy of an address shares its text.
        let uri = request.uri().clone();
        let path = uri.path();
        let method = request.method().clone();

        let shown = ids.shown.clone();
        let work = self.work(request, peer, ids, inner, &observed);
        let work = AssertUnwindSafe(work.instrument(observed.span.clone()));
        let mut response = match work.catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => problem.into_response(),
            Err(_) => Problem::internal("a handler panicked").into_response(),
        };

        let public_url = self.settings.public_url.as_str();
        let request_id = shown.to_str().unwrap_or_default();
        finish(&mut response, Occurrence { public_url, request_id, path }, &method);
        let is_page = is_html(&response) || path.starts_with("/assets/");
        let is_https = public_url.starts_with("https://");
        headers::secure(response.headers_mut(), is_page, is_https);
        response.headers_mut().insert(X_REQUEST_ID, shown);
        self.observer.end(&observed, &response);
        response
    }

    /// Admission, deadline and credentials, then the route itself.
    async fn work<B, F, Inner>(
        &self,
        request: http::Request<B>,
        peer: Option<Peer>,
        ids: RequestIds,
        inner: F,
        observed: &Observed,
    ) -> Result<Response, Problem>
    where
        F: FnOnce(http::Request<B>, Passage) -> Inner,
        Inner: Future<Output = Result<Response, Problem>>,
    {
        if uri_bytes(request.uri()) > URI_BYTES_MAX {
            return Err(Problem::new(ProblemKind::UriTooLong));
        }
        if is_ambiguous(request.headers()) {
            let close = HeaderValue::from_static("close");
            return Err(Problem::new(ProblemKind::MalformedRequest).header(CONNECTION, close));
        }
        let overloaded = |_| Problem::new(ProblemKind::Overloaded).retry_after(OVERLOADED_RETRY_S);
        let _permit = self.gate.try_enter().map_err(overloaded)?;
        let deadline = Deadline::after(self.settings.request_timeout);
        let address = self.address(peer, request.headers());
        let grace = UPLOAD_GRACE.min(self.settings.request_timeout);
        let mut passage = Passage::new(ids, deadline, grace, address);

        let asked =
            self.gatekeeper.admit(request.method(), request.uri(), request.headers(), address);
        let admitted = passage.net().catch(asked).await?;
        if let Some(recognised) = &admitted.recognised {
            observed.belongs_to(&recognised.principal);
        }
        let charge = admitted.charge;
        passage.recognised = admitted.recognised;
        passage.is_operator = admitted.is_operator;
        // A refusal was charged too, and says so.
        let mut response = inner(request, passage).await.unwrap_or_else(Problem::into_response);
        if let Some(charge) = &charge {
            charge.write(response.headers_mut());
        }
        Ok(response)
    }

    fn address(&self, peer: Option<Peer>, headers: &HeaderMap) -> IpAddr {
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
        client_address(peer, headers, &self.settings.trusted_proxies)
    }
}

/// Two lengths are one too many: a proxy in front might believe the other one.
fn is_ambiguous(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

fn uri_bytes(uri: &Uri) -> usize {
    uri.path().len() + uri.query().map_or(0, str::len)
}

fn is_html(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"text/html"))
}

/// Gives every error its document.
fn finish(response: &mut Response, at: Occurrence<'_>, method: &Method) {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_html(response) {
        return;
    }
    let problem = response.extensions().get::<Arc<Problem>>().cloned();
    let Some(problem) = problem.or_else(|| Problem::of_bare(response).map(Arc::new)) else {
        return;
    };
    problem.write(response, at);
    response.extensions_mut().insert(problem);
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    if status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::PAYLOAD_TOO_LARGE {
        // The rest of the body is still on its way: the connection cannot be used again.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
}

/// The front as a tower layer.
#[derive(Clone, Debug)]
pub struct FrontLayer(pub Arc<Front>);

impl<S> Layer<S> for FrontLayer {
    type Service = FrontService<S>;

    fn layer(&self, inner: S) -> FrontService<S> {
        FrontService { front: self.0.clone(), inner }
    }
}

/// The front around a service.
#[derive(Clone, Debug)]
pub struct FrontService<S> {
    front: Arc<Front>,
    inner: S,
}

impl<S> Service<Request> for FrontService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let front = self.front.clone();
        // The clone stays for the next request; the one that was made ready is used now.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let route = Route::of(request.extensions().get::<MatchedPath>().cloned());
        let peer = request.extensions().get::<Peer>().copied();
        let inner = move |mut request: Request, passage: Passage| {
            let net = passage.net();
            passage.mark(request.extensions_mut());
            net.catch(async move {
                let answer = ready.call(request).await;
                Ok(answer.unwrap_or_else(|never| match never {}))
            })
        };
        Box::pin(async move { Ok(front.pass(request, peer, route, inner).await) })
    }
}
