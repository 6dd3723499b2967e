//! Receivers that fail: the schedule, its end, and being left alone.

use tenantry_supervision::breaker::{Breaker, BreakerState};

use super::*;

#[tokio::test]
async fn the_schedule_is_followed_to_its_end_and_a_resend_begins_it_anew() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("500 Internal Server Error");
    let endpoint = world.endpoint(&receiver.url()).await;
    world.project(1).await;

    for (tries, wait) in (1..).zip(RETRY_AFTER).take(3) {
        let now = Some(world.clock.now());
        let is_tried = |it: &Delivery| it.attempts == tries && it.last_attempt_at == now;
        let waiting = world.delivery(&endpoint, is_tried).await;
        assert_eq!((waiting.state, waiting.last_status), (DeliveryState::Pending, Some(500)));
        assert_eq!(waiting.next_attempt_at, world.clock.now().checked_add(wait));
        world.clock.advance(wait);
    }
    let now = Some(world.clock.now());
    world.delivery(&endpoint, |it| it.attempts == 4 && it.last_attempt_at == now).await;
    let steps = RETRY_AFTER.len();
    world.deps.database.tamper(&format!("UPDATE webhook_deliveries SET step = {steps}")).await;
    world.clock.advance(RETRY_AFTER[3]);
    let over = world.delivery(&endpoint, |it| it.state == DeliveryState::Failed).await;
    assert_eq!((over.attempts, over.next_attempt_at), (5, None));

    receiver.answer("200 OK");
    let next = world.webhooks.resend(&world.owner, over.id, &client()).await.unwrap();

    // Five failures in a row opened the breaker, which a resend does not force.
    assert_eq!((next.state, next.event), (DeliveryState::Pending, over.event));
    let seen = receiver.wait_for(5).await;
    assert!(seen.iter().all(|hook| hook.header("webhook-id") == over.event.to_string()));
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_switched_off_and_its_owner_gets_one_mail() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("503 Service Unavailable");
    let endpoint = world.endpoint(&receiver.url()).await;
    world.project(1).await;
    world.delivery(&endpoint, |it| it.attempts == 1 && it.last_error.is_some()).await;
    assert!(world.shown(&endpoint).await.failing_since.is_some());

    world.clock.advance(GIVE_UP_AFTER);
    let over = world.delivery(&endpoint, |it| it.state == DeliveryState::Failed).await;
    world.project(2).await;

    let shown = world.shown(&endpoint).await;
    assert_eq!(shown.disabled_reason.as_deref(), Some("failing"));
    assert_eq!(over.last_error.as_deref(), Some("endpoint-disabled"));
    // The mail about the endpoint, and those about the two thresholds.
    assert_eq!(world.mails().await, 3);
    assert_eq!(world.deliveries(&endpoint).await.len(), 1, "one that is off is owed nothing");
    let refused = world.webhooks.resend(&world.owner, over.id, &client()).await;
    assert!(matches!(refused, Err(WebhookError::Disabled)));

    receiver.answer("200 OK");
    let on = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    world.webhooks.change(&world.owner, endpoint.id, on, &client()).await.unwrap();
    world.webhooks.resend(&world.owner, over.id, &client()).await.unwrap();
    world.delivery(&endpoint, |it| it.state == DeliveryState::Delivered).await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_believed_at_once() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("410 Gone");
    let endpoint = world.endpoint(&receiver.url()).await;

    world.project(1).await;
    world.delivery(&endpoint, |it| it.state == DeliveryState::Failed).await;

    assert_eq!(world.shown(&endpoint).await.disabled_reason.as_deref(), Some("gone"));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let world = Fixture::local().await;
    let (receiver, elsewhere) =
        (Receiver::start(&world.tasks).await, Receiver::start(&world.tasks).await);
    receiver.answer(&format!("302 Found\r\nlocation: {}", elsewhere.url()));
    let endpoint = world.endpoint(&receiver.url()).await;

    world.project(1).await;
    let failed = world.delivery(&endpoint, |it| it.last_error.is_some()).await;

    assert_eq!((failed.last_error.as_deref(), failed.last_status), (Some("redirect"), Some(302)));
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_left_alone() {
    let breaker = Breaker::one_of_many(relay::breaker_settings());
    for _ in 0..5 {
        let failing = async || Err::<(), _>(client::NotTaken::because("status"));
        breaker.call(failing).await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Open);

    let world = Fixture::local().await;
    let (receiver, healthy) =
        (Receiver::start(&world.tasks).await, Receiver::start(&world.tasks).await);
    receiver.answer("500 Internal Server Error");
    world.endpoint(&receiver.url()).await;
    let tenant = world.owner.tenant;
    world.project_lapses(tenant, 1..=40).await;
    receiver.wait_for(5).await;

    // The relay looks many times more while another endpoint is served.
    world.endpoint(&healthy.url()).await;
    for seq in 41..=50 {
        world.project_lapses(tenant, [seq]).await;
        healthy.wait_for(usize::try_from(seq).unwrap() - 40).await;
    }

    // What was under way when the breaker opened came to its end too; then single probes.
    assert!(receiver.seen().len() <= 5 + 4 + 3, "{}", receiver.seen().len());
}
