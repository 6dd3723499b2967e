//! Histories of events and corrections, spoilt in the ways that the checker knows.

use super::*;

const EVENTS: &str = "/api/events";

/// Events of the given amounts, named by letters from `first` on.
fn events(first: u8, amounts: &[u64]) -> Value {
    let event = |(letter, amount): (u8, &u64)| {
        json!({ "specversion": "1.0", "source": "/test", "id": char::from(letter).to_string(),
                "type": "com.example.images", "data": { "amount": amount } })
    };
    Value::Array((first..).zip(amounts).map(event).collect())
}

impl History {
    /// A batch that is told of each event what became of it, and the entry of what was accepted.
    fn record(&mut self, key: &str, events: &Value, told: &[&str], used: u64) {
        let events_sent = events.as_array().unwrap();
        let accepted = || events_sent.iter().zip(told).filter(|(_, told)| **told == "accepted");
        let amount: u64 =
            accepted().filter_map(|(event, _)| event["data"]["amount"].as_u64()).sum();
        if amount > 0 {
            self.entry("recorded", key, (amount, 0), (used, 0));
            let row = |(event, _): (&Value, &&str)| {
                json!([format!("digest-{}", event["id"]), 0, event["data"]["amount"], 1])
            };
            self.last()["events"] = accepted().map(row).collect();
            self.last()["idem"] = json!("");
        }
        let results = events_sent.iter().zip(told);
        let results: Vec<Value> =
            results.map(|(event, told)| json!({ "id": event["id"], "status": told })).collect();
        self.call(Some(key), EVENTS, events.clone(), (200, json!({ "results": results })));
    }

    fn adjust(&mut self, key: &str, delta: i64, used: u64) {
        self.entry("adjusted", key, (delta.unsigned_abs(), 0), (used, 0));
        self.last()["delta"] = delta.into();
        let body = json!({ "meter": "images", "delta": delta, "reason": "a test" });
        let answer = json!({
            "meter": "images", "delta": delta, "used": used, "limit": LIMIT, "period": "2026-11",
            "remaining": LIMIT.saturating_sub(used), "seq": self.entries.len(),
        });
        self.call(Some(key), "/api/usage/adjustments", body, (200, answer));
    }

    /// As if the last answer had been lost.
    fn lose_answer(&mut self) {
        let call = self.calls.last_mut().unwrap();
        (call.answer, call.ended) = (None, None);
    }

    /// Three events in two entries, one of them told twice, and corrections.
    fn told() -> Self {
        let mut history = Self::default();
        history.record("e1", &events(b'a', &[1, 2]), &["accepted", "accepted"], 3);
        history.record("e2", &events(b'b', &[2, 3, 9]), &["duplicate", "accepted", "rejected"], 6);
        history.adjust("c1", -2, 4);
        history.adjust("c2", 3, 7);
        history
    }
}

#[test]
fn a_true_history_of_facts_is_found_true() {
    assert_eq!(History::told().check(), []);
}

#[test]
fn an_accepted_event_that_is_in_no_entry_is_missing() {
    let mut history = History::told();
    history.entries.remove(1);
    history.renumber();

    assert!(history.check().contains(&Broken::Missing));
}

#[test]
fn a_duplicate_of_nothing_is_missing() {
    let mut history = History::default();
    history.record("e1", &events(b'a', &[1]), &["duplicate"], 0);

    assert_eq!(history.check(), [Broken::Missing]);
}

#[test]
fn an_event_that_counts_in_two_entries_is_double() {
    let mut history = History::told();
    history.record("e3", &events(b'a', &[1]), &["accepted"], 8);

    assert_eq!(history.check(), [Broken::Double]);
}

#[test]
fn an_event_that_counts_again_under_another_digest_is_double() {
    let mut history = History::told();
    history.record("e3", &events(b'a', &[1]), &["accepted"], 8);
    history.last()["events"][0][0] = "another".into();

    assert_eq!(history.check(), [Broken::Double]);
}

