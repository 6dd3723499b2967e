//! Finds for every acknowledged request its entry, and for every entry its request.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::{Answer, Broken, Call, Entry, Faults, Verb, events};

/// Kinds of entries whose requests the checker knows.
const JUDGED: &[&str] = &["consumed", "reserved", "committed", "released", "extended", "adjusted"];

/// What the order is checked of.
#[derive(Debug, Default)]
pub(super) struct Operations<'a> {
    /// Requests that are entries.
    pub(super) effects: Vec<Effect>,
    /// Answers that only tell how things stood: reads, refusals, repetitions without effect.
    pub(super) views: Vec<View<'a>>,
}

/// A request that is an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    pub(super) seq: u64,
    /// Before this moment it cannot have happened.
    pub(super) sent: u64,
    /// After this moment it cannot have happened.
    pub(super) ended: u64,
}

/// An answer that only tells how things stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) call: &'a Call,
    pub(super) answer: &'a Answer,
    pub(super) ended: u64,
}

/// The calls with one key on one path.
type Group<'a> = Vec<&'a Call>;

struct Matching<'a, 'f, 't> {
    entries: &'a [Entry],
    by_request: HashMap<&'a str, &'a Entry>,
    claimed: HashSet<u64>,
    operations: Operations<'a>,
    faults: &'f mut Faults<'t>,
}

/// Matches a tenant's calls and entries.
pub(super) fn operations<'a>(
    calls: &[&'a Call],
    entries: &'a [Entry],
    faults: &mut Faults<'_>,
) -> Operations<'a> {
    let mut groups: BTreeMap<(&str, &str), Group<'a>> = BTreeMap::new();
    let by_request = entries.iter().filter(|entry| !entry.text("req").is_empty());
    let by_request = by_request.map(|entry| (entry.text("req"), entry)).collect();
    let (claimed, operations) = (HashSet::new(), Operations::default());
    let mut matching = Matching { entries, by_request, claimed, operations, faults };
    for &call in calls {
        if call.answer.as_ref().is_some_and(|answer| answer.status == 500) {
            matching.faults.add(Broken::Internal, call.show());
        }
        match (&call.key, &call.verb) {
            (_, Verb::Other | Verb::Record) => {}
            (Some(key), _) => groups.entry((&call.path, key)).or_default().push(call),
            (None, _) => matching.view(call),
        }
    }
    for group in groups.values() {
        matching.group(group);
    }
    matching.keys_are_used_once();
    matching.rest_was_asked_for(&groups);
    let records = calls.iter().copied().filter(|call| call.verb == Verb::Record);
    let told = events::check(&records.collect::<Vec<_>>(), entries, matching.faults);
    matching.operations.effects.extend(told);
    matching.operations
}

impl<'a> Matching<'a, '_, '_> {
    fn view(&mut self, call: &'a Call) {
        if let (Some(answer), Some(ended)) = (&call.answer, call.ended) {
            self.operations.views.push(View { call, answer, ended });
        }
    }

