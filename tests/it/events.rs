//! Events count once: however they come, however often, and across a crash.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tenantry_chaos::{Api, Reply};

use crate::product::{items, meter};
use crate::support::stack;

const EVENTS: &str = "/api/events";
const BATCH: &str = "application/cloudevents-batch+json";

/// An event of one meter, without a time.
fn event(id: &str, meter: &str, amount: u64) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/render/7", "type": format!("com.example.{meter}"),
            "data": { "amount": amount } })
}

/// An event with another value in one place.
fn with(id: &str, name: &str, value: Value) -> Value {
    let mut event = event(id, "images", 1);
    event[name] = value;
    event
}

/// Sends a body of that type.
async fn send(api: &Api, kind: &str, body: &Value) -> Reply {
    let request = api.request(Method::POST, EVENTS).header("content-type", kind);
    api.send(request.body(body.to_string())).await.unwrap()
}

/// Sends events together, and tells what became of each.
async fn batch(api: &Api, events: &[Value]) -> Vec<String> {
    let reply = send(api, BATCH, &json!(events)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    statuses(&reply)
}

/// The status of each result, and the problem's code where there is one.
fn statuses(reply: &Reply) -> Vec<String> {
    let results = reply.body["results"].as_array().unwrap();
    let status = |result: &Value| match result["problem"]["code"].as_str() {
        Some(code) => format!("{} {code}", result["status"].as_str().unwrap()),
        None => result["status"].as_str().unwrap().to_owned(),
    };
    results.iter().map(status).collect()
}

async fn used(api: &Api, name: &str) -> u64 {
    meter(api, name).await["used"].as_u64().unwrap()
}

#[tokio::test]
async fn each_mode_counts_and_what_comes_again_is_a_duplicate_in_any_mode() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();

    let structured = send(&api, "application/cloudevents+json", &event("a", "images", 2)).await;
    assert_eq!((structured.status, statuses(&structured)), (200, vec!["accepted".to_owned()]));
    assert_eq!(structured.body["results"][0]["id"], "a");
    assert_eq!(
        batch(&api, &[event("a", "images", 2), event("b", "images", 3), event("b", "images", 3)])
            .await,
        ["duplicate", "accepted", "duplicate"]
    );
    for expected in ["accepted", "duplicate"] {
        let binary = api
            .request(Method::POST, EVENTS)
            .header("ce-specversion", "1.0")
            .header("ce-id", "c%20%C3%A4")
            .header("ce-source", "/render/7")
            .header("ce-type", "tts_ms")
            .json(&json!({ "amount": 900 }));
        let reply = api.send(binary).await.unwrap();
        assert_eq!((reply.status, statuses(&reply)), (200, vec![expected.to_owned()]));
        assert_eq!(reply.body["results"][0]["id"], "c ä");
    }
    // The same id of another source is another event.
    assert_eq!(batch(&api, &[with("a", "source", json!("/render/8"))]).await, ["accepted"]);

    assert_eq!((used(&api, "images").await, used(&api, "tts_ms").await), (6, 900));
    let other = stack.api_key("bob@example.test").await.unwrap();
    assert_eq!(batch(&other, &[event("a", "images", 1)]).await, ["accepted"]);
}

#[tokio::test]
async fn one_bad_event_has_its_problem_and_the_others_count() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let largest = (1_u64 << 53) - 1;

    let events = [
        event("1", "images", 1),
        event("2", "unicorns", 1),
        event("3", "Ü", 1),
        event("4", "images", 0),
        event("5", "images", largest + 1),
        with("6", "time", json!("1970-01-01T00:00:00Z")),
        with("7", "time", json!("2100-01-01T00:00:00Z")),
        with("8", "time", json!("soon")),
        with("9", "specversion", json!("0.3")),
        with("10", "subject", json!("tnt_00000000000000000000000001")),
        json!("no event"),
        event("11", "images", 1),
    ];
    let expected = [
        "accepted",
        "rejected unknown-meter",
        "rejected unknown-meter",
        "rejected invalid",
        "rejected invalid",
        "rejected event-too-old",
        "rejected event-in-future",
        "rejected invalid",
        "rejected invalid",
        "rejected invalid",
        "rejected invalid",
        "accepted",
    ];
    let reply = send(&api, BATCH, &json!(events)).await;
    assert_eq!(statuses(&reply), expected, "{reply:?}");
    let problem = &reply.body["results"][5]["problem"];
    assert!(problem["type"].as_str().unwrap().ends_with("/problems#event-too-old"), "{problem}");
    assert_eq!((&problem["status"], &problem["request_id"]), (&json!(422), &Value::Null));
    assert_eq!(used(&api, "images").await, 2);

    // What was rejected is not remembered: it may come again, mended.
    assert_eq!(batch(&api, &[event("2", "images", 1)]).await, ["accepted"]);
    assert_eq!(batch(&api, &[with("6", "time", Value::Null)]).await, ["accepted"]);
}

