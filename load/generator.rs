//! The generator: closed loop for throughput, open loop for latency.
//!
//! In a closed loop each connection sends its next request when the last one is answered, which finds
//! the maximum but forgives the server its pauses. In an open loop requests are due by a schedule that
//! does not wait, and latency counts from when a request was due: a pause shows in all that it delayed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Connection;
use crate::histogram::Histogram;
use crate::requests::Requests;

/// How far apart the moments are at which requests become due, in microseconds. Those of one moment
/// leave together; finer than a sleeping thread can be woken would be pretence.
const GRAIN_US: u64 = 250;

/// How often a tenant's first request is tried while the server asks to wait.
const FIRST_ATTEMPTS: u32 = 100;
/// How long to wait before trying it again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long an open loop's connections get to send what was due at its end; what they did not send by
/// then is reported.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(2);

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The next one when the last one is answered.
    Closed,
    /// So many a second, whatever happens.
    Open {
        /// Requests a second.
        per_s: u64,
    },
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) address: SocketAddr,
    /// What to send.
    pub(crate) requests: Arc<Requests>,
    /// How.
    pub(crate) pace: Pace,
    /// Over how many connections.
    pub(crate) connections: u32,
    /// How long before counting starts.
    pub(crate) warm_up: Duration,
    /// How long to count.
    pub(crate) duration: Duration,
}

/// What a measurement counted.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// The latencies of what was acknowledged while counting.
    pub(crate) latencies: Histogram,
    /// All requests that were acknowledged, also before counting started.
    pub(crate) acknowledged: u64,
    /// All units that were acknowledged, also before counting started.
    pub(crate) units: u64,
    /// Other answers by status, also before counting started.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// What the first other answer said.
    pub(crate) first_refusal: Option<String>,
    /// What was due in an open loop and could not be sent, because every connection was waiting.
    pub(crate) unsent: u64,
}

impl Tally {
    /// Starts at nothing.
    pub(crate) fn new() -> Self {
        Self {
            latencies: Histogram::new(),
            acknowledged: 0,
            units: 0,
            refused: BTreeMap::new(),
            first_refusal: None,
            unsent: 0,
        }
    }

    /// Adds another measurement's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.acknowledged += other.acknowledged;
        self.units += other.units;
        self.unsent += other.unsent;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        if self.first_refusal.is_none() {
            self.first_refusal.clone_from(&other.first_refusal);
        }
    }

    /// Fails if anything was refused.
    pub(crate) fn refuse_refusals(&self, name: &str) -> anyhow::Result<()> {
        let text = self.first_refusal.as_deref().unwrap_or_default();
        ensure!(self.refused.is_empty(), "{name}: refused {:?}: {text}", self.refused);
        Ok(())
    }
}

/// When requests become due, and until when they are counted.
#[derive(Debug)]
struct Schedule {
    pace: Pace,
    starts_at: Instant,
    counts_from: Instant,
    ends_at: Instant,
    /// How many requests of an open loop become due in all.
    total: u64,
    /// One permit for each of them that is due and not yet taken.
    due: Semaphore,
    taken: AtomicU64,
    unsent: AtomicU64,
}

impl Schedule {
    fn new(plan: &Plan) -> Self {
        let starts_at = Instant::now();
        let counts_from = starts_at + plan.warm_up;
        let ends_at = counts_from + plan.duration;
        let total = match plan.pace {
            Pace::Closed => 0,
            Pace::Open { per_s } => due_until(ends_at - starts_at, per_s),
        };
        Self {
            pace: plan.pace,
            starts_at,
            counts_from,
            ends_at,
            total,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
        }
    }

