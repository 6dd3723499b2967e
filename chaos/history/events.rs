//! Events: each that was acknowledged is in exactly one entry, and nothing else is in any.
//!
//! The journal holds a digest in place of an event's name. Which is whose is told by the answers: the
//! accepted events of a call are the rows of its entry, in order. Entries whose answers were lost are
//! matched by meter and amount: as many rows must be there as were acknowledged without a row so far,
//! and no more than calls of unknown outcome could have brought.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::matching::Effect;
use super::{Answer, Broken, Call, Entry, Faults};

/// An event's name: its source and id.
type Name<'a> = (&'a str, &'a str);

/// What a row of an entry shows of an event: its meter and amount.
type Shape<'a> = (&'a str, u64);

/// Judges the calls that record events; returns those that are an entry whose place is known.
pub(super) fn check<'a>(
    calls: &[&'a Call],
    entries: &'a [Entry],
    faults: &mut Faults<'_>,
) -> Vec<Effect> {
    let of_kind = || entries.iter().filter(|entry| entry.kind() == "recorded");
    each_counts_once(of_kind(), faults);
    let by_request = of_kind().map(|entry| (entry.text("req"), entry)).collect();
    let mut records = Records {
        by_request,
        claimed: HashSet::new(),
        counted: HashMap::new(),
        duplicates: Vec::new(),
        effects: Vec::new(),
        faults,
    };
    for call in calls {
        records.call(call);
    }
    records.duplicates_were_counted();
    let rest: Vec<&Entry> =
        of_kind().filter(|entry| !records.claimed.contains(&entry.seq())).collect();
    records.rest_was_sent(calls, &rest);
    records.effects
}

/// No digest is in two rows, none was rejected and counted, and rows add up to their items.
fn each_counts_once<'a>(entries: impl Iterator<Item = &'a Entry>, faults: &mut Faults<'_>) {
    let mut seen = HashSet::new();
    for entry in entries {
        let mut sums = vec![0_u64; entry.items().len()];
        for row in rows(entry) {
            let digest = row[0].as_str().unwrap_or_default();
            if !seen.insert(digest) {
                faults.add(Broken::Double, format!("{digest} counts again: {}", entry.line));
            }
            let item = row[1].as_u64().and_then(|item| usize::try_from(item).ok());
            if let Some(sum) = item.and_then(|item| sums.get_mut(item)) {
                *sum = sum.saturating_add(row[2].as_u64().unwrap_or_default());
            }
        }
        let amounts = entry.items().iter().map(|item| item["amount"].as_u64().unwrap_or_default());
        if !amounts.eq(sums) {
            faults.add(Broken::Unbalanced, format!("events of another sum: {}", entry.line));
        }
        let rejected = entry.body["rejected"].as_array().map_or(&[][..], Vec::as_slice);
        let counted = |row: &Value| rows(entry).iter().any(|counted| counted[0] == row[0]);
        if rejected.iter().any(counted) {
            faults.add(Broken::Invented, format!("rejected and counted: {}", entry.line));
        }
    }
}

struct Records<'a, 'f, 't> {
    by_request: HashMap<&'a str, &'a Entry>,
    claimed: HashSet<u64>,
    /// Where each event counts, and when the call was sent that brought it.
    counted: HashMap<Name<'a>, (u64, u64)>,
    /// Events that were told to count already: their call, name and shape.
    duplicates: Vec<(&'a Call, Name<'a>, Shape<'a>)>,
    effects: Vec<Effect>,
    faults: &'f mut Faults<'t>,
}

