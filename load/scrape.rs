//! What a server tells about itself, and whether that shows that a measurement was paid for later.
//!
//! A rate counts only if the server could keep it up: what it had put off until afterwards must be
//! done when the measurement ends, and nothing may have piled up in the meantime.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use crate::server::get;

/// Numbers that are the same after a measurement as before, if nothing was put off or went wrong.
const WATCHED: [&str; 7] = [
    "tenantry_projector_lag_rows",
    LAG_BYTES,
    "tenantry_journal_queue_depth",
    "tenantry_actor_mailbox_depth",
    "tenantry_tasks_running",
    "tenantry_projection_failures_total",
    "tenantry_tenants_quarantined_total",
];
/// How long is waited until they are.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);
/// How often is looked.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// Committed bytes that are not projected yet.
const LAG_BYTES: &str = "tenantry_projector_lag_bytes";
/// Committed entries, by kind.
const ENTRIES: &str = "tenantry_journal_entries_total";
/// Tenants whose actor is awake.
const AWAKE: &str = "tenantry_tenants_awake";

/// What `/metrics` said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metrics(String);

/// How a server calmed down after load.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// How long after the load's end.
    pub(crate) after: Duration,
    /// What it had not done by the time that waiting ended, in words.
    pub(crate) grown: Vec<String>,
}

impl Metrics {
    /// Asks a server for its metrics.
    pub(crate) fn read(ops: SocketAddr) -> anyhow::Result<Self> {
        let (status, text) = get(ops, "/metrics")?;
        ensure!(status == 200, "GET /metrics got {status}");
        Ok(Self(text))
    }

    /// Tells how many entries the server has committed since its start.
    pub(crate) fn entries(&self) -> u64 {
        self.sum(ENTRIES, "")
    }

    /// Tells how many of them are of a kind.
    pub(crate) fn entries_of(&self, kind: &str) -> u64 {
        self.sum(ENTRIES, &format!(r#"kind="{kind}""#))
    }

    /// Tells how many tenants are awake.
    pub(crate) fn awake(&self) -> u64 {
        self.sum(AWAKE, "")
    }

    /// Tells how many committed bytes are not projected yet.
    pub(crate) fn lag_bytes(&self) -> u64 {
        self.sum(LAG_BYTES, "")
    }

    /// Adds up a metric over those of its labels that contain a text; what is not there is nothing.
    fn sum(&self, metric: &str, label: &str) -> u64 {
        let samples = self.0.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            // Counts are whole; a fraction would be a mistake of the server's.
            let whole = value.split('.').next()?;
            (name == metric && labels.contains(label)).then(|| whole.parse::<u64>().unwrap_or(0))
        });
        samples.sum()
    }

    /// Says what is more than it was before.
    fn grown_since(&self, before: &Self) -> Vec<String> {
        let grown = WATCHED.iter().filter_map(|metric| {
            let (from, to) = (before.sum(metric, ""), self.sum(metric, ""));
            (to > from).then(|| format!("{metric} grew from {from} to {to}"))
        });
        grown.collect()
    }
}

/// Waits until a server has done all that it put off since `before`.
pub(crate) fn settle(ops: SocketAddr, before: &Metrics) -> anyhow::Result<Settled> {
    let ended = Instant::now();
    loop {
        let grown = Metrics::read(ops)?.grown_since(before);
        let after = ended.elapsed();
        if grown.is_empty() || after > SETTLE_WITHIN {
            return Ok(Settled { after, grown });
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(lag: u64) -> Metrics {
        Metrics(format!(
            "# TYPE tenantry_projector_lag_rows gauge\n\
             tenantry_projector_lag_rows {lag}\n\
             tenantry_journal_entries_total{{kind=\"consumed\"}} 40\n\
             tenantry_journal_entries_total{{kind=\"rolled\"}} 2\n\
             tenantry_tasks_running{{task=\"http\"}} 3.0\n\
             tenantry_tenants_awake 7\n"
        ))
    }

    #[test]
    fn a_metric_is_added_up_over_its_labels() {
        let metrics = metrics(0);

        assert_eq!((metrics.entries(), metrics.entries_of("consumed")), (42, 40));
        assert_eq!((metrics.entries_of("unheard_of"), metrics.awake()), (0, 7));
    }

    #[test]
    fn growth_is_told_and_shrinking_is_not() {
        assert_eq!(metrics(5).grown_since(&metrics(5)), Vec::<String>::new());
        assert_eq!(metrics(4).grown_since(&metrics(5)), Vec::<String>::new());
        let grown = metrics(6).grown_since(&metrics(5));
        assert_eq!(grown, ["tenantry_projector_lag_rows grew from 5 to 6"]);
    }
}
