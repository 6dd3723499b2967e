//! The world's HTTP listener: providers, mailbox and switches, each as pages and as an API.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenantry_supervision::{Tasks, spawn};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::switches::{Mode, Service, Setting};
use super::{Hook, Shared, image, pages, receiver, speech};

/// Clients at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take for a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// The longest delay of a slow service.
const MAX_DELAY_MS: u64 = 600_000;

/// The longest that a client may wait for a mail.
const MAX_WAIT_S: u64 = 300;

/// Every route of the world.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/style.css", get(style))
        .route("/switches/{service}", post(switch_by_form))
        .route("/api/world", get(state))
        .route("/api/world/{service}", get(service_state).put(switch_by_api))
        .route("/mailbox", get(mailbox))
        .route("/mailbox/{id}", get(mail))
        .route("/mailbox/{id}/html", get(mail_html))
        .route("/mailbox/api/messages", get(messages))
        .route("/mailbox/api/messages/{id}", get(message))
        .route("/image/v1/images/generations", post(draw))
        .route("/speech/v1/audio/speech", post(speak))
        .route("/receiver/{name}", post(receive))
        .with_state(shared)
}

/// Serves until the tasks are told to end; open requests are then dropped, as a world that ends does.
pub(super) async fn serve(listener: TcpListener, app: Router, tasks: Tasks) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = tasks.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let service = TowerToHyperService::new(app.clone());
        let ended = tasks.token();
        spawn("world-http-connection", &tasks, async move {
            let _permit = permit;
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            tokio::select! {
                () = ended.cancelled() => {}
                // A client that breaks off is no event of the world.
                _ = builder.serve_connection(TokioIo::new(stream), service) => {}
            }
        });
    }
}

async fn index(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(pages::index(&shared.switches, &shared.log, &shared.mailbox))
}

async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], pages::STYLE)
}

#[derive(Deserialize)]
struct SwitchRequest {
    mode: Mode,
    #[serde(default)]
    delay_ms: Option<u64>,
}

async fn switch_by_form(
    State(shared): State<Arc<Shared>>,
    Path(service): Path<String>,
    Form(request): Form<SwitchRequest>,
) -> Response {
    match switch(&shared, &service, &request) {
        Ok(_) => Redirect::to("/").into_response(),
        Err(refusal) => refusal,
    }
}

async fn switch_by_api(
    State(shared): State<Arc<Shared>>,
    Path(service): Path<String>,
    Json(request): Json<SwitchRequest>,
) -> Response {
    switch(&shared, &service, &request)
        .map_or_else(|refusal| refusal, |setting| Json(setting).into_response())
}

#[expect(clippy::result_large_err, reason = "a response is made once per mistaken request")]
fn switch(shared: &Shared, service: &str, request: &SwitchRequest) -> Result<Setting, Response> {
    let service: Service = service.parse().map_err(|_| missing("no such service"))?;
    let delay_ms = request.delay_ms.unwrap_or(shared.switches.get(service).delay_ms);
    let setting = Setting { mode: request.mode, delay_ms: delay_ms.min(MAX_DELAY_MS) };
    shared.switches.put(service, setting);
    Ok(setting)
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let services = Service::ALL.map(|service| {
        let setting = shared.switches.get(service);
        let seen = shared.log.of(service).len();
        json!({ "service": service, "mode": setting.mode, "delay_ms": setting.delay_ms,
                "requests": seen })
    });
    Json(json!({ "services": services, "modes": Mode::ALL }))
}

async fn service_state(State(shared): State<Arc<Shared>>, Path(service): Path<String>) -> Response {
    let Ok(service) = service.parse::<Service>() else { return missing("no such service") };
    let setting = shared.switches.get(service);
    Json(json!({ "service": service, "mode": setting.mode, "delay_ms": setting.delay_ms,
                 "requests": shared.log.of(service) }))
    .into_response()
}

#[derive(Deserialize)]
struct MailFilter {
    to: Option<String>,
    /// How long to wait for a first mail to that address.
    #[serde(default)]
    wait_s: u64,
}

