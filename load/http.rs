//! The part of an HTTP server that the servers of the comparison share: accept and serve, no more.

use std::convert::Infallible;
use std::io::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// An answer that is known in full.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves on a free port until killed; prints `listening <address>` first.
pub(crate) async fn serve<S, F>(answer: S) -> anyhow::Result<()>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a free port")?;
    writeln!(std::io::stdout(), "listening {}", listener.local_addr()?)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.context("accept a connection")?;
        stream.set_nodelay(true)?;
        // Ended connections are reaped here, so that the set does not grow for ever.
        while connections.try_join_next().is_some() {}
        let answer = answer.clone();
        connections.spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            // A client that goes away in the middle is its own business.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
