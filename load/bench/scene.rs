//! A running server of ours with its tenants, and the count of what it acknowledged to them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::arm::{Arm, Subject};
use super::report::say;
use super::table::grouped;
use crate::args::Common;
use crate::generator::{Pace, send_each_once};
use crate::requests::Requests;
use crate::scrape::Metrics;
use crate::server::{Server, Stage, Tenant, used};

/// The kind of entry that each request for units makes.
const CONSUMED: &str = "consumed";
/// What is metered.
pub(super) const METER: &str = "tts_ms";

/// Whose requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Many tenants', in no order.
    Many,
    /// A single one's, which is none of the many.
    One,
}

/// What a scene is made of.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The server's program, if not the one beside this one.
    pub(super) program: Option<PathBuf>,
    /// Where the data folder is made, if not beside this program.
    pub(super) scratch: Option<PathBuf>,
    /// How many tenants the server knows, at least.
    pub(super) known: u32,
    /// How many of them are the many.
    pub(super) used: u32,
    /// Where the data is, if not in the data folder, and the process that keeps it.
    pub(super) database: Option<(String, u32)>,
}

/// A running server with its tenants.
#[derive(Debug)]
pub(super) struct Scene {
    server: Option<Server>,
    stage: Stage,
    database: Option<u32>,
    many: Vec<Tenant>,
    one: [Tenant; 1],
    requests: [Arc<Requests>; 2],
    next: Arc<AtomicU64>,
    acknowledged: u64,
    acknowledged_to_one: u64,
    // Entries of servers that ran before this one on the same data.
    entries_before: u64,
    consumed_before: u64,
}

impl Setting {
    /// The setting that the command line asks for, on SQLite.
    pub(super) fn of(common: &Common) -> Self {
        Self {
            program: common.server.clone(),
            scratch: common.scratch.clone(),
            known: common.tenants,
            used: common.tenants,
            database: None,
        }
    }
}

impl Scene {
    /// Makes the tenants and starts the server.
    pub(super) fn set(setting: &Setting) -> anyhow::Result<Self> {
        let mut stage = Stage::new(setting.program.as_deref(), setting.scratch.as_deref())?;
        if let Some((url, _)) = &setting.database {
            stage = stage.on(url);
        }
        // The single tenant is not among the many, so that its use can be compared with its answers.
        let used = setting.used.max(1);
        let mut tenants = stage.create_tenants(setting.known.max(used) + 1)?;
        tenants.truncate(used as usize + 1);
        let one = [tenants.pop().context("no tenant was made")?];
        let next = Arc::new(AtomicU64::new(0));
        let consume = |tenants: &[Tenant]| Arc::new(Requests::consume(&keys_of(tenants), &next));
        let requests = [consume(&tenants), consume(&one)];
        let mut scene = Self {
            server: None,
            stage,
            database: setting.database.as_ref().map(|(_, pid)| *pid),
            many: tenants,
            one,
            requests,
            next,
            acknowledged: 0,
            acknowledged_to_one: 0,
            entries_before: 0,
            consumed_before: 0,
        };
        scene.serve()?;
        Ok(scene)
    }

    fn serve(&mut self) -> anyhow::Result<Duration> {
        let (server, ready_in) = self.stage.serve()?;
        self.server = Some(server);
        Ok(ready_in)
    }

    fn server(&self) -> anyhow::Result<&Server> {
        self.server.as_ref().context("the server does not run")
    }

    /// Ends the server in order, starts it again on its data, and tells how long it took to be ready.
    pub(super) fn restart(&mut self) -> anyhow::Result<Duration> {
        self.remember_counts()?;
        if let Some(server) = self.server.take() {
            server.stop().context("end the server in order")?;
        }
        self.serve()
    }

    /// The same after `kill -9`.
    pub(super) fn crash_and_restart(&mut self) -> anyhow::Result<Duration> {
        self.remember_counts()?;
        drop(self.server.take());
        self.serve()
    }

