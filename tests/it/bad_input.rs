//! Bad input of every kind gets the right problem document, and changes nothing.

mod edges;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use tenantry_chaos::{Api, Reply, Stack};
use tokio::runtime::Runtime;

use crate::operators::{operated, operator};
use crate::product::{items, short_plan};
use crate::support::stack;

/// How many generated requests are sent.
const GENERATED: u32 = 1_500;

/// Calls that would end the test's own credential.
const ENDING: &[&str] =
    &["/api/account/rotate-api-key", "/api/auth/logout", "/api/auth/logout-all"];

/// A render plan with one field set to something else.
fn plan_with(pointer: &str, value: Value) -> Value {
    let mut plan = short_plan(1);
    match plan.pointer_mut(pointer) {
        Some(field) => *field = value,
        None => plan[pointer.trim_start_matches('/')] = value,
    }
    plan
}

/// A body with several amounts of one meter.
fn summed(amounts: &[u64]) -> Value {
    let item = |amount: &u64| json!({ "meter": "tts_ms", "amount": amount });
    json!({ "items": amounts.iter().map(item).collect::<Vec<_>>() })
}

/// A body that holds units for so long.
fn held(amount: u64, ttl_s: u64) -> Value {
    let mut held = items("images", amount);
    held["ttl_s"] = json!(ttl_s);
    held
}

/// A problem document of the right kind, with everything that one must have.
fn check_problem(reply: &Reply, what: &str) -> Result<(), String> {
    let type_ = reply.body["type"].as_str().unwrap_or_default();
    let is_whole = reply.header("content-type").starts_with("application/problem+json")
        && reply.body["status"] == reply.status
        && type_.ends_with(&format!("#{}", reply.code()))
        && !reply.code().is_empty()
        && reply.body["title"].is_string()
        && reply.body["request_id"] == reply.header("x-request-id");
    if is_whole { Ok(()) } else { Err(format!("{what}: {reply:?}")) }
}

#[tokio::test]
async fn every_bad_body_gets_its_problem_and_changes_nothing() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let before = api.get("/api/usage").await.unwrap().body;
    let consume = "/api/usage/consume";
    let scenes = |count| short_plan(count)["scenes"].clone();
    let mut extra = items("images", 1);
    extra["more"] = json!(true);
    let cases = [
        (consume, extra, 422, "invalid"),
        (consume, items("images", 0), 422, "invalid"),
        (consume, json!({ "items": [{ "meter": "images", "amount": -1 }] }), 422, "invalid"),
        (consume, json!({ "items": [{ "meter": "images", "amount": 1.5 }] }), 422, "invalid"),
        (consume, json!({ "items": [{ "meter": "images", "amount": "1" }] }), 422, "invalid"),
        (consume, json!({ "items": [{ "meter": "images" }] }), 422, "invalid"),
        (consume, json!({ "items": [] }), 422, "invalid"),
        (consume, json!([]), 422, "invalid"),
        (consume, items("unicorns", 1), 422, "unknown-meter"),
        (consume, items("images", 1 << 53), 422, "invalid"),
        (consume, items("images", u64::MAX), 422, "invalid"),
        (consume, summed(&[(1 << 53) - 1, 1]), 422, "invalid"),
        (consume, summed(&[(1 << 53) - 1; 64]), 422, "invalid"),
        (consume, summed(&[1; 65]), 422, "invalid"),
        (consume, items("images", (1 << 53) - 1), 402, "quota-exceeded"),
        ("/api/reservations", items("images", (1 << 53) - 1), 402, "quota-exceeded"),
        ("/api/reservations", held(1, 0), 422, "invalid"),
        ("/api/reservations", held(1, 86_401), 422, "invalid"),
        ("/api/reservations", held(1, u64::MAX), 422, "invalid"),
        ("/api/reservations", json!({ "items": [], "ttl_s": 1 }), 422, "invalid"),
        ("/api/render", plan_with("/scenes", json!([])), 422, "invalid"),
        ("/api/render", plan_with("/scenes", scenes(21)), 422, "invalid"),
        ("/api/render", plan_with("/scenes/0/duration_s", json!(0.4)), 422, "invalid"),
        ("/api/render", plan_with("/scenes/0/duration_s", json!(601)), 422, "invalid"),
        ("/api/render", plan_with("/scenes/0/duration_s", json!("1")), 422, "invalid"),
        ("/api/render", plan_with("/scenes/0/narration", json!("x".repeat(9_000))), 422, "invalid"),
        ("/api/render", plan_with("/language", json!("klingon")), 422, "invalid"),
        ("/api/render", plan_with("/voice", json!("X")), 422, "invalid"),
        ("/api/render", plan_with("/resolution", json!("8k")), 422, "invalid"),
        ("/api/render", plan_with("/more", json!(1)), 422, "invalid"),
    ];

    for (number, (path, body, status, code)) in cases.iter().enumerate() {
        let reply = api.post_once(path, &format!("case-{number}"), body).await.unwrap();
        assert_eq!((reply.status, reply.code()), (*status, *code), "{path} {body}: {reply:?}");
        check_problem(&reply, path).unwrap();
    }

    assert_eq!(api.get("/api/usage").await.unwrap().body, before);
    assert_eq!(api.get("/api/render").await.unwrap().body["data"], json!([]));
}

