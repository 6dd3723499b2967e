//! One thing that is measured, in rounds that take turns with those of other things.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::table::Row;
use crate::generator::{Pace, Plan, Tally, run};
use crate::process::{cpu_of, cpu_of_family, own_cpu, resident_bytes};
use crate::requests::Requests;
use crate::scrape::{Metrics, Settled, settle};
use crate::watch::{Watch, growth};

/// How long each round runs before it counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// An open loop gets this many times the connections, so that they are not what limits it.
const OPEN_LOOP_CONNECTIONS: u32 = 2;
/// How long a figure's rounds take together, at least.
const COUNTS_FROM: Duration = Duration::from_mins(1);
/// How long a server may take after a round to do what it put off: it gathers for a second what it
/// projects at once, and then needs a part of another one.
const DRAINS_WITHIN: Duration = Duration::from_secs(3);
/// How much memory may grow from the first round's end to the last's before it counts as growth.
const MEMORY_SLACK_BYTES: u64 = 64 * 1024 * 1024;

/// What load is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// Where to.
    pub(super) address: SocketAddr,
    /// Where it tells about itself, if it does.
    pub(super) ops: Option<SocketAddr>,
    /// Its process.
    pub(super) pid: u32,
    /// The process of a database that works for it.
    pub(super) database: Option<u32>,
}

/// One thing that is measured.
#[derive(Debug)]
pub(super) struct Arm {
    name: String,
    subject: Subject,
    requests: Arc<Requests>,
    connections: u32,
    rounds: Vec<Round>,
}

/// What one round found.
#[derive(Debug)]
struct Round {
    tally: Tally,
    counted_for: Duration,
    /// From the first request until nothing was left to do.
    took: Duration,
    server_cpu: Duration,
    own_cpu: Duration,
    settled: Option<Settled>,
    /// How far the projector was behind, look by look.
    lag_bytes: Vec<u64>,
    resident_bytes: u64,
}

impl Subject {
    fn cpu(&self) -> anyhow::Result<Duration> {
        let database = self.database.map_or(Ok(Duration::ZERO), cpu_of_family)?;
        Ok(cpu_of(self.pid)? + database)
    }
}

impl Arm {
    /// An arm that was not measured yet.
    pub(super) fn new(
        name: &str,
        subject: Subject,
        requests: &Arc<Requests>,
        connections: u32,
    ) -> Self {
        let requests = Arc::clone(requests);
        Self { name: name.to_owned(), subject, requests, connections, rounds: Vec::new() }
    }

    /// Tells the name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Sends as much as is answered, for one round.
    pub(super) fn run_round(&mut self, duration: Duration) -> anyhow::Result<()> {
        self.run(&self.plan(Pace::Closed, duration))
    }

    /// Makes an arm that is the same but for its name.
    pub(super) fn renamed(&self, name: &str) -> Self {
        Self::new(name, self.subject, &self.requests, self.connections)
    }

    /// Sends so many requests a second.
    pub(super) fn run_at(&mut self, per_s: u64, duration: Duration) -> anyhow::Result<()> {
        let pace = Pace::Open { per_s: per_s.max(1) };
        let connections = self.connections * OPEN_LOOP_CONNECTIONS;
        self.run(&Plan { connections, ..self.plan(pace, duration) })
    }

    /// Sends so many requests a second, each of which counts.
    pub(super) fn run_cold_at(&mut self, per_s: u64, duration: Duration) -> anyhow::Result<()> {
        let plan = self.plan(Pace::Open { per_s: per_s.max(1) }, duration);
        self.run(&Plan { warm_up: Duration::ZERO, ..plan })
    }

    /// What to send for each API key once.
    pub(super) fn plan(&self, pace: Pace, duration: Duration) -> Plan {
        Plan {
            address: self.subject.address,
            requests: Arc::clone(&self.requests),
            pace,
            connections: self.connections,
            warm_up: WARM_UP,
            duration,
        }
    }

    fn run(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let subject = self.subject;
        let before = subject.ops.map(Metrics::read).transpose()?;
        let (server_before, own_before) = (subject.cpu()?, own_cpu()?);
        let started = Instant::now();
        let watch = subject.ops.map(Watch::start);
        let tally = run(plan)?;
        let lag_bytes = watch.map_or(Ok(Vec::new()), Watch::finish)?;
        let own_cpu = own_cpu()?.saturating_sub(own_before);
        let settled = match (subject.ops, &before) {
            (Some(ops), Some(before)) => Some(settle(ops, before)?),
            _ => None,
        };
        self.rounds.push(Round {
            tally,
            counted_for: plan.duration,
            took: started.elapsed(),
            server_cpu: subject.cpu()?.saturating_sub(server_before),
            own_cpu,
            settled,
            lag_bytes,
            resident_bytes: resident_bytes(subject.pid)?,
        });
        Ok(())
    }

