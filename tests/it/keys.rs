//! Idempotency keys across calls: a key names one operation, whichever call it was.

use serde_json::{Value, json};
use tenantry_chaos::Api;

use crate::product::items;
use crate::support::stack;

const ADJUST: &str = "/api/usage/adjustments";

/// A client, where it sends, and what.
type Sent<'a> = (&'a Api, String, Value);

async fn held(api: &Api, key: &str) -> String {
    let held = api.post_once("/api/reservations", key, &items("images", 5)).await.unwrap();
    assert_eq!(held.status, 201, "{held:?}");
    format!("/api/reservations/{}", held.body["id"].as_str().unwrap())
}

fn event() -> Value {
    json!({
        "specversion": "1.0", "type": "com.example.images", "source": "/test", "id": "1",
        "data": { "amount": 1 },
    })
}

/// Every call that may change usage. `hold` is the path of the hold that is settled.
fn calls<'a>(api: &'a Api, owner: &'a Api, hold: &str) -> Vec<Sent<'a>> {
    let correction = json!({ "meter": "images", "delta": 2, "reason": "A test" });
    vec![
        (api, "/api/usage/consume".to_owned(), items("images", 1)),
        (api, "/api/reservations".to_owned(), items("images", 2)),
        (api, format!("{hold}/extend"), json!({ "ttl_s": 600 })),
        (api, format!("{hold}/commit"), json!({})),
        (api, "/api/events".to_owned(), event()),
        (owner, ADJUST.to_owned(), correction),
        (api, format!("{hold}/release"), json!({})),
    ]
}

#[tokio::test]
async fn a_key_that_one_call_used_is_refused_by_every_other() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let owner = stack.login("ada@example.test").await.unwrap();
    let (settled, returned) = (held(&api, "settled").await, held(&api, "returned").await);
    let mut used = Vec::new();
    for (number, (who, path, body)) in calls(&api, &owner, &settled).into_iter().enumerate() {
        // A hold that was committed cannot be released: another one can.
        let path = path.replace(&format!("{settled}/release"), &format!("{returned}/release"));
        let key = format!("key-{number}");
        let done = who.post_once(&path, &key, &body).await.unwrap();
        assert!(matches!(done.status, 200 | 201), "{path}: {done:?}");
        used.push(key);
    }
    let open = held(&api, "open").await;
    let before = api.get("/api/usage").await.unwrap().body;

    for (first, key) in used.iter().enumerate() {
        for (second, (who, path, body)) in calls(&api, &owner, &open).into_iter().enumerate() {
            // A session may send only so much in a second.
            if first == second || (path == ADJUST && first > 2) {
                continue;
            }
            let refused = who.post_once(&path, key, &body).await.unwrap();
            let found = (refused.status, refused.code());
            assert_eq!(found, (422, "idempotency-key-reused"), "{key} at {path}: {refused:?}");
        }
    }

    assert_eq!(api.get("/api/usage").await.unwrap().body, before);
    let hold = api.get(&open).await.unwrap().body;
    assert_eq!(hold["state"], "held");
}
