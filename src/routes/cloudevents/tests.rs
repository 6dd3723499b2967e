use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TENANT: TenantId = TenantId::from_bits(1);

fn typed(kind: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, kind.parse().unwrap());
    headers
}

fn event() -> Value {
    json!({
        "specversion": "1.0", "id": "a-1", "source": "/render/7", "type": "com.example.images",
        "time": "2026-11-23T09:14:03Z", "data": { "amount": 3, "host": "r7" }, "traceparent": "00-1"
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut event = event();
    event[pointer] = value;
    event
}

/// Reads one event in structured mode, and its code if it is refused.
fn one(event: &Value) -> std::result::Result<(u64, String), (&'static str, String)> {
    let (headers, body) = (typed(STRUCTURED), event.to_string());
    let mut readings = read(&headers, body.as_bytes(), TENANT).unwrap();
    let Reading { found, .. } = readings.pop().unwrap();
    assert!(readings.is_empty());
    found.map(|found| (found.amount, found.meter.to_string())).map_err(|problem| {
        let pointer = problem.fields().first().map_or("", |field| field.pointer.as_str());
        (problem.kind().code(), pointer.to_owned())
    })
}

/// The kind of problem that the whole request is refused with.
fn whole(kind: &str, body: &[u8]) -> &'static str {
    read(&typed(kind), body, TENANT).unwrap_err().kind().code()
}

#[test]
fn an_event_reports_the_meter_that_ends_its_type() {
    assert_eq!(one(&event()), Ok((3, "images".to_owned())));
    assert_eq!(one(&with("type", json!("tts_ms"))), Ok((3, "tts_ms".to_owned())));
}

#[test]
fn what_is_wrong_with_an_event_is_named() {
    let cases = [
        ("specversion", json!("0.3"), "/specversion"),
        ("specversion", Value::Null, "/specversion"),
        ("id", Value::Null, "/id"),
        ("id", json!(""), "/id"),
        ("id", json!(7), "/id"),
        ("id", json!("x".repeat(1_025)), "/id"),
        ("id", json!("a\u{0}"), "/id"),
        ("source", json!(""), "/source"),
        ("source", json!({}), "/source"),
        ("subject", json!(TenantId::from_bits(2).to_string()), "/subject"),
        ("time", json!("yesterday"), "/time"),
        ("time", json!("1969-12-31T23:59:59Z"), "/time"),
        ("time", json!(1), "/time"),
        ("datacontenttype", json!("text/plain"), "/datacontenttype"),
        ("data", Value::Null, "/data"),
        ("data", json!([3]), "/data"),
        ("data", json!({}), "/data"),
        ("data", json!({ "amount": 0 }), "/data/amount"),
        ("data", json!({ "amount": -1 }), "/data/amount"),
        ("data", json!({ "amount": 1.5 }), "/data/amount"),
        ("data", json!({ "amount": "1" }), "/data/amount"),
        ("data", json!({ "amount": MAX_SAFE + 1 }), "/data/amount"),
        ("data", json!({ "amount": u64::MAX }), "/data/amount"),
    ];
    for (name, value, pointer) in cases {
        assert_eq!(
            one(&with(name, value.clone())),
            Err(("invalid", pointer.to_owned())),
            "{value}"
        );
    }
    let strange = one(&with("type", json!("com.example.Images!")));
    assert_eq!(strange, Err(("unknown-meter", "/type".to_owned())));
}

const MAX_SAFE: u64 = (1 << 53) - 1;

#[test]
fn the_caller_may_name_its_own_tenant_or_anything_else_as_subject() {
    for subject in [TENANT.to_string(), "member 7".to_owned()] {
        assert!(one(&with("subject", json!(subject))).is_ok());
    }
    assert_eq!(one(&with("data", json!({ "amount": MAX_SAFE }))).unwrap().0, MAX_SAFE);
}

#[test]
fn one_bad_event_spoils_no_other_and_keeps_its_place() {
    let batch = json!([event(), 7, ["1.0", "x"], with("id", json!("a-2")), { "id": "a-3" }]);

    let (headers, body) = (typed(BATCH), batch.to_string());
    let readings = read(&headers, body.as_bytes(), TENANT).unwrap();

    let ids: Vec<_> = readings.iter().map(|reading| reading.id.as_deref()).collect();
    assert_eq!(ids, [Some("a-1"), None, None, Some("a-2"), Some("a-3")]);
    let good: Vec<bool> = readings.iter().map(|reading| reading.found.is_ok()).collect();
    assert_eq!(good, [true, false, false, true, false]);
}

#[test]
fn a_request_that_is_no_event_is_refused_whole() {
    assert_eq!(whole("text/plain", b"{}"), "unsupported-media-type");
    assert_eq!(whole("application/cloudevents+avro", b"{}"), "unsupported-media-type");
    assert_eq!(whole(STRUCTURED, b""), "malformed-body");
    assert_eq!(whole(STRUCTURED, b"{"), "malformed-body");
    assert_eq!(whole(STRUCTURED, b"\xff"), "malformed-body");
    assert_eq!(whole(BATCH, b"[{}"), "malformed-body");
    assert_eq!(whole(STRUCTURED, b"[]"), "invalid");
    assert_eq!(whole(BATCH, b"{}"), "invalid");
    assert_eq!(whole("application/json", b"7"), "invalid");
}

#[test]
fn a_batch_may_be_empty_and_has_an_end() {
    let batch = |count: usize| serde_json::to_vec(&vec![json!({}); count]).unwrap();
    let count = |body: &[u8]| read(&typed(BATCH), body, TENANT).map(|readings| readings.len());

    assert_eq!(count(b" []").unwrap(), 0);
    assert_eq!(count(&batch(EVENTS_MAX)).unwrap(), EVENTS_MAX);
    assert_eq!(whole(BATCH, &batch(EVENTS_MAX + 1)), "too-many-events");
}

/// The headers of an event in binary mode; what is not printable is percent-encoded.
fn binary_headers(attributes: &[(&str, &str)]) -> HeaderMap {
    let mut headers = typed("application/json; charset=utf-8");
    let set = percent_encoding::NON_ALPHANUMERIC;
    for (name, text) in attributes {
        let name: HeaderName = format!("ce-{name}").parse().unwrap();
        let text = percent_encoding::utf8_percent_encode(text, set).to_string();
        headers.append(name, HeaderValue::from_str(&text).unwrap());
    }
    headers
}

#[test]
fn attributes_that_come_twice_or_broken_spoil_the_event() {
    let good = [("specversion", "1.0"), ("id", "ä 1"), ("source", "/s"), ("type", "images")];
    let data = br#"{"amount":2}"#;
    let found = |headers: &HeaderMap, data: &[u8]| {
        let mut readings = read(headers, data, TENANT).unwrap();
        let Reading { id, found } = readings.pop().unwrap();
        (id.map(Cow::into_owned), found.map(|found| found.amount).map_err(|p| p.kind().code()))
    };
    assert_eq!(found(&binary_headers(&good), data), (Some("ä 1".to_owned()), Ok(2)));

    let twice = binary_headers(&[good[0], good[1], good[1], good[2], good[3]]);
    assert_eq!(found(&twice, data), (None, Err("invalid")));
    let mut broken = binary_headers(&good);
    broken.insert("ce-source", HeaderValue::from_static("%ff"));
    assert_eq!(found(&broken, data).1, Err("invalid"));
    assert_eq!(found(&binary_headers(&good[..2]), data).1, Err("invalid"));
    assert_eq!(found(&binary_headers(&good), b"{\"amount\":").1, Err("invalid"));
    let mut text = binary_headers(&good);
    text.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    assert_eq!(found(&text, data).1, Err("invalid"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let names = prop::sample::select(vec!["id", "source", "type", "time", "data", "amount"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_three_modes_say_the_same(
        id in "\\PC{1,40}", source in "\\PC{1,40}", amount in 1..=MAX_SAFE,
        micros in prop::option::of(0..4_102_444_800_000_000_i64),
    ) {
        let at = micros.map(Timestamp::from_micros);
        let time = at.map(|at| at.to_string());
        let mut event = json!({
            "specversion": "1.0", "id": id, "source": source, "type": "a.b.images",
            "data": { "amount": amount }
        });
        let mut attributes =
            vec![("specversion", "1.0"), ("id", &id), ("source", &source), ("type", "a.b.images")];
        if let Some(time) = &time {
            event["time"] = json!(time);
            attributes.push(("time", time));
        }
        let reported = Reported {
            source: source.as_str().into(), id: id.as_str().into(),
            meter: "images".parse().unwrap(), amount, at,
        };
        let data = json!({ "amount": amount }).to_string();
        let requests = [
            (typed(STRUCTURED), event.to_string()),
            (typed(BATCH), json!([event]).to_string()),
            (typed("application/json"), event.to_string()),
            (binary_headers(&attributes), data),
        ];
        for (headers, body) in &requests {
            let readings = read(headers, body.as_bytes(), TENANT).unwrap();
            prop_assert_eq!(readings.len(), 1);
            prop_assert_eq!(readings[0].found.as_ref().ok(), Some(&reported));
            prop_assert_eq!(readings[0].id.as_deref(), Some(id.as_str()));
        }
    }

    #[test]
    fn each_element_of_a_batch_has_its_reading(batch in prop::collection::vec(any_json(), 0..20)) {
        let (headers, body) = (typed(BATCH), Value::from(batch.clone()).to_string());
        let readings = read(&headers, body.as_bytes(), TENANT).unwrap();
        prop_assert_eq!(readings.len(), batch.len());
        for (reading, event) in readings.iter().zip(&batch) {
            prop_assert_eq!(reading.id.as_deref(), event.get("id").and_then(Value::as_str));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![STRUCTURED, BATCH, "application/json"]),
        is_binary in any::<bool>(),
    ) {
        let mut headers = typed(kind);
        if is_binary {
            headers.insert("ce-id", HeaderValue::from_static("1"));
        }
        drop(read(&headers, &body, TENANT));
    }
}
