//! Outgoing webhooks, as a receiver and an owner see them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tenantry_chaos::world::Hook;
use tenantry_chaos::{Api, Mode, Service, Stack};
use tokio::process::Command;

use crate::product::{eventually, items};
use crate::quick_start::blocks;
use crate::support::stack;

/// The chapter, as the book has it.
const CHAPTER: &str = include_str!("../../docs/src/webhooks.md");

/// How long a webhook may take that is sent at once.
const SENT_WITHIN: Duration = Duration::from_secs(30);

/// A stack whose webhooks may go to this machine.
async fn local_stack() -> Stack {
    stack().variable("TENANTRY__WEBHOOKS__REACH", "local").start().await.unwrap()
}

/// Names an endpoint of the world's receiver; returns its id and its secret.
async fn endpoint(stack: &Stack, api: &Api, place: &str, events: Value) -> (String, String) {
    let body = json!({ "url": stack.world().receiver_url(place), "events": events });
    let created = api.post("/api/webhook-endpoints", &body).await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.body["id"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), format!("/api/webhook-endpoints/{id}"));
    (id, created.body["secret"].as_str().unwrap().to_owned())
}

async fn deliveries(api: &Api, id: &str) -> Vec<Value> {
    let page = api.get(&format!("/api/webhook-endpoints/{id}/deliveries")).await.unwrap();
    assert_eq!(page.status, 200, "{page:?}");
    page.body["data"].as_array().unwrap().clone()
}

/// Checks a message with the chapter's own recipe.
async fn verdict(hook: &Hook, secret: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("body.json"), &hook.body).unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &blocks(CHAPTER).concat()])
        .current_dir(folder.path())
        .env("SECRET", secret)
        .env("ID", &hook.id)
        .env("TIMESTAMP", &hook.timestamp)
        .env("SIGNATURE", &hook.signature)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_threshold_is_told_once_and_the_books_recipe_finds_it_genuine() {
    let stack = local_stack().await;
    let ada = stack.login("ada@example.test").await.unwrap();
    let (id, secret) = endpoint(&stack, &ada, "ada", json!(["usage.threshold_reached"])).await;

    for (key, amount) in [("one", 249), ("two", 1), ("three", 1)] {
        let taken = ada.post_once("/api/usage/consume", key, &items("images", amount)).await;
        assert_eq!(taken.unwrap().status, 200);
    }
    let hooks = stack.world().receiver().wait_for("ada", 1, SENT_WITHIN).await.unwrap();

    let [hook] = hooks.as_slice() else { panic!("{hooks:?}") };
    let told = hook.json();
    assert_eq!(told["type"], "usage.threshold_reached");
    assert_eq!(told["id"], hook.id.as_str());
    assert_eq!((&told["data"]["percent"], &told["data"]["used"]), (&json!(50), &json!(250)));
    assert_eq!(verdict(hook, &secret).await, "genuine");
    let forged = Hook { body: hook.body.replace("250", "251"), ..hook.clone() };
    assert_eq!(verdict(&forged, &secret).await, "forged");
    let listed = eventually(SENT_WITHIN, async || {
        let listed = deliveries(&ada, &id).await;
        (listed[0]["state"] == "delivered").then_some(listed)
    })
    .await;
    assert_eq!((listed.len(), &listed[0]["attempts"]), (1, &json!(1)));
    assert_eq!(listed[0]["payload"], told);
}

#[tokio::test]
async fn a_failed_webhook_comes_again_with_the_same_id_and_so_does_a_resent_one() {
    let stack = local_stack().await;
    let ada = stack.login("ada@example.test").await.unwrap();
    let (id, _) = endpoint(&stack, &ada, "ada", json!(["*"])).await;
    let receiver = stack.world().receiver();
    stack.world().switches().set(Service::Receiver, Mode::Garbage);

    ada.post_once("/api/usage/consume", "half", &items("images", 250)).await.unwrap();
    receiver.wait_for("ada", 1, SENT_WITHIN).await.unwrap();
    stack.world().switches().set(Service::Receiver, Mode::Healthy);
    let tries = receiver.wait_for("ada", 2, SENT_WITHIN).await.unwrap();
    let delivery = eventually(SENT_WITHIN, async || {
        let delivery = deliveries(&ada, &id).await.remove(0);
        (delivery["state"] == "delivered").then_some(delivery)
    })
    .await;
    let path =
        format!("/api/webhook-endpoints/deliveries/{}/resend", delivery["id"].as_str().unwrap());
    let resent = ada.call(Method::POST, &path, None).await.unwrap();
    let all = receiver.wait_for("ada", 3, SENT_WITHIN).await.unwrap();

    assert_eq!((tries[0].answered, tries[1].answered), (302, 204));
    assert!(receiver.at("redirected").is_empty(), "a redirect was followed");
    assert_eq!(delivery["attempts"], 2);
    assert_eq!((resent.status, &resent.body["state"]), (202, &json!("pending")), "{resent:?}");
    assert!(all.iter().all(|hook| hook.id == tries[0].id && hook.body == tries[0].body));
}