    fn remember_counts(&mut self) -> anyhow::Result<()> {
        let metrics = self.metrics()?;
        self.entries_before += metrics.entries();
        self.consumed_before += metrics.entries_of(CONSUMED);
        Ok(())
    }

    /// Asks the server for its metrics.
    pub(super) fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::read(self.server()?.ops.context("the server has no ops listener")?)
    }

    /// Tells how many entries were made since the data folder was.
    pub(super) fn entries(&self) -> anyhow::Result<u64> {
        Ok(self.entries_before + self.metrics()?.entries())
    }

    /// Tells what load is sent to.
    pub(super) fn subject(&self) -> anyhow::Result<Subject> {
        let server = self.server()?;
        Ok(Subject {
            address: server.address,
            ops: server.ops,
            pid: server.pid(),
            database: self.database,
        })
    }

    /// An arm that asks for units.
    pub(super) fn arm(&self, name: &str, reach: Reach, connections: u32) -> anyhow::Result<Arm> {
        let requests = &self.requests[reach as usize];
        Ok(Arm::new(name, self.subject()?, requests, connections))
    }

    /// An arm that asks for one unit of each of the first so many tenants, in turn.
    pub(super) fn arm_in_turn(
        &self,
        name: &str,
        first: usize,
        connections: u32,
    ) -> anyhow::Result<Arm> {
        let first = &self.many[..first.min(self.many.len())];
        let requests = Requests::consume(&keys_of(first), &self.next).in_turn();
        Ok(Arm::new(name, self.subject()?, &Arc::new(requests), connections))
    }

    /// Tells the first so many tenants, and what numbers requests.
    pub(super) fn first(&self, count: usize) -> (&[Tenant], &Arc<AtomicU64>) {
        (&self.many[..count.min(self.many.len())], &self.next)
    }

    /// Sends each tenant's request, which wakes those that sleep.
    pub(super) fn wake(&mut self, connections: u32) -> anyhow::Result<()> {
        let arm = self.arm("first requests", Reach::Many, connections)?;
        let took = send_each_once(&arm.plan(Pace::Closed, Duration::ZERO))?;
        self.acknowledged += self.many.len() as u64;
        let count = grouped(self.many.len() as u64);
        say(&format!("one request of each of {count} tenants: {took:.1?} in all"))
    }

    /// Counts what an arm was acknowledged; fails if it was refused anything.
    pub(super) fn acknowledge(&mut self, reach: Reach, arm: &Arm) -> anyhow::Result<()> {
        let tally = arm.tally();
        tally.refuse_refusals(arm.name())?;
        if tally.unsent > 0 {
            say(&format!("{}: {} requests were due and not sent", arm.name(), tally.unsent))?;
        }
        self.acknowledged += tally.units;
        if reach == Reach::One {
            self.acknowledged_to_one += tally.units;
        }
        Ok(())
    }

    /// Checks that the server counted exactly what it acknowledged.
    pub(super) fn check(&self, name: &str) -> anyhow::Result<()> {
        let (all, to_one) = (self.acknowledged, self.acknowledged_to_one);
        let entries = self.consumed_before + self.metrics()?.entries_of(CONSUMED);
        ensure!(
            entries == all,
            "{name}: {all} requests were acknowledged and {entries} journalled"
        );
        let used = used(self.server()?.address, &self.one, METER)?;
        ensure!(
            used == to_one,
            "{name}: one tenant was acknowledged {to_one} units and has {used}"
        );
        let [all, to_one] = [all, to_one].map(grouped);
        say(&format!(
            "{name}: nothing refused; {all} requests acknowledged and as many journalled, \
             {to_one} of them for the single tenant and all counted"
        ))
    }
}

fn keys_of(tenants: &[Tenant]) -> Vec<String> {
    tenants.iter().map(|tenant| tenant.api_key.clone()).collect()
}
