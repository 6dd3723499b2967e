//! What cannot be reached: private addresses, and what others own.

use super::*;

#[tokio::test]
async fn a_name_that_changes_its_mind_reaches_no_private_address() {
    // The first list is what a check before the connection would have seen.
    let lists: [&[&str]; 5] =
        [&["127.0.0.1"], &["10.0.0.1", "::1"], &["169.254.169.254"], &["::ffff:127.0.0.1"], &[]];
    for list in lists {
        let lookup = Scripted::answering(&[list]);
        let world = Fixture::start(Reach::Public, lookup.clone()).await;
        let endpoint = world.endpoint("https://rebound.example.com/hook").await;

        world.project(1).await;
        let failed = world.delivery(&endpoint, |it| it.last_error.is_some()).await;

        assert_eq!(failed.last_error.as_deref(), Some("address-not-public"), "{list:?}");
        assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "it is asked once, and believed once");
        world.tasks.finish(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn what_another_tenant_has_is_not_found() {
    let world = Fixture::local().await;
    let endpoint = world.endpoint("http://127.0.0.1:9/hook").await;
    let eve = Principal { tenant: TenantId::generate(&SystemClock), ..world.owner.clone() };
    let webhooks = &world.webhooks;
    let change = EndpointChange::default();

    let missing = [
        webhooks.show(eve.tenant, endpoint.id).await.map(drop),
        webhooks.change(&eve, endpoint.id, change, &client()).await.map(drop),
        webhooks.rotate_secret(&eve, endpoint.id, 0, &client()).await.map(drop),
        webhooks.deliveries(eve.tenant, endpoint.id, None, 1).await.map(drop),
        webhooks.remove(&eve, endpoint.id, &client()).await,
    ];

    for result in missing {
        assert!(matches!(result, Err(WebhookError::NotFound)), "{result:?}");
    }
    assert!(webhooks.list(eve.tenant).await.unwrap().is_empty());
}