    /// All rounds together.
    pub(super) fn tally(&self) -> Tally {
        self.rounds.iter().fold(Tally::new(), |mut all, round| {
            all.merge(&round.tally);
            all
        })
    }

    /// Requests answered a second: the median of the rounds, of two the lower one.
    pub(super) fn per_s(&self) -> u64 {
        let rate = |round: &Round| per_s(round.tally.latencies.len(), round.counted_for);
        let mut rates: Vec<u64> = self.rounds.iter().map(rate).collect();
        rates.sort_unstable();
        rates.get(rates.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }

    /// Units acknowledged a second, counted until nothing of them was left to do.
    pub(super) fn finished_units_per_s(&self) -> u64 {
        per_s(self.tally().units, self.rounds.iter().map(|round| round.took).sum())
    }

    /// The latency that so many of a million requests did not exceed.
    pub(super) fn latency(&self, per_million: u64) -> Duration {
        self.tally().latencies.quantile(per_million)
    }

    /// Describes the last round in a few words.
    pub(super) fn last_round(&self) -> String {
        let Some(round) = self.rounds.last() else { return format!("{}: nothing", self.name) };
        let rate = per_s(round.tally.latencies.len(), round.counted_for);
        let p99 = round.tally.latencies.quantile(990_000);
        format!("{}: {rate}/s, p99 {p99:.1?}", self.name)
    }

    /// The rounds together: latencies and processor time of all, requests a second of the median.
    pub(super) fn row(&self, bare_per_s: Option<u64>) -> Row {
        let all = self.tally();
        let rate = self.per_s();
        // Processor time is counted over the warm-up too, and so are the requests it is divided by.
        let requests = u32::try_from(all.acknowledged + all.refused.values().sum::<u64>());
        let requests = requests.unwrap_or(u32::MAX).max(1);
        let server_cpu: Duration = self.rounds.iter().map(|round| round.server_cpu).sum();
        let own_cpu: Duration = self.rounds.iter().map(|round| round.own_cpu).sum();
        let waits = self.rounds.iter().filter_map(|round| round.settled.as_ref());
        Row {
            name: self.name.clone(),
            per_s: rate,
            latencies: [500_000, 990_000, 999_000].map(|at| all.latencies.quantile(at)),
            server_cpu: server_cpu / requests,
            own_cpu: own_cpu / requests,
            percent_of_bare: bare_per_s.filter(|bare| *bare > 0).map(|bare| rate * 100 / bare),
            drained_in: waits.map(|settled| settled.after).max(),
            doubts: self.doubts(),
        }
    }

    /// Why the figures do not count.
    pub(super) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let counted: Duration = self.rounds.iter().map(|round| round.counted_for).sum();
        if counted < COUNTS_FROM {
            doubts.push(format!("ran {} s, not a minute", counted.as_secs()));
        }
        for settled in self.rounds.iter().filter_map(|round| round.settled.as_ref()) {
            if settled.after > DRAINS_WITHIN {
                doubts.push(format!("fell behind: {:.1?} of work were left", settled.after));
            }
            doubts.extend(settled.grown.iter().cloned());
        }
        doubts.extend(self.rounds.iter().filter_map(|round| growth(&round.lag_bytes)));
        let resident: Vec<u64> = self.rounds.iter().map(|round| round.resident_bytes).collect();
        doubts.extend(memory_growth(&resident));
        doubts
    }
}

/// Says whether memory grew from the first round's end, when everything is warm, to the last's.
fn memory_growth(resident: &[u64]) -> Option<String> {
    let (first, last) = (*resident.first()?, *resident.last()?);
    let grown = last.saturating_sub(first);
    (grown > MEMORY_SLACK_BYTES).then(|| format!("memory grew by {} MB", grown / 1_000_000))
}

fn per_s(count: u64, duration: Duration) -> u64 {
    count * 1000 / u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_by_the_second() {
        assert_eq!(per_s(3000, Duration::from_millis(1500)), 2000);
        assert_eq!(per_s(3000, Duration::ZERO), 3_000_000);
    }

    #[test]
    fn memory_that_stays_is_no_doubt() {
        let first = 500 * 1024 * 1024;

        assert_eq!(memory_growth(&[]), None);
        assert_eq!(memory_growth(&[first, first * 2, first + MEMORY_SLACK_BYTES]), None);
        assert!(memory_growth(&[first, first + MEMORY_SLACK_BYTES + 1]).is_some());
    }
}