#[tokio::test]
async fn a_request_that_cannot_be_told_apart_changes_nothing() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let many = |count: usize| -> Value {
        (0..count).map(|n| event(&n.to_string(), "images", 1)).collect::<Vec<_>>().into()
    };
    let structured = "application/cloudevents+json";
    let long = "x".repeat(1_024);
    let large: Vec<_> = (0..999).map(|n| event(&format!("{n}-{long}"), "images", 1)).collect();
    let cases = [
        (BATCH, many(1_001).to_string(), 413, "too-many-events"),
        (BATCH, json!(large).to_string(), 413, "body-too-large"),
        (BATCH, event("a", "images", 1).to_string(), 422, "invalid"),
        (structured, many(1).to_string(), 422, "invalid"),
        (structured, "7".to_owned(), 422, "invalid"),
        (structured, "{".to_owned(), 400, "malformed-body"),
        (structured, String::new(), 400, "malformed-body"),
        ("text/plain", event("a", "images", 1).to_string(), 415, "unsupported-media-type"),
    ];
    for (kind, body, status, code) in cases {
        let request = api.request(Method::POST, EVENTS).header("content-type", kind).body(body);
        let reply = api.send(request).await.unwrap();
        assert_eq!((reply.status, reply.code()), (status, code), "{reply:?}");
    }
    let stranger = send(&stack.api(), BATCH, &many(1)).await;
    assert_eq!(stranger.status, 401, "{stranger:?}");
    assert_eq!(used(&api, "images").await, 0);

    assert_eq!(send(&api, BATCH, &json!([])).await.body, json!({ "results": [] }));
    let whole = send(&api, BATCH, &many(1_000)).await;
    assert!(statuses(&whole).iter().all(|status| status == "accepted"), "{whole:?}");
    assert_eq!(used(&api, "images").await, 1_000);
}

#[tokio::test]
async fn events_may_pass_the_limit_and_admissions_then_find_nothing() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();

    assert_eq!(batch(&api, &[event("a", "images", 700)]).await, ["accepted"]);

    let images = meter(&api, "images").await;
    assert_eq!((&images["used"], &images["remaining"]), (&json!(700), &json!(0)), "{images}");
    assert_eq!(images["overage"]["units"], 200);
    let refused = api.post_once("/api/usage/consume", "one", &items("images", 1)).await.unwrap();
    assert_eq!((refused.status, refused.code()), (402, "quota-exceeded"), "{refused:?}");
}

#[tokio::test]
async fn a_batch_under_a_key_is_answered_again_and_the_key_is_for_it_alone() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let keyed = async |body: Value| {
        let request = api.request(Method::POST, EVENTS).header("content-type", BATCH);
        api.send(request.header("idempotency-key", "one").body(body.to_string())).await.unwrap()
    };
    let events = json!([event("a", "images", 1), event("b", "unicorns", 1), 7]);

    let first = keyed(events.clone()).await;
    let again = keyed(events).await;
    let other = keyed(json!([event("a", "images", 2)])).await;

    assert_eq!(statuses(&first), ["accepted", "rejected unknown-meter", "rejected invalid"]);
    assert_eq!((&again.body, again.header("idempotency-replayed")), (&first.body, "true"));
    assert_eq!((other.status, other.code()), (422, "idempotency-key-reused"));
    assert_eq!(used(&api, "images").await, 1);
}

#[tokio::test]
async fn events_sent_by_many_at_once_and_over_kills_count_once() {
    const EVENTS_EACH: usize = 200;
    let mut stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let events: Vec<Value> =
        (0..EVENTS_EACH).map(|n| event(&n.to_string(), "tts_ms", 1 + n as u64 % 7)).collect();
    let sum: u64 = (0..EVENTS_EACH).map(|n| 1 + n as u64 % 7).sum();

    let mut accepted = BTreeSet::new();
    for round in 0..3 {
        let api = api.at(&stack.server().url());
        let senders = (0..8).map(|sender: usize| {
            let (api, mut events) = (api.clone(), events.clone());
            events.rotate_left(sender * 25);
            async move { (events.clone(), send(&api, BATCH, &json!(events)).await) }
        });
        for (events, reply) in futures_util::future::join_all(senders).await {
            assert_eq!(reply.status, 200, "{reply:?}");
            for (event, status) in events.iter().zip(statuses(&reply)) {
                let id = event["id"].as_str().unwrap().to_owned();
                let is_first = status == "accepted";
                assert!(is_first || status == "duplicate", "{status}");
                assert!(!is_first || accepted.insert(id.clone()), "{id} counted twice");
            }
        }
        assert_eq!((round, used(&api, "tts_ms").await), (round, sum));
        // What is known survives: in flight, in the filter's snapshot, and in the table.
        if round == 0 {
            stack.kill().await.unwrap();
        } else {
            stack.stop().await.unwrap();
        }
        stack.restart().await.unwrap();
    }
    assert_eq!(accepted.len(), EVENTS_EACH);

    let verified = {
        stack.stop().await.unwrap();
        stack.run(&["ledger", "verify"]).await.unwrap()
    };
    assert!(verified.status.success(), "{verified:?}");
}
