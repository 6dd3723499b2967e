//! Logs as JSON lines on stderr, metrics in the Prometheus format.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::sections::{LogFormat, Telemetry};
use crate::layers::{ACTIVE_REQUESTS, REQUEST_SECONDS};
use crate::server::CONNECTIONS_REFUSED_TOTAL;

/// Buckets of everything measured in seconds: from a cached answer to a step's deadline.
const SECONDS: [f64; 16] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Buckets of counts: rows in a batch, waiters in a queue.
const COUNTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0];
/// Buckets of sizes in bytes.
const BYTES: [f64; 8] =
    [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 16_777_216.0];
/// How often histograms are folded, so that their samples do not pile up unread.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Starts the log. The second call in one process (tests) changes nothing.
pub fn start_log(settings: &Telemetry) {
    let filter = EnvFilter::try_new(&settings.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match settings.log_format {
        LogFormat::Json => base
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
            .map_err(drop),
        LogFormat::Text => base.compact().try_init().map_err(drop),
    };
}

/// Which build this is; always 1.
const BUILD_INFO: &str = "tenantry_build_info";

/// Says what the metrics of the front mean, and those of its building blocks.
fn describe() {
    tenantry_supervision::measured::describe();
    metrics::describe_histogram!(
        REQUEST_SECONDS,
        metrics::Unit::Seconds,
        "time from a request to the head of its answer"
    );
    metrics::describe_gauge!(ACTIVE_REQUESTS, "requests that are being answered");
    metrics::describe_counter!(
        CONNECTIONS_REFUSED_TOTAL,
        "connections refused because there were too many"
    );
    metrics::describe_gauge!(BUILD_INFO, "which build this is");
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
}

/// The process's metrics, installed on first use.
pub fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let suffix = |end: &str| Matcher::Suffix(end.to_owned());
            // Only an empty list of buckets is refused, and none is.
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(suffix("_seconds"), &SECONDS)
                .and_then(|b| b.set_buckets_for_metric(suffix("_bytes"), &BYTES))
                .and_then(|b| b.set_buckets(&COUNTS))
                .unwrap_or_default()
                .build_recorder();
            let handle = recorder.handle();
            // Whoever installed another recorder before us keeps it; ours then stays empty.
            let _ = metrics::set_global_recorder(recorder);
            describe();
            handle
        })
        .clone()
}
