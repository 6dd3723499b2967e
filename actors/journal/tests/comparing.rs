//! Every table that follows the log is compared with it, row by row.

use serde_json::json;

use super::*;
use crate::ids::{EndpointId, JobId, ReservationId, TenantId};
use crate::journal::testing::consumed;
use crate::journal::verify::Limits;
use crate::tenant::quota::Fact;
use crate::tenant::steps::JobFact;

fn usage(fact: serde_json::Value) -> EntryBody {
    EntryBody::Usage(serde_json::from_value::<Fact>(fact).unwrap())
}

/// Entries that leave a row in every table.
fn bodies() -> Vec<(EntryBody, Option<&'static str>)> {
    let items = json!([{"meter": "images", "amount": 4, "used": 4, "reserved": 0, "limit": 5}]);
    let period = "1970-01";
    let expires_at = Timestamp::from_micros(5_000_000);
    let hold = ReservationId::from_bits(1);
    let step = json!({"kind": "step_started", "job": JobId::from_bits(1), "step": "image-01",
        "attempt": 1, "deadline_at": expires_at});
    vec![
        (usage(json!({"kind": "consumed", "items": items, "period": period})), Some("k1")),
        (
            usage(json!({"kind": "threshold_reached", "meter": "images", "percent": 80,
                "used": 4, "limit": 5, "period": period})),
            None,
        ),
        (
            usage(json!({"kind": "reserved", "reservation": hold, "items": items,
                "expires_at": expires_at, "period": period})),
            Some("k3"),
        ),
        (EntryBody::Job(serde_json::from_value::<JobFact>(step).unwrap()), None),
        (consumed(), Some("k2")),
        (consumed(), Some("k1")),
    ]
}

/// Commits the entries for each of some tenants, with a snapshot after the third of each.
async fn fill(server: &Server, tenants: u128) {
    let mut scribe = Scribe::default();
    for number in 1..=tenants {
        let tenant = tenant(number);
        server.database.tamper(&endpoint_of(tenant)).await;
        let incarnation = server.journal.activate(tenant).await.unwrap().incarnation;
        let (mut last, mut third) = (None, None);
        for (index, (body, idem)) in bodies().into_iter().enumerate() {
            let line = scribe.line_of(tenant, body, idem);
            third = if index == 2 { Some(line.hash) } else { third };
            last = Some(server.commit(&incarnation, line).await);
        }
        server.journal.wait_projected(last.unwrap()).await;
        let snapshot = Snapshot { seq: 3, hash: third.unwrap(), body: "{}".into() };
        server.journal.snapshot(tenant, snapshot, Timestamp::MIN).await.unwrap();
    }
}

/// Names a place that the tenant is told everything at.
fn endpoint_of(tenant: TenantId) -> String {
    let endpoint = EndpointId::from_bits(1);
    format!(
        "INSERT INTO webhook_endpoints (tenant_id, id, url_sealed, secrets_sealed, events, \
         created_by, created_at) VALUES ('{tenant}', '{endpoint}', '', '', '*', 'usr_x', 0)"
    )
}

const TABLES: [&str; 9] = [
    "chunks",
    "usage_days",
    "jobs",
    "wakeups",
    "idempotency_keys",
    "mail_outbox",
    "webhook_deliveries",
    "snapshots",
    "mark_runs",
];

