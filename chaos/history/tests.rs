mod events;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::chain::hash_of;
use super::*;

const TENANT: &str = "tnt_a";
const LIMIT: u64 = 10;

/// A history that the tests spoil: two uses, a hold that is used in part, a refusal, a read.
#[derive(Default)]
struct History {
    calls: Vec<Call>,
    entries: Vec<Value>,
    moment: u64,
}

impl History {
    fn good() -> Self {
        let mut history = Self::default();
        history.consume("k1", 3, (3, 0));
        history.reserve("k2", "rsv_1", 5, (3, 5));
        history.refuse("k3", 4, (3, 5));
        history.usage((3, 5));
        history.commit("k4", "rsv_1", (2, 5), (5, 0));
        history.consume("k5", 5, (10, 0));
        history.refuse("k6", 1, (10, 0));
        history
    }

    fn entry(&mut self, kind: &str, key: &str, (amount, held): (u64, u64), stands: (u64, u64)) {
        let seq = self.entries.len() + 1;
        self.entries.push(json!({
            "v": 1, "tenant": TENANT, "seq": seq, "at": format!("2026-11-23T00:00:{seq:02}.000000Z"),
            "kind": kind, "period": "2026-11", "req": format!("req_{key}"), "idem": key,
            "items": [{ "meter": "images", "amount": amount, "held": held, "used": stands.0,
                        "reserved": stands.1, "limit": LIMIT }],
        }));
    }

