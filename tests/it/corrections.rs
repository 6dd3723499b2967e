//! Corrections, late commits, the spend cap, grants and shadow mode, as their callers see them.

use reqwest::Method;
use serde_json::{Value, json};
use tenantry_chaos::{Api, Reply};

use crate::operators::{operated, operator, tenant_of};
use crate::product::{eventually, items, meter};
use crate::support::stack;

const ADJUST: &str = "/api/usage/adjustments";
const CAP: &str = "/api/billing/spend-cap";

/// How long a hold of one second may take to lapse.
const LAPSED_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

async fn put(api: &Api, path: &str, body: &Value) -> Reply {
    api.call(Method::PUT, path, Some(body)).await.unwrap()
}

async fn images(api: &Api) -> (u64, Option<u64>) {
    let images = meter(api, "images").await;
    (images["used"].as_u64().unwrap(), images["remaining"].as_u64())
}

#[tokio::test]
async fn a_correction_moves_usage_both_ways_and_never_below_nothing() {
    let stack = stack().start().await.unwrap();
    let key = stack.api_key("ada@example.test").await.unwrap();
    let owner = stack.login("ada@example.test").await.unwrap();
    key.post_once("/api/usage/consume", "one", &items("images", 10)).await.unwrap();
    let body =
        |delta: i64| json!({ "meter": "images", "delta": delta, "reason": "Blank pictures" });

    let down = owner.post_once(ADJUST, "a", &body(-4)).await.unwrap();
    assert_eq!(down.status, 200, "{down:?}");
    assert_eq!((&down.body["used"], &down.body["delta"]), (&json!(6), &json!(-4)));
    let again = owner.post_once(ADJUST, "a", &body(-4)).await.unwrap();
    assert_eq!((&again.body, again.header("idempotency-replayed")), (&down.body, "true"));
    let below = owner.post(ADJUST, &body(-7)).await.unwrap();
    assert_eq!(
        (below.status, below.code(), &below.body["used"]),
        (409, "negative-usage", &json!(6))
    );
    assert_eq!(owner.post(ADJUST, &body(600)).await.unwrap().status, 200);
    assert_eq!(images(&key).await, (606, Some(0)));

    let listed = owner.get(&format!("{ADJUST}?limit=1")).await.unwrap();
    assert_eq!(listed.status, 200, "{listed:?}");
    let first = &listed.body["data"][0];
    let told = (&first["reason"], &first["reference"], &first["erased"], &first["delta"]);
    assert_eq!(told, (&json!("Blank pictures"), &Value::Null, &json!(false), &json!(-4)));
    let next = listed.body["next_cursor"].as_str().unwrap();
    let rest = owner.get(&format!("{ADJUST}?cursor={next}")).await.unwrap().body;
    assert_eq!((&rest["data"][0]["used"], &rest["data"][1]), (&json!(606), &Value::Null));
    let refused = key.get(ADJUST).await.unwrap();
    assert_eq!((refused.status, refused.code()), (403, "role-required"));
    let foreign = stack.login("eve@example.test").await.unwrap().get(ADJUST).await.unwrap();
    assert_eq!((foreign.status, &foreign.body["data"]), (200, &json!([])));

    let long = "x".repeat(501);
    let changed = |name: &str, value: Value| {
        let mut body = body(1);
        body[name] = value;
        body
    };
    let cases = [
        (changed("delta", json!(0)), "invalid"),
        (changed("delta", json!(1.5)), "invalid"),
        (changed("delta", json!(i64::MIN)), "invalid"),
        (changed("delta", json!(i64::MAX)), "invalid"),
        (changed("delta", json!(1_i64 << 53)), "invalid"),
        (changed("meter", json!("unicorns")), "unknown-meter"),
        (changed("reason", json!("")), "invalid"),
        (changed("reason", json!("  ")), "invalid"),
        (changed("reason", json!(long)), "invalid"),
        (changed("reason", json!("nul\u{0}")), "invalid"),
        (changed("reference", json!("")), "invalid"),
        (changed("more", json!(1)), "invalid"),
    ];
    for (body, code) in cases {
        let refused = owner.post(ADJUST, &body).await.unwrap();
        assert_eq!((refused.status, refused.code()), (422, code), "{body}: {refused:?}");
    }
    let refused = key.post(ADJUST, &body(1)).await.unwrap();
    assert_eq!((refused.status, refused.code()), (403, "role-required"));
    assert_eq!(images(&key).await, (606, Some(0)));
}