/// What is changed by hand, in which table it is found, and what is said.
const CHANGES: &[(&str, &str, &str)] = &[
    ("DELETE FROM chunks WHERE tenant_id LIKE '%2%' AND first_seq = 1", "chunks", "entry 1: "),
    ("UPDATE chunks SET last_seq = last_seq + 1", "chunks", "numbers"),
    ("UPDATE chunks SET body = replace(body, '\"seq\":2', '\"seq\":9')", "chunks", "entry 2: "),
    ("UPDATE chunks SET tenant_id = 'nobody' WHERE tenant_id LIKE '%2%'", "chunks", "`nobody`"),
    ("UPDATE usage_days SET amount = amount - 1", "usage_days", "says 3, the log says 4"),
    ("DELETE FROM usage_days", "usage_days", "images 0: it says nothing"),
    (
        "INSERT INTO usage_days SELECT tenant_id, 'tts_ms', 0, 9 FROM usage_days",
        "usage_days",
        "says 9",
    ),
    ("UPDATE jobs SET state = 'succeeded'", "jobs", "says succeeded"),
    ("DELETE FROM jobs", "jobs", "says nothing"),
    ("INSERT INTO jobs SELECT tenant_id, 'job_x', 'queued', 1, 1 FROM jobs", "jobs", "job_x"),
    ("UPDATE wakeups SET due_at = due_at + 1", "wakeups", "says 5000001"),
    ("DELETE FROM wakeups", "wakeups", "says nothing, the log says 5000000"),
    ("UPDATE chunks SET marks = '' WHERE first_seq = 1", "chunks", "marks"),
    (
        "INSERT INTO mark_runs SELECT tenant_id, 0, 63, 0, 0, 0, '' FROM snapshots",
        "mark_runs",
        "0: ",
    ),
    (
        "INSERT INTO mark_runs SELECT 'nobody', 0, 63, 0, 0, 0, '' FROM snapshots LIMIT 1",
        "mark_runs",
        "`nobody`",
    ),
    (
        "INSERT INTO idempotency_keys SELECT tenant_id, 'k9', 1, 1 FROM snapshots",
        "idempotency_keys",
        "k9: it says 1 1, the log says nothing",
    ),
    ("DELETE FROM mail_outbox", "mail_outbox", "2: it says nothing"),
    ("UPDATE mail_outbox SET facts = replace(facts, '80', '99')", "mail_outbox", "99"),
    ("UPDATE mail_outbox SET id = replace(id, '-2', '-5')", "mail_outbox", "5: it says 2 {"),
    (
        "UPDATE webhook_deliveries SET body = replace(body, '80', '99')",
        "webhook_deliveries",
        "2 usage.threshold_reached 2: it says",
    ),
    ("UPDATE webhook_deliveries SET seq = 3", "webhook_deliveries", "the log says nothing"),
    ("UPDATE webhook_deliveries SET kind = 'job.failed'", "webhook_deliveries", "2 job.failed 2"),
    ("UPDATE webhook_deliveries SET event_id = id", "webhook_deliveries", "2: it says"),
    ("UPDATE webhook_deliveries SET created_at = 9", "webhook_deliveries", "2: it says"),
    ("UPDATE webhook_deliveries SET id = id || '0'", "webhook_deliveries", "under another id"),
    (
        "INSERT INTO webhook_deliveries SELECT 'nobody', id, endpoint_id, event_id, kind, once, \
         seq, body, state, attempts, step, due_at, leased_until, created_at, tried_at, settled_at, \
         last_status, last_error FROM webhook_deliveries WHERE tenant_id LIKE '%2%'",
        "webhook_deliveries",
        "`nobody`",
    ),
    ("UPDATE snapshots SET seq = 4", "snapshots", "it says 4 "),
    ("UPDATE snapshots SET seq = 7", "snapshots", "no entry 7"),
    (
        "INSERT INTO projection_failures SELECT tenant_id, 2, 0, 3, 'it was full', 0 FROM snapshots",
        "entry 2: the entry could not be projected",
        "it was full",
    ),
];

