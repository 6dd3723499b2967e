//! What the kernel knows about processes and the disk: processor time, memory, the cost of a flush.

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
    let stat = Stat::parse(&stat).with_context(|| format!("understand {path}"))?;
    Ok(stat.own)
}

/// Tells how much processor time this process has used so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(std::process::id())
}

/// Tells how much processor time a process and its children have used so far, also those children
/// that have ended since. For a database that makes a process for each connection.
pub(crate) fn cpu_of_family(pid: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for entry in fs::read_dir("/proc").context("list the processes")? {
        let name = entry?.file_name();
        if !name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process may end between listing and reading; it then counts with its parent.
        let stat = fs::read_to_string(Path::new("/proc").join(&name).join("stat"));
        let Some(stat) = stat.ok().as_deref().and_then(Stat::parse) else { continue };
        if name.to_string_lossy() == pid.to_string() {
            total += stat.own + stat.ended_children;
        } else if stat.parent == pid {
            total += stat.own;
        }
    }
    Ok(total)
}

/// Tells how much memory a process holds that is not on disk, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_resident(&status).with_context(|| format!("understand {path}"))
}

fn parse_resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The part of a process's line in `/proc` that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The name in brackets may hold spaces and brackets, so fields are counted behind its end.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_S);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: time(ticks(11)? + ticks(12)?),
            ended_children: time(ticks(13)? + ticks(14)?),
        })
    }
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
        let stat = "42 (a b) c) S 7 42 42 0 -1 4194304 100 0 0 0 150 25 30 10 20 0 1 0 5 6 7";

        let stat = Stat::parse(stat).unwrap();

        assert_eq!((stat.parent, stat.own), (7, Duration::from_millis(1750)));
        assert_eq!(stat.ended_children, Duration::from_millis(400));
        assert_eq!(Stat::parse("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\ttenantry\nVmPeak:\t  99 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";

        assert_eq!(parse_resident(status), Some(2 * 1024 * 1024));
        assert_eq!(parse_resident("Name:\tzombie\n"), None);
    }

    #[test]
    fn this_process_is_known_and_another_is_not() {
        assert!(own_cpu().is_ok());
        assert!(cpu_of_family(std::process::id()).is_ok());
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
        assert!(cpu_of(u32::MAX).is_err());
    }
}