    fn call(&mut self, key: Option<&str>, path: &str, body: Value, (status, answer): (u16, Value)) {
        let recorded = match key {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        self.calls.push(Call {
            tenant: TENANT.to_owned(),
            verb: Verb::of(&recorded, path),
            method: recorded,
            path: path.to_owned(),
            key: key.map(ToOwned::to_owned),
            body,
            sent: self.moment,
            ended: Some(self.moment + 1),
            answer: Some(Answer {
                status,
                request_id: format!("req_{}", key.unwrap_or("read")),
                is_replayed: false,
                body: answer,
            }),
        });
        self.moment += 2;
    }

    fn consume(&mut self, key: &str, amount: u64, stands: (u64, u64)) {
        self.entry("consumed", key, (amount, 0), stands);
        let left = LIMIT.saturating_sub(stands.0 + stands.1);
        let answer = json!({
            "seq": self.entries.len(), "period": "2026-11",
            "items": [{ "meter": "images", "charged": amount, "used": stands.0, "limit": LIMIT,
                        "remaining": left }],
        });
        self.call(Some(key), "/api/usage/consume", items(amount), (200, answer));
    }

    fn reserve(&mut self, key: &str, id: &str, amount: u64, stands: (u64, u64)) {
        self.entry("reserved", key, (amount, 0), stands);
        self.last()["reservation"] = id.into();
        let items_held = json!([{ "meter": "images", "amount": amount }]);
        let answer = json!({ "id": id, "state": "held", "items": items_held });
        self.call(Some(key), "/api/reservations", items(amount), (201, answer));
    }

    fn commit(&mut self, key: &str, id: &str, amounts: (u64, u64), stands: (u64, u64)) {
        self.entry("committed", key, amounts, stands);
        self.last()["reservation"] = id.into();
        let (charged, held) = amounts;
        let charged = json!([{ "meter": "images", "amount": held, "charged": charged }]);
        let answer = json!({ "id": id, "state": "committed", "items": charged });
        let path = format!("/api/reservations/{id}/commit");
        self.call(Some(key), &path, items(amounts.0), (200, answer));
    }

    fn refuse(&mut self, key: &str, amount: u64, (used, reserved): (u64, u64)) {
        let answer = json!({
            "code": "quota-exceeded", "meter": "images", "limit": LIMIT, "used": used,
            "reserved": reserved, "remaining": LIMIT - used - reserved, "requested": amount,
        });
        self.call(Some(key), "/api/usage/consume", items(amount), (402, answer));
    }

    fn usage(&mut self, (used, reserved): (u64, u64)) {
        let row = json!({ "meter": "images", "used": used, "reserved": reserved });
        self.call(None, "/api/usage", json!({}), (200, json!({ "meters": [row] })));
    }

    fn last(&mut self) -> &mut Value {
        self.entries.last_mut().unwrap()
    }

    /// The lines as they are exported, chained anew.
    fn lines(&self) -> Vec<String> {
        let mut prev = "0".repeat(64);
        let sealed = |entry: &Value| {
            let text = entry.to_string();
            let head = format!("{},\"prev\":\"{prev}\"", &text[..text.len() - 1]);
            let line = |hash: &str| format!("{head},\"hash\":\"{hash}\"}}");
            let hash = hash_of(&prev, &line(&"0".repeat(64)));
            let line = line(&hash);
            prev = hash;
            line
        };
        self.entries.iter().map(sealed).collect()
    }

    fn check(&self) -> Vec<Broken> {
        self.check_lines(&self.lines())
    }

    fn check_lines(&self, lines: &[String]) -> Vec<Broken> {
        let limits = BTreeMap::from([("images".to_owned(), Some(LIMIT))]);
        let rules = Rules { limits, ..Rules::default() };
        let mut broken: Vec<_> = check(&self.calls, &lines.join("\n"), &rules)
            .iter()
            .map(|fault| fault.broken)
            .collect();
        broken.dedup();
        broken
    }

    /// Numbers the entries anew, as a log would that never had the missing one.
    fn renumber(&mut self) {
        for (seq, entry) in (1..).zip(&mut self.entries) {
            entry["seq"] = seq.into();
        }
    }
}

fn items(amount: u64) -> Value {
    json!({ "items": [{ "meter": "images", "amount": amount }] })
}

#[test]
fn a_true_history_is_found_true() {
    assert_eq!(History::good().check(), []);
}

#[test]
fn a_changed_line_breaks_the_chain() {
    let history = History::good();
    let mut lines = history.lines();
    lines[1] = lines[1].replace("\"amount\":5", "\"amount\":4");

    assert!(history.check_lines(&lines).contains(&Broken::Chain));
}

#[test]
fn an_acknowledged_entry_that_is_gone_is_missing() {
    let mut history = History::good();
    history.entries.pop();

    assert_eq!(history.check(), [Broken::Missing, Broken::Order]);
}

#[test]
fn an_entry_that_nobody_asked_for_is_invented() {
    let mut history = History::good();
    history.calls.remove(0);

    assert_eq!(history.check(), [Broken::Invented]);
}

#[test]
fn a_refused_request_with_an_entry_is_invented() {
    let mut history = History::good();
    history.calls.truncate(1);
    history.entries.truncate(1);
    history.refuse("k9", 1, (3, 0));
    history.entry("consumed", "k9", (1, 0), (4, 0));

    assert!(history.check().contains(&Broken::Invented));
}

#[test]
fn one_key_with_two_entries_is_double() {
    let mut history = History::default();
    history.consume("k1", 3, (3, 0));
    history.consume("k1", 3, (6, 0));

    assert!(history.check().contains(&Broken::Double));
}

#[test]
fn units_beyond_the_limit_are_oversold() {
    let mut history = History::good();
    history.consume("k7", 1, (11, 0));

    assert_eq!(history.check(), [Broken::Oversold]);
}

#[test]
fn figures_that_do_not_add_up_are_unbalanced() {
    let mut history = History::good();
    history.entries.remove(2);
    history.calls.retain(|call| call.key.as_deref() != Some("k4"));
    history.renumber();

    assert!(history.check().contains(&Broken::Unbalanced));
}

#[test]
fn a_hold_that_ends_twice_is_found() {
    let mut history = History::good();
    history.commit("k7", "rsv_1", (0, 0), (10, 0));

    assert_eq!(history.check(), [Broken::Hold]);
}

#[test]
fn an_answer_with_another_figure_is_found() {
    let mut history = History::good();
    history.calls[0].answer.as_mut().unwrap().body["items"][0]["used"] = 4.into();

    assert_eq!(history.check(), [Broken::Answer]);
}

#[test]
fn a_read_of_what_never_was_or_was_no_more_is_out_of_order() {
    let mut dirty = History::good();
    dirty.usage((9, 0));
    let mut stale = History::good();
    stale.usage((3, 5));

    assert_eq!(dirty.check(), [Broken::Order]);
    assert_eq!(stale.check(), [Broken::Order]);
}

#[test]
fn a_refusal_for_no_reason_is_out_of_order() {
    let mut history = History::default();
    history.consume("k1", 3, (3, 0));
    history.refuse("k2", 7, (3, 0));

    assert_eq!(history.check(), [Broken::Order]);
}

#[test]
fn a_read_beside_a_write_may_see_either_and_two_reads_must_agree() {
    let mut history = History::default();
    history.consume("k1", 3, (3, 0));
    history.calls[0].ended = Some(100);
    history.usage((0, 0));
    history.usage((3, 0));
    assert_eq!(history.check(), []);

    history.usage((0, 0));
    assert_eq!(history.check(), [Broken::Order]);
}

#[test]
fn what_had_no_answer_may_be_there_or_not() {
    let mut there = History::default();
    there.consume("k1", 3, (3, 0));
    (there.calls[0].answer, there.calls[0].ended) = (None, None);
    let mut not_there = History::default();
    not_there.consume("k1", 3, (3, 0));
    not_there.entries.clear();
    (not_there.calls[0].answer, not_there.calls[0].ended) = (None, None);

    assert_eq!(there.check(), []);
    assert_eq!(not_there.check(), []);
}

#[test]
fn a_read_may_show_a_lapse_that_has_no_entry_yet_but_no_other_end() {
    let mut lapsed = History::default();
    lapsed.reserve("k1", "rsv_1", 5, (0, 5));
    lapsed.usage((0, 0));
    let mut committed = History::default();
    committed.reserve("k1", "rsv_1", 5, (0, 5));
    committed.usage((0, 0));
    committed.commit("k2", "rsv_1", (5, 5), (5, 0));

    assert_eq!(lapsed.check(), []);
    assert_eq!(committed.check(), [Broken::Order]);
}

#[test]
fn what_a_client_did_later_is_not_earlier_in_the_journal() {
    let mut history = History::default();
    history.consume("k1", 3, (3, 0));
    history.consume("k2", 3, (6, 0));
    // The second one was sent, and answered, before the first one was.
    for (call, sent) in history.calls.iter_mut().zip([2, 0]) {
        (call.sent, call.ended) = (sent, Some(sent + 1));
    }

    assert_eq!(history.check(), [Broken::Order]);
}
