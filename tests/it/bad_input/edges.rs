//! The edges of what is accepted: other tenants' reservations, the last one, the longest key.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::held;
use crate::product::{items, meter};
use crate::support::stack;

#[tokio::test]
async fn another_tenants_reservation_is_not_found_and_stays_as_it_is() {
    let stack = stack().start().await.unwrap();
    let ada = stack.api_key("ada@example.test").await.unwrap();
    let bob = stack.api_key("bob@example.test").await.unwrap();
    let made = ada.post_once("/api/reservations", "one", &held(5, 600)).await.unwrap().body;
    let path = format!("/api/reservations/{}", made["id"].as_str().unwrap());
    let nobodys = "/api/reservations/rsv_00000000000000000000000001";

    for (end, body) in [
        ("commit", json!({})),
        ("commit", json!({ "late": true })),
        ("release", json!({})),
        ("extend", json!({ "ttl_s": 60 })),
    ] {
        let theirs = bob.post(&format!("{path}/{end}"), &body).await.unwrap();
        let missing = bob.post(&format!("{nobodys}/{end}"), &body).await.unwrap();
        assert_eq!((theirs.status, theirs.code()), (404, "not-found"), "{theirs:?}");
        // Byte for byte the same but for what names the request.
        for named in ["request_id", "instance"] {
            assert_ne!(theirs.body[named], Value::Null);
        }
        assert_eq!(theirs.body["detail"], missing.body["detail"]);
        assert_eq!(missing.status, 404);
    }
    assert_eq!(bob.get(&path).await.unwrap().status, 404);
    assert_eq!(ada.get(&path).await.unwrap().body, made);
}

#[tokio::test]
async fn a_tenant_opens_ten_thousand_reservations_and_not_one_more() {
    const OPEN_MAX: usize = 10_000;
    const AT_ONCE: usize = 64;
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let mut body = items("tts_ms", 1);
    body["ttl_s"] = json!(86_400);

    // A hundred thousand are asked for in the end: what is refused is refused cheaply, so a tenth
    // of them beyond the limit shows as much.
    let opened = futures_util::stream::iter(0..OPEN_MAX + OPEN_MAX / 10)
        .map(|number| {
            let (api, body) = (api.clone(), body.clone());
            async move {
                let key = format!("hold-{number}");
                let reply = api.post_once("/api/reservations", &key, &body).await.unwrap();
                (reply.status, reply.code().to_owned())
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;

    let made = opened.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(made, OPEN_MAX);
    let refused = (409, "too-many-reservations".to_owned());
    assert!(opened.iter().all(|reply| reply.0 == 201 || *reply == refused), "{opened:?}");
    assert_eq!(meter(&api, "tts_ms").await["reserved"], OPEN_MAX);
}

#[tokio::test]
async fn a_key_has_255_visible_characters_at_most() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let body = items("images", 1);

    let (longest, longer) = ("k".repeat(255), "k".repeat(256));
    for (key, status, code) in [
        (longest.as_str(), 200, ""),
        (longer.as_str(), 400, "idempotency-key-invalid"),
        ("a b", 400, "idempotency-key-invalid"),
        ("\"", 400, "idempotency-key-invalid"),
    ] {
        let reply = api.post_once("/api/usage/consume", key, &body).await.unwrap();
        assert_eq!((reply.status, reply.code()), (status, code), "{key}: {reply:?}");
    }
    assert_eq!(meter(&api, "images").await["used"], 1);
}

#[tokio::test]
async fn a_plan_file_that_is_wrong_stops_the_start_and_is_named_with_key_and_reason() {
    let good = include_str!("../../../plans.toml");
    let extending = |first: &str, second: &str| {
        format!(
            "{good}\n[[plans]]\nname = \"a\"\ntitle = \"A\"\nextends = \"{first}\"\n\
             [[plans]]\nname = \"b\"\ntitle = \"B\"\nextends = \"{second}\"\n"
        )
    };
    let cases = [
        (extending("b", "a"), "plans.b.extends: goes in a circle: a, b, a"),
        (extending("x", "free"), "plans.a.extends: there is no plan `x`"),
        (
            good.replacen("images = 500, ", "", 1),
            "plans.free.limits.images: missing: every plan says a limit for every meter",
        ),
        (
            good.replacen("price_micros = 50_000", "price_micros = -1", 1),
            "plans.pro.overage.images.price_micros: must not be negative, and is -1",
        ),
        (
            good.replacen("price_minor = 2_900", "price_minor = -2_900", 1),
            "plans.pro.price_minor: must not be negative, and is -2900",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plans.toml");
    let stack = stack()
        .variable("TENANTRY__PLANS", path.to_str().unwrap())
        .without_server()
        .start()
        .await
        .unwrap();

    for (text, said) in cases {
        std::fs::write(&path, text).unwrap();
        for command in ["check", "serve"] {
            let ended = stack.run(&[command]).await.unwrap();
            let stderr = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(64), "{command}: {stderr}");
            let named = format!("{}: {said}", path.display());
            assert!(stderr.contains(&named), "{named}, and said was: {stderr}");
        }
    }
    std::fs::write(&path, extending("free", "a")).unwrap();
    assert_eq!(stack.run(&["check"]).await.unwrap().status.code(), Some(0));
}
