use std::time::Duration;

use futures_util::future::join_all;

use super::super::message::TenantMsg;
use super::super::sleep;
use super::house::{House, Script, Scripted, folder, images, until};
use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::journal::Snapshot;
use crate::tenant::period::{Cycle, Zone};
use crate::tenant::quota::{PlanChange, Refusal};
use crate::tenant::{Correction, TenantError};

fn panic(house: &House, tenant: TenantId) -> u64 {
    let live = house.tenants.shell.directory.live(tenant).unwrap();
    live.actor.send_message(TenantMsg::Panic).unwrap();
    live.generation
}

async fn until_gone(house: &House, tenant: TenantId, generation: u64) {
    until(async || {
        house.tenants.shell.directory.live(tenant).is_none_or(|live| live.generation != generation)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_restarts_one_tenant_only_and_loses_nothing_acknowledged() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let (poor, calm) = (house.tenant(), house.tenant());
    for tenant in [poor, calm] {
        house.tenants.consume(tenant, images(3), house.context()).await.unwrap();
    }
    let calm_life = house.tenants.shell.directory.live(calm).unwrap().generation;

    let mut acknowledged = 3;
    for _ in 0..2 {
        house.tenants.usage(poor).await.unwrap();
        let calls = (0..50).map(|_| house.tenants.consume(poor, images(1), house.context()));
        let (answers, generation) = tokio::join!(join_all(calls), async { panic(&house, poor) });
        let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
        acknowledged += u64::try_from(admitted).unwrap();
        assert!(answers.iter().all(|a| matches!(a, Ok(_) | Err(TenantError::OutcomeUnknown))));
        until_gone(&house, poor, generation).await;
    }

    let (used, _) = house.images_used(poor).await;
    assert!(used >= acknowledged, "{used} of {acknowledged}");
    assert_eq!(house.images_used(calm).await, (3, 0));
    assert_eq!(house.tenants.shell.directory.live(calm).unwrap().generation, calm_life);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_panics_quarantine_a_tenant_and_nobody_else() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let (poor, calm) = (house.tenant(), house.tenant());

    for _ in 0..3 {
        house.tenants.consume(poor, images(1), house.context()).await.unwrap();
        let generation = panic(&house, poor);
        until_gone(&house, poor, generation).await;
    }

    let refused = house.tenants.consume(poor, images(1), house.context()).await.unwrap_err();
    assert!(matches!(refused, TenantError::Quarantined { retry_after_s: 1..=30 }), "{refused:?}");
    house.tenants.consume(calm, images(1), house.context()).await.unwrap();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_at_once_for_the_last_unit_one_wins() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    house.tenants.consume(tenant, images(499), house.context()).await.unwrap();

    let calls = (0..1_000).map(|_| house.tenants.consume(tenant, images(1), house.context()));
    let answers = join_all(calls).await;

    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers
        .iter()
        .filter(|a| matches!(a, Err(TenantError::Refused(Refusal::QuotaExceeded { .. }))))
        .count();
    assert_eq!((won, refused), (1, 999));
    assert_eq!(house.images_used(tenant).await, (500, 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_gives_its_first_answer_in_flight_asleep_and_after_a_restart() {
    let folder = folder();
    let studio = Scripted::new(Script::Succeed);
    let house = House::start(folder.path(), &studio).await;
    let tenant = house.tenant();

    // In flight: both at once, one is done.
    let twice = tokio::join!(
        house.tenants.consume(tenant, images(2), house.keyed("k", "a")),
        house.tenants.consume(tenant, images(2), house.keyed("k", "a")),
    );
    let (one, other) = (twice.0.unwrap(), twice.1.unwrap());
    assert_eq!(one.value, other.value);
    assert!(one.replayed != other.replayed);
    let first = one.value;

    // Old: pushed out of what is kept exactly.
    for n in 0..20 {
        let key = format!("other-{n}");
        house.tenants.consume(tenant, images(1), house.keyed(&key, "b")).await.unwrap();
    }
    let again = house.tenants.consume(tenant, images(2), house.keyed("k", "a")).await.unwrap();
    assert_eq!((again.value, again.replayed), (first.clone(), true));

    // Asleep and woken.
    let generation = house.tenants.shell.directory.live(tenant).unwrap().generation;
    assert!(house.tenants.shell.directory.put_to_sleep(tenant, false));
    until_gone(&house, tenant, generation).await;
    let again = house.tenants.consume(tenant, images(2), house.keyed("k", "a")).await.unwrap();
    assert_eq!((again.value, again.replayed), (first.clone(), true));

    // In a new process.
    house.stop().await;
    let house = House::start(folder.path(), &studio).await;
    let again = house.tenants.consume(tenant, images(2), house.keyed("k", "a")).await.unwrap();
    assert_eq!((again.value, again.replayed), (first, true));
    let reused = house.tenants.consume(tenant, images(9), house.keyed("k", "c")).await;
    assert_eq!(reused.unwrap_err(), TenantError::KeyReused);
    assert_eq!(house.images_used(tenant).await, (22, 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_kept_under_its_key() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    let hold = house.tenants.reserve(tenant, images(500), 300, house.context()).await.unwrap();

    let refused = house.tenants.consume(tenant, images(1), house.keyed("k", "a")).await;
    house.tenants.release(tenant, hold.value.id, house.context()).await.unwrap();
    let admitted = house.tenants.consume(tenant, images(1), house.keyed("k", "a")).await.unwrap();

    assert!(matches!(refused, Err(TenantError::Refused(Refusal::QuotaExceeded { .. }))));
    assert!(!admitted.replayed);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_of_a_sleeping_tenant_lapses_by_itself() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    let hold = house.tenants.reserve(tenant, images(5), 1, house.context()).await.unwrap();
    assert!(house.tenants.shell.directory.put_to_sleep(tenant, false));

    // Nobody calls: the reaper wakes the tenant.
    let live = || house.tenants.shell.directory.live(tenant);
    until(async || live().is_some_and(|life| life.vitals.in_flight.durable() >= 2)).await;

    let lapsed = house.tenants.reservation(tenant, hold.value.id).await.unwrap();
    assert_eq!(serde_json::to_value(lapsed.state).unwrap(), "expired");
    assert_eq!(house.images_used(tenant).await, (0, 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_puts_idle_tenants_to_sleep_and_busy_ones_not() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenants: Vec<_> = (0..20).map(|_| house.tenant()).collect();
    for tenant in &tenants {
        house.tenants.consume(*tenant, images(1), house.context()).await.unwrap();
    }
    let shell = &house.tenants.shell;
    assert_eq!(shell.directory.sleepy(Duration::from_mins(10), 100).len(), 0);

    let sleepy = shell.directory.sleepy(Duration::from_mins(10), 15);
    assert_eq!(sleepy, tenants[..5]);
    sleep::sweep(shell);
    assert_eq!(house.tenants.inspect().awake, 20);
    assert_eq!(shell.directory.sleepy(Duration::ZERO, 100).len(), 20);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_cannot_be_read_costs_time_and_nothing_else() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    for n in 0..5 {
        let context = house.keyed(&format!("k{n}"), "a");
        house.tenants.consume(tenant, images(1), context).await.unwrap();
    }
    let generation = house.tenants.shell.directory.live(tenant).unwrap().generation;
    assert!(house.tenants.shell.directory.put_to_sleep(tenant, false));
    until_gone(&house, tenant, generation).await;
    let last = house.journal.find_entry(tenant, 5).await.unwrap().unwrap();
    let foreign = Snapshot { seq: 5, hash: last.hash, body: "{\"v\":99}".to_owned() };
    house.journal.snapshot(tenant, foreign, Timestamp::MIN).await.unwrap();

    assert_eq!(house.images_used(tenant).await, (5, 0));
    let again = house.tenants.consume(tenant, images(1), house.keyed("k0", "a")).await.unwrap();
    assert!(again.replayed);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_billed_tenant_that_sleeps_is_woken_for_its_periods_end() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    // A subscription whose first month ends two seconds from now, as if it had begun long ago.
    let end = house.now().plus_s(2);
    let cycle = Some(Cycle::monthly(end, Zone::utc()));
    let pro = "pro".parse().unwrap();
    let now = PlanChange::Now;
    house.tenants.change_plan(tenant, &pro, cycle, now, house.context()).await.unwrap();
    house.tenants.consume(tenant, images(3), house.context()).await.unwrap();
    assert_eq!(house.tenants.usage(tenant).await.unwrap().period.end, end);
    assert!(house.tenants.shell.directory.put_to_sleep(tenant, false));

    // Nobody calls: the period is closed all the same.
    let live = || house.tenants.shell.directory.live(tenant);
    until(async || live().is_some_and(|life| life.vitals.in_flight.durable() >= 3)).await;

    let rolled = house.journal.find_entry(tenant, 3).await.unwrap().unwrap();
    assert_eq!((rolled.body.kind(), rolled.at), ("period_rolled", end));
    assert_eq!(house.images_used(tenant).await, (0, 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_correction_are_gone_with_the_tenants_key() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    let meter = "images".parse().unwrap();
    let reason = "Blank pictures".to_owned();
    let correction = Correction { meter, delta: 3, reason: reason.clone(), reference: None };
    house.tenants.adjust(tenant, correction, house.context()).await.unwrap();
    let cipher = house.keys.tenant_cipher(tenant).await.unwrap();
    let digest = cipher.digest("note", reason.as_bytes());
    assert_eq!(house.tenants.note(tenant, &digest).await.unwrap(), Some(reason));

    house.keys.destroy_tenant(tenant).await.unwrap();

    assert_eq!(house.tenants.note(tenant, &digest).await.unwrap(), None);
    house.stop().await;
}
