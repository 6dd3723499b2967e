//! What is told, and that it is told once.

use super::*;

#[tokio::test]
async fn an_entry_is_delivered_once_however_often_it_is_projected() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    let endpoint = world.endpoint(&receiver.url()).await;

    for seq in [1, 2, 1, 2, 1] {
        world.project(seq).await;
    }
    receiver.wait_for(2).await;
    world.project(1).await;
    world.project(3).await;
    let seen = receiver.wait_for(3).await;

    let mut ids: Vec<&str> = seen.iter().map(|hook| hook.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((seen.len(), ids.len()), (3, 3));
    assert_eq!(world.deliveries(&endpoint).await.len(), 3);
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["type"], "usage.threshold_reached");
    assert_eq!(body["id"], seen[0].header("webhook-id"));
    assert_eq!(body["data"]["percent"], 80);
}

#[tokio::test]
async fn passing_a_limit_is_told_once_in_a_period() {
    let world = Fixture::local().await;
    let endpoint = world.endpoint("http://127.0.0.1:9/hook").await;
    let consumed = |used: u64, amount: u64, period: &str| {
        let item = serde_json::json!({
            "meter": "images", "amount": amount, "used": used, "reserved": 0, "limit": 500,
        });
        serde_json::json!({ "kind": "consumed", "items": [item], "period": period })
    };

    world.project_fact(1, consumed(500, 100, "2026-11")).await;
    world.project_fact(2, consumed(501, 1, "2026-11")).await;
    world.project_fact(3, consumed(600, 99, "2026-11")).await;
    world.project_fact(9, consumed(510, 20, "2026-11")).await;
    world.project_fact(12, consumed(510, 510, "2026-12")).await;

    let mut told: Vec<(u64, String)> =
        world.deliveries(&endpoint).await.into_iter().map(|it| (it.seq, it.kind)).collect();
    told.sort();
    let kind = "usage.over_limit".to_owned();
    assert_eq!(told, [(2, kind.clone()), (12, kind)]);
}
