//! A restart's storm: everyone is known, nobody is awake, and thousands call in the same moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tenantry_supervision::Deadline;
use tokio::time::Instant;

use super::house::{House, Script, Scripted, folder, images};
use crate::ids::TenantId;
use crate::journal::entry::Author;
use crate::journal::{Done, Handover, Line};
use crate::tenant::TenantError;
use crate::tenant::plan::Catalogue;
use crate::tenant::quota::Command;
use crate::tenant::state::{self, TenantCommand, TenantState};

/// Tenants that are written to the log at once before the storm.
const SEED_AT_ONCE: usize = 512;

/// How long one call of an awake tenant may take in the middle of the storm, on a machine that does
/// other things as well. Alone it takes about a millisecond.
const CALM_WITHIN: Duration = Duration::from_secs(5);

/// How long the storm may last.
const STORM_WITHIN: Duration = Duration::from_mins(3);

/// Writes a tenant's first entry without waking it.
async fn seed(house: &House, tenant: TenantId) {
    let incarnation = house.journal.activate(tenant).await.unwrap().incarnation;
    let terms = Catalogue::builtin().default_plan().terms.clone();
    let command = TenantCommand::Usage(Command::Consume { items: images(1) });
    let turn = TenantState::new(tenant, terms).apply(&command, &Author::SYSTEM, house.now());
    let line = |line: state::Line| {
        let state::Line { seq, at, hash, text, body, .. } = line;
        Line { tenant, seq, at, hash, idem: None, body, text }
    };
    let lines = turn.lines.into_iter().map(line).collect();
    let room = loop {
        match house.journal.room(tenant, 1_024) {
            Ok(room) => break room,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let (done, committed) = tokio::sync::oneshot::channel();
    let done = Done::new(move |result| {
        // The seed waits for it below.
        let _ = done.send(result);
    });
    house.journal.append(Handover { tenant, incarnation, lines, room, done });
    committed.await.unwrap().unwrap();
}

/// Calls a sleeping tenant until it is answered, and counts how often it was told to come again.
async fn call(house: &House, tenant: TenantId, refused: &AtomicUsize) {
    let deadline = Deadline::after(STORM_WITHIN);
    loop {
        let mut context = house.context();
        context.deadline = deadline;
        match house.tenants.consume(tenant, images(1), context).await {
            Ok(answer) => {
                assert_eq!(answer.value.items.first().unwrap().used, 2, "what was known");
                return;
            }
            Err(TenantError::Overloaded { retry_after_s }) => {
                assert!(retry_after_s >= 1);
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Consumes with a tenant that is awake until the storm is over; returns the slowest answer.
async fn calm(house: &House, tenant: TenantId, is_over: &AtomicBool) -> (u32, Duration) {
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let plenty = vec![crate::tenant::quota::fixture::item("tts_ms", 1)];
        house.tenants.consume(tenant, plenty, house.context()).await.unwrap();
        slowest = slowest.max(began.elapsed());
        answers += 1;
        tokio::task::yield_now().await;
    }
    (answers, slowest)
}

#[expect(clippy::print_stdout, reason = "the figures are what one runs it for")]
async fn storm(known: usize, called: usize) -> usize {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenants: Vec<_> = (0..known).map(|_| house.tenant()).collect();
    for some in tenants.chunks(SEED_AT_ONCE) {
        join_all(some.iter().map(|tenant| seed(&house, *tenant))).await;
    }
    house.stop().await;

    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let awake = house.tenant();
    house.tenants.usage(awake).await.unwrap();
    let (refused, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let began = Instant::now();
    // Every n-th of them, so that they are spread over the whole log.
    let wanted = tenants.iter().step_by(known / called).take(called);
    let calls = join_all(wanted.map(|tenant| call(&house, *tenant, &refused)));
    let storm = async {
        calls.await;
        is_over.store(true, Ordering::Relaxed);
    };
    let ((), (answers, slowest)) = tokio::join!(storm, calm(&house, awake, &is_over));

    let refused = refused.into_inner();
    println!(
        "{known} known, {called} called at once: all answered after {:?}, {refused} told to come \
         again; meanwhile {answers} answers of an awake tenant, the slowest after {slowest:?}",
        began.elapsed()
    );
    assert!(slowest < CALM_WITHIN, "{slowest:?}");
    assert!(began.elapsed() < STORM_WITHIN);
    assert!(answers > 0);
    assert_eq!(house.tenants.inspect().awake, called + 1);
    assert_eq!(house.tenants.shell.waking.depth(), 0);
    house.stop().await;
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_woken_tenants_starves_nobody() {
    storm(4_000, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exhaustive_a_storm_after_a_restart_with_50000_tenants_starves_nobody() {
    let refused = storm(50_000, 10_000).await;
    assert!(refused > 0, "more were called at once than may wait");
}
