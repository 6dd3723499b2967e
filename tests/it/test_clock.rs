//! A month's end in a millisecond: a tenant in test mode, as an integrator's own tests use it.

use reqwest::Method;
use serde_json::{Value, json};
use tenantry_chaos::{Api, Reply, Stack};

use crate::operators::{TOKEN, operator};
use crate::product::{items, meter, short_plan};
use crate::support::stack;

const START: &str = "2027-01-31T23:59:00Z";

/// Makes a tenant in test mode on a stack whose server does not run yet, and starts it.
async fn test_tenant(stack: &mut Stack) -> Api {
    let made = stack.run(&["tenant", "create", "--test", "--at", START, "--json"]).await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    stack.restart().await.unwrap();
    stack.api().with_bearer(made["api_key"].as_str().unwrap())
}

async fn advance(api: &Api, to: &str) -> Reply {
    api.post("/api/test/clock/advance", &json!({ "to": to })).await.unwrap()
}

fn kinds(happened: &Value) -> Vec<&str> {
    happened.as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_month_ends_in_a_millisecond_and_the_limit_is_whole_again() {
    let mut stack = stack().without_server().start().await.unwrap();
    let api = test_tenant(&mut stack).await;
    let taken = api.post_once("/api/usage/consume", "a", &items("images", 500)).await.unwrap();
    assert_eq!(taken.body["period"], "2027-01", "{taken:?}");
    let refused = api.post_once("/api/usage/consume", "b", &items("images", 1)).await.unwrap();
    assert_eq!(refused.body["resets_at"], "2027-02-01T00:00:00.000000Z", "{refused:?}");
    let mut hold = items("tts_ms", 1_000);
    hold["ttl_s"] = json!(120);
    assert_eq!(api.post_once("/api/reservations", "c", &hold).await.unwrap().status, 201);

    let advanced = advance(&api, "2027-02-01T00:00:00Z").await;
    assert_eq!(advanced.status, 200, "{advanced:?}");
    assert_eq!(advanced.body["now"], "2027-02-01T00:00:00.000000Z");
    assert_eq!(kinds(&advanced.body["happened"]), ["period_rolled"]);
    assert_eq!(advanced.body["happened"][0]["closed"][0]["used"], 500);
    let next = api.post_once("/api/usage/consume", "b", &items("images", 1)).await.unwrap();
    assert_eq!(next.body["period"], "2027-02", "{next:?}");

    let advanced = advance(&api, "2027-04-01T00:00:00Z").await;
    let expected = ["expired", "period_rolled", "period_rolled"];
    assert_eq!(kinds(&advanced.body["happened"]), expected, "{advanced:?}");
    assert_eq!(meter(&api, "images").await["used"], 0);
}

#[tokio::test]
async fn the_same_advance_answers_the_same_also_after_a_power_cut() {
    let mut stack = stack().without_server().start().await.unwrap();
    let api = test_tenant(&mut stack).await;
    let body = json!({ "to": "2027-06-15T12:00:00Z" });
    let first = api.post_once("/api/test/clock/advance", "june", &body).await.unwrap();
    assert_eq!(kinds(&first.body["happened"]).len(), 5, "{first:?}");

    let key = api.bearer().unwrap().to_owned();
    stack.kill().await.unwrap();
    stack.restart().await.unwrap();
    let api = stack.api().with_bearer(&key);
    let again = api.post_once("/api/test/clock/advance", "june", &body).await.unwrap();
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");

    stack.stop().await.unwrap();
    let verified = stack.run(&["ledger", "verify"]).await.unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn a_clock_is_refused_what_it_cannot_do_and_real_tenants_have_none() {
    let mut stack = stack().without_server().start().await.unwrap();
    let api = test_tenant(&mut stack).await;

    let back = advance(&api, "2027-01-31T23:58:59Z").await;
    let far = advance(&api, "2099-01-01T00:00:00Z").await;
    let garbage = advance(&api, "tomorrow").await;
    let job = api.post_once("/api/render", "r", &short_plan(1)).await.unwrap();
    let real = stack.api_key("ada@example.test").await.unwrap();
    let none = advance(&real, "2099-01-01T00:00:00Z").await;

    assert_eq!((back.status, back.code()), (422, "invalid"));
    assert_eq!(back.body["now"], "2027-01-31T23:59:00.000000Z");
    assert_eq!((far.status, far.code()), (422, "invalid"));
    assert_eq!(far.body["latest"], "2037-02-07T23:59:00.000000Z");
    assert_eq!((garbage.status, garbage.code()), (422, "invalid"));
    assert_eq!((job.status, job.code()), (409, "in-test-mode"));
    assert_eq!((none.status, none.code()), (409, "not-in-test-mode"));
    let anonymous = advance(&stack.api(), START).await;
    assert_eq!(anonymous.status, 401);
}

#[tokio::test]
async fn a_month_with_overage_is_seen_from_the_first_image_to_the_bill() {
    let stack = stack().without_server().variable("TENANTRY__OPERATOR_TOKEN", TOKEN);
    let mut stack = stack.start().await.unwrap();
    let create = ["tenant", "create", "--test", "--at", "2027-01-10T00:00:00Z"];
    let owned = ["--owner", "ada@example.test", "--json"];
    let made = stack.run(&[&create[..], &owned[..]].concat()).await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    stack.restart().await.unwrap();
    let api = stack.api().with_bearer(made["api_key"].as_str().unwrap());
    let ada = stack.login("ada@example.test").await.unwrap();
    let me = ada.get("/api/auth/me").await.unwrap().body;
    assert_eq!((&me["tenant_id"], &me["role"]), (&made["tenant_id"], &json!("owner")));

    let put = async |api: &Api, path: &str, body: Value| {
        api.call(Method::PUT, path, Some(&body)).await.unwrap()
    };
    let plan = format!("/api/admin/tenants/{}/plan", made["tenant_id"].as_str().unwrap());
    let set = put(&operator(&stack), &plan, json!({ "plan": "pro" })).await;
    assert_eq!(set.status, 204, "{set:?}");
    let set = put(&ada, "/api/billing/spend-cap", json!({ "amount_minor": 100 })).await;
    assert_eq!(set.status, 200, "{set:?}");
    let taken = api.post_once("/api/usage/consume", "a", &items("images", 2_520)).await.unwrap();
    assert_eq!(taken.body["items"][0]["over"], 20, "{taken:?}");
    let refused = api.post_once("/api/usage/consume", "b", &items("images", 1)).await.unwrap();
    assert_eq!(refused.code(), "spend-cap-reached", "{refused:?}");

    // What is owed stays owed under a plan that sells nothing.
    let free = put(&operator(&stack), &plan, json!({ "plan": "free" })).await;
    assert_eq!(free.status, 204, "{free:?}");
    let spend = api.get("/api/usage").await.unwrap().body["spend"].clone();
    assert_eq!((&spend["spent_minor"], &spend["cap_minor"]), (&json!(100), &json!(100)));

    let advanced = advance(&api, "2027-02-01T00:00:00Z").await;
    let rolled = &advanced.body["happened"][0];
    assert_eq!(rolled["kind"], "period_rolled", "{advanced:?}");
    let closed = &rolled["closed"][0];
    assert_eq!((&closed["used"], &closed["amount_minor"]), (&json!(2_520), &json!(100)));
    let usage = api.get("/api/usage").await.unwrap().body;
    assert_eq!((&usage["plan"], usage.get("spend")), (&json!("free"), None));
    stack.stop().await.unwrap();
    let verified = stack.run(&["ledger", "verify"]).await.unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn an_owner_that_is_no_address_is_refused_and_makes_nothing() {
    let stack = stack().without_server().start().await.unwrap();

    let made = stack.run(&["tenant", "create", "--owner", "ada", "--json"]).await.unwrap();

    assert!(!made.status.success() && made.stdout.is_empty(), "{made:?}");
    assert!(String::from_utf8_lossy(&made.stderr).contains("mail address"), "{made:?}");
}
