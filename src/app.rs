//! The whole server, put together from its configuration. Only this module sees every part.

pub(crate) mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tenantry_actors::clock::{SharedClock, SystemClock};
use tenantry_actors::database::FatalHook;
use tenantry_actors::root::{House, HouseError};
use tenantry_supervision::health::Registry;
use tenantry_supervision::shutdown::Shutdown;
use tenantry_supervision::spawn::{Task, Tasks, spawn};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::auth::{Gatekeeper, OperatorToken, RateLimits, SameOrigin, SessionCookie};
use crate::config::Config;
use crate::layers::{Front, FrontLayer, FrontSettings};
use crate::ops::{self, OpsState, Phase};
use crate::routes::{self, BodyLimits, Entrance, Web, WebParts};
use crate::server::{Answerer, Server};
use crate::{pages, telemetry};

use settings::Common;
pub use settings::SettingsError;

/// Of the drain's time, what open requests may take.
const REQUESTS_SHARE: Duration = Duration::from_secs(10);
/// Of the drain's time, what is kept for the front's own tasks.
const TASKS_SHARE: Duration = Duration::from_secs(2);

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
    house: House,
    tasks: Tasks,
    ops: OpsState,
    stops: Stops,
    public: Task<()>,
    operators: Task<()>,
    drain: Duration,
}

/// What tells the parts to stop.
#[derive(Clone, Debug, Default)]
struct Stops {
    http: CancellationToken,
    ops: CancellationToken,
    fatal: CancellationToken,
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
    /// The configuration names what cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A part did not start.
    #[error(transparent)]
    House(#[from] HouseError),
}

impl App {
    /// Starts a server and returns once it serves.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let metrics = telemetry::metrics_handle();
        let clock: SharedClock = Arc::new(SystemClock);
        let (tasks, stops) = (Tasks::new(), Stops::default());
        let health = Registry::new();
        let ops = OpsState::new(health.clone(), metrics.clone());
        spawn("telemetry.upkeep", &tasks, upkeep(metrics, tasks.token()));

        let public_listener = listen(config.http.listen.0).await?;
        let ops_listener = listen(config.ops.listen.0).await?;
        let http_addr = local(&public_listener, config.http.listen.0);
        let ops_addr = local(&ops_listener, config.ops.listen.0);
        let ops_router = ops::router(ops.clone());
        let operators = serve(ops_listener, ops_router, &config, &tasks, stops.ops.clone());

        let public_url = config.public_url(http_addr);
        let fatal = stops.fatal.clone();
        let hook = FatalHook::new(move |_| fatal.cancel());
        let common = Common { clock: clock.clone(), health, fatal: hook };
        let house = House::start(settings::house(&config, &public_url, common)?).await?;
        let web = web(&config, &house, clock.clone(), &public_url, &stops, &tasks);
        let front = front(&config, clock, public_url, &web);
        let router = ops::probes(ops.clone())
            .merge(routes::router(web.clone()))
            .merge(pages::router(web.clone()))
            .layer(FrontLayer(front.clone()));
        let entrance = Entrance::new(front, web, router);
        let public = serve(public_listener, entrance, &config, &tasks, stops.http.clone());
        ops.enter(Phase::Serving);
        let drain = config.general.drain_timeout.0;
        Ok(Running { http_addr, ops_addr, house, tasks, ops, stops, public, operators, drain })
    }
}

impl Running {
    /// Completes if the storage cannot be trusted any more: the process must end at once.
    pub async fn failed(&self) {
        self.stops.fatal.cancelled().await;
    }

    /// Stops in order: not ready, no new connections, open requests, relays, tenants, the last
    /// commit, everything else. Says whether each came to its end in time.
    pub async fn stop(self) -> bool {
        self.ops.enter(Phase::Draining);
        let Self { house, tasks, stops, public, operators, drain, .. } = self;
        let house_share = drain.saturating_sub(REQUESTS_SHARE + TASKS_SHARE);
        let report = Shutdown::new(drain)
            .phase("http", REQUESTS_SHARE, async move {
                stops.http.cancel();
                let _ = public.await;
            })
            .phase("house", house_share, async move {
                if !house.stop(house_share).await {
                    tracing::warn!("not every part came to its end in time");
                }
            })
            .phase("tasks", TASKS_SHARE, async move {
                stops.ops.cancel();
                let _ = operators.await;
                tasks.finish(TASKS_SHARE).await;
            })
            .run()
            .await;
        report.is_clean()
    }
}

fn web(
    config: &Config,
    house: &House,
    clock: SharedClock,
    public_url: &str,
    stops: &Stops,
    tasks: &Tasks,
) -> Web {
    Web::new(WebParts {
        tenants: house.tenants.clone(),
        identity: house.identity.clone(),
        webhooks: house.webhooks.clone(),
        ledger: house.ledger.clone(),
        storage: house.storage.clone(),
        voices: house.studio.voices(),
        catalogue: house.catalogue.clone(),
        keys: house.keys.clone(),
        clock,
        tasks: tasks.clone(),
        draining: stops.http.clone(),
        public_url: public_url.to_owned(),
        cookie: SessionCookie::new(public_url.starts_with("https://")),
        same_origin: SameOrigin::of(public_url),
        body: BodyLimits {
            size_max: config.http.max_body.0,
            pause_max: config.http.body_timeout.0,
        },
    })
}

fn front(config: &Config, clock: SharedClock, public_url: String, web: &Web) -> Arc<Front> {
    let settings = FrontSettings {
        request_timeout: config.http.request_timeout.0,
        in_flight_max: u32::try_from(config.http.max_in_flight.0).unwrap_or(u32::MAX),
        trusted_proxies: config.trusted_proxies(),
        public_url,
    };
    let limits = RateLimits {
        anonymous_per_minute: config.limits.anonymous_per_minute.0,
        user_per_second: config.limits.user_per_second.0,
    };
    let operator = config.general.operator_token.as_ref();
    let operator = operator.map(|token| OperatorToken::new(token.expose()));
    let gatekeeper = Gatekeeper::new(web.identity.clone(), web.cookie, operator, limits);
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
    answerer: impl Answerer,
    config: &Config,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Task<()> {
    let server = Server::new(listener, answerer, &config.http, tasks.clone());
    spawn("http.accept", tasks, server.run(stop, REQUESTS_SHARE))
}

async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = interval(telemetry::UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}
