//! Keys and events are found by their marks, however many lines there are and however they came.

use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::journal::testing::consumed;
use crate::tenant::quota::{EventDigest, Fact};

/// Lines of the tests: runs of three lengths are made of them.
const LINES: usize = 1_200;

fn key(number: usize) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &number.to_le_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref())
}

fn event(number: u64) -> EventDigest {
    EventDigest::from_bytes((u128::from(number) * (u128::MAX / 1_000_003)).to_be_bytes())
}

/// An entry that counted so many events from a number on.
fn recorded(first: u64, count: u64) -> EntryBody {
    let events: Vec<_> =
        (first..first + count).map(|number| json!([event(number), 0, 1, 0])).collect();
    let fact = json!({
        "kind": "recorded", "period": "1970-01", "events": events,
        "items": [{ "meter": "images", "amount": count, "used": 0, "reserved": 0, "limit": 5 }],
    });
    EntryBody::Usage(serde_json::from_value::<Fact>(fact).unwrap())
}

/// Commits lines with a key each, and has them projected after every so many.
async fn consume(server: &Server, scribe: &mut Scribe, numbers: std::ops::Range<usize>, by: usize) {
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    for number in numbers {
        let line = scribe.line_of(tenant(1), consumed(), Some(&key(number)));
        let outcome = server.append(&incarnation, line);
        // A tenant has its share of the queue and no more.
        if number % by == 0 || number % 50 == 0 {
            let committed = outcome.await.unwrap().unwrap();
            if number % by == 0 {
                server.journal.wait_projected(committed).await;
            }
        }
    }
    let line = scribe.line_of(tenant(1), consumed(), None);
    let committed = server.commit(&incarnation, line).await;
    server.journal.wait_projected(committed).await;
}

async fn assert_found(server: &Server, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        let found = server.journal.find_key(tenant(1), &key(number)).await.unwrap();
        assert_eq!(found.expect("it is found").idem, Some(key(number)));
    }
    for other in LINES..LINES + 20 {
        assert!(server.journal.find_key(tenant(1), &key(other)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn every_key_is_found_though_lines_came_in_turns_of_any_size() {
    for by in [9, 100, LINES] {
        let folder = TempDir::new().unwrap();
        let server = Server::start(&folder).await;
        let mut scribe = Scribe::default();

        consume(&server, &mut scribe, 0..LINES, by).await;

        assert_found(&server, (0..LINES).step_by(61)).await;
        assert_eq!(server.verify().await.fault, None, "by {by}");
        let server = server.crash(&folder).await;
        assert_found(&server, [0, 62, 63, 64, 1_022, 1_023, 1_024, LINES - 1]).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_changed_or_missing_run_is_found() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    consume(&server, &mut Scribe::default(), 0..LINES, 100).await;
    for table in ["mark_runs", "mark_parts"] {
        server.database.tamper(&format!("CREATE TABLE {table}_was AS SELECT * FROM {table}")).await;
    }

    for change in [
        "DELETE FROM mark_runs WHERE first_seq = 0",
        "DELETE FROM mark_runs WHERE first_seq > 1024",
        "DELETE FROM mark_parts WHERE part = 3",
        "UPDATE mark_parts SET body = 'AAAAAAAAAAAAAAA' WHERE part = 3",
        "UPDATE mark_parts SET body = 'no marks' WHERE part = 3",
        "UPDATE mark_runs SET last_seq = last_seq + 64000 WHERE first_seq > 1024",
    ] {
        server.database.tamper(change).await;
        let fault = server.verify().await.fault.expect(change).to_string();
        assert!(fault.contains("mark_runs"), "{change}: {fault}");
        for table in ["mark_runs", "mark_parts"] {
            let restore =
                format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {table}_was");
            server.database.tamper(&restore).await;
        }
        assert_eq!(server.verify().await.fault, None, "{change}");
    }
    server.stop().await;
}

#[tokio::test]
async fn keys_of_lines_that_were_projected_late_are_found() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let mut scribe = Scribe::default();
    consume(&server, &mut scribe, 0..50, 50).await;
    server.database.poison("chunks", "NEW.first_seq = 52").await;
    // The actor of a tenant in quarantine goes on: what it hands over is projected.
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    for numbers in [50..70, 70..150] {
        let mut last = None;
        for number in numbers {
            let line = scribe.line_of(tenant(1), consumed(), Some(&key(number)));
            last = Some(server.append(&incarnation, line));
        }
        let committed = last.unwrap().await.unwrap().unwrap();
        server.journal.wait_projected(committed).await;
    }
    assert!(server.journal.is_quarantined(tenant(1)));

    server.database.antidote("chunks").await;
    server.journal.lift_quarantine(tenant(1)).await.unwrap();

    assert_found(&server, 0..150).await;
    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}

#[tokio::test]
async fn events_are_found_and_forgotten_with_their_run() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let mut scribe = Scribe::default();
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let mut last = None;
    for number in 0..130 {
        let line = scribe.line_of(tenant(1), recorded(number * 10, 10), None);
        last = Some(server.commit(&incarnation, line).await);
    }
    server.journal.wait_projected(last.unwrap()).await;

    let asked: Vec<_> = (0..1_400).map(event).collect();
    let found = async || server.journal.find_events(tenant(1), &asked).await.unwrap();
    assert_eq!(found().await, (0..1_300).map(event).collect::<HashSet<_>>());
    assert_eq!(server.verify().await.fault, None);

    // Entry 63 ends the first run.
    server.journal.forget_events(tenant(1), Timestamp::from_micros(63)).await.unwrap();
    assert_eq!(found().await.len(), 1_300);
    server.journal.forget_events(tenant(1), Timestamp::from_micros(1_000)).await.unwrap();
    assert_eq!(found().await, (1_270..1_300).map(event).collect::<HashSet<_>>());
    server.stop().await;
}
