use serde_json::json;

use super::*;
use crate::database::listings;
use crate::ids::{JobId, ReservationId};
use crate::journal::testing::consumed;
use crate::tenant::quota::Fact;
use crate::tenant::steps::JobFact;

const DAY: i64 = 86_400_000_000;

fn usage(fact: serde_json::Value) -> EntryBody {
    EntryBody::Usage(serde_json::from_value::<Fact>(fact).unwrap())
}

fn job(fact: serde_json::Value) -> EntryBody {
    EntryBody::Job(serde_json::from_value::<JobFact>(fact).unwrap())
}

fn charge(amount: u64) -> serde_json::Value {
    json!([{"meter": "images", "amount": amount, "used": amount, "reserved": 0, "limit": 500}])
}

/// Commits the bodies of one tenant and waits until they are projected.
async fn project(server: &Server, bodies: Vec<(EntryBody, Option<&str>)>) {
    let mut scribe = Scribe::default();
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let mut last = None;
    for (body, idem) in bodies {
        let line = scribe.line_of(tenant(1), body, idem);
        last = Some(server.commit(&incarnation, line).await);
    }
    server.journal.wait_projected(last.unwrap()).await;
}

#[tokio::test]
async fn usage_is_summed_by_day() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let consumed =
        |amount| usage(json!({"kind": "consumed", "items": charge(amount), "period": "1970-01"}));
    let freed = usage(json!({"kind": "freed", "items": charge(2), "period": "1970-01"}));

    project(&server, vec![(consumed(5), None), (consumed(7), None), (freed, None)]).await;

    let (from, to) = (Timestamp::MIN, Timestamp::from_micros(DAY));
    let days = server.journal.usage_days(tenant(1), "images", from, to).await.unwrap();
    assert_eq!(days, [UsedOnDay { start: Timestamp::MIN, amount: 10 }]);
    assert!(server.journal.usage_days(tenant(2), "images", from, to).await.unwrap().is_empty());
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}

#[tokio::test]
async fn a_used_key_is_found_before_and_after_it_is_projected() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let mut scribe = Scribe::default();
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let line = scribe.line_of(tenant(1), consumed(), Some("digest"));

    let committed = server.commit(&incarnation, line).await;
    let early = server.journal.find_key(tenant(1), "digest").await.unwrap();
    server.journal.wait_projected(committed).await;
    let late = server.journal.find_key(tenant(1), "digest").await.unwrap();

    assert_eq!(early.unwrap().seq, 1);
    assert_eq!(late.unwrap().seq, 1);
    assert!(server.journal.find_key(tenant(1), "other").await.unwrap().is_none());
    assert!(server.journal.find_key(tenant(2), "digest").await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn an_open_hold_wakes_its_tenant_until_it_ends() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let (open, ended) = (ReservationId::from_bits(1), ReservationId::from_bits(2));
    let fact = |kind: &str, hold: ReservationId, at: i64| {
        let expires_at = Timestamp::from_micros(at);
        let fact = json!({"kind": kind, "reservation": hold, "items": charge(1),
            "expires_at": expires_at, "period": "1970-01"});
        (usage(fact), None)
    };

    let bodies = vec![
        fact("reserved", open, 1_000),
        fact("reserved", ended, 2_000),
        fact("extended", open, 5_000),
        fact("released", ended, 2_000),
    ];
    project(&server, bodies).await;

    let at = Timestamp::from_micros;
    let mut reader = server.database.reader().await.unwrap();
    let due = (at(5_000), tenant(1));
    assert!(listings::due(&mut reader, at(4_999), None, 10).await.unwrap().is_empty());
    assert_eq!(listings::due(&mut reader, at(5_000), None, 10).await.unwrap(), [due]);
    assert!(listings::due(&mut reader, at(5_000), Some(due), 10).await.unwrap().is_empty());
    drop(reader);
    server.stop().await;
}

