//! The measurements: the comparison, part by part, and plain load.

mod arm;
mod contest;
mod events;
mod report;
mod rival;
mod scale;
mod scene;
mod start;
mod table;

use std::time::Duration;

use crate::args::{BenchArgs, Common, LoadArgs, Section};
use crate::process::flush_cost;
use crate::server::scratch_folder;
use contest::Contest;
use report::{Report, say};
use scene::{Reach, Scene, Setting};

/// Runs the comparison and prints its tables.
pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    introduce(&args.common)?;
    let mut report = Report::default();
    let compared = compare(args, &mut report);
    report.keep("comparison", compared);
    if args.has(Section::Scale) {
        let scaled = scale::run(args, &mut report);
        report.keep("scale", scaled);
    }
    report.finish()
}

fn compare(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut contest = Contest::set(args, report)?;
    contest.run(args, report)?;
    // The other servers end here, so that they disturb nothing of what follows.
    let Some(mut scene) = contest.into_sqlite() else { return Ok(()) };
    if args.has(Section::Events) {
        let measured = events::run(args, &mut scene, report);
        report.keep("events", measured);
    }
    if args.has(Section::Start) {
        let measured = start::run(args, &mut scene, report);
        report.keep("start", measured);
    }
    Ok(())
}

/// Sends load and prints what it took.
pub(crate) fn load(args: &LoadArgs) -> anyhow::Result<()> {
    let common = &args.common;
    introduce(common)?;
    let mut scene = Scene::set(&Setting::of(common))?;
    scene.wake(common.connections)?;
    let duration = Duration::from_secs(args.seconds.max(1));
    let mut arm = scene.arm("consume", Reach::Many, common.connections)?;
    match args.rate {
        None => arm.run_round(duration)?,
        Some(per_s) => arm.run_at(per_s, duration)?,
    }
    let mut report = Report::default();
    report.add(arm.row(None));
    scene.acknowledge(Reach::Many, &arm)?;
    scene.check("load")?;
    report.finish()
}

fn introduce(common: &Common) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let folder = scratch_folder(common.scratch.as_deref())?;
    let flush = flush_cost(folder.path())?;
    say(&format!(
        "{cores} cores, shared by servers and generator; {} connections; a flush to disk takes {flush:.1?}",
        common.connections
    ))?;
    if cfg!(debug_assertions) {
        say("this is a debug build: its numbers say nothing")?;
    }
    Ok(())
}