    /// Judges what became of one key.
    fn group(&mut self, group: &[&'a Call]) {
        let mut own: Vec<&Entry> = Vec::new();
        let mut first: Option<(&Call, &Answer)> = None;
        for &call in group {
            let Some(answer) = &call.answer else { continue };
            if let Some(&entry) = self.by_request.get(answer.request_id.as_str()) {
                own.push(entry);
                if !answer.is_success() && !answer.is_unknown() {
                    self.faults.add(Broken::Invented, format!("{}\n  {}", call.show(), entry.line));
                }
            }
            if !answer.is_success() {
                self.view(call);
                continue;
            }
            match first {
                Some((_, known)) if known.body != answer.body => {
                    self.faults.add(Broken::Double, format!("another answer: {}", call.show()));
                }
                Some(_) => {}
                None => first = Some((call, answer)),
            }
        }
        if own.len() > 1 {
            self.faults.add(Broken::Double, format!("done twice: {}", own[1].line));
        }
        let Some((call, answer)) = first else { return };
        match own.first().copied().or_else(|| self.entry_of(call, answer)) {
            Some(entry) if own.is_empty() && !answer.is_replayed => {
                // The hold had already ended this way, by another key: nothing was written.
                if !matches!(call.verb, Verb::Commit(_) | Verb::Release(_)) {
                    let text = format!("{}\n  {}", call.show(), entry.line);
                    self.faults.add(Broken::Missing, text);
                }
                self.view(call);
            }
            Some(entry) => self.effect(group, (call, answer), entry),
            None => self.faults.add(Broken::Missing, call.show()),
        }
    }

    /// Finds the entry that an answer speaks of.
    fn entry_of(&self, call: &Call, answer: &Answer) -> Option<&'a Entry> {
        let body = &answer.body;
        let find = |kind: &str, id: &str| {
            let mut of_hold = self.entries.iter().filter(|entry| entry.text("reservation") == id);
            of_hold.find(|entry| {
                let same_end = kind != "extended" || entry.body["expires_at"] == body["expires_at"];
                entry.kind() == kind && same_end
            })
        };
        match &call.verb {
            Verb::Consume | Verb::Adjust => {
                let index = usize::try_from(body["seq"].as_u64()?.checked_sub(1)?).ok()?;
                self.entries.get(index)
            }
            Verb::Reserve => find("reserved", body["id"].as_str()?),
            Verb::Commit(id) => find("committed", id),
            Verb::Release(id) => find("released", id),
            Verb::Extend(id) => find("extended", id),
            Verb::Usage | Verb::Look(_) | Verb::Record | Verb::Other => None,
        }
    }

    fn effect(&mut self, group: &[&'a Call], (call, answer): (&Call, &Answer), entry: &Entry) {
        if !self.claimed.insert(entry.seq()) {
            let text = format!("two keys, one entry: {}\n  {}", call.show(), entry.line);
            self.faults.add(Broken::Missing, text);
        }
        if !is_asked_by(entry, call) || !is_told(entry, call, answer) {
            self.faults.add(Broken::Answer, format!("{}\n  {}", call.show(), entry.line));
        }
        let req = entry.text("req");
        let is_its =
            |call: &&&Call| call.answer.as_ref().is_some_and(|answer| answer.request_id == req);
        let could_be = |call: &&&Call| call.answer.as_ref().is_none_or(Answer::is_unknown);
        let sent = match group.iter().find(is_its) {
            Some(call) => Some(call.sent),
            // Its answer was lost: it may be any of those that had none.
            None => group.iter().filter(could_be).map(|call| call.sent).min(),
        };
        let successes =
            group.iter().filter(|call| call.answer.as_ref().is_some_and(Answer::is_success));
        let ended = successes.filter_map(|call| call.ended).min().unwrap_or(u64::MAX);
        let sent = sent.unwrap_or_else(|| {
            self.faults.add(Broken::Double, format!("was never sent before: {}", call.show()));
            call.sent
        });
        self.operations.effects.push(Effect { seq: entry.seq(), sent, ended });
    }

    fn keys_are_used_once(&mut self) {
        let mut seen = HashSet::new();
        for entry in self.entries {
            let idem = entry.text("idem");
            if !idem.is_empty() && !seen.insert(idem) {
                self.faults.add(Broken::Double, format!("one key, two entries: {}", entry.line));
            }
        }
    }

    /// Whatever is in the journal with a key was asked for, by a call whose outcome is not known.
    fn rest_was_asked_for(&mut self, groups: &BTreeMap<(&str, &str), Group<'a>>) {
        let is_open = |group: &&Group<'a>| {
            let is_success = |call: &&Call| call.answer.as_ref().is_some_and(Answer::is_success);
            !group.iter().any(is_success)
        };
        let mut open: Vec<&Group<'a>> = groups.values().filter(is_open).collect();
        for entry in self.entries {
            let is_judged = JUDGED.contains(&entry.kind()) && !entry.text("idem").is_empty();
            if !is_judged || self.claimed.contains(&entry.seq()) {
                continue;
            }
            let fits = |group: &&Group<'a>| {
                group.iter().any(|call| {
                    call.answer.as_ref().is_none_or(Answer::is_unknown) && is_asked_by(entry, call)
                })
            };
            let Some(index) = open.iter().position(fits) else {
                self.faults.add(Broken::Invented, entry.line.clone());
                continue;
            };
            let group = open.swap_remove(index);
            let sent = group.iter().map(|call| call.sent).min().unwrap_or_default();
            self.operations.effects.push(Effect { seq: entry.seq(), sent, ended: u64::MAX });
        }
    }
}