#[test]
fn a_rejected_event_with_a_row_is_invented() {
    let mut history = History::told();
    history.entries[1]["rejected"] = json!([["digest-\"c\"", "unknown-meter"]]);

    assert_eq!(history.check(), [Broken::Invented]);
}

#[test]
fn an_event_of_another_amount_is_found() {
    let mut history = History::told();
    history.calls[0].body[1]["data"]["amount"] = 1.into();

    assert_eq!(history.check(), [Broken::Answer]);
}

#[test]
fn events_that_do_not_add_up_to_their_item_are_unbalanced() {
    let mut history = History::default();
    history.record("e1", &events(b'a', &[1, 2]), &["accepted", "accepted"], 3);
    history.last()["events"][1][2] = 1.into();

    assert!(history.check().contains(&Broken::Unbalanced));
}

#[test]
fn events_whose_answer_was_lost_are_duplicates_later() {
    let mut history = History::default();
    history.record("e1", &events(b'a', &[1, 2]), &["accepted", "accepted"], 3);
    history.lose_answer();
    history.record("e2", &events(b'a', &[1, 2]), &["duplicate", "duplicate"], 3);
    assert_eq!(history.check(), []);

    // Both were told to count, and one does.
    history.entries[0]["events"] = json!([["digest-\"a\"", 0, 1, 1]]);
    (history.entries[0]["items"][0]["amount"], history.entries[0]["items"][0]["used"]) =
        (1.into(), 1.into());
    assert_eq!(history.check(), [Broken::Missing]);
}

#[test]
fn events_that_nobody_sent_are_invented() {
    let mut history = History::told();
    history.record("e3", &events(b'x', &[1]), &["accepted"], 8);
    history.calls.pop();

    assert_eq!(history.check(), [Broken::Invented]);
}

#[test]
fn a_batch_that_was_refused_and_counts_is_invented() {
    let mut history = History::told();
    history.record("e3", &events(b'x', &[1]), &["accepted"], 8);
    history.calls.last_mut().unwrap().answer.as_mut().unwrap().status = 403;

    assert!(history.check().contains(&Broken::Invented));
}

#[test]
fn an_event_told_to_be_a_duplicate_before_it_was_sent_is_out_of_order() {
    let mut history = History::told();
    let early = Call { sent: 0, ended: Some(1), ..history.calls[1].clone() };
    for call in &mut history.calls {
        (call.sent, call.ended) = (call.sent + 2, call.ended.map(|ended| ended + 2));
    }
    history.calls.push(early);
    let early = history.calls.last_mut().unwrap();
    early.body = events(b'b', &[2]);
    let answer = early.answer.as_mut().unwrap();
    answer.body = json!({ "results": [{ "id": "b", "status": "duplicate" }] });
    answer.request_id = "req_early".to_owned();

    assert_eq!(history.check(), [Broken::Order]);
}

#[test]
fn a_correction_that_is_gone_is_missing_and_one_that_nobody_asked_for_is_invented() {
    let mut gone = History::told();
    gone.entries.pop();
    let mut invented = History::told();
    invented.calls.pop();

    assert_eq!(gone.check(), [Broken::Missing]);
    assert_eq!(invented.check(), [Broken::Invented]);
}

#[test]
fn a_correction_by_another_amount_is_found() {
    let mut history = History::told();
    history.calls[2].body["delta"] = (-3).into();

    assert_eq!(history.check(), [Broken::Answer]);
}

#[test]
fn one_key_with_two_corrections_is_double() {
    let mut history = History::told();
    history.adjust("c2", 3, 10);

    assert!(history.check().contains(&Broken::Double));
}

#[test]
fn a_correction_refused_for_no_reason_is_out_of_order() {
    let refused = |used: u64| {
        let mut history = History::told();
        let body = json!({ "meter": "images", "delta": -8, "reason": "a test" });
        let answer = json!({ "code": "negative-usage", "used": used });
        history.call(Some("c3"), "/api/usage/adjustments", body, (409, answer));
        history.check()
    };

    assert_eq!(refused(7), []);
    assert_eq!(refused(6), [Broken::Order]);
}
