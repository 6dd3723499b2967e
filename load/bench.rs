//! The measurements: the comparison with a bare server, and plain load.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::ensure;

use crate::generator::{Pace, Plan, Requests, Tally, run, send_each_once};
use crate::process::{cpu_of, flush_cost, own_cpu};
use crate::server::{Server, Stage, Tenant, used};
use crate::table::{Row, render};
use crate::{BenchArgs, Common, LoadArgs};

/// How long each measurement runs before it counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// An open loop gets this many times the connections, so that they are not what limits it.
const OPEN_LOOP_CONNECTIONS: u32 = 4;

/// One thing that is measured, over all rounds.
struct Arm<'a> {
    name: String,
    server: &'a Server,
    requests: Arc<Requests>,
    rounds: Vec<Round>,
}

/// What one round found.
struct Round {
    tally: Tally,
    server_cpu: Duration,
    own_cpu: Duration,
}

impl<'a> Arm<'a> {
    fn new(name: &str, server: &'a Server, requests: &Arc<Requests>) -> Self {
        let requests = Arc::clone(requests);
        Self { name: name.to_owned(), server, requests, rounds: Vec::new() }
    }

    fn plan(&self, pace: Pace, connections: u32, duration: Duration) -> Plan {
        Plan {
            address: self.server.address,
            requests: Arc::clone(&self.requests),
            pace,
            connections,
            warm_up: WARM_UP,
            duration,
        }
    }

    fn run_round(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let (server_before, own_before) = (cpu_of(self.server.pid())?, own_cpu()?);
        let tally = run(plan)?;
        self.rounds.push(Round {
            tally,
            server_cpu: cpu_of(self.server.pid())?.saturating_sub(server_before),
            own_cpu: own_cpu()?.saturating_sub(own_before),
        });
        Ok(())
    }

    /// The rounds together: latencies and processor time of all, requests a second of the median.
    fn row(&self, duration: Duration, bare_per_s: Option<u64>) -> Row {
        let mut rates: Vec<u64> =
            self.rounds.iter().map(|round| per_s(round.tally.latencies.len(), duration)).collect();
        rates.sort_unstable();
        let rate = rates.get(rates.len() / 2).copied().unwrap_or(0);
        let all = self.tally();
        // Processor time is counted over the warm-up too, and so are the requests it is divided by.
        let requests = u32::try_from(all.acknowledged + all.refused.values().sum::<u64>());
        let requests = requests.unwrap_or(u32::MAX).max(1);
        let server_cpu: Duration = self.rounds.iter().map(|round| round.server_cpu).sum();
        let own_cpu: Duration = self.rounds.iter().map(|round| round.own_cpu).sum();
        Row {
            name: self.name.clone(),
            per_s: rate,
            latencies: [500_000, 990_000, 999_000].map(|at| all.latencies.quantile(at)),
            server_cpu: server_cpu / requests,
            own_cpu: own_cpu / requests,
            percent_of_bare: bare_per_s.filter(|bare| *bare > 0).map(|bare| rate * 100 / bare),
        }
    }

    fn tally(&self) -> Tally {
        self.rounds.iter().fold(Tally::new(), |mut all, round| {
            all.merge(&round.tally);
            all
        })
    }
}