/// Whether an entry does what a call asks for.
fn is_asked_by(entry: &Entry, call: &Call) -> bool {
    let kind = match &call.verb {
        Verb::Consume => "consumed",
        Verb::Reserve => "reserved",
        Verb::Commit(_) => "committed",
        Verb::Release(_) => "released",
        Verb::Extend(_) => "extended",
        Verb::Adjust => "adjusted",
        Verb::Usage | Verb::Look(_) | Verb::Record | Verb::Other => return false,
    };
    let is_same_hold = match &call.verb {
        Verb::Commit(id) | Verb::Release(id) | Verb::Extend(id) => entry.text("reservation") == id,
        _ => true,
    };
    let is_same_change = call.verb != Verb::Adjust
        || (entry.body["delta"] == call.body["delta"]
            && entry.items().iter().all(|item| item["meter"] == call.body["meter"]));
    let is_stated =
        !matches!(call.verb, Verb::Release(_) | Verb::Extend(_)) && call.body["items"].is_array();
    let amounts_fit = entry.items().iter().all(|item| {
        let amount = item["amount"].as_u64().unwrap_or_default();
        let meter = item["meter"].as_str().unwrap_or_default();
        match &call.verb {
            Verb::Commit(_) if !is_stated => item["held"].as_u64() == Some(amount),
            _ => !is_stated || call.requested(meter) == amount,
        }
    });
    entry.kind() == kind && is_same_hold && is_same_change && amounts_fit
}

/// Whether an answer says what its entry says.
fn is_told(entry: &Entry, call: &Call, answer: &Answer) -> bool {
    let body = &answer.body;
    let told = body["items"].as_array().map_or(&[][..], Vec::as_slice);
    let pairs = || entry.items().iter().zip(told);
    let left = |item: &Value| {
        let number = |name: &str| item[name].as_u64();
        Some(number("limit")?.saturating_sub(number("used")?).saturating_sub(number("reserved")?))
    };
    if call.verb == Verb::Adjust {
        return body["seq"].as_u64() == Some(entry.seq())
            && body["period"] == entry.body["period"]
            && body["delta"] == entry.body["delta"]
            && entry.items().iter().all(|item| {
                body["meter"] == item["meter"]
                    && body["used"] == item["used"]
                    && body["limit"] == item["limit"]
            });
    }
    if told.len() != entry.items().len() {
        return false;
    }
    if call.verb == Verb::Consume {
        return body["seq"].as_u64() == Some(entry.seq())
            && body["period"] == entry.body["period"]
            && pairs().all(|(item, told)| {
                item["meter"] == told["meter"]
                    && item["amount"] == told["charged"]
                    && item["used"] == told["used"]
                    && item["limit"] == told["limit"]
                    && left(item) == told["remaining"].as_u64()
            });
    }
    let state = match entry.kind() {
        "reserved" | "extended" => "held",
        other => other,
    };
    body["id"] == entry.body["reservation"]
        && body["state"] == state
        && body["expires_at"] == entry.body["expires_at"]
        && pairs().all(|(item, told)| {
            let amounts_fit = match state {
                "held" => told["amount"] == item["amount"],
                _ => {
                    told["amount"].as_u64() == Some(item["held"].as_u64().unwrap_or_default())
                        && told["charged"] == item["amount"]
                }
            };
            item["meter"] == told["meter"] && amounts_fit
        })
}