#[tokio::test]
async fn every_difference_in_every_table_is_found() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    fill(&server, 2).await;
    let whole = server.verify().await;
    assert_eq!((whole.fault, whole.entries), (None, 12));
    for table in TABLES {
        server.database.tamper(&format!("CREATE TABLE {table}_was AS SELECT * FROM {table}")).await;
    }

    for (change, table, said) in CHANGES {
        server.database.tamper(change).await;
        let fault = server.verify().await.fault.expect(change).to_string();
        assert!(fault.contains(table) && fault.contains(said), "{change}: {fault}");
        for table in TABLES {
            let restore =
                format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {table}_was");
            server.database.tamper(&restore).await;
        }
        server.database.tamper("DELETE FROM projection_failures").await;
        assert_eq!(server.verify().await.fault, None, "{change}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_that_is_gone_or_went_on_is_no_difference() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    fill(&server, 2).await;

    for change in [
        "UPDATE webhook_deliveries SET state = 'failed', attempts = 9, last_error = 'status'",
        "DELETE FROM webhook_endpoints",
        "DELETE FROM webhook_deliveries",
    ] {
        server.database.tamper(change).await;
        assert_eq!(server.verify().await.fault, None, "{change}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_checked_in_turns() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    fill(&server, 5).await;
    let whole = server.verify().await;

    for limits in [Limits { tenants: 1, keys: 1 }, Limits { tenants: 2, keys: 2 }] {
        assert_eq!(server.verify_within(limits).await, whole);
    }
    server.stop().await;
}

/// Makes the tables as they were before there were marks, with a row a key.
async fn without_marks(server: &Server) {
    server.database.tamper("UPDATE chunks SET marks = NULL; DELETE FROM mark_runs").await;
    for (digest, seq) in [("k1", 6), ("k2", 5), ("k3", 3)] {
        let row = format!(
            "INSERT INTO idempotency_keys SELECT tenant_id, '{digest}', {seq}, {seq} FROM snapshots"
        );
        server.database.tamper(&row).await;
    }
}

#[tokio::test]
async fn keys_of_before_there_were_marks_are_found_and_compared_in_turns() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    fill(&server, 5).await;
    without_marks(&server).await;
    let few = || Limits { tenants: 1, keys: 1 };
    assert_eq!(server.verify_within(few()).await.fault, None);
    assert_eq!(server.journal.find_key(tenant(2), "k1").await.unwrap().unwrap().seq, 6);
    assert!(server.journal.find_key(tenant(2), "k4").await.unwrap().is_none());
    server.database.tamper("CREATE TABLE keys_was AS SELECT * FROM idempotency_keys").await;

    let last = tenant(5);
    for (change, said) in [
        (
            format!("DELETE FROM idempotency_keys WHERE digest = 'k3' AND tenant_id = '{last}'"),
            format!("{last} k3: it says nothing"),
        ),
        ("UPDATE idempotency_keys SET seq = 3 WHERE digest = 'k2'".to_owned(), "k2".to_owned()),
    ] {
        server.database.tamper(&change).await;
        for limits in [Limits::default(), few()] {
            let fault = server.verify_within(limits).await.fault.expect(&change).to_string();
            assert!(fault.contains(&said), "{change}: {fault}");
        }
        let restore = "DELETE FROM idempotency_keys; \
             INSERT INTO idempotency_keys SELECT * FROM keys_was";
        server.database.tamper(restore).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_broken_chain_is_named_in_whichever_turn_its_tenant_comes() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let mut scribe = Scribe::default();
    server.fill(&mut scribe, 3, 2).await;
    // Whoever has the program could write a row whose own hashes are right.
    let incarnation = server.journal.activate(tenant(3)).await.unwrap().incarnation;
    scribe.line(tenant(3));
    let row = server.commit(&incarnation, scribe.line(tenant(3))).await;
    server.journal.wait_projected(row).await;

    for limits in [Limits::default(), Limits { tenants: 1, keys: 1 }] {
        let fault = server.verify_within(limits).await.fault.unwrap().to_string();
        let expected =
            format!("shard 0, row {}: {}, entry 4: entry 3 is missing", row.seq, tenant(3));
        assert!(fault.starts_with(&expected), "{fault}");
    }
    server.tasks.drain(Duration::ZERO).await;
}
