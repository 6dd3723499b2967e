//! How long the server takes to be ready with many entries behind it.

use std::time::Duration;

use super::report::{Report, say};
use super::scene::{Reach, Scene};
use super::table::grouped;
use crate::args::BenchArgs;

/// How long a start may take.
const WANTED: Duration = Duration::from_secs(1);
/// Entries that have to lie behind a start for its figure to count.
const COUNTS_FROM: u64 = 10_000_000;
/// How long entries are made before it is looked how many there are.
const FILL_FOR: Duration = Duration::from_secs(20);
/// How long there is load before the server is killed.
const LOAD_FOR: Duration = Duration::from_secs(2);

/// Makes entries until there are enough, and starts after an orderly end and after `kill -9`.
pub(super) fn run(args: &BenchArgs, scene: &mut Scene, report: &mut Report) -> anyhow::Result<()> {
    fill(args, scene)?;
    let entries = scene.entries()?;
    let counts = entries >= COUNTS_FROM;
    let what = format!("start to ready, {} entries behind it", grouped(entries));
    let ready_in = scene.restart()?;
    report.aim_below(&what, ready_in, WANTED, counts);
    say(&format!("{what}: {ready_in:.1?}"))?;
    let mut arm = scene.arm("load before the end", Reach::Many, args.common.connections)?;
    arm.run_round(LOAD_FOR)?;
    scene.acknowledge(Reach::Many, &arm)?;
    let ready_in = scene.crash_and_restart()?;
    let what = format!("{what}, after kill -9");
    report.aim_below(&what, ready_in, WANTED, counts);
    say(&format!("{what}: {ready_in:.1?}"))?;
    scene.check("SQLite after two starts")
}

fn fill(args: &BenchArgs, scene: &mut Scene) -> anyhow::Result<()> {
    let mut arm = scene.arm("entries", Reach::Many, args.common.connections)?;
    while scene.entries()? < args.entries {
        say(&format!("{} of {} entries", grouped(scene.entries()?), grouped(args.entries)))?;
        arm.run_round(FILL_FOR.min(args.round()))?;
    }
    scene.acknowledge(Reach::Many, &arm)
}