#[tokio::test]
async fn jobs_are_listed_with_their_state() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let (first, second) = (JobId::from_bits(1), JobId::from_bits(2));
    let cancelled = |id: JobId| {
        let end = json!({"state": "cancelled", "returned": []});
        (job(json!({"kind": "job_cancelled", "job": id, "end": end, "period": "1970-01"})), None)
    };
    let started = |id: JobId| {
        let fact = json!({"kind": "step_started", "job": id, "step": "image-01", "attempt": 1,
            "deadline_at": "1970-01-01T00:01:00.000000Z"});
        (job(fact), None)
    };

    project(&server, vec![started(first), started(second), cancelled(first)]).await;

    let list = |state: Option<&'static str>, before| {
        let journal = server.journal.clone();
        async move {
            let jobs = journal.jobs(tenant(1), state, before, 10).await.unwrap();
            jobs.into_iter().map(|job| (job.id, job.state)).collect::<Vec<_>>()
        }
    };
    let running = (second, "running".to_owned());
    let ended = (first, "cancelled".to_owned());
    assert_eq!(list(None, None).await, [running.clone(), ended.clone()]);
    assert_eq!(list(None, Some(second)).await, [ended]);
    assert_eq!(list(Some("running"), None).await, [running]);
    server.stop().await;
}

#[tokio::test]
async fn an_entry_that_cannot_be_projected_stops_its_tenant_alone() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let sick = tenant(7);
    server.database.poison("chunks", &format!("NEW.tenant_id = '{sick}'")).await;
    let mut scribe = Scribe::default();
    let mut last = None;
    for number in [7, 1] {
        let incarnation = server.journal.activate(tenant(number)).await.unwrap().incarnation;
        last = Some(server.commit(&incarnation, scribe.line(tenant(number))).await);
    }

    server.journal.wait_projected(last.unwrap()).await;

    assert!(server.journal.is_quarantined(sick));
    let refused = server.journal.activate(sick).await.unwrap_err();
    assert!(matches!(refused, JournalError::Quarantined { .. }), "{refused}");
    assert_eq!(server.journal.activate(tenant(1)).await.unwrap().entries.len(), 1);
    let server = server.crash(&folder).await;
    assert!(server.journal.is_quarantined(sick), "it is remembered");
    assert!(server.journal.lift_quarantine(sick).await.is_err(), "the reason is still there");
    assert!(server.journal.is_quarantined(sick));

    server.database.antidote("chunks").await;
    assert_eq!(server.journal.lift_quarantine(sick).await.unwrap(), 1);

    assert!(!server.journal.is_quarantined(sick));
    assert_eq!(server.journal.activate(sick).await.unwrap().entries.len(), 1);
    assert_eq!(server.journal.lift_quarantine(sick).await.unwrap(), 0);
    let server = server.crash(&folder).await;
    assert!(!server.journal.is_quarantined(sick), "that is remembered too");
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_its_tenant_alone() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let sick = tenant(7);
    let endpoint = format!(
        "INSERT INTO webhook_endpoints \
         (tenant_id, id, url_sealed, secrets_sealed, events, created_by, created_at) \
         VALUES ('{sick}', 'no id', '', '', '*', '', 0)"
    );
    server.database.tamper(&endpoint).await;
    let reached = || {
        usage(json!({"kind": "threshold_reached", "meter": "images", "percent": 80,
            "used": 4, "limit": 5, "period": "1970-01"}))
    };
    let mut scribe = Scribe::default();
    let mut last = None;
    for number in [7, 1] {
        let incarnation = server.journal.activate(tenant(number)).await.unwrap().incarnation;
        let line = scribe.line_of(tenant(number), reached(), None);
        last = Some(server.commit(&incarnation, line).await);
    }

    server.journal.wait_projected(last.unwrap()).await;

    assert!(server.journal.is_quarantined(sick));
    assert!(!server.journal.is_quarantined(tenant(1)));
    server.database.tamper("DELETE FROM webhook_endpoints").await;
    assert_eq!(server.journal.lift_quarantine(sick).await.unwrap(), 1);
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}