#[tokio::test]
async fn every_broken_request_gets_its_problem() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let consume = || {
        api.request(Method::POST, "/api/usage/consume")
            .header("idempotency-key", "one")
            .header("content-type", "application/json")
    };
    let no_key = api.request(Method::POST, "/api/usage/consume").json(&items("images", 1));
    let cases = [
        (no_key, 400, "idempotency-key-required"),
        (consume().body("{"), 400, "malformed-body"),
        (consume().body(""), 400, "malformed-body"),
        (consume().body(b"{\"items\": \"\xff\"}".to_vec()), 400, "malformed-body"),
        (consume().body(" ".repeat(2 * 1_024 * 1_024)), 413, "body-too-large"),
        (api.request(Method::DELETE, "/api/usage"), 405, "method-not-allowed"),
        (api.request(Method::GET, "/api/nowhere"), 404, "not-found"),
        (api.request(Method::GET, "/api/render/job_nonsense"), 404, "not-found"),
        (api.request(Method::GET, "/api/render?limit=many"), 400, "malformed-query"),
        (stack.api().request(Method::GET, "/api/usage"), 401, "unauthenticated"),
    ];

    for (request, status, code) in cases {
        let what = format!("{request:?}");
        let reply = api.send(request).await.unwrap();
        assert_eq!((reply.status, reply.code()), (status, code), "{what}: {reply:?}");
        check_problem(&reply, &what).unwrap();
    }
}

#[tokio::test]
async fn the_largest_cursor_finds_nothing() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let most = u64::MAX;

    for path in [format!("/api/ledger?cursor={most}"), format!("/api/ledger?after={most}")] {
        let reply = api.get(&path).await.unwrap();
        assert_eq!((reply.status, &reply.body["data"]), (200, &json!([])), "{path}: {reply:?}");
    }
}

/// A refusal is a request like any other, also on the short way in.
#[tokio::test]
async fn a_refused_use_says_what_is_left_of_the_rate() {
    let stack = stack().start().await.unwrap();
    let api = stack.login("ada@example.test").await.unwrap();

    for (path, body) in [
        ("/api/usage/consume", items("unheard_of", 1)),
        ("/api/reservations", items("unheard_of", 1)),
    ] {
        let reply = api.post_once(path, path, &body).await.unwrap();
        assert_eq!(reply.code(), "unknown-meter", "{path}: {reply:?}");
        assert!(reply.header("ratelimit").contains("r="), "{path}: {reply:?}");
    }
}

