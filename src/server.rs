//! The accept loop: connections with limits on everything a client can hold open.
//!
//! hyper closes slow heads and idle connections by itself, but never a client that sends nothing
//! or part of an HTTP/2 preface, and it never gives up on one that does not read. Both are done
//! here.

mod drain;
mod slots;
mod stall;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tenantry_supervision::spawn::{Tasks, spawn};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::config::sections::Http;
use drain::{Drain, Member, Phase};
use slots::{Slot, Slots};
use stall::StallGuard;

pub use slots::bucket_of;

/// Connections that were refused because there were too many.
pub const CONNECTIONS_REFUSED_TOTAL: &str = "http_server_connections_refused_total";
/// A head longer than this is answered 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Headers of one request, at most.
const MAX_HEADERS: usize = 100;
/// Requests of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 100;
/// Streams reset by errors of the client before its connection is closed.
const MAX_LOCAL_RESETS: usize = 256;
/// Bytes in flight towards us on one HTTP/2 stream.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes in flight towards us on one HTTP/2 connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes waiting to be sent on one HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// How often a silent HTTP/2 connection is asked whether it lives, and how long it may think.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (out of file descriptors) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is on the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What answers the requests of a server; a clone for each of them.
pub trait Answerer: Clone + Send + Sync + 'static {
    /// Answers one.
    fn answer(
        self,
        request: http::Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response> + Send;
}

impl Answerer for Router {
    async fn answer(mut self, request: http::Request<Incoming>, peer: Peer) -> Response {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        self.call(request).await.unwrap_or_else(|never| match never {})
    }
}

/// One listener and what serves it.
#[derive(Debug)]
pub struct Server<A> {
    listener: TcpListener,
    answerer: A,
    tasks: Tasks,
    limits: Limits,
    slots: Slots,
    builder: Builder<TokioExecutor>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    first_byte: Duration,
    head: Duration,
    stall: Duration,
}

impl<A: Answerer> Server<A> {
    /// Prepares to serve.
    pub fn new(listener: TcpListener, answerer: A, http: &Http, tasks: Tasks) -> Self {
        let limits = Limits {
            first_byte: http.first_byte_timeout.0,
            head: http.head_timeout.0,
            stall: http.body_timeout.0,
        };
        let slots = Slots::new(http.max_connections.0, http.max_connections_per_address.0);
        Self { listener, answerer, tasks, limits, slots, builder: builder(limits.head) }
    }

    /// Serves until told to stop, then waits for the connections, at most so long.
    pub async fn run(self, stop: CancellationToken, drain: Duration) {
        let connections = Drain::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer, &connections),
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        connections.tell(Phase::Draining);
        if timeout(drain, connections.emptied()).await.is_err() {
            tracing::warn!("connections were cut after the drain's time");
        }
        connections.tell(Phase::Cut);
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, connections: &Drain) {
        let Some(slot) = self.slots.take(peer.ip()) else {
            metrics::counter!(CONNECTIONS_REFUSED_TOTAL).increment(1);
            return;
        };
        // Answers are small and complete when written: waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let seen = Arc::new(AtomicBool::new(false));
        let service = {
            let (answerer, seen) = (self.answerer.clone(), seen.clone());
            service_fn(move |request: http::Request<Incoming>| {
                seen.store(true, Ordering::Relaxed);
                let answer = answerer.clone().answer(request, Peer(peer));
                async move { Ok::<_, Infallible>(answer.await) }
            })
        };
        let (builder, limits, member) = (self.builder.clone(), self.limits, connections.join());
        spawn("http.connection", &self.tasks, async move {
            let _slot: Slot = slot;
            let mut first = [0];
            if !matches!(timeout(limits.first_byte, stream.peek(&mut first)).await, Ok(Ok(1))) {
                return;
            }
            let io = TokioIo::new(StallGuard::new(stream, limits.stall));
            let connection = builder.serve_connection(io, service).into_owned();
            attend(connection, member, &seen, sleep(limits.head)).await;
        });
    }
}

/// Serves a connection to its end: its own, or the server's, or that of the time in which a first
/// request has to come.
async fn attend<C>(connection: C, mut member: Member, seen: &AtomicBool, silent: Sleep)
where
    C: GracefulConnection<Error: std::fmt::Display>,
{
    let (mut connection, mut silent) = (pin!(connection), pin!(silent));
    let mut is_finishing = false;
    std::future::poll_fn(|cx| {
        match member.phase(cx) {
            Phase::Open => {}
            Phase::Draining if is_finishing => {}
            Phase::Draining => {
                is_finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            Phase::Cut => return Poll::Ready(()),
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(error = %error, "a connection ended early");
            }
            return Poll::Ready(());
        }
        if !seen.load(Ordering::Relaxed) && silent.as_mut().poll(cx).is_ready() {
            tracing::debug!("a connection sent no request");
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

fn builder(head_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(16 * 1024)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests;
