//! Health, readiness and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use tenantry_supervision::health::{Registry, Status};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not all parts run yet.
    Starting = 0,
    /// Serving.
    Serving = 1,
    /// Finishing what it has, taking nothing new.
    Draining = 2,
}

/// What the operators' listener tells.
#[derive(Clone, Debug)]
pub struct OpsState {
    phase: Arc<AtomicU8>,
    health: Registry,
    metrics: PrometheusHandle,
}

impl OpsState {
    /// A process that is starting.
    pub fn new(health: Registry, metrics: PrometheusHandle) -> Self {
        Self { phase: Arc::new(AtomicU8::new(Phase::Starting as u8)), health, metrics }
    }

    /// Moves on to another phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn phase_name(&self) -> &'static str {
        match self.phase.load(Ordering::Acquire) {
            0 => "starting",
            1 => "serving",
            _ => "draining",
        }
    }

    /// True if new requests should be sent here.
    pub fn is_ready(&self) -> bool {
        self.phase_name() == "serving" && self.health.is_ready()
    }

    fn body(&self) -> Value {
        let parts = self.health.report();
        let parts: Map<_, _> = parts
            .iter()
            .map(|part| (part.name.to_owned(), Value::from(part.status.as_str())))
            .collect();
        let overall = match self.health.overall() {
            Status::Ok => "ok",
            Status::Degraded => "degraded",
            Status::Down => "down",
        };
        json!({ "status": overall, "phase": self.phase_name(), "dependencies": parts })
    }
}

/// The probes, which both listeners answer.
pub fn probes(state: OpsState) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(state)
}

/// Everything of the operators' listener.
pub fn router(state: OpsState) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics_page)).with_state(state.clone());
    probes(state).merge(metrics)
}

async fn healthz(State(state): State<OpsState>) -> Response {
    axum::Json(state.body()).into_response()
}

async fn readyz(State(state): State<OpsState>) -> Response {
    let status = if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(state.body())).into_response()
}

async fn metrics_page(State(state): State<OpsState>) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, text)], state.metrics.render()).into_response()
}
