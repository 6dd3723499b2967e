//! Queues: however long one is, the others do not notice, and none grows without end.

use super::*;
use crate::database::webhook_deliveries::queues;

/// What a tenant may have under way at once, and an endpoint.
const OF_TENANT: usize = 16;
const OF_ENDPOINT: usize = 4;

#[tokio::test]
async fn a_slow_tenant_with_a_long_queue_delays_no_other() {
    let world = Fixture::local().await;
    let (stuck, healthy) =
        (Receiver::start(&world.tasks).await, Receiver::start(&world.tasks).await);
    stuck.hang();
    let mut slow = Vec::new();
    for _ in 0..10 {
        slow.push(world.endpoint(&stuck.url()).await);
    }
    world.project_lapses(world.owner.tenant, 1..=300).await;
    stuck.wait_for(OF_TENANT).await;
    let other = owner();
    let endpoint = world.endpoint_of(&other, &healthy.url()).await;

    for seq in 1..=20 {
        world.project_lapses(other.tenant, [seq]).await;
        healthy.wait_for(usize::try_from(seq).unwrap()).await;
    }

    // Twice: a receiver may hear late that an attempt was given up. Without a share it were 40.
    assert!(stuck.most_at_once() <= 2 * OF_TENANT, "it holds its share of places");
    until("delivered", async || {
        let rows = world.deliveries_of(other.tenant, &endpoint).await;
        rows.iter().all(|row| row.state == DeliveryState::Delivered)
    })
    .await;
    for endpoint in &slow {
        let waiting = world.deliveries(endpoint).await;
        assert_eq!(waiting.len(), 300);
        assert!(waiting.iter().all(|row| row.state == DeliveryState::Pending), "it has hung");
    }
}

#[tokio::test]
async fn one_endpoint_that_hangs_keeps_no_other_of_its_tenant_waiting() {
    let world = Fixture::local().await;
    let (stuck, healthy) =
        (Receiver::start(&world.tasks).await, Receiver::start(&world.tasks).await);
    stuck.hang();
    world.endpoint(&stuck.url()).await;
    world.project_lapses(world.owner.tenant, 1..=300).await;
    stuck.wait_for(OF_ENDPOINT).await;

    world.endpoint(&healthy.url()).await;
    world.project_lapses(world.owner.tenant, [1_000]).await;
    healthy.wait_for(1).await;

    assert!(stuck.most_at_once() <= 2 * OF_ENDPOINT, "it holds its share of places");
}

#[tokio::test]
async fn what_finds_ten_thousand_waiting_fails_at_once_and_can_be_sent_again() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.hang();
    let endpoint = world.endpoint(&receiver.url()).await;
    let tenant = world.owner.tenant;

    world.project_lapses(tenant, 1..=9_995).await;
    world.project_lapses(tenant, 9_996..=10_010).await;

    let refused = async || {
        let mut rows = world.deliveries(&endpoint).await;
        assert_eq!(rows.len(), 10_010);
        rows.retain(|row| row.state == DeliveryState::Failed);
        rows
    };
    let rows = refused().await;
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row.last_error.as_deref() == Some("too-many-waiting")));
    // They are settled by the relay's clock, and counted by it.
    until("settled", async || {
        let mut reader = world.deps.database.reader().await.unwrap();
        !queues::has_refused(&mut reader).await.unwrap()
    })
    .await;
    world.project_lapses(tenant, [9_996]).await;
    assert_eq!(refused().await.len(), 10, "projecting it again owes nothing more");
    let again = world.webhooks.resend(&world.owner, rows[0].id, &client()).await.unwrap();
    assert_eq!(again.state, DeliveryState::Pending);
}

#[tokio::test]
async fn what_a_removed_endpoint_is_still_owed_is_removed_too() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.hang();
    let endpoint = world.endpoint(&receiver.url()).await;
    world.project_lapses(world.owner.tenant, 1..=9).await;
    // As if the projector had written them while the endpoint was removed.
    world.deps.database.tamper("DELETE FROM webhook_endpoints").await;

    let mut tx = world.deps.database.relay_tx().await.unwrap();
    queues::delete_orphans(&mut tx).await.unwrap();
    assert_eq!(queues::depth(&mut tx).await.unwrap(), 0);
    tx.commit().await.unwrap();

    let gone = world.webhooks.deliveries(world.owner.tenant, endpoint.id, None, 10).await;
    assert!(matches!(gone, Err(WebhookError::NotFound)));
}