#[tokio::test]
async fn while_a_secret_is_replaced_either_finds_a_message_genuine() {
    let stack = local_stack().await;
    let ada = stack.login("ada@example.test").await.unwrap();
    let (id, old) = endpoint(&stack, &ada, "ada", json!(["*"])).await;
    let path = format!("/api/webhook-endpoints/{id}/rotate-secret");

    let rotated = ada.post(&path, &json!({ "overlap_seconds": 3_600 })).await.unwrap();
    ada.post_once("/api/usage/consume", "half", &items("images", 250)).await.unwrap();
    let both = stack.world().receiver().wait_for("ada", 1, SENT_WITHIN).await.unwrap();
    let at_once = ada.post(&path, &json!({ "overlap_seconds": 0 })).await.unwrap();
    ada.post_once("/api/usage/consume", "more", &items("images", 150)).await.unwrap();
    let after = stack.world().receiver().wait_for("ada", 2, SENT_WITHIN).await.unwrap();

    assert_eq!((rotated.status, at_once.status), (200, 200), "{rotated:?} {at_once:?}");
    let new = rotated.body["secret"].as_str().unwrap();
    let newest = at_once.body["secret"].as_str().unwrap();
    assert_eq!(verdict(&both[0], &old).await, "genuine");
    assert_eq!(verdict(&both[0], new).await, "genuine");
    assert_eq!(verdict(&after[1], newest).await, "genuine");
    assert_eq!(verdict(&after[1], new).await, "forged");
}

#[tokio::test]
async fn endpoints_belong_to_owners_and_lead_to_public_places() {
    let stack = stack().start().await.unwrap();
    let ada = stack.login("ada@example.test").await.unwrap();
    let eve = stack.login("eve@example.test").await.unwrap();
    let key = stack.api_key("ada@example.test").await.unwrap();
    let body = |url: &str, events: Value| json!({ "url": url, "events": events });
    let good = body("https://example.com/hook", json!(["plan.changed"]));
    let path = "/api/webhook-endpoints";

    let created = ada.post(path, &good).await.unwrap();
    let own = format!("{path}/{}", created.body["id"].as_str().unwrap());
    for (url, events) in [
        ("http://example.com/hook", json!(["*"])),
        ("https://127.0.0.1/hook", json!(["*"])),
        ("https://[::ffff:169.254.169.254]/", json!(["*"])),
        ("https://metadata.google.internal/", json!(["*"])),
        ("https://example.com:6379/", json!(["*"])),
        ("https://example.com/", json!([])),
        ("https://example.com/", json!(["unheard.of"])),
        ("https://example.com/", json!(["*", "plan.changed"])),
    ] {
        let refused = ada.post(path, &body(url, events.clone())).await.unwrap();
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{url} {events}");
    }
    let by_key = key.post(path, &good).await.unwrap();
    let foreign = eve.get(&own).await.unwrap();
    let changed = ada.call(Method::PATCH, &own, Some(&json!({ "enabled": false }))).await.unwrap();
    for _ in 1..20 {
        assert_eq!(ada.post(path, &good).await.unwrap().status, 201);
    }
    let many = ada.post(path, &good).await.unwrap();
    let gone = ada.call(Method::DELETE, &own, None).await.unwrap();
    let listed = ada.get(path).await.unwrap();

    assert_eq!((by_key.status, by_key.code()), (403, "role-required"));
    assert_eq!((foreign.status, foreign.code()), (404, "not-found"));
    assert_eq!((changed.status, &changed.body["disabled_reason"]), (200, &json!("owner")));
    assert_eq!((many.status, many.code()), (409, "too-many-webhook-endpoints"));
    assert_eq!(gone.status, 204);
    assert_eq!(listed.body["data"].as_array().unwrap().len(), 19);
    assert!(!listed.body.to_string().contains("whsec_"), "a secret is shown once");
}
