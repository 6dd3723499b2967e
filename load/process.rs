//! What the kernel knows about a process and the disk: processor time, and the cost of a flush.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::histogram::Histogram;

/// The kernel's unit of processor time, fixed at 100 a second towards programs on Linux.
const TICKS_PER_S: u64 = 100;
/// How many flushes show what one costs.
const FLUSHES: u32 = 200;
/// How much each of them writes: about a batch of the journal.
const FLUSHED_BYTES: usize = 8 * 1024;

/// Tells how much processor time a process has used so far, over all of its threads.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_stat(&stat).with_context(|| format!("understand {path}"))
}

/// Tells how much processor time this process has used so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(std::process::id())
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The name in brackets may hold spaces and brackets, so fields are counted behind its end.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_S))
}

/// Measures what appending and flushing costs in a folder: the median.
pub(crate) fn flush_cost(folder: &Path) -> anyhow::Result<Duration> {
    let path = folder.join("flush");
    let mut file = File::create(&path).context("create a file to flush")?;
    let mut costs = Histogram::new();
    for _ in 0..FLUSHES {
        let started = Instant::now();
        file.write_all(&[7; FLUSHED_BYTES])?;
        file.sync_data().context("flush a file")?;
        costs.record(started.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(costs.quantile(500_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 5 6 7";

        assert_eq!(parse_stat(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse_stat("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_is_known_and_another_is_not() {
        assert!(own_cpu().is_ok());
        assert!(cpu_of(u32::MAX).is_err());
    }
}
