//! Looks at how far a server's projector is behind while load is sent.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use crate::scrape::Metrics;

/// How often is looked: a projector that gathers for a second is seen at several heights.
const EVERY: Duration = Duration::from_millis(250);
/// What the lag's peak may vary by, beside a quarter of itself, before that counts as growth.
const SLACK_BYTES: u64 = 2 * 1024 * 1024;
/// Fewer looks than these tell nothing.
const MIN_LOOKS: usize = 12;

/// A thread that looks until it is told to stop.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Sender<()>,
    looks: JoinHandle<Vec<u64>>,
}

impl Watch {
    /// Starts to look.
    pub(crate) fn start(ops: SocketAddr) -> Self {
        let (stop, stopped) = mpsc::channel();
        let looks = std::thread::spawn(move || {
            let mut looks = Vec::new();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                // A look that fails is one that is missing; what comes after the load finds out why.
                looks.extend(Metrics::read(ops).ok().map(|metrics| metrics.lag_bytes()));
            }
            looks
        });
        Self { stop, looks }
    }

    /// Ends it, and tells the bytes that waited at each look.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<u64>> {
        drop(self.stop);
        self.looks.join().ok().context("the thread that looks panicked")
    }
}

/// Says whether the lag was higher at the end of some load than at its beginning, peak by peak.
pub(crate) fn growth(looks: &[u64]) -> Option<String> {
    if looks.len() < MIN_LOOKS {
        return None;
    }
    let third = looks.len() / 3;
    let peak = |looks: &[u64]| looks.iter().copied().max().unwrap_or(0);
    let (first, last) = (peak(&looks[..third]), peak(&looks[looks.len() - third..]));
    let grew = last > first + first / 4 + SLACK_BYTES;
    grew.then(|| format!("the projector's lag grew from {first} to {last} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_that_rises_and_falls_is_no_growth() {
        let saw: Vec<u64> = (0..80).map(|look| look % 5 * SLACK_BYTES).collect();

        assert_eq!(growth(&saw), None);
        assert_eq!(growth(&saw[..MIN_LOOKS - 1]), None);
    }

    #[test]
    fn a_lag_that_rises_on_is_growth() {
        let slope: Vec<u64> = (0..80).map(|look| look % 5 * SLACK_BYTES + look * 200_000).collect();

        assert!(growth(&slope).is_some());
    }
}
