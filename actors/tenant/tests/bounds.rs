//! What is bounded, what is shed, and what an operator lets run again.

use std::time::Duration;

use tenantry_supervision::Deadline;

use super::super::message::TenantMsg;
use super::house::{House, Script, Scripted, folder, images, until};
use crate::ids::TenantId;
use crate::tenant::TenantError;

async fn house(folder: &tempfile::TempDir) -> House {
    House::start(folder.path(), &Scripted::new(Script::Succeed)).await
}

/// How a call ends that waits 50 ms at most.
async fn impatient(house: &House, tenant: TenantId) -> Result<(), TenantError> {
    let mut context = house.context();
    context.deadline = Deadline::after(Duration::from_millis(50));
    house.tenants.consume(tenant, images(1), context).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_everyone_has_left_is_not_woken() {
    let folder = folder();
    let house = house(&folder).await;
    let shell = &house.tenants.shell;
    let (left, wanted) = (house.tenant(), house.tenant());
    let all_turns = shell.activations.capacity();
    let turns = shell.activations.try_enter_with(all_turns).unwrap();

    assert_eq!(impatient(&house, left).await, Err(TenantError::DeadlineExceeded));
    let call = house.tenants.consume(wanted, images(1), house.context());
    let (answer, ()) = tokio::join!(call, async { drop(turns) });

    answer.unwrap();
    until(async || shell.waking.depth() == 0).await;
    assert!(shell.directory.live(left).is_none());
    assert_eq!(house.images_used(left).await, (0, 0), "it can be woken any time");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_to_be_woken_are_told_when_to_come_again() {
    let folder = folder();
    let house = house(&folder).await;
    let waking = &house.tenants.shell.waking;
    let (awake, asleep) = (house.tenant(), house.tenant());
    house.tenants.consume(awake, images(1), house.context()).await.unwrap();
    let places = waking.try_enter_with(waking.capacity()).unwrap();

    let refused = house.tenants.consume(asleep, images(1), house.context()).await.unwrap_err();
    assert!(matches!(refused, TenantError::Overloaded { retry_after_s: 1.. }), "{refused:?}");
    house.tenants.consume(awake, images(1), house.context()).await.unwrap();

    drop(places);
    house.tenants.consume(asleep, images(1), house.context()).await.unwrap();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_cap_those_with_the_oldest_entry_sleep_first() {
    let folder = folder();
    let house = house(&folder).await;
    let directory = &house.tenants.shell.directory;
    let (looked_at, works) = (house.tenant(), house.tenant());
    let long = Duration::from_mins(10);
    for tenant in [works, looked_at] {
        house.tenants.consume(tenant, images(1), house.context()).await.unwrap();
    }
    assert!(directory.sleepy(long, 2).is_empty());

    let seen = directory.elapsed_ms();
    until(async || directory.elapsed_ms() > seen).await;
    house.tenants.consume(works, images(1), house.context()).await.unwrap();
    assert!(directory.sleepy(long, 2).is_empty());
    let seen = directory.elapsed_ms();
    until(async || directory.elapsed_ms() > seen).await;
    house.tenants.usage(looked_at).await.unwrap();

    // A dashboard that asks every second does not keep its tenant awake at a worker's cost.
    assert_eq!(directory.sleepy(long, 1), [looked_at]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lets_a_quarantined_tenant_run_again() {
    let folder = folder();
    let house = house(&folder).await;
    let tenant = house.tenant();
    let directory = &house.tenants.shell.directory;
    for _ in 0..3 {
        house.tenants.consume(tenant, images(1), house.context()).await.unwrap();
        let live = directory.live(tenant).unwrap();
        live.actor.send_message(TenantMsg::Panic).unwrap();
        let is_gone = || directory.live(tenant).is_none_or(|now| now.generation != live.generation);
        until(async || is_gone()).await;
    }
    let refused = house.tenants.usage(tenant).await.unwrap_err();
    assert!(matches!(refused, TenantError::Quarantined { .. }), "{refused:?}");

    let lifted = house.tenants.lift_quarantine(tenant).await.unwrap();
    assert_eq!((lifted.was_failing, lifted.entries), (true, 0));
    assert_eq!(house.images_used(tenant).await, (3, 0));
    let again = house.tenants.lift_quarantine(tenant).await.unwrap();
    assert!(!again.was_failing);
    house.stop().await;
}
