//! The bare server: hyper and nothing else, which reads each request and answers a constant.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};

use crate::http::{self, Answer};

/// As long as the answer of a metered request, so that both send about the same number of bytes.
const ANSWER: &str = concat!(
    r#"{"admitted":true,"items":[{"meter":"tts_ms","charged":1,"used":123456,"#,
    r#""remaining":59876544,"limit":60000000}],"period":"2026-11","seq":123456}"#
);

/// Serves until killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(http::serve(answer))
}

async fn answer(request: Request<Incoming>) -> Answer {
    // The body is read to its end, as any real server has to.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
