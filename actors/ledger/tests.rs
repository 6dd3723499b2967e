use serde_json::json;

use super::statement::Sum;
use super::*;
use crate::ids::{JobId, ReservationId};
use crate::journal::Line;
use crate::journal::changes::Changes;
use crate::journal::entry::EntryBody;
use crate::journal::testing::{Scribe, tenant};
use crate::tenant::quota::Fact;
use crate::tenant::steps::JobFact;

fn usage(fact: serde_json::Value) -> EntryBody {
    EntryBody::Usage(serde_json::from_value::<Fact>(fact).unwrap())
}

fn moved(meter: &str, amount: u64, used: u64) -> serde_json::Value {
    json!([{"meter": meter, "amount": amount, "used": used, "reserved": 0, "limit": 500}])
}

/// The digest of some event.
const EVENT: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Facts that use units or give them back, and by how much.
fn movements() -> Vec<(EntryBody, i128)> {
    let (hold, job) = (ReservationId::from_bits(1), JobId::from_bits(1));
    let (items, period) = (moved("images", 3, 3), "1970-01");
    let at = "1970-01-01T00:01:00.000000Z";
    let fact = |mut fact: serde_json::Value| {
        fact["items"] = items.clone();
        fact["period"] = period.into();
        fact
    };
    let usage = |value| usage(fact(value));
    let adjusted = |delta| usage(json!({"kind": "adjusted", "delta": delta, "reason": "d"}));
    let hold =
        |kind| usage(json!({"kind": kind, "reservation": hold, "expires_at": at, "held": []}));
    let of_job = |kind| usage(json!({"kind": kind, "job": job}));
    let deleted = fact(json!({"kind": "job_deleted", "job": job}));
    vec![
        (usage(json!({"kind": "consumed"})), 3),
        (hold("reserved"), 0),
        (hold("committed"), 3),
        (hold("committed_late"), 3),
        (hold("released"), 0),
        (hold("expired"), 0),
        (hold("extended"), 0),
        (of_job("job_held"), 0),
        (of_job("part_committed"), 3),
        (of_job("job_closed"), 0),
        (usage(json!({"kind": "freed"})), -3),
        (usage(json!({"kind": "recorded", "events": [[EVENT, 0, 3, 0]]})), 3),
        (adjusted(3), 3),
        (adjusted(-3), -3),
        (EntryBody::Job(serde_json::from_value::<JobFact>(deleted).unwrap()), -3),
    ]
}

#[test]
fn the_sums_of_statements_are_those_of_the_days() {
    let period: StatementPeriod = "1970-01".parse().unwrap();
    for (body, expected) in movements() {
        let mut scribe = Scribe::default();
        let line = scribe.line_of(tenant(1), body, None);
        let mut sum = Sum::new(tenant(1), &period);
        assert!(sum.add(1, &line.text).unwrap());
        let mut changes = Changes::new(tenant(1));
        changes.add(&line).unwrap();

        let kind = line.body.kind();
        assert_eq!(sum.amount("images"), expected, "{kind}");
        let day = changes.usage.values().copied().map(i128::from).sum::<i128>();
        assert_eq!(day, expected, "{kind}");
    }
}

/// A tenant that was used in two periods, with a hold that outlived the first.
fn two_periods() -> Vec<Line> {
    let hold = ReservationId::from_bits(1);
    let (end, later) = ("1970-02-01T00:00:00.000000Z", "1970-02-01T00:30:00.000000Z");
    let held = |kind: &str| {
        usage(json!({"kind": kind, "reservation": hold, "items": moved("images", 3, 8),
            "expires_at": later, "period": "1970-01"}))
    };
    let consumed = |amount, used, period: &str| {
        let items = moved("images", amount, used);
        usage(json!({"kind": "consumed", "items": items, "period": period}))
    };
    let rolled = usage(json!({
        "kind": "period_rolled",
        "from": {"start": "1970-01-01T00:00:00.000000Z", "end": end},
        "to": {"start": end, "end": "1970-03-01T00:00:00.000000Z"},
        "closed": [{"meter": "images", "used": 5, "reserved": 3}],
        "levels": [{"meter": "storage_bytes", "used": 7, "unit_seconds": "9"}],
    }));
    let mut scribe = Scribe::default();
    [
        consumed(5, 5, "1970-01"),
        held("reserved"),
        rolled,
        consumed(2, 2, "1970-02"),
        held("committed"),
        consumed(1, 3, "1970-02"),
    ]
    .into_iter()
    .map(|body| scribe.line_of(tenant(1), body, None))
    .collect()
}

fn stated(lines: &[Line], period: &str, now: Timestamp) -> Option<serde_json::Value> {
    let period: StatementPeriod = period.parse().unwrap();
    let mut sum = Sum::new(tenant(1), &period);
    for line in lines {
        if !sum.add(line.seq, &line.text).unwrap() {
            break;
        }
    }
    sum.statement(now).map(|statement| serde_json::to_value(statement).unwrap())
}

#[test]
fn what_is_settled_later_counts_for_the_period_in_which_it_began() {
    let lines = two_periods();
    let at = |day: i64| Timestamp::from_micros(day * 86_400_000_000);

    let january = stated(&lines, "1970-01", at(32)).unwrap();
    let later = stated(&lines, "1970-01", at(40)).unwrap();
    let february = stated(&lines, "1970-02", at(40)).unwrap();

    let expected = json!([{"meter": "images", "entries": 2, "amount": 8, "used": 8}]);
    assert_eq!(january["meters"], expected);
    assert_eq!((&january["state"], &later["state"]), (&json!("settling"), &json!("final")));
    assert_eq!(january["closed"], json!([{"meter": "images", "used": 5, "reserved": 3}]));
    let levels = json!([{"meter": "storage_bytes", "used": 7, "unit_seconds": "9"}]);
    assert_eq!(january["levels"], levels);
    assert_eq!((&january["first_seq"], &january["last_seq"]), (&json!(1), &json!(5)));
    assert_eq!(january["entries"], 4);
    assert_eq!(january["prev"], "0".repeat(64));
    assert_eq!(january["hash"], lines[4].hash.to_string());
    assert_eq!((&february["state"], &february["meters"][0]["amount"]), (&json!("open"), &json!(3)));
    assert_eq!(february["prev"], lines[2].hash.to_string());
    assert!(stated(&lines, "1971-01", at(800)).is_none());
}

#[test]
fn nothing_is_signed_over_lines_that_were_changed() {
    let lines = two_periods();
    let period: StatementPeriod = "1970-01".parse().unwrap();
    let mut sum = Sum::new(tenant(1), &period);
    sum.add(1, &lines[0].text).unwrap();

    let changed = lines[1].text.replace("\"amount\":3", "\"amount\":2");
    assert!(sum.add(2, &changed).is_err());
    assert!(sum.add(3, &lines[2].text).is_err(), "one is missing");
    assert!(Sum::new(tenant(2), &period).add(1, &lines[0].text).is_err(), "another's");
}

#[test]
fn months_and_periods_are_written_in_one_way() {
    for good in ["2026-11", "1970-01", "9999-12"] {
        assert!(good.parse::<Month>().is_ok() && good.parse::<StatementPeriod>().is_ok());
    }
    assert!("2026-11-23".parse::<StatementPeriod>().is_ok());
    for bad in ["2026-13", "2026-0", "26-11", "", "2026", "1969-12", "2026-11-32", "2026-+1", "--"]
    {
        assert!(bad.parse::<Month>().is_err() && bad.parse::<StatementPeriod>().is_err(), "{bad}");
    }
}