#[tokio::test]
async fn the_words_of_a_correction_are_nowhere_in_the_journal() {
    let mut stack = stack().start().await.unwrap();
    let owner = stack.login("ada@example.test").await.unwrap();
    let body =
        json!({ "meter": "images", "delta": 1, "reason": "Zanzibar", "reference": "Timbuktu" });
    assert_eq!(owner.post(ADJUST, &body).await.unwrap().status, 200);
    assert_eq!(stack.stop().await.unwrap(), Some(0));

    for file in ["journal.db", "tenantry.db", "journal.db-wal", "tenantry.db-wal"] {
        let bytes = std::fs::read(stack.data_dir().join(file)).unwrap_or_default();
        for word in [&b"Zanzibar"[..], b"Timbuktu"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word), "{file}");
        }
    }
}

#[tokio::test]
async fn a_hold_that_lapsed_is_charged_when_the_commit_says_that_it_is_late() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let mut held = items("images", 5);
    held["ttl_s"] = json!(1);
    let held = api.post_once("/api/reservations", "hold", &held).await.unwrap().body;
    let path = format!("/api/reservations/{}", held["id"].as_str().unwrap());
    let lapsed = async || (api.get(&path).await.ok()?.body["state"] == "expired").then_some(());
    eventually(LAPSED_WITHIN, lapsed).await;

    let commit = format!("{path}/commit");
    let plain = api.post_once(&commit, "c1", &json!({})).await.unwrap();
    assert_eq!((plain.status, plain.code()), (410, "reservation-expired"), "{plain:?}");
    let late = api.post_once(&commit, "c2", &json!({ "late": true })).await.unwrap();
    assert_eq!((late.status, &late.body["state"]), (200, &json!("committed")), "{late:?}");
    assert_eq!(late.body["late"], json!(true));
    let again = api.post_once(&commit, "c2", &json!({ "late": true })).await.unwrap();
    assert_eq!(again.body, late.body);
    assert_eq!(images(&api).await, (5, Some(495)));
    let other = api.post_once(&commit, "c3", &json!({ "late": 1 })).await.unwrap();
    assert_eq!((other.status, other.code()), (422, "invalid"), "{other:?}");
}

#[tokio::test]
async fn a_spend_cap_lets_a_plan_with_overage_go_on_until_it_is_spent() {
    let stack = operated().await;
    let api = stack.api_key("ada@example.test").await.unwrap();
    let owner = stack.login("ada@example.test").await.unwrap();
    assert_eq!(owner.get(CAP).await.unwrap().body, json!({ "amount_minor": 0, "currency": "usd" }));
    let refused = put(&owner, CAP, &json!({ "amount_minor": 100 })).await;
    assert_eq!((refused.status, refused.code()), (409, "no-overage"), "{refused:?}");

    let id = tenant_of(&stack, "ada").await;
    let plan = format!("/api/admin/tenants/{id}/plan");
    assert_eq!(put(&operator(&stack), &plan, &json!({ "plan": "pro" })).await.status, 204);
    for (body, code) in [
        (json!({}), "invalid"),
        (json!({ "amount_minor": -1 }), "invalid"),
        (json!({ "amount_minor": 1.5 }), "invalid"),
        (json!({ "amount_minor": u64::MAX }), "invalid"),
        (json!({ "amount_minor": 1, "currency": "usd" }), "invalid"),
    ] {
        let refused = put(&owner, CAP, &body).await;
        assert_eq!((refused.status, refused.code()), (422, code), "{body}: {refused:?}");
    }
    let by_key = put(&api, CAP, &json!({ "amount_minor": 100 })).await;
    assert_eq!((by_key.status, by_key.code()), (403, "role-required"));

    // Without a cap every limit is hard; with a dollar, 20 more images at 5 cents each.
    let consume = async |key: &str, amount: u64| {
        api.post_once("/api/usage/consume", key, &items("images", amount)).await.unwrap()
    };
    assert_eq!(consume("a", 2_500).await.status, 200);
    assert_eq!(consume("b", 1).await.code(), "quota-exceeded");
    let set = put(&owner, CAP, &json!({ "amount_minor": 100 })).await;
    assert_eq!((set.status, &set.body), (200, &json!({ "amount_minor": 100, "currency": "usd" })));
    let over = consume("c", 15).await;
    assert_eq!((over.status, &over.body["items"][0]["over"]), (200, &json!(15)), "{over:?}");
    let refused = consume("d", 6).await;
    assert_eq!((refused.status, refused.code()), (402, "spend-cap-reached"), "{refused:?}");
    assert_eq!(
        (&refused.body["cap_minor"], &refused.body["spent_minor"]),
        (&json!(100), &json!(75))
    );
    assert_eq!(consume("e", 5).await.status, 200);

    let overage = meter(&api, "images").await["overage"].clone();
    let expected = json!({ "allowed": true, "units": 20, "amount_minor": 100, "currency": "usd" });
    assert_eq!(overage, expected);
    let usage = api.get("/api/usage").await.unwrap().body;
    let spend =
        json!({ "cap_minor": 100, "spent_minor": 100, "committed_minor": 100, "currency": "usd" });
    assert_eq!(usage["spend"], spend);
}