/// Any JSON value, with a liking for what could be mistaken for something.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(0)),
        Just(json!(u64::MAX)),
        Just(json!(1e308)),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        Just(json!("nul\u{0}byte")),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,12}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A body: a good one with one place changed, any JSON, or any bytes.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let event = json!({ "specversion": "1.0", "id": "a", "source": "s", "type": "images",
                        "time": "2026-11-23T09:14:03Z", "data": { "amount": 1 } });
    let good = prop::sample::select(vec![
        (items("images", 1), "/items/0/amount"),
        (items("images", 1), "/items/0/meter"),
        (items("images", 1), "/items"),
        (short_plan(2), "/scenes/1/duration_s"),
        (short_plan(2), "/scenes/0"),
        (short_plan(2), "/scenes"),
        (short_plan(2), "/language"),
        (json!({ "email": "x@example.test" }), "/email"),
        (json!({ "token": "x" }), "/token"),
        (json!({ "ttl_s": 1 }), "/ttl_s"),
        (json!({ "late": true }), "/late"),
        (event.clone(), "/data"),
        (event.clone(), "/id"),
        (event.clone(), "/time"),
        (event, "/data/amount"),
        (json!({ "meter": "images", "delta": 1, "reason": "x" }), "/delta"),
        (json!({ "amount_minor": 1 }), "/amount_minor"),
        (json!({ "tenant_id": "tnt_x" }), "/tenant_id"),
    ]);
    let changed = (good, any_json()).prop_map(|((mut body, pointer), value)| {
        if let Some(place) = body.pointer_mut(pointer) {
            *place = value;
        }
        body.to_string().into_bytes()
    });
    prop_oneof![
        4 => changed,
        2 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Every call of the server, out of its own description.
async fn calls(api: &Api) -> Vec<(Method, String)> {
    let described = api.get("/api/openapi.json").await.unwrap().body;
    let paths = described["paths"].as_object().unwrap();
    let operations = paths.iter().filter(|(path, _)| !ENDING.contains(&path.as_str()));
    operations
        .flat_map(|(path, operations)| {
            operations
                .as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase().parse().unwrap(), path.clone()))
        })
        .collect()
}

/// A path with its parameters filled in: well-formed and unknown, or nonsense.
fn filled(path: &str, choice: u8) -> String {
    let known = "00000000000000000000000001";
    let nonsense = ["x", "%00", "..%2f..", "%ff", "🦄"][usize::from(choice) % 5];
    let mut filled = path.to_owned();
    while let (Some(open), Some(close)) = (filled.find('{'), filled.find('}')) {
        let prefix = match path {
            path if path.contains("reservations") => "rsv",
            path if path.contains("tenants") => "tnt",
            path if path.contains("grants") => "grt",
            _ => "job",
        };
        let id = if choice.is_multiple_of(2) {
            format!("{prefix}_{known}")
        } else {
            nonsense.to_owned()
        };
        filled.replace_range(open..=close, &id);
    }
    filled
}

/// Sends a request and complains about a broken connection and about any 5xx.
async fn no_5xx(request: reqwest::RequestBuilder) -> Result<(), String> {
    let what = format!("{request:?}");
    let answer = request.send().await.map_err(|error| format!("{what}: {error}"))?;
    if !answer.status().is_server_error() {
        // The body is not read: a stream of events would not end.
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    Err(format!("{what}: {text}"))
}

#[test]
fn no_generated_body_makes_any_route_fail() {
    let runtime = Runtime::new().unwrap();
    let (stack, api, calls): (Stack, Api, Vec<_>) = runtime.block_on(async {
        let stack = operated().await;
        let api = stack.login("ada@example.test").await.unwrap();
        let calls = calls(&api).await;
        (stack, api, calls)
    });
    let operator = operator(&stack);
    let config = Config { cases: GENERATED, failure_persistence: None, ..Config::default() };

    let request = (prop::sample::select(calls), any::<u8>(), any_body(), any::<u32>());
    TestRunner::new(config)
        .run(&request, |((method, path), choice, body, key)| {
            let api = if path.starts_with("/api/admin/") { &operator } else { &api };
            let request = api
                .request(method, &filled(&path, choice))
                .header("content-type", "application/json")
                .header("idempotency-key", format!("generated-{key}"))
                .body(body);
            runtime.block_on(no_5xx(request)).map_err(TestCaseError::fail)
        })
        .unwrap();

    let ready = runtime.block_on(stack.ops().get("/readyz")).unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(!stack.server().log().contains("panicked"), "{}", stack.server().log_tail());
    runtime.block_on(async { drop(stack) });
}
