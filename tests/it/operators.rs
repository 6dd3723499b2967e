//! Operators' calls: the token of the configuration opens them, and no other credential does.

use reqwest::Method;
use serde_json::json;
use tenantry_chaos::{Api, Stack};

use crate::product::{items, meter};
use crate::support::stack;

/// The token of these tests.
pub(crate) const TOKEN: &str = "an-operators-token-of-32-characters";

/// A stack with operators.
pub(crate) async fn operated() -> Stack {
    stack().variable("TENANTRY__OPERATOR_TOKEN", TOKEN).start().await.unwrap()
}

/// An operator's client.
pub(crate) fn operator(stack: &Stack) -> Api {
    stack.api().with_bearer(TOKEN)
}

/// The tenant that a client's credential speaks for, found by its name.
pub(crate) async fn tenant_of(stack: &Stack, email: &str) -> String {
    let listed = operator(stack).get("/api/admin/tenants?limit=200").await.unwrap();
    let tenants = listed.body["data"].as_array().unwrap();
    let named = |tenant: &&serde_json::Value| tenant["name"].as_str().unwrap().contains(email);
    tenants.iter().find(named).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn only_the_operators_token_opens_operators_calls() {
    let stack = operated().await;
    let ada = stack.api_key("ada@example.test").await.unwrap();
    let node = "/api/admin/node";

    let cases = [
        (operator(&stack), 200),
        (ada, 403),
        (stack.login("ada@example.test").await.unwrap(), 403),
        (stack.api(), 401),
        (stack.api().with_bearer("an-operators-token-of-32-characterz"), 401),
    ];
    for (api, status) in cases {
        let reply = api.get(node).await.unwrap();
        assert_eq!(reply.status, status, "{reply:?}");
    }
    // The token is no credential of a tenant.
    assert_eq!(operator(&stack).get("/api/usage").await.unwrap().status, 401);
}

#[tokio::test]
async fn without_a_configured_token_there_are_no_operators() {
    let stack = stack().start().await.unwrap();

    for token in ["", "x", TOKEN] {
        let reply = stack.api().with_bearer(token).get("/api/admin/node").await.unwrap();
        assert_eq!((reply.status, reply.code()), (401, "unauthenticated"), "{token}");
    }
}

#[tokio::test]
async fn an_operator_sees_tenants_and_overrides_a_plan() {
    let stack = operated().await;
    let ada = stack.api_key("ada@example.test").await.unwrap();
    stack.api_key("bob@example.test").await.unwrap();
    let operator = operator(&stack);
    ada.post_once("/api/usage/consume", "one", &items("storage_bytes", 7_000)).await.unwrap();
    let id = tenant_of(&stack, "ada").await;

    let first = operator.get("/api/admin/tenants?limit=1").await.unwrap().body;
    assert_eq!(first["data"].as_array().unwrap().len(), 1);
    let next = first["next_cursor"].as_str().unwrap();
    let second = operator.get(&format!("/api/admin/tenants?limit=1&cursor={next}")).await.unwrap();
    assert_eq!(second.body["next_cursor"], json!(null));
    assert_ne!(first["data"][0]["id"], second.body["data"][0]["id"]);

    let path = format!("/api/admin/tenants/{id}");
    let shown = operator.get(&path).await.unwrap();
    assert_eq!((shown.status, &shown.body["usage"]["plan"]), (200, &json!("free")), "{shown:?}");
    assert_eq!(shown.body["actor"]["tenant"], json!(id));

    let plan = format!("{path}/plan");
    for (body, code) in [
        (json!({ "plan": "gold" }), "invalid"),
        (json!({ "plan": "Ü" }), "invalid"),
        (json!({ "plan": "pro", "price": 1 }), "invalid"),
        (json!({}), "invalid"),
    ] {
        let refused = operator.call(Method::PUT, &plan, Some(&body)).await.unwrap();
        assert_eq!((refused.status, refused.code()), (422, code), "{body}");
    }
    let nobody = "/api/admin/tenants/tnt_00000000000000000000000001";
    for path in [nobody.to_owned(), "/api/admin/tenants/ada".to_owned()] {
        assert_eq!(operator.get(&path).await.unwrap().status, 404, "{path}");
        let body = json!({ "plan": "pro" });
        let set = operator.call(Method::PUT, &format!("{path}/plan"), Some(&body)).await.unwrap();
        assert_eq!(set.status, 404, "{set:?}");
    }
    assert_eq!(meter(&ada, "images").await["limit"], 500);

    let set = operator.call(Method::PUT, &plan, Some(&json!({ "plan": "pro" }))).await.unwrap();
    assert_eq!(set.status, 204, "{set:?}");
    assert_eq!(meter(&ada, "images").await["limit"], 2_500);
    let feature = ada.get("/api/features/4k").await.unwrap().body;
    assert_eq!(
        feature,
        json!({ "feature": "4k", "allowed": true, "plan": "pro", "source": "plan" })
    );
}

#[tokio::test]
async fn an_operator_switches_features_whatever_the_plan_says() {
    let stack = operated().await;
    let ada = stack.api_key("ada@example.test").await.unwrap();
    let operator = operator(&stack);
    let id = tenant_of(&stack, "ada").await;
    let path = |feature: &str| format!("/api/admin/tenants/{id}/features/{feature}");
    let put = async |path: String, body: serde_json::Value| {
        operator.call(Method::PUT, &path, Some(&body)).await.unwrap()
    };
    let stand = async |feature: &str| {
        let shown = ada.get(&format!("/api/features/{feature}")).await.unwrap().body;
        (shown["allowed"].clone(), shown["source"].clone(), shown["upgrade_url"].is_string())
    };
    assert_eq!(stand("4k").await, (json!(false), json!("plan"), true));

    for (path, body, status) in [
        (path("8k"), json!({ "allowed": true }), 404),
        ("/api/admin/tenants/ada/features/4k".to_owned(), json!({ "allowed": true }), 404),
        (path("4k"), json!({}), 422),
        (path("4k"), json!({ "allowed": "yes" }), 422),
        (path("4k"), json!({ "allowed": true, "until": 1 }), 422),
    ] {
        let refused = put(path, body).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    assert_eq!(put(path("4k"), json!({ "allowed": true })).await.status, 204);
    assert_eq!(stand("4k").await, (json!(true), json!("operator"), false));
    let plan = format!("/api/admin/tenants/{id}/plan");
    assert_eq!(put(plan, json!({ "plan": "pro" })).await.status, 204);
    assert_eq!(put(path("publish"), json!({ "allowed": false })).await.status, 204);
    assert_eq!(stand("publish").await, (json!(false), json!("operator"), false));
    let shown = operator.get(&format!("/api/admin/tenants/{id}")).await.unwrap().body;
    assert_eq!(shown["features"], json!({ "4k": true, "publish": false }));

    for feature in ["4k", "publish"] {
        assert_eq!(put(path(feature), json!({ "allowed": null })).await.status, 204);
        assert_eq!(stand(feature).await, (json!(true), json!("plan"), false));
    }
    let entries = ada.get("/api/ledger?limit=100").await.unwrap().body;
    let switched = entries["data"].as_array().unwrap().iter();
    assert_eq!(switched.filter(|entry| entry["kind"] == "feature_set").count(), 4, "{entries}");
}

#[tokio::test]
async fn an_operator_sets_the_rule_of_the_periods_with_a_plan() {
    let stack = operated().await;
    let ada = stack.api_key("ada@example.test").await.unwrap();
    let operator = operator(&stack);
    let id = tenant_of(&stack, "ada").await;
    let path = format!("/api/admin/tenants/{id}/plan");
    let put = async |cycle: serde_json::Value| {
        let body = json!({ "plan": "pro", "cycle": cycle });
        operator.call(Method::PUT, &path, Some(&body)).await.unwrap()
    };
    let anchor = "2026-01-31T10:00:00Z";
    for (cycle, pointer) in [
        (json!({ "rule": "anchored", "anchor": anchor, "months": 0 }), "/cycle/months"),
        (json!({ "rule": "anchored", "anchor": anchor, "months": 37 }), "/cycle/months"),
        (json!({ "rule": "anchored", "anchor": anchor, "zone": "Mars" }), "/cycle/zone"),
        (json!({ "rule": "calendar_month", "zone": "" }), "/cycle/zone"),
    ] {
        let refused = put(cycle).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{refused:?}");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{refused:?}");
    }
    for cycle in [json!({}), json!({ "rule": "weekly" }), json!({ "rule": "anchored" })] {
        assert_eq!(put(cycle).await.status, 422);
    }
    assert_eq!(ada.get("/api/usage").await.unwrap().body["plan"], "free");

    let cycle = json!({
        "rule": "anchored", "anchor": anchor, "zone": "Europe/Berlin", "months": 12,
    });
    let set = put(cycle).await;
    assert_eq!(set.status, 204, "{set:?}");
    let period = ada.get("/api/usage").await.unwrap().body["period"].clone();
    let end = period["end"].as_str().unwrap();
    assert!(end.ends_with("-01-31T10:00:00.000000Z"), "{period}");
    let shown = operator.get(&format!("/api/admin/tenants/{id}")).await.unwrap().body;
    assert_eq!(shown["cycle"]["rule"], "anchored", "{shown}");
    assert_eq!(put(json!({ "rule": "calendar_month" })).await.status, 204);
    let period = ada.get("/api/usage").await.unwrap().body["period"].clone();
    assert!(period["end"].as_str().unwrap().ends_with("-01T00:00:00.000000Z"), "{period}");
}