impl<'a> Records<'a, '_, '_> {
    fn call(&mut self, call: &'a Call) {
        let Some(answer) = &call.answer else { return };
        let entry = self.by_request.get(answer.request_id.as_str()).copied();
        if !answer.is_success() {
            if let Some(entry) = entry.filter(|_| !answer.is_unknown()) {
                self.faults.add(Broken::Invented, format!("{}\n  {}", call.show(), entry.line));
            }
            return;
        }
        let results = answer.body["results"].as_array().map_or(&[][..], Vec::as_slice);
        let sent = events(call);
        if results.len() != sent.len() {
            self.faults.add(Broken::Answer, format!("a result for each event: {}", call.show()));
            return;
        }
        let with = |status: &'static str| {
            let told = sent.iter().zip(results).filter(move |(_, told)| told["status"] == status);
            told.map(|(event, _)| event)
        };
        let mut told_again: Vec<&Value> = with("duplicate").collect();
        if answer.is_replayed {
            // Its entry is the one that the first answer rests on, which may be lost.
            told_again.extend(with("accepted"));
        } else {
            self.accepted(call, &with("accepted").collect::<Vec<_>>(), entry);
        }
        self.duplicates.extend(told_again.iter().map(|event| (call, name(event), shape(event))));
    }

    /// What a call was told to have brought is the whole of its entry, in order.
    fn accepted(&mut self, call: &'a Call, accepted: &[&'a Value], entry: Option<&'a Entry>) {
        let entry = match (accepted, entry) {
            ([], None) => return,
            (_, None) => return self.faults.add(Broken::Missing, call.show()),
            (_, Some(entry)) => entry,
        };
        self.claimed.insert(entry.seq());
        let shapes = rows(entry).iter().map(|row| shape_of_row(entry, row));
        if !shapes.eq(accepted.iter().map(|event| shape(event))) {
            self.faults.add(Broken::Answer, format!("{}\n  {}", call.show(), entry.line));
        }
        for event in accepted {
            if self.counted.insert(name(event), (entry.seq(), call.sent)).is_some() {
                self.faults.add(Broken::Double, format!("{event} again: {}", call.show()));
            }
        }
        let ended = call.ended.unwrap_or(u64::MAX);
        self.effects.push(Effect { seq: entry.seq(), sent: call.sent, ended });
    }

    /// What counted already cannot have been sent later.
    fn duplicates_were_counted(&mut self) {
        for (call, name, _) in &self.duplicates {
            if let Some((seq, sent)) = self.counted.get(name)
                && call.ended.is_some_and(|ended| ended < *sent)
            {
                let text = format!("entry {seq} came later: {}", call.show());
                self.faults.add(Broken::Order, text);
            }
        }
    }

    /// The entries whose answers were lost hold what was acknowledged later, and nothing that no
    /// call can have brought.
    fn rest_was_sent(&mut self, calls: &[&'a Call], rest: &[&'a Entry]) {
        let mut rows_left: BTreeMap<Shape<'a>, usize> = BTreeMap::new();
        for entry in rest {
            for row in rows(entry) {
                *rows_left.entry(shape_of_row(entry, row)).or_default() += 1;
            }
        }
        let is_new = |name: &Name<'a>| !self.counted.contains_key(name);
        let told: BTreeMap<Name<'a>, (Shape<'a>, &Call)> = self
            .duplicates
            .iter()
            .filter(|(_, name, _)| is_new(name))
            .map(|(call, name, shape)| (*name, (*shape, *call)))
            .collect();
        let unknown =
            calls.iter().filter(|call| call.answer.as_ref().is_none_or(Answer::is_unknown));
        let possible =
            unknown.flat_map(|call| events(call)).map(|event| (name(event), shape(event)));
        let possible: BTreeSet<_> = possible.filter(|(name, _)| is_new(name)).collect();
        for (shape, count) in &rows_left {
            if possible.iter().filter(|(_, known)| known == shape).count() < *count {
                let text = format!("{count} events of {shape:?} that nobody sent: {rest:?}");
                self.faults.add(Broken::Invented, text);
            }
        }
        for ((source, id), (shape, call)) in told {
            match rows_left.get_mut(&shape) {
                Some(count) if *count > 0 => *count -= 1,
                _ => {
                    let text = format!("{source} {id} counts nowhere: {}", call.show());
                    self.faults.add(Broken::Missing, text);
                }
            }
        }
    }
}

/// The events of a call: it has one, or a list.
fn events(call: &Call) -> &[Value] {
    call.body.as_array().map_or(std::slice::from_ref(&call.body), Vec::as_slice)
}

fn rows(entry: &Entry) -> &[Value] {
    entry.body["events"].as_array().map_or(&[], Vec::as_slice)
}

fn name(event: &Value) -> Name<'_> {
    let text = |member: &str| event[member].as_str().unwrap_or_default();
    (text("source"), text("id"))
}

fn shape(event: &Value) -> Shape<'_> {
    let kind = event["type"].as_str().unwrap_or_default();
    let meter = kind.rsplit('.').next().unwrap_or_default();
    (meter, event["data"]["amount"].as_u64().unwrap_or_default())
}

fn shape_of_row<'a>(entry: &'a Entry, row: &Value) -> Shape<'a> {
    let item = row[1].as_u64().and_then(|item| usize::try_from(item).ok());
    let item = item.and_then(|item| entry.items().get(item));
    let meter = item.and_then(|item| item["meter"].as_str()).unwrap_or_default();
    (meter, row[2].as_u64().unwrap_or_default())
}
