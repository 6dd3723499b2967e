//! The history checker: what clients sent and were told, against what the journal says.
//!
//! It stands outside the server and shares no code with it: it adds up the entries by itself, finds
//! for every acknowledged request the entry that it rests on, and for every refusal and every read a
//! moment at which it was true. The journal's order is the witness, so a tenant's history is
//! linearizable exactly when that order fits what the clients saw, and when.

mod call;
mod chain;
mod events;
mod fold;
mod matching;
mod order;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

pub use self::call::{Answer, Call, Recorder, Verb};
use self::timeline::Timeline;

/// What the checker has to know of the product beforehand.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The limit of each meter at first, `None` is unlimited; a meter that is missing has any.
    pub limits: BTreeMap<String, Option<u64>>,
    /// Meters that do not reset with the period.
    pub levels: BTreeSet<String>,
}

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// A line of the journal does not follow from the one before it.
    Chain,
    /// What was acknowledged is not in the journal.
    Missing,
    /// What nobody asked for, or what was refused, is in the journal.
    Invented,
    /// One key had two effects, or two answers.
    Double,
    /// An admission went beyond the limit.
    Oversold,
    /// The figures of an entry are not the sum of those before it.
    Unbalanced,
    /// A hold ended twice, or what was never held ended.
    Hold,
    /// An answer says something else than the entry that it rests on.
    Answer,
    /// No order of the operations explains what the clients saw.
    Order,
    /// The server answered what it never should.
    Internal,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The promise.
    pub broken: Broken,
    /// Whose history it is.
    pub tenant: String,
    /// What was found, with the entry or the call.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}: {}", self.broken, self.tenant, self.text)
    }
}

/// One line of the journal, as it was exported.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    line: String,
    body: Value,
}

impl Entry {
    fn seq(&self) -> u64 {
        self.body["seq"].as_u64().unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.text("kind")
    }

    fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    fn items(&self) -> &[Value] {
        self.body["items"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// Collects faults of one tenant.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    tenant: &'a str,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, broken: Broken, text: impl Into<String>) {
        self.found.push(Fault { broken, tenant: self.tenant.to_owned(), text: text.into() });
    }
}

/// Checks calls against the journal's exported lines (of every month that the calls touched, each
/// tenant's in order); returns everything that is wrong.
#[must_use]
pub fn check(calls: &[Call], lines: &str, rules: &Rules) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut entries: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for line in lines.lines() {
        let Ok(body) = serde_json::from_str::<Value>(line) else {
            let text = format!("a line is no JSON: {line}");
            found.push(Fault { broken: Broken::Chain, tenant: String::new(), text });
            continue;
        };
        let tenant = body["tenant"].as_str().unwrap_or_default().to_owned();
        entries.entry(tenant).or_default().push(Entry { line: line.to_owned(), body });
    }
    let mut tenants: BTreeSet<&str> = entries.keys().map(String::as_str).collect();
    tenants.extend(calls.iter().map(|call| call.tenant.as_str()));
    for tenant in tenants {
        let calls: Vec<&Call> = calls.iter().filter(|call| call.tenant == tenant).collect();
        let entries = entries.get(tenant).map_or(&[][..], Vec::as_slice);
        found.extend(check_tenant(tenant, &calls, entries, rules));
    }
    found
}

fn check_tenant(tenant: &str, calls: &[&Call], entries: &[Entry], rules: &Rules) -> Vec<Fault> {
    let mut faults = Faults { tenant, found: Vec::new() };
    chain::check(entries, &mut faults);
    let timeline = Timeline::fold(entries, rules, &mut faults);
    let matched = matching::operations(calls, entries, &mut faults);
    order::check(&matched, &timeline, &mut faults);
    faults.found
}
