//! What the tables should say about one tenant, told from its entries.

use std::collections::BTreeMap;
use std::time::Duration;

use super::window::Window;
use super::{Limits, Wrong};
use crate::clock::Timestamp;
use crate::database::kept::Table;
use crate::ids::TenantId;
use crate::journal::Line;
use crate::journal::changes::{Alert, Changes, JobRow};
use crate::journal::entry::EntryHash;
use crate::journal::events::events_of;
use crate::journal::recover::KEEP_KEYS_FOR;
use crate::mail::KEEP_SETTLED_FOR;
use crate::tenant::quota::EventDigest;

/// What the names of events and of keys begin with, where both stand together.
const EVENT_MARK: char = 'e';
const KEY_MARK: char = 'k';
const COUNTED_MARK: char = 'c';
const WEBHOOK_MARK: char = 'w';
/// How long an event counts once at the least, whichever period it is of.
const KEEP_EVENTS_FOR: Duration = Duration::from_hours(24 * 35);

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// The entry that used a key or counted an event.
    Used(UsedKey),
    /// An event that endpoints are told: its deliveries' fingerprint.
    Told(String),
}

/// The use of a key or an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UsedKey {
    seq: u64,
    used_at: i64,
}

/// A tenant's rows as its entries have them.
#[derive(Debug)]
pub(super) struct Expected {
    tenant: TenantId,
    usage: BTreeMap<(String, i64), i64>,
    jobs: BTreeMap<String, JobRow>,
    wakeups: BTreeMap<String, i64>,
    /// Keys and events of before there were marks, every event that counts, and what endpoints are
    /// told; their names begin with what they are.
    keys: Window<String, Option<Named>>,
    /// The entry that counts an event which another one counts.
    counted_twice: Option<(u64, Wrong)>,
    alerts: BTreeMap<u64, Alert>,
    // Of the entry that the stored snapshot claims.
    snapshot: Option<(u64, Option<EntryHash>)>,
    // Its entries' times say nothing about how old a row is.
    has_own_clock: bool,
}

impl Expected {
    pub(super) fn new(tenant: TenantId, keys_from: Option<String>, limits: Limits) -> Self {
        Self {
            tenant,
            usage: BTreeMap::new(),
            jobs: BTreeMap::new(),
            wakeups: BTreeMap::new(),
            keys: Window::new(keys_from, limits.keys),
            counted_twice: None,
            alerts: BTreeMap::new(),
            snapshot: None,
            has_own_clock: false,
        }
    }

    /// Says which entry the stored snapshot claims to end with.
    pub(super) fn expect_snapshot(&mut self, seq: u64) {
        self.snapshot = Some((seq, None));
    }

    /// Adds what an entry changes.
    pub(super) fn add(&mut self, line: &Line, has_marks: bool) {
        let mut changes = Changes::new(self.tenant);
        self.has_own_clock |= line.body.kind() == "clock_started";
        if let Some((claimed, found)) = &mut self.snapshot
            && *claimed == line.seq
        {
            *found = Some(line.hash);
        }
        // A line without a meaning is in `projection_failures`.
        let _ = changes.add(line);
        for (day, amount) in changes.usage {
            *self.usage.entry(day).or_default() += amount;
        }
        for (job, row) in changes.jobs {
            match row {
                Some(row) => {
                    let kept = self.jobs.entry(job).or_insert_with(|| row.clone());
                    *kept = JobRow { created_at: kept.created_at, ..row };
                }
                None => drop(self.jobs.remove(&job)),
            }
        }
        for (subject, due_at) in changes.wakeups {
            match due_at {
                Some(due_at) => drop(self.wakeups.insert(subject, due_at)),
                None => drop(self.wakeups.remove(&subject)),
            }
        }
        if !has_marks {
            self.add_keys(line);
        }
        for event in events_of(line) {
            self.count(event, UsedKey { seq: line.seq, used_at: line.at.as_micros() });
        }
        for notice in &changes.notices {
            let name = format!("{} {} {}", notice.seq, notice.kind, notice.once);
            if let Some(kept) = self.keys.get_mut(&window_key(Table::Webhooks, &name)) {
                *kept = Some(Named::Told(notice.fingerprint(self.tenant)));
            }
        }
        for alert in changes.alerts {
            debug_assert_eq!(alert.at, line.at, "an alert is of its entry's time");
            self.alerts.insert(alert.seq, alert);
        }
    }

    fn add_keys(&mut self, line: &Line) {
        let used = UsedKey { seq: line.seq, used_at: line.at.as_micros() };
        let key = line.idem.iter().map(|digest| window_key(Table::Keys, digest));
        let events = events_of(line).map(|digest| window_key(Table::Events, &digest.to_string()));
        for key in key.chain(events) {
            if let Some(kept) = self.keys.get_mut(&key) {
                *kept = Some(Named::Used(used));
            }
        }
    }

    /// Notes that an entry counts an event.
    fn count(&mut self, event: EventDigest, used: UsedKey) {
        let Some(kept) = self.keys.get_mut(&format!("{COUNTED_MARK}{event}")) else { return };
        if let Some(Named::Used(first)) = kept
            && used.used_at.saturating_sub(first.used_at) < micros(KEEP_EVENTS_FOR)
        {
            let wrong = Wrong::CountedTwice { event, first: first.seq };
            self.counted_twice.get_or_insert((used.seq, wrong));
        }
        *kept = Some(Named::Used(used));
    }

