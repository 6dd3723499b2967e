//! The way in: one route has a short one, all others go through the router.
//!
//! `POST /api/usage/consume` is asked for every unit of work of a product. It passes the same front
//! and ends in the same function as through the router, which stays the list of routes and knows it
//! too; what it saves are the router's boxes, clones and lookups by type
//! (docs/src/decisions/0013-a-short-way-in.md).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request};
use hyper::body::Incoming;
use tower::Service as _;

use super::input::idempotency_key;
use super::{Call, Web, body, usage};
use crate::layers::{Front, Passage, Route};
use crate::problem::Result;
use crate::server::{Answerer, Peer};

/// Answers the requests of the public listener.
#[derive(Clone, Debug)]
pub struct Entrance(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    front: Arc<Front>,
    web: Web,
    router: Router,
}

impl Entrance {
    /// An entrance; the router has the front around it already.
    pub fn new(front: Arc<Front>, web: Web, router: Router) -> Self {
        Self(Arc::new(Parts { front, web, router }))
    }
}

impl Answerer for Entrance {
    async fn answer(self, request: Request<Incoming>, peer: Peer) -> Response {
        let Parts { front, web, router } = &*self.0;
        if request.uri().path() == Route::CONSUME.as_str() && request.method() == Method::POST {
            let inner = |request, passage| consume(web, request, passage);
            return front.pass(request, Some(peer), Route::CONSUME, inner).await;
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let answer = router.clone().call(request).await;
        answer.unwrap_or_else(|never| match never {})
    }
}

/// Asks in the same order as the extractors of the route do: who, by which key, for what.
async fn consume(web: &Web, request: Request<Incoming>, passage: Passage) -> Result<Response> {
    let net = passage.net();
    let call = Call::of(passage)?;
    let key = idempotency_key(request.headers())?.map(str::to_owned);
    let items = net.catch(body::read_json(request, web.body_limits())).await?;
    // From here on the tenant's actor answers by the deadline.
    usage::use_units(web, &call, key.as_deref(), &items).await
}
