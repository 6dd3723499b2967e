//! Events that count are found, forgotten in time, and compared with the log.

use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::journal::verify::Limits;
use crate::tenant::quota::{EventDigest, Fact};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

fn digest(number: u8) -> EventDigest {
    EventDigest::from_bytes([number; 16])
}

/// An entry that counted events: each of so many images, on a day.
fn recorded(events: &[(u8, u64, i64)]) -> EntryBody {
    let sum: u64 = events.iter().map(|(_, amount, _)| amount).sum();
    let events =
        events.iter().map(|(number, amount, day)| json!([digest(*number), 0, amount, day * DAY]));
    let fact = json!({
        "kind": "recorded", "period": "1970-01", "events": events.collect::<Vec<_>>(),
        "items": [{ "meter": "images", "amount": sum, "used": sum, "reserved": 0, "limit": 5 }],
    });
    EntryBody::Usage(serde_json::from_value::<Fact>(fact).unwrap())
}

#[tokio::test]
async fn an_event_is_found_before_and_after_it_is_projected_and_counts_on_its_day() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let body = recorded(&[(1, 2, 0), (2, 3, 4), (3, 4, 4)]);
    let line = Scribe::default().line_of(tenant(1), body, None);
    let asked = [digest(1), digest(3), digest(9)];
    let known = HashSet::from([digest(1), digest(3)]);

    let committed = server.commit(&incarnation, line).await;
    assert_eq!(server.journal.find_events(tenant(1), &asked).await.unwrap(), known);
    server.journal.wait_projected(committed).await;
    assert_eq!(server.journal.find_events(tenant(1), &asked).await.unwrap(), known);
    assert!(server.journal.find_events(tenant(2), &asked).await.unwrap().is_empty());
    let many: Vec<_> = (0..=255).map(digest).collect();
    assert_eq!(server.journal.find_events(tenant(1), &many).await.unwrap().len(), 3);

    let (from, to) = (Timestamp::MIN, Timestamp::from_micros(10 * DAY));
    let days = server.journal.usage_days(tenant(1), "images", from, to).await.unwrap();
    let days: Vec<_> = days.iter().map(|day| (day.start.as_micros() / DAY, day.amount)).collect();
    assert_eq!(days, [(0, 2), (4, 7)]);

    assert_eq!(server.verify().await.fault, None);
    server.stop().await;
}

#[tokio::test]
async fn events_of_before_there_were_marks_are_found_compared_and_forgotten() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let mut scribe = Scribe::default();
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let mut last = None;
    for first in [0, 10, 20] {
        let events: Vec<_> = (first..first + 10).map(|number| (number, 1, 0)).collect();
        let line = scribe.line_of(tenant(1), recorded(&events), None);
        last = Some(server.commit(&incarnation, line).await);
    }
    server.journal.wait_projected(last.unwrap()).await;
    server.database.tamper("UPDATE chunks SET marks = NULL").await;
    for number in 0..30 {
        let (digest, seq) = (digest(number), number / 10 + 1);
        let row =
            format!("INSERT INTO event_keys VALUES ('{}', '{digest}', {seq}, {seq})", tenant(1));
        server.database.tamper(&row).await;
    }
    let few = || Limits { keys: 4, ..Limits::default() };
    assert_eq!(server.verify_within(few()).await.fault, None);
    let asked = [digest(7), digest(29), digest(30)];
    let known = HashSet::from([digest(7), digest(29)]);
    assert_eq!(server.journal.find_events(tenant(1), &asked).await.unwrap(), known);
    server.database.tamper("CREATE TABLE event_keys_was AS SELECT * FROM event_keys").await;
    let (here, new) = (digest(15), digest(77));

    for (change, said) in [
        (format!("DELETE FROM event_keys WHERE digest = '{here}'"), "says nothing"),
        (format!("UPDATE event_keys SET seq = 3 WHERE digest = '{here}'"), "says 3 "),
        (
            format!(
                "INSERT INTO event_keys SELECT tenant_id, '{new}', 1, 1 FROM event_keys LIMIT 1"
            ),
            "the log says nothing",
        ),
    ] {
        server.database.tamper(&change).await;
        for limits in [Limits::default(), few()] {
            let fault = server.verify_within(limits).await.fault.expect(&change).to_string();
            assert!(fault.contains("event_keys") && fault.contains(said), "{change}: {fault}");
        }
        let restore = "DELETE FROM event_keys; INSERT INTO event_keys SELECT * FROM event_keys_was";
        server.database.tamper(restore).await;
    }
    assert_eq!(server.verify().await.fault, None);
    server.journal.forget_events(tenant(1), Timestamp::from_micros(3)).await.unwrap();
    let left = server.journal.find_events(tenant(1), &asked).await.unwrap();
    assert_eq!(left, HashSet::from([digest(29)]));
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_two_entries_count_is_named_also_in_turns() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let mut scribe = Scribe::default();
    let incarnation = server.journal.activate(tenant(1)).await.unwrap().incarnation;
    let mut last = None;
    for events in [[(1, 1, 0), (2, 1, 0)], [(3, 1, 0), (4, 1, 0)], [(5, 1, 0), (2, 1, 0)]] {
        let line = scribe.line_of(tenant(1), recorded(&events), None);
        last = Some(server.commit(&incarnation, line).await);
    }
    server.journal.wait_projected(last.unwrap()).await;

    for limits in [Limits::default(), Limits { tenants: 1, keys: 1 }] {
        let fault = server.verify_within(limits).await.fault.unwrap().to_string();
        let said = format!("{}, entry 3: it counts event {}, which", tenant(1), digest(2));
        assert!(fault.starts_with(&said) && fault.contains("entry 1 counts"), "{fault}");
    }
    server.stop().await;
}
