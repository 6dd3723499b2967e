//! The bare server: hyper and nothing else, which reads each request and answers a constant.

use std::convert::Infallible;
use std::io::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// As long as the answer of a metered request, so that both send about the same number of bytes.
const ANSWER: &str = concat!(
    r#"{"admitted":true,"items":[{"meter":"tts_ms","charged":1,"used":123456,"#,
    r#""remaining":59876544,"limit":60000000}],"period":"2026-11","seq":123456}"#
);

/// Serves on a free port until killed; prints `listening <address>` first.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a free port")?;
        writeln!(std::io::stdout(), "listening {}", listener.local_addr()?)?;
        accept(listener).await
    })
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.context("accept a connection")?;
        stream.set_nodelay(true)?;
        // Ended connections are reaped here, so that the set does not grow for ever.
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // A client that goes away in the middle is its own business.
            let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The body is read to its end, as any real server has to.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