    /// The entry that counts an event twice, though the first one was not to be forgotten yet.
    pub(super) fn counted_twice(&self) -> Option<(u64, Wrong)> {
        self.counted_twice.clone()
    }

    /// Since when nothing of the tenant is forgotten that is kept for so long.
    pub(super) fn kept_since(&self, now: Timestamp, kept_for: Duration) -> i64 {
        // The time of a tenant with a clock of its own says nothing.
        if self.has_own_clock { i64::MAX } else { now.as_micros().saturating_sub(micros(kept_for)) }
    }

    /// Forgets all but the keys: the rest was compared before.
    pub(super) fn keep_keys_alone(&mut self) {
        self.usage.clear();
        self.jobs.clear();
        self.wakeups.clear();
        self.alerts.clear();
    }

    /// Whether a row belongs to what was collected; keys may be left to another turn.
    pub(super) fn covers(&self, table: Table, key: &str) -> bool {
        let is_named = matches!(table, Table::Keys | Table::Events | Table::Webhooks);
        !is_named || self.keys.covers(&window_key(table, key))
    }

    /// Where the next turn of keys starts.
    pub(super) fn next_keys(&self) -> Option<&String> {
        self.keys.next_start()
    }

    /// Takes what the table should say under a key; none if it should not have it.
    pub(super) fn take(&mut self, table: Table, key: &String) -> Option<String> {
        match table {
            Table::UsageDays => {
                let (meter, day) = key.rsplit_once(' ')?;
                let amount = self.usage.remove(&(meter.to_owned(), day.parse().ok()?));
                // A day whose units all came back may be there or not.
                Some(amount.unwrap_or_default().to_string())
            }
            Table::Jobs => self.jobs.remove(key).map(|row| job_text(&row)),
            Table::Wakeups => self.wakeups.remove(key).map(|due_at| due_at.to_string()),
            Table::Keys | Table::Events => {
                match self.keys.remove(&window_key(table, key)).flatten()? {
                    Named::Used(used) => Some(key_text(used)),
                    Named::Told(_) => None,
                }
            }
            // Every endpoint that is told has a row: what it is told stays. One that is missing
            // says nothing: endpoints come and go, and choose what they are told.
            Table::Webhooks => match self.keys.get(&window_key(table, key))?.as_ref()? {
                Named::Told(fingerprint) => Some(fingerprint.clone()),
                Named::Used(_) => None,
            },
            Table::Alerts => {
                let alert = self.alerts.remove(&key.parse().ok()?)?;
                Some(alert_text(&alert))
            }
            Table::Snapshots => {
                let (seq, hash) = self.snapshot.take()?;
                Some(format!("{seq} {}", hash?))
            }
            Table::Failures | Table::Runs => None,
        }
    }

    /// Finds a row that no table had: where, under which key, and what it should say.
    pub(super) fn left_over(&self, now: Timestamp) -> Option<(Table, String, String)> {
        let keys_since = self.kept_since(now, KEEP_KEYS_FOR);
        let alerts_since = self.kept_since(now, KEEP_SETTLED_FOR);
        let usage = self.usage.iter().find(|(_, amount)| **amount != 0);
        let usage = usage.map(|((meter, day), amount)| {
            (Table::UsageDays, format!("{meter} {day}"), amount.to_string())
        });
        let jobs = || self.jobs.iter().next();
        let jobs = || jobs().map(|(job, row)| (Table::Jobs, job.clone(), job_text(row)));
        let wakeups = || self.wakeups.iter().next();
        let wakeups =
            || wakeups().map(|(key, due_at)| (Table::Wakeups, key.clone(), due_at.to_string()));
        let keys = || {
            let mut used = self.keys.iter().filter_map(|(key, named)| match named {
                Some(Named::Used(used)) if !key.starts_with(COUNTED_MARK) => Some((key, *used)),
                _ => None,
            });
            let (key, used) = used.find(|(_, used)| used.used_at >= keys_since)?;
            let event = key.strip_prefix(EVENT_MARK);
            let table = if event.is_some() { Table::Events } else { Table::Keys };
            let digest = event.or_else(|| key.strip_prefix(KEY_MARK)).unwrap_or(key);
            Some((table, digest.to_owned(), key_text(used)))
        };
        let alerts = || {
            let mut alerts = self.alerts.iter();
            let (seq, alert) = alerts.find(|(_, alert)| alert.at.as_micros() >= alerts_since)?;
            Some((Table::Alerts, seq.to_string(), alert_text(alert)))
        };
        usage.or_else(jobs).or_else(wakeups).or_else(keys).or_else(alerts)
    }
}

/// The name of what a row is about, among all that have names.
fn window_key(table: Table, digest: &str) -> String {
    let mark = match table {
        Table::Events => EVENT_MARK,
        Table::Webhooks => WEBHOOK_MARK,
        _ => KEY_MARK,
    };
    format!("{mark}{digest}")
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn job_text(row: &JobRow) -> String {
    format!("{} {} {}", row.state, row.created_at, row.updated_at)
}

fn key_text(used: UsedKey) -> String {
    format!("{} {}", used.seq, used.used_at)
}

fn alert_text(alert: &Alert) -> String {
    let facts = serde_json::to_string(&alert.facts).unwrap_or_default();
    format!("{} {facts}", alert.at.as_micros())
}
