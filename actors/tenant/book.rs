//! A tenant's state with its way to the journal: what is decided, sealed and handed over.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::actor::APPEND_FAILED;
use super::call::Idempotency;
use super::filter::KeyFilter;
use super::in_flight::Release;
use super::keys::{Keys, Known, Seen};
use super::live::Vitals;
use super::message::TenantMsg;
use super::plan::PlanTerms;
use super::quota::Verdict;
use super::state::{self, ReplayError, TenantCommand, TenantOutcome, TenantState, Turn};
use crate::clock::{SharedClock, Timestamp};
use crate::ids::TenantId;
use crate::journal::entry::{Author, EntryHash};
use crate::journal::{
    self, Done, Handover, Incarnation, Journal, KEEP_KEY_ROWS_FOR, Line, Recovered, Room,
};

/// How long a key is kept after its use and after its period's end.
const KEEP_KEYS_FOR: Duration = Duration::from_hours(24);

/// What the journal says of a key.
#[derive(Debug)]
pub(super) enum Lookup {
    /// It was not asked.
    NotAsked,
    /// The key was never used, or is forgotten.
    Nothing,
    /// The key was used.
    Found(Known),
}

/// What is known of a call's idempotency key.
#[derive(Debug)]
pub(super) enum Repetition {
    /// It was never used.
    Never,
    /// It was used.
    Of(Known),
    /// The journal has to be asked.
    Perhaps,
}

/// What came of a command: the lines to hand over, and what its caller is told.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) lines: Vec<Line>,
    pub(super) verdict: Verdict<TenantOutcome>,
}

/// Committed state as it is kept between two lives; a cache, the journal is the truth.
#[derive(Serialize, Deserialize)]
struct Snapshot<'a> {
    keys: Cow<'a, KeyFilter>,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// Why a tenant cannot be rebuilt from what the journal gave.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    /// Without the snapshot, from every entry, it may work.
    #[error("the snapshot cannot be read")]
    Snapshot,
    /// The entries do not fit what stands before them.
    #[error("the entries cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
}

/// One life's state, keys, and way to the journal.
#[derive(Debug)]
pub(super) struct Book {
    tenant: TenantId,
    state: TenantState,
    keys: Keys,
    vitals: Arc<Vitals>,
    incarnation: Incarnation,
    journal: Journal,
    clock: SharedClock,
    actor: Option<ActorRef<TenantMsg>>,
    snapshot_at: u64,
}

impl Book {
    /// Rebuilds a tenant from its snapshot and the entries after it.
    pub(super) fn rebuild(
        tenant: TenantId,
        recovered: Recovered,
        terms: &Arc<PlanTerms>,
        journal: Journal,
        clock: SharedClock,
    ) -> Result<Self, RebuildError> {
        let Recovered { incarnation, snapshot, entries } = recovered;
        let (mut state, mut keys) = match snapshot {
            Some(snapshot) => restore(&snapshot, terms).ok_or(RebuildError::Snapshot)?,
            None => (TenantState::new(tenant, Arc::clone(terms)), Keys::default()),
        };
        let snapshot_at = state.seq();
        for entry in entries {
            state.replay(&entry)?;
            if let Some(idem) = &entry.idem {
                keys.remember_old(idem, keep_keys_until(&state, entry.at));
            }
        }
        keys.forget(state.present(clock.now()));
        let vitals = Arc::new(Vitals::new(state.seq()));
        let actor = None;
        Ok(Self { tenant, state, keys, vitals, incarnation, journal, clock, actor, snapshot_at })
    }

    /// What the directory knows of this life.
    pub(super) fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// The state, with everything that was decided.
    pub(super) fn state(&self) -> &TenantState {
        &self.state
    }

    /// Keys that are kept exactly, and bytes of the filter.
    pub(super) fn key_memory(&self) -> (usize, usize) {
        (self.keys.recent_count(), self.keys.filter().bytes())
    }

    /// The tenant's present.
    pub(super) fn now(&self) -> Timestamp {
        self.state.present(self.clock.now())
    }

    /// Names the actor that has to stop when an entry will never be on disk.
    pub(super) fn stop_on_failure(&mut self, actor: ActorRef<TenantMsg>) {
        self.actor = Some(actor);
    }

    /// Says what is known of a key, by memory and by the journal's word.
    pub(super) fn repetition(&self, idempotency: &Idempotency, lookup: Lookup) -> Repetition {
        match (self.keys.look(&idempotency.idem, self.now()), lookup) {
            (Seen::By(known), _) => Repetition::Of(known.clone()),
            (_, Lookup::Found(known)) => Repetition::Of(known),
            (Seen::Perhaps, Lookup::NotAsked) => Repetition::Perhaps,
            (_, Lookup::Nothing) | (Seen::Never, Lookup::NotAsked) => Repetition::Never,
        }
    }

    /// Notes that the journal is asked for a key, and returns the entry as of which it is.
    pub(super) fn ask_journal(&mut self) -> u64 {
        let seq = self.state.seq();
        self.keys.ask(seq);
        seq
    }

    /// Notes that the journal answered what it was asked as of an entry.
    pub(super) fn journal_answered(&mut self, asked_at: u64) {
        self.keys.answered(asked_at);
    }

