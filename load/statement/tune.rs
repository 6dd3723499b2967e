//! Finds the concurrency at which the service does best, so that it is compared at its best.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::generator::{Pace, Plan, run};
use crate::requests::Requests;
use crate::server::Server;

/// Connections to the database that are tried.
const POOLS: [u32; 6] = [1, 2, 4, 8, 16, 32];
/// Connections of clients that are tried with the best of these, beside those of the comparison.
const CLIENTS: [u32; 2] = [16, 64];
/// How long a trial runs before it counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long it counts.
const TRIAL: Duration = Duration::from_millis(1500);

/// How many connections on either side, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Connections to the database.
    pub(crate) pool: u32,
    /// Connections of clients.
    pub(crate) clients: u32,
    /// Requests answered while counting.
    pub(crate) answered: u64,
    /// All units that were acknowledged.
    pub(crate) units: u64,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_s = u128::from(self.answered) * 1000 / TRIAL.as_millis();
        write!(f, "{per_s}/s with {} for {} clients", self.pool, self.clients)
    }
}

/// Tries some, and returns all that was tried with the best first.
pub(crate) fn tune(
    database: &str,
    requests: &Arc<Requests>,
    clients: u32,
) -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for pool in POOLS {
        trials.push(attempt(database, requests, pool, clients)?);
    }
    let pool = best(&trials).map_or(1, |trial| trial.pool);
    for clients in CLIENTS.into_iter().filter(|few| *few < clients) {
        trials.push(attempt(database, requests, pool, clients)?);
    }
    trials.sort_by_key(|trial| std::cmp::Reverse(trial.answered));
    Ok(trials)
}

fn best(trials: &[Trial]) -> Option<&Trial> {
    trials.iter().max_by_key(|trial| trial.answered)
}

fn attempt(
    database: &str,
    requests: &Arc<Requests>,
    pool: u32,
    clients: u32,
) -> anyhow::Result<Trial> {
    let server = start(database, pool)?;
    let tally = run(&Plan {
        address: server.address,
        requests: Arc::clone(requests),
        pace: Pace::Closed,
        connections: clients,
        warm_up: WARM_UP,
        duration: TRIAL,
    })?;
    tally.refuse_refusals("the service with one statement")?;
    Ok(Trial { pool, clients, answered: tally.latencies.len(), units: tally.units })
}

/// Starts the service with so many connections to its database.
pub(crate) fn start(database: &str, pool: u32) -> anyhow::Result<Server> {
    Server::own(&["statement", "--database", database, "--pool", &pool.to_string()])
}