#[tokio::test]
async fn a_grant_comes_on_top_of_the_limit_until_it_is_taken_back() {
    let stack = operated().await;
    let api = stack.api_key("ada@example.test").await.unwrap();
    let operator = operator(&stack);
    let id = tenant_of(&stack, "ada").await;
    let grant = json!({ "tenant_id": id, "meter": "images", "amount": 50 });
    let path = "/api/admin/grants";

    let given = operator.post_once(path, "g", &grant).await.unwrap();
    assert_eq!((given.status, &given.body["limit"]), (201, &json!(550)), "{given:?}");
    let again = operator.post_once(path, "g", &grant).await.unwrap();
    assert_eq!((&again.body, again.header("idempotency-replayed")), (&given.body, "true"));
    let extended = operator.post_once("/api/admin/quota-extensions", "x", &grant).await.unwrap();
    assert_eq!((extended.status, &extended.body["limit"]), (201, &json!(600)), "{extended:?}");
    assert_eq!(extended.body["source"], "extension");
    api.post_once("/api/usage/consume", "one", &items("images", 520)).await.unwrap();
    assert_eq!(images(&api).await, (520, Some(80)));

    let changed = |name: &str, value: Value| {
        let mut grant = grant.clone();
        grant[name] = value;
        grant
    };
    let cases = [
        (changed("tenant_id", json!("tnt_00000000000000000000000001")), "invalid"),
        (changed("tenant_id", json!("ada")), "invalid"),
        (changed("meter", json!("unicorns")), "unknown-meter"),
        (changed("amount", json!(0)), "invalid"),
        (changed("amount", json!(1_u64 << 53)), "invalid"),
        (changed("priority", json!(256)), "invalid"),
        (changed("expires_at", json!("1970-01-01T00:00:00Z")), "invalid"),
        (changed("expires_at", json!("never")), "invalid"),
        (changed("more", json!(1)), "invalid"),
    ];
    for (number, (body, code)) in cases.iter().enumerate() {
        let refused = operator.post_once(path, &format!("bad-{number}"), body).await.unwrap();
        assert_eq!((refused.status, refused.code()), (422, *code), "{body}: {refused:?}");
    }
    let unkeyed = operator.post(path, &grant).await.unwrap();
    assert_eq!((unkeyed.status, unkeyed.code()), (400, "idempotency-key-required"));

    let revoke = |id: &str| format!("{path}/{id}/revoke");
    let whose = json!({ "tenant_id": id });
    let first = revoke(given.body["id"].as_str().unwrap());
    let ended = operator.post(&first, &whose).await.unwrap();
    assert_eq!((ended.status, &ended.body["lost"]), (200, &json!(30)), "{ended:?}");
    let shown = operator.get(&format!("/api/admin/tenants/{id}")).await.unwrap().body;
    assert_eq!(shown["grants"][0]["id"], extended.body["id"], "{shown}");
    assert_eq!(
        (shown["grants"].as_array().unwrap().len(), &shown["enforcement"]),
        (1, &json!("enforced"))
    );
    for gone in [first, revoke("grt_00000000000000000000000001"), revoke("x")] {
        assert_eq!(operator.post(&gone, &whose).await.unwrap().status, 404, "{gone}");
    }
}

#[tokio::test]
async fn shadow_mode_admits_and_marks_what_would_be_refused() {
    let stack = operated().await;
    let api = stack.api_key("ada@example.test").await.unwrap();
    let operator = operator(&stack);
    let id = tenant_of(&stack, "ada").await;
    let path = format!("/api/admin/tenants/{id}/enforcement");
    let consume = async |key: &str| {
        api.post_once("/api/usage/consume", key, &items("images", 501)).await.unwrap()
    };

    assert_eq!(consume("a").await.status, 402);
    assert_eq!(put(&operator, &path, &json!({ "mode": "off" })).await.status, 422);
    assert_eq!(put(&operator, &path, &json!({ "mode": "shadow" })).await.status, 204);
    let admitted = consume("b").await;
    assert_eq!(admitted.status, 200, "{admitted:?}");
    assert_eq!(admitted.body["items"][0]["would_refuse"], json!(true));
    assert_eq!(put(&operator, &path, &json!({ "mode": "enforced" })).await.status, 204);
    assert_eq!(consume("c").await.status, 402);
    assert_eq!(images(&api).await, (501, Some(0)));
}
