//! Usage that was already spent, reported in batches and counted when it is projected.

use std::sync::Arc;

use anyhow::ensure;

use super::arm::Arm;
use super::report::{Report, say};
use super::scene::{METER, Scene};
use super::table::grouped;
use crate::args::BenchArgs;
use crate::requests::Requests;
use crate::server::used;

/// Events in one request: as many as the server takes.
const BATCH: usize = 1_000;
/// Tenants that they are reported for.
const TENANTS: usize = 1_000;
/// Connections that report: some more than can be worked on at once, since each carries much.
const CONNECTIONS: u32 = 16;
/// Events a second that are wanted.
const WANTED_PER_S: u64 = 100_000;

/// Measures how many events a second are accepted and projected.
pub(super) fn run(args: &BenchArgs, scene: &mut Scene, report: &mut Report) -> anyhow::Result<()> {
    let subject = scene.subject()?;
    let (tenants, next) = scene.first(TENANTS);
    let keys: Vec<String> = tenants.iter().map(|tenant| tenant.api_key.clone()).collect();
    let requests = Arc::new(Requests::events(&keys, BATCH, next));
    let name = format!("events, in batches of {}", grouped(BATCH as u64));
    let mut arm = Arm::new(&name, subject, &requests, CONNECTIONS);
    let before = used(subject.address, tenants, METER)?;
    arm.run_round(args.whole())?;
    let tally = arm.tally();
    tally.refuse_refusals(&name)?;
    let counted = used(subject.address, tenants, METER)? - before;
    ensure!(
        counted == tally.units,
        "{name}: {} events were accepted and {counted} counted",
        tally.units
    );
    say(&format!("{name}: {} events accepted, all counted", grouped(counted)))?;
    report.add(arm.row(None));
    report.aim_at_number(
        "events a second, until all are projected",
        arm.finished_units_per_s(),
        WANTED_PER_S..=u64::MAX,
        arm.doubts().is_empty(),
    );
    Ok(())
}