    /// Applies a command and seals what came of it; nothing is on its way yet.
    pub(super) fn decide(&mut self, command: &TenantCommand, author: &Author<'_>) -> Decided {
        let Turn { lines, own, verdict } = self.state.apply(command, author, self.clock.now());
        if let Some(idem) = author.idem
            && let Some(own) = own.and_then(|own| lines.get(own))
            && let Verdict::Admitted(outcome) = &verdict
        {
            let fp = author.fp.map(ToOwned::to_owned);
            let known = Known { fp, seq: own.seq, outcome: outcome.clone() };
            self.keys.remember(idem, known, keep_keys_until(&self.state, own.at));
            self.keys.trim(self.vitals.in_flight.durable());
        }
        let tenant = self.tenant;
        let line = |(index, line): (usize, state::Line)| {
            let state::Line { seq, at, hash, text, body, .. } = line;
            let idem = author.idem.filter(|_| own == Some(index)).map(ToOwned::to_owned);
            Line { tenant, seq, at, hash, idem, body, text }
        };
        Decided { lines: lines.into_iter().enumerate().map(line).collect(), verdict }
    }

    /// Hands lines over; `release` runs once they and everything before them are on disk.
    pub(super) fn hand_over(&mut self, lines: Vec<Line>, room: Room, release: Release) {
        let seq = self.state.seq();
        if lines.is_empty() {
            drop(room);
            self.vitals.in_flight.after(seq, release);
            return;
        }
        self.vitals.in_flight.hand_over(seq);
        let vitals = Arc::clone(&self.vitals);
        let actor = self.actor.clone();
        let done = Done::new(move |result| match result {
            Ok(_) => {
                vitals.in_flight.committed(seq);
                release(Ok(()));
            }
            Err(error) => {
                vitals.in_flight.fail(error);
                release(Err(error));
                if let Some(actor) = actor {
                    actor.stop(Some(APPEND_FAILED.to_owned()));
                }
            }
        });
        let incarnation = self.incarnation.clone();
        self.journal.append(Handover { tenant: self.tenant, incarnation, lines, room, done });
    }

    /// Runs `release` once the state as it is now is on disk.
    pub(super) fn after(&self, release: Release) {
        self.vitals.in_flight.after(self.state.seq(), release);
    }

    /// Takes the state as it is now for a snapshot, if enough changed since the last one.
    pub(super) fn checkpoint(&mut self, after_entries: u64) -> Option<Checkpoint> {
        let seq = self.state.seq();
        if seq.saturating_sub(self.snapshot_at) < after_entries.max(1) {
            return None;
        }
        self.snapshot_at = seq;
        Some(Checkpoint {
            tenant: self.tenant,
            seq,
            hash: self.state.head(),
            state: self.state.snapshot(),
            keys: self.keys.filter().clone(),
            forget_keys_before: self.forget_keys_before(),
            journal: self.journal.clone(),
        })
    }

    /// Rows of keys are kept for as long as the period is open, and for [`KEEP_KEY_ROWS_FOR`] at
    /// the least, by the tenant's time and by the machine's.
    fn forget_keys_before(&self) -> Timestamp {
        let opened_at = self.state.quota().period().map_or(Timestamp::MIN, |period| period.start);
        let kept_for = self.now().min(self.clock.now()).since(Timestamp::MIN);
        let kept_for = kept_for.saturating_sub(KEEP_KEY_ROWS_FOR);
        opened_at.min(Timestamp::MIN.checked_add(kept_for).unwrap_or(Timestamp::MIN))
    }

    /// Says whether a job is queued or running.
    pub(super) fn has_open_jobs(&self) -> bool {
        self.state.jobs().open().next().is_some()
    }

    /// When something has to be done without a call.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let retry = self.state.jobs().next_retry_at(self.now());
        self.state.next_due().into_iter().chain(retry).min()
    }
}

/// A state on its way to become a snapshot.
#[derive(Debug)]
pub(super) struct Checkpoint {
    tenant: TenantId,
    pub(super) seq: u64,
    hash: EntryHash,
    state: Vec<u8>,
    keys: KeyFilter,
    forget_keys_before: Timestamp,
    journal: Journal,
}

impl Checkpoint {
    /// Stores it; call it once its last entry is on disk. Without it the next activation reads
    /// more lines, so a failure loses nothing.
    pub(super) async fn store(self) {
        let state = String::from_utf8(self.state).expect("JSON is UTF-8");
        let state = RawValue::from_string(state).expect("a snapshot is JSON");
        let snapshot = Snapshot { keys: Cow::Owned(self.keys), state: &state };
        let body = serde_json::to_string(&snapshot).expect("plain data has a JSON form");
        let Self { seq, hash, forget_keys_before, .. } = self;
        let snapshot = journal::Snapshot { seq, hash, body };
        if let Err(error) = self.journal.snapshot(self.tenant, snapshot, forget_keys_before).await {
            tracing::debug!(tenant.id = %self.tenant, %error, "snapshot not stored");
        }
    }
}

/// Reads a snapshot, unless it is another version's or not what its name says.
fn restore(stored: &journal::Snapshot, terms: &Arc<PlanTerms>) -> Option<(TenantState, Keys)> {
    let snapshot: Snapshot<'_> = serde_json::from_str(&stored.body).ok()?;
    let state = TenantState::restore(snapshot.state.get().as_bytes(), Arc::clone(terms)).ok()?;
    let is_named_rightly = state.seq() == stored.seq && state.head() == stored.hash;
    is_named_rightly.then(|| (state, Keys::with_filter(snapshot.keys.into_owned())))
}

fn keep_keys_until(state: &TenantState, at: Timestamp) -> Timestamp {
    let end = state.quota().period().map_or(at, |period| period.end.max(at));
    end.checked_add(KEEP_KEYS_FOR).unwrap_or(Timestamp::MAX)
}

/// A random number that spreads retries.
pub(super) fn draw() -> u64 {
    let mut bytes = [0_u8; 8];
    // Without randomness retries come all at the same moment: crowded, not wrong.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
