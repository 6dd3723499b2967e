//! The whole server, put together from its configuration. Only this module sees every part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tenantry_actors::clock::{SharedClock, SystemClock};
use tenantry_supervision::health::Registry;
use tenantry_supervision::shutdown::Shutdown;
use tenantry_supervision::spawn::{Task, Tasks, spawn};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::auth::Gatekeeper;
use crate::config::Config;
use crate::layers::{Front, FrontLayer, FrontSettings};
use crate::ops::{self, OpsState, Phase};
use crate::server::Server;
use crate::telemetry;

/// Of the drain's time, what open requests may take.
const REQUESTS_SHARE: Duration = Duration::from_secs(15);
/// Of the drain's time, what is kept for everything after the requests.
const TASKS_SHARE: Duration = Duration::from_secs(5);

/// Builds servers.
#[derive(Debug)]
pub struct App;

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where the public listener is.
    pub http_addr: SocketAddr,
    /// Where the operators' listener is.
    pub ops_addr: SocketAddr,
    tasks: Tasks,
    ops: OpsState,
    stop: CancellationToken,
    stop_ops: CancellationToken,
    public: Task<()>,
    operators: Task<()>,
    drain: Duration,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl App {
    /// Starts a server and returns once it serves.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let metrics = telemetry::metrics_handle();
        let clock: SharedClock = Arc::new(SystemClock);
        let tasks = Tasks::new();
        let health = Registry::new();
        let ops = OpsState::new(health, metrics.clone());
        spawn("telemetry.upkeep", &tasks, upkeep(metrics, tasks.token()));

        let public_listener = listen(config.http.listen.0).await?;
        let ops_listener = listen(config.ops.listen.0).await?;
        let http_addr = local(&public_listener, config.http.listen.0);
        let ops_addr = local(&ops_listener, config.ops.listen.0);

        let front = front(&config, clock, http_addr);
        let router = ops::probes(ops.clone()).layer(FrontLayer(front));
        let (stop, stop_ops) = (CancellationToken::new(), CancellationToken::new());
        let public = serve(public_listener, router, &config, &tasks, stop.clone());
        let operators =
            serve(ops_listener, ops::router(ops.clone()), &config, &tasks, stop_ops.clone());
        ops.enter(Phase::Serving);
        let drain = config.general.drain_timeout.0;
        Ok(Running { http_addr, ops_addr, tasks, ops, stop, stop_ops, public, operators, drain })
    }
}

impl Running {
    /// Stops in order: not ready, no new connections, open requests, then the parts behind.
    pub async fn stop(self) -> bool {
        self.ops.enter(Phase::Draining);
        let Self { tasks, stop, stop_ops, public, operators, drain, .. } = self;
        let report = Shutdown::new(drain)
            .phase("http", REQUESTS_SHARE, async move {
                stop.cancel();
                let _ = public.await;
            })
            .phase("tasks", TASKS_SHARE, async move {
                stop_ops.cancel();
                let _ = operators.await;
                tasks.finish(TASKS_SHARE).await;
            })
            .run()
            .await;
        report.is_clean()
    }
}

fn front(config: &Config, clock: SharedClock, http_addr: SocketAddr) -> Arc<Front> {
    let settings = FrontSettings {
        request_timeout: config.http.request_timeout.0,
        in_flight_max: u32::try_from(config.http.max_in_flight.0).unwrap_or(u32::MAX),
        trusted_proxies: config.trusted_proxies(),
        is_https: config.public_url(http_addr).starts_with("https://"),
    };
    let gatekeeper = Gatekeeper::new(config.limits.anonymous_per_minute.0);
    Arc::new(Front::new(settings, clock, Arc::new(gatekeeper)))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Task<()> {
    let server = Server::new(listener, router, &config.http, tasks.clone());
    spawn("http.accept", tasks, server.run(stop, REQUESTS_SHARE))
}

async fn upkeep(metrics: metrics_exporter_prometheus::PrometheusHandle, stop: CancellationToken) {
    let mut ticks = interval(telemetry::UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}