fn per_s(count: u64, duration: Duration) -> u64 {
    count * 1000 / u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A running server with its tenants, and the requests for the many and for a single one.
struct Scene {
    stage: Stage,
    server: Server,
    single: Tenant,
    everyone: Arc<Requests>,
    one: Arc<Requests>,
}

impl Scene {
    fn set(common: &Common) -> anyhow::Result<Self> {
        let stage = Stage::new(common.server.clone(), common.scratch.clone())?;
        // The single tenant is not among the many, so that its use can be compared with its answers.
        let tenants = stage.create_tenants(common.tenants.max(1) + 1)?;
        let keys: Vec<_> = tenants.iter().map(|tenant| tenant.api_key.clone()).collect();
        let next = Arc::new(AtomicU64::new(0));
        Ok(Self {
            server: stage.serve()?,
            stage,
            single: tenants[0].clone(),
            everyone: Arc::new(Requests::consume(&keys[1..], &next)),
            one: Arc::new(Requests::consume(&keys[..1], &next)),
        })
    }

    /// Sends each tenant's first request, which wakes it.
    fn wake(&self, common: &Common) -> anyhow::Result<()> {
        let arm = Arm::new("first requests", &self.server, &self.everyone);
        let took = send_each_once(&arm.plan(Pace::Closed, common.connections, Duration::ZERO))?;
        say(&format!("first request of each of {} tenants: {took:.1?} in all", common.tenants))
    }
}

/// Runs the comparison and prints its table.
pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let bare = Server::bare()?;
    let scene = Scene::set(common)?;
    introduce(common, &scene)?;
    scene.wake(common)?;
    let many = format!("consume, {} tenants", common.tenants);
    let mut arms = [
        Arm::new("bare hyper server", &bare, &scene.everyone),
        Arm::new(&many, &scene.server, &scene.everyone),
        Arm::new("consume, 1 tenant", &scene.server, &scene.one),
    ];
    // The rounds of the arms alternate, so that a busy minute of the machine touches all of them.
    for _ in 0..args.rounds.max(1) {
        for arm in &mut arms {
            let plan = arm.plan(Pace::Closed, common.connections, args.duration());
            arm.run_round(&plan)?;
        }
    }
    let bare_per_s = arms[0].row(args.duration(), None).per_s;
    let mut rows: Vec<Row> =
        arms.iter().map(|arm| arm.row(args.duration(), Some(bare_per_s))).collect();
    let mut halves = Vec::new();
    for (arm, row) in arms.iter().zip(&rows) {
        let name = format!("{}, half of that", arm.name);
        let mut half = Arm::new(&name, arm.server, &arm.requests);
        let pace = Pace::Open { per_s: (row.per_s / 2).max(1) };
        let connections = common.connections * OPEN_LOOP_CONNECTIONS;
        half.run_round(&half.plan(pace, connections, args.duration()))?;
        halves.push(half);
    }
    rows.extend(halves.iter().map(|half| half.row(args.duration(), None)));
    say(&format!("\n{}", render(&rows)))?;
    conclude(&scene, arms.iter().chain(&halves).collect())
}

/// Sends load and prints what it took.
pub(crate) fn load(args: &LoadArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let scene = Scene::set(common)?;
    introduce(common, &scene)?;
    scene.wake(common)?;
    let duration = Duration::from_secs(args.seconds);
    let mut arm = Arm::new("consume", &scene.server, &scene.everyone);
    let plan = match args.rate {
        None => arm.plan(Pace::Closed, common.connections, duration),
        Some(per_s) => {
            let connections = common.connections * OPEN_LOOP_CONNECTIONS;
            arm.plan(Pace::Open { per_s: per_s.max(1) }, connections, duration)
        }
    };
    arm.run_round(&plan)?;
    say(&format!("\n{}", render(&[arm.row(duration, None)])))?;
    conclude(&scene, vec![&arm])
}

fn introduce(common: &Common, scene: &Scene) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let flush = flush_cost(scene.stage.folder())?;
    say(&format!(
        "{cores} cores, shared by server and generator; {} connections; a flush to disk takes {flush:.1?}",
        common.connections
    ))?;
    if cfg!(debug_assertions) {
        say("this is a debug build: its numbers say nothing")?;
    }
    Ok(())
}

/// Checks that nothing was refused, and that the server counted exactly what it acknowledged.
fn conclude(scene: &Scene, arms: Vec<&Arm<'_>>) -> anyhow::Result<()> {
    let mut acknowledged_to_one = 0;
    for arm in arms {
        let tally = arm.tally();
        let text = tally.first_refusal.as_deref().unwrap_or_default();
        ensure!(tally.refused.is_empty(), "{}: refused {:?}: {text}", arm.name, tally.refused);
        if tally.unsent > 0 {
            say(&format!("{}: {} requests were due and not sent", arm.name, tally.unsent))?;
        }
        if Arc::ptr_eq(&arm.requests, &scene.one) {
            acknowledged_to_one += tally.acknowledged;
        }
    }
    let used = used(scene.server.address, &scene.single, "tts_ms")?;
    ensure!(
        used == acknowledged_to_one,
        "the single tenant was acknowledged {acknowledged_to_one} units and has {used}"
    );
    if used == 0 {
        return say("nothing refused; only an arm of one tenant has its units counted");
    }
    say(&format!("nothing refused; the single tenant's {used} acknowledged units are all counted"))
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
