//! A tenant's state with its way to the journal: what is decided, sealed and handed over.

mod checkpoint;
mod retention;

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use ractor::ActorRef;

use self::checkpoint::restore;
use self::retention::{keep_events_until, keep_keys_until};
use super::actor::APPEND_FAILED;
use super::call::Idempotency;
use super::in_flight::Release;
use super::keys::{Keys, Known, Seen};
use super::live::Vitals;
use super::message::TenantMsg;
use super::plan::PlanTerms;
use super::quota::{Command, Event, EventDigest, Fact, Verdict};
use super::state::{self, ReplayError, TenantCommand, TenantOutcome, TenantState, Turn};
use super::tenants::WHEN_RECORDED;
use crate::clock::{SharedClock, Timestamp};
use crate::ids::TenantId;
use crate::journal::entry::{Author, EntryBody};
use crate::journal::{Done, Handover, Incarnation, Journal, Line, Recovered, Room};
use crate::planted::{self, Bug};

/// What the journal says of a call's key and events.
#[derive(Debug)]
pub(super) enum Lookup {
    /// It was not asked.
    NotAsked,
    /// It was.
    Answered(Found),
}

/// What the journal found of a call's key and events.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The key was used before; none if it never was, or is forgotten.
    pub(super) key: Option<Known>,
    /// The events that count already.
    pub(super) events: HashSet<EventDigest>,
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
        let known = entries.len() - usize::from(planted::is(Bug::TornReplay)).min(entries.len());
        for entry in entries.into_iter().take(known) {
            state.replay(&entry)?;
            if let Some(idem) = &entry.idem {
                keys.remember_old(idem, keep_keys_until(&state, entry.at));
            }
            if let EntryBody::Usage(Fact::Recorded { events, .. }) = &entry.body {
                let until = keep_events_until(&state, entry.at);
                for event in events {
                    keys.remember_old_event(event.digest, until);
                }
            }
        }
        if planted::is(Bug::ForgottenKeys) {
            keys = Keys::default();
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
        (self.keys.recent_count(), self.keys.filter_bytes())
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
    pub(super) fn repetition(&self, idempotency: &Idempotency, lookup: &Lookup) -> Repetition {
        match (self.keys.look(&idempotency.idem, self.now()), lookup) {
            (Seen::By(known), _) if self.is_overlooked(known) => Repetition::Never,
            (Seen::By(known), _) | (_, Lookup::Answered(Found { key: Some(known), .. })) => {
                Repetition::Of(known.clone())
            }
            (Seen::Perhaps, Lookup::NotAsked) => Repetition::Perhaps,
            (_, Lookup::Answered(_)) | (Seen::Never, Lookup::NotAsked) => Repetition::Never,
        }
    }

    /// The events of a command for which the journal has to be asked.
    pub(super) fn doubts(&self, command: Option<&TenantCommand>) -> Vec<EventDigest> {
        let Some(TenantCommand::Usage(Command::Record { events })) = command else {
            return Vec::new();
        };
        let (keys, now) = (&self.keys, self.now());
        let digests = events.iter().map(|event| event.digest);
        digests.filter(|event| keys.is_doubtful(*event, now)).collect()
    }

    /// The command without the events that count already, each with its time; none where there is
    /// nothing to leave out. The caller's own command stays whole: should what it rests on fail,
    /// it is judged anew.
    pub(super) fn reduced(
        &self,
        command: &TenantCommand,
        lookup: &Lookup,
    ) -> Option<TenantCommand> {
        let TenantCommand::Usage(Command::Record { events }) = command else { return None };
        let found = match lookup {
            Lookup::NotAsked => None,
            Lookup::Answered(found) => Some(&found.events),
        };
        let present = self.now();
        let timed = |event: &Event| {
            let at = if event.at == WHEN_RECORDED { present } else { event.at };
            Event { at, ..event.clone() }
        };
        let new = events.iter().filter(|event| !self.keys.is_counted(event.digest, found));
        let events = new.map(timed).collect();
        Some(TenantCommand::Usage(Command::Record { events }))
    }

    /// Whether a planted bug overlooks a key whose entry is not on disk yet.
    fn is_overlooked(&self, known: &Known) -> bool {
        planted::is(Bug::NonAtomicKey) && known.seq > self.vitals.in_flight.durable()
    }

    /// Notes that the journal is asked, and returns the entry as of which it is.
    pub(super) fn ask_journal(&mut self) -> u64 {
        self.keys.ask(self.vitals.in_flight.durable())
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
        if let Some(own) = own.and_then(|own| lines.get(own))
            && let EntryBody::Usage(Fact::Recorded { events, .. }) = &own.body
        {
            let digests = events.iter().map(|event| event.digest).collect();
            self.keys.remember_events(own.seq, digests, keep_events_until(&self.state, own.at));
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
    pub(super) fn hand_over(&mut self, lines: Vec<Line>, room: Room, mut release: Release) {
        let seq = self.state.seq();
        if planted::is(Bug::AnswerBeforeCommit) {
            release(Ok(()));
            release = Box::new(drop);
        }
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

/// A random number that spreads retries.
pub(super) fn draw() -> u64 {
    let mut bytes = [0_u8; 8];
    // Without randomness retries come all at the same moment: crowded, not wrong.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