async fn mailbox(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<MailFilter>,
) -> Html<String> {
    Html(pages::mailbox(&shared.mailbox, filter.to.as_deref()))
}

async fn mail(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    let Some(mail) = shared.mailbox.get(id) else { return missing("no such mail") };
    Html(pages::mail(&mail, &shared.mailbox.age(&mail))).into_response()
}

/// A mail's own HTML: no scripts, no outside resources, links open in a page of their own.
async fn mail_html(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    let html = shared.mailbox.get(id).and_then(|mail| mail.html);
    let Some(html) = html else { return missing("no such mail") };
    let policy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
                  style-src 'unsafe-inline'; img-src data:";
    ([(CONTENT_SECURITY_POLICY, policy)], Html(format!("<base target=\"_blank\">{html}")))
        .into_response()
}

async fn messages(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<MailFilter>,
) -> Json<Value> {
    if let Some(to) = &filter.to {
        let within = Duration::from_secs(filter.wait_s.min(MAX_WAIT_S));
        // Whether one came in time shows in the list.
        let _ = shared.mailbox.wait_for(to, 1, within).await;
    }
    Json(json!({ "messages": shared.mailbox.to(filter.to.as_deref()) }))
}

async fn message(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    shared
        .mailbox
        .get(id)
        .map_or_else(|| missing("no such mail"), |mail| Json(mail).into_response())
}

async fn draw(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    match provide(&shared, Service::Image, &headers, &body).await {
        Provided::Request(request) => image::answer(&request),
        Provided::Garbage => image::garbage(),
        Provided::Refused(refusal) => refusal,
    }
}

async fn speak(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    match provide(&shared, Service::Speech, &headers, &body).await {
        Provided::Request(request) => speech::answer(&request, shared.is_spoken).await,
        Provided::Garbage => speech::garbage(),
        Provided::Refused(refusal) => refusal,
    }
}

/// What comes of a request before the provider does its work.
enum Provided<T> {
    Request(T),
    Garbage,
    Refused(Response),
}

/// What every provider does first: remember the request, behave as switched, ask for a key, read it.
async fn provide<T: DeserializeOwned>(
    shared: &Shared,
    service: Service,
    headers: &HeaderMap,
    body: &[u8],
) -> Provided<T> {
    let mode = shared.switches.get(service).mode;
    shared.log.add(service, mode, &String::from_utf8_lossy(body));
    match shared.switches.before_answer(service).await {
        Mode::Failing => {
            let body = json!({ "error": { "message": "the simulated provider fails" } });
            return Provided::Refused(
                (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response(),
            );
        }
        Mode::Garbage => return Provided::Garbage,
        Mode::Healthy | Mode::Slow | Mode::Hanging => {}
    }
    let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !key.is_some_and(|key| key.starts_with("Bearer ") && key.len() > "Bearer ".len()) {
        let body = json!({ "error": { "message": "an API key is missing" } });
        return Provided::Refused((StatusCode::UNAUTHORIZED, Json(body)).into_response());
    }
    match serde_json::from_slice(body) {
        Ok(request) => Provided::Request(request),
        Err(error) => Provided::Refused(image::refused(&error.to_string())),
    }
}

/// Takes a webhook. As nonsense it redirects, which nobody who signs a message may follow.
async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mode = shared.switches.get(Service::Receiver).mode;
    let body = String::from_utf8_lossy(&body).into_owned();
    shared.log.add(Service::Receiver, mode, &body);
    let status = match shared.switches.before_answer(Service::Receiver).await {
        Mode::Failing => StatusCode::INTERNAL_SERVER_ERROR,
        Mode::Garbage => StatusCode::FOUND,
        Mode::Healthy | Mode::Slow | Mode::Hanging => StatusCode::NO_CONTENT,
    };
    shared.receiver.add(Hook::new(&name, &headers, body, status.as_u16()));
    if status == StatusCode::FOUND {
        let elsewhere = [(LOCATION, format!("/receiver/{}", receiver::REDIRECTED))];
        return (status, elsewhere).into_response();
    }
    status.into_response()
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": what }))).into_response()
}
