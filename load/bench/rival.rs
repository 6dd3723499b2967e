//! The service with one statement, at the concurrency that suits it best for each kind of load.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, ensure};

use super::arm::Arm;
use super::contest::subject_of;
use super::report::say;
use super::scene::Reach;
use super::table::grouped;
use crate::postgres::Cluster;
use crate::requests::Requests;
use crate::server::Server;
use crate::statement::{prepare, spent, tune};

/// The service, once for each kind of load.
pub(super) struct Rival {
    servers: Vec<Server>,
    database: String,
    postgres: u32,
    requests: [Arc<Requests>; 2],
    acknowledged: u64,
}

impl Rival {
    /// Prepares its database, with a tenant for each API key; the last one is the single one.
    pub(super) fn set(cluster: &Cluster, keys: &[String]) -> anyhow::Result<Self> {
        let database = cluster.create("statement")?;
        prepare(&database, keys).context("prepare the service with one statement")?;
        let (one, many) = keys.split_last().context("there are no tenants")?;
        let next = Arc::new(AtomicU64::new(0));
        let consume = |keys: &[String]| Arc::new(Requests::consume(keys, &next));
        Ok(Self {
            servers: Vec::new(),
            database,
            postgres: cluster.pid(),
            requests: [consume(many), consume(std::slice::from_ref(one))],
            acknowledged: 0,
        })
    }

    /// Finds the best concurrency for a kind of load, and makes the arm that uses it.
    pub(super) fn arm(
        &mut self,
        name: &str,
        reach: Reach,
        connections: u32,
    ) -> anyhow::Result<Arm> {
        let requests = &self.requests[reach as usize];
        let trials = tune::tune(&self.database, requests, connections)?;
        self.acknowledged += trials.iter().map(|trial| trial.units).sum::<u64>();
        let best = trials.first().context("nothing was tried")?;
        let tried: Vec<String> = trials.iter().map(ToString::to_string).collect();
        say(&format!("{name}: best first: {}", tried.join(", ")))?;
        let server = tune::start(&self.database, best.pool)?;
        let subject = subject_of(&server, Some(self.postgres));
        self.servers.push(server);
        let name = format!("{name} (pool of {})", best.pool);
        Ok(Arm::new(&name, subject, requests, best.clients))
    }

    /// Counts what an arm was acknowledged; fails if it was refused anything.
    pub(super) fn acknowledge(&mut self, arm: &Arm) -> anyhow::Result<()> {
        let tally = arm.tally();
        tally.refuse_refusals(arm.name())?;
        self.acknowledged += tally.units;
        Ok(())
    }

    /// Checks that it counted exactly what it acknowledged, and kept a key for each.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let (units, keys) = spent(&self.database)?;
        let expected = self.acknowledged;
        ensure!(
            (units, keys) == (expected, expected),
            "one statement: {expected} requests were acknowledged, {units} counted, {keys} kept"
        );
        say(&format!(
            "one statement: nothing refused; {} requests acknowledged, all counted and kept",
            grouped(expected)
        ))
    }
}
