//! Many tenants known and many awake, beside a server that knows and holds few.

use std::time::Duration;

use anyhow::Context as _;

use super::report::{Report, say};
use super::scene::{Reach, Scene, Setting};
use super::table::grouped;
use crate::args::BenchArgs;
use crate::process::resident_bytes;

/// What share of the rate with few tenants is wanted with many, in percent.
const OF_FEW: u64 = 80;
/// How much memory the server may hold.
const MEMORY_BYTES: u64 = 1_500_000_000;
/// How long waking a tenant may take.
const WAKE_P99: Duration = Duration::from_millis(2);
/// How long a start may take.
const READY_IN: Duration = Duration::from_secs(1);
/// How many tenants are woken a second while that is timed: few enough that none waits for another.
const WAKES_PER_S: u64 = 1_000;
/// How many are timed, at most.
const WAKES: u64 = 5_000;
/// Connections that wake them.
const WAKING_CONNECTIONS: u32 = 64;

/// Measures both servers.
pub(super) fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let connections = args.common.connections;
    let setting = |known, used| Setting { known, used, ..Setting::of(&args.common) };
    let mut few = Scene::set(&setting(args.few, args.few)).context("the server with few")?;
    few.wake(connections)?;
    say(&format!("making {} tenants", grouped(args.known.into())))?;
    let mut many = Scene::set(&setting(args.known, args.awake)).context("the server with many")?;
    // Everybody who is woken later has an entry to be rebuilt from, as a tenant that slept has.
    many.wake(connections)?;
    let known = format!("{} tenants known", grouped(args.known.into()));
    let ready_in = many.restart()?;
    say(&format!("start to ready, {known}: {ready_in:.1?}"))?;
    report.aim_below(&format!("start to ready, {known}"), ready_in, READY_IN, true);
    time_waking(args, &mut many, report)?;
    many.wake(connections)?;
    let is_awake = many.metrics()?.awake() >= u64::from(args.awake);

    let mut arms = [
        few.arm(
            &format!("{} tenants known and awake", grouped(args.few.into())),
            Reach::Many,
            connections,
        )?,
        many.arm(
            &format!("{known}, {} awake", grouped(args.awake.into())),
            Reach::Many,
            connections,
        )?,
    ];
    for round in 0..args.rounds.max(1) {
        for turn in [round % 2, (round + 1) % 2] {
            let arm = &mut arms[turn as usize];
            arm.run_round(args.round())?;
            say(&format!("round {}: {}", round + 1, arm.last_round()))?;
        }
    }
    let awake = many.metrics()?.awake();
    let is_awake = is_awake && awake >= u64::from(args.awake);
    let resident = resident_bytes(many.subject()?.pid)?;
    say(&format!("{} tenants awake in {} MB", grouped(awake), resident / 1_000_000))?;
    for (scene, arm, name) in
        [(&mut few, &arms[0], "few tenants"), (&mut many, &arms[1], "many tenants")]
    {
        report.add(arm.row(None));
        scene.acknowledge(Reach::Many, arm)?;
        scene.check(name)?;
    }
    let [with_few, with_many] = &arms;
    report.aim_at_share(with_many, with_few, OF_FEW);
    report.aim_at_number(
        &format!("resident bytes, {}", with_many.name()),
        resident,
        0..=MEMORY_BYTES,
        is_awake && args.known >= 1_000_000,
    );
    Ok(())
}

/// Sends first requests to tenants that sleep, and then the same to the same tenants awake.
fn time_waking(args: &BenchArgs, scene: &mut Scene, report: &mut Report) -> anyhow::Result<()> {
    let wakes = WAKES.min(args.awake.into());
    let duration = Duration::from_millis(wakes * 1000 / WAKES_PER_S);
    let first = usize::try_from(wakes).unwrap_or(usize::MAX);
    let mut asleep =
        scene.arm_in_turn("first request of a sleeping tenant", first, WAKING_CONNECTIONS)?;
    let mut awake = asleep.renamed("the same of a tenant awake");
    for arm in [&mut asleep, &mut awake] {
        arm.run_cold_at(WAKES_PER_S, duration)?;
        say(&arm.last_round())?;
        scene.acknowledge(Reach::Many, arm)?;
    }
    let [p99, awake_p99] = [asleep, awake].map(|arm| arm.latency(990_000));
    let wakes_per_s = grouped(WAKES_PER_S);
    let what = format!(
        "first requests of sleeping tenants, {wakes_per_s} a second: p99 (awake {awake_p99:.1?})"
    );
    report.aim_below(&what, p99, WAKE_P99, wakes == WAKES);
    Ok(())
}