    /// Waits until a connection's next request is due, and says since when; nothing at the end.
    async fn next(&self) -> Option<Instant> {
        let Pace::Open { per_s } = self.pace else {
            let now = Instant::now();
            return (now < self.ends_at).then_some(now);
        };
        loop {
            // The semaphore is fair, so the order of numbers is the order of permits.
            let number = self.taken.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return None;
            }
            self.due.acquire().await.ok()?.forget();
            if Instant::now() <= self.ends_at + BACKLOG_PATIENCE {
                return Some(self.starts_at + due_after(number, per_s));
            }
            self.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes requests due as time goes by. Runs on a thread of its own, because the runtime's timer
    /// knows milliseconds only.
    fn run_pacer(&self, per_s: u64) {
        let mut released = 0;
        let mut passed = Duration::ZERO;
        while released < self.total {
            passed += Duration::from_micros(GRAIN_US);
            let moment = self.starts_at + passed;
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            let due = due_until(passed, per_s).min(self.total);
            self.due.add_permits(usize::try_from(due - released).unwrap_or(0));
            released = due;
        }
    }
}

/// How many of an open loop's requests are due after a time.
fn due_until(passed: Duration, per_s: u64) -> u64 {
    u64::try_from(passed.as_micros() * u128::from(per_s) / 1_000_000).unwrap_or(u64::MAX)
}

/// When an open loop's request is due: at the first moment by which its number has come.
fn due_after(number: u64, per_s: u64) -> Duration {
    let exact_us = (u128::from(number) + 1) * 1_000_000;
    let grains = exact_us.div_ceil(u128::from(per_s) * u128::from(GRAIN_US));
    Duration::from_micros(u64::try_from(grains).unwrap_or(u64::MAX).saturating_mul(GRAIN_US))
}

/// Runs one measurement on a thread of its own runtime, and returns what it counted.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..plan.connections {
            connections.push(Connection::open(plan.address).await?);
        }
        let schedule = Arc::new(Schedule::new(plan));
        let pacer = match plan.pace {
            Pace::Closed => None,
            Pace::Open { per_s } => {
                let schedule = Arc::clone(&schedule);
                Some(std::thread::spawn(move || schedule.run_pacer(per_s)))
            }
        };
        let mut senders = JoinSet::new();
        for connection in connections {
            let (schedule, requests) = (Arc::clone(&schedule), Arc::clone(&plan.requests));
            senders.spawn(send_all(connection, requests, schedule));
        }
        let mut tally = Tally::new();
        while let Some(sent) = senders.join_next().await {
            tally.merge(&sent.context("a sender panicked")??);
        }
        if let Some(pacer) = pacer {
            pacer.join().ok().context("the pacer panicked")?;
            tally.unsent = schedule.unsent.load(Ordering::Relaxed);
        }
        Ok(tally)
    })
}

/// Sends one request for each of the API keys, once, and returns how long all took together.
pub(crate) fn send_each_once(plan: &Plan) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..plan.connections {
            let connection = Connection::open(plan.address).await?;
            let (requests, next) = (Arc::clone(&plan.requests), Arc::clone(&next));
            senders.spawn(send_firsts(connection, requests, next));
        }
        while let Some(sent) = senders.join_next().await {
            sent.context("a sender panicked")??;
        }
        Ok(started.elapsed())
    })
}

async fn send_firsts(
    mut connection: Connection,
    requests: Arc<Requests>,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let mut request = Vec::with_capacity(512);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= requests.api_keys() {
            return Ok(());
        }
        requests.render_for(index, &mut request);
        for attempt in 1.. {
            let answer = connection.send(&request).await?;
            match answer.status {
                200 => break,
                // Waking many tenants at once may be slowed down by the server.
                503 if attempt < FIRST_ATTEMPTS => tokio::time::sleep(FIRST_PAUSE).await,
                status => {
                    let text = String::from_utf8_lossy(answer.body);
                    bail!("a tenant's first request got {status}: {text}");
                }
            }
        }
    }
}

async fn send_all(
    mut connection: Connection,
    requests: Arc<Requests>,
    schedule: Arc<Schedule>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new();
    let mut request = Vec::with_capacity(512);
    while let Some(due_at) = schedule.next().await {
        requests.render_next(&mut request);
        let answer = connection.send(&request).await?;
        let Some(units) = requests.units_of(answer) else {
            *tally.refused.entry(answer.status).or_default() += 1;
            let text = || String::from_utf8_lossy(answer.body).into_owned();
            tally.first_refusal.get_or_insert_with(text);
            continue;
        };
        tally.acknowledged += 1;
        tally.units += units;
        let answered_at = Instant::now();
        let is_counted = match schedule.pace {
            Pace::Closed => answered_at <= schedule.ends_at,
            // All that was due counts, however late it was answered.
            Pace::Open { .. } => true,
        };
        if is_counted && due_at >= schedule.counts_from {
            tally.latencies.record(answered_at - due_at);
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests;
