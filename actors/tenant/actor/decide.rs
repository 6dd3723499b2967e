//! How a caller's command is decided and answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::super::book::{Decided, Found, Lookup, Repetition};
use super::super::call::{Answer, TenantError};
use super::super::keys::Known;
use super::super::message::{Call, TenantMsg};
use super::super::metrics;
use super::super::quota::{Command, EventDigest, Outcome, Recorded, Verdict};
use super::super::state::{TenantCommand, TenantOutcome};
use super::Life;
use super::follow::changes;
use crate::database::StoreError;
use crate::ids::TenantId;
use crate::journal::entry::Author;
use crate::journal::{Journal, JournalError};

/// How long the journal may take to say what it knows of a key. Until it has, everything younger is
/// kept exactly.
const ASK_WITHIN: Duration = Duration::from_secs(5);

impl Life {
    /// Decides a command; `lookup` is what the journal says of its key and events, once asked.
    pub(super) fn decide(&mut self, mut call: Box<Call>, lookup: &Lookup) {
        if call.is_abandoned() {
            metrics::decided("any", "shed");
            call.into_reply().send(Err(TenantError::DeadlineExceeded));
            return;
        }
        if let Some(idempotency) = call.idempotency() {
            match self.book.repetition(idempotency, lookup) {
                Repetition::Never => {}
                Repetition::Of(known) => return self.repeat(call, known),
                Repetition::Perhaps => return self.look_up(call),
            }
        }
        if matches!(lookup, Lookup::NotAsked) && !self.book.doubts(call.command()).is_empty() {
            return self.look_up(call);
        }
        let Some(command) = call.begin() else { return };
        let reduced = self.book.reduced(&command, lookup);
        if let Some(TenantCommand::Usage(Command::Record { events })) = &reduced
            && events.is_empty()
        {
            return self.all_known(call);
        }
        let Some(room) = call.take_room() else {
            call.into_reply().send(Err(TenantError::Unavailable));
            return;
        };
        let author = Author {
            by: &call.context.by,
            req: Some(call.context.request),
            idem: call.idempotency().map(|key| key.idem.as_str()),
            fp: call.idempotency().map(|key| key.fp.as_str()),
        };
        let judged = reduced.as_ref().unwrap_or(&command);
        let Decided { lines, verdict } = self.book.decide(judged, &author);
        let answer = match verdict {
            Verdict::Admitted(outcome) => Ok(Answer::first(outcome)),
            Verdict::Refused(refusal) => Err(TenantError::Refused(refusal)),
            Verdict::MoreDue => {
                self.book.hand_over(lines, room, Box::new(|_| {}));
                call.put_back(command);
                return self.again(call);
            }
        };
        self.shell.decisions.count(label(&command), outcome_of(&answer));
        let changes = changes(&lines);
        let events = self.events(&changes);
        let reply = call.into_reply();
        let feed = Arc::clone(&self.feed);
        self.book.hand_over(
            lines,
            room,
            Box::new(move |result| {
                reply.send(result.map_err(TenantError::from).and(answer));
                if result.is_ok() {
                    feed.publish(events);
                }
            }),
        );
        self.follow(&changes);
    }

    /// Decides a command whose key and events were looked up.
    pub(super) fn decide_known(
        &mut self,
        call: Box<Call>,
        asked_at: u64,
        found: Result<Found, JournalError>,
    ) {
        match found {
            Ok(found) => self.decide(call, &Lookup::Answered(found)),
            Err(error) => {
                tracing::warn!(tenant.id = %self.tenant, %error, "a key cannot be looked up");
                call.into_reply().send(Err(TenantError::Unavailable));
            }
        }
        self.book.journal_answered(asked_at);
    }

    /// Gives a key's first answer again, once the entry that it rests on is on disk.
    fn repeat(&self, call: Box<Call>, known: Known) {
        let fp = call.idempotency().map(|key| key.fp.as_str());
        let answer = if known.fp.as_deref() == fp {
            metrics::decided("any", "replayed");
            Ok(Answer { value: known.outcome, replayed: true })
        } else {
            metrics::decided("any", "key-reused");
            Err(TenantError::KeyReused)
        };
        let reply = call.into_reply();
        self.book.vitals().in_flight.after(
            known.seq,
            Box::new(move |result| reply.send(result.map_err(TenantError::from).and(answer))),
        );
    }

    /// Answers a batch of which every event counts already, once that is on disk.
    fn all_known(&self, call: Box<Call>) {
        metrics::decided("record", "duplicate");
        let outcome = TenantOutcome::Usage(Outcome::Recorded(Recorded::default()));
        let reply = call.into_reply();
        self.book.after(Box::new(move |result| {
            reply.send(result.map_err(TenantError::from).map(|()| Answer::first(outcome)));
        }));
    }

    /// Asks the journal for the call's key and, of its events, for those that it may know.
    fn look_up(&mut self, call: Box<Call>) {
        let asked_at = self.book.ask_journal();
        let asked = self.book.doubts(call.command());
        let (journal, tenant) = (self.shell.journal.clone(), self.tenant);
        self.later("find-key", async move {
            let idem = call.idempotency().map(|key| key.idem.as_str());
            let found = timeout(ASK_WITHIN, find(&journal, tenant, idem, &asked)).await;
            let found = found.unwrap_or_else(|_| Err(StoreError::Busy.into()));
            TenantMsg::DecideKnown(call, asked_at, found)
        });
    }

    /// Takes another turn with the same command: more fell due than one turn may write.
    fn again(&self, mut call: Box<Call>) {
        match self.shell.node_gate.room(self.tenant) {
            Ok(room) => {
                call.give_room(room);
                // A stopped actor gives the call back to its caller.
                let _ = self.myself.send_message(TenantMsg::Decide(call));
            }
            Err(error) => call.into_reply().send(Err(error)),
        }
    }
}

/// Asks the journal for a key and for events.
async fn find(
    journal: &Journal,
    tenant: TenantId,
    idem: Option<&str>,
    events: &[EventDigest],
) -> Result<Found, JournalError> {
    let entry = match idem {
        Some(idem) => journal.find_key(tenant, idem).await?,
        None => None,
    };
    let key = entry.map(|entry| Known { outcome: entry.answer(), seq: entry.seq, fp: entry.fp });
    let events = match events {
        [] => HashSet::new(),
        events => journal.find_events(tenant, events).await?,
    };
    Ok(Found { key, events })
}

/// The command's name in metrics.
fn label(command: &TenantCommand) -> &'static str {
    use super::super::steps::JobCommand;
    match command {
        TenantCommand::Usage(command) => match command {
            Command::Consume { .. } => "consume",
            Command::Reserve { .. } => "reserve",
            Command::Commit { .. } => "commit",
            Command::Release { .. } => "release",
            Command::Extend { .. } => "extend",
            Command::SetPlan { .. } => "set-plan",
            Command::AdvanceClock { .. } => "advance-clock",
            Command::Record { .. } => "record",
            Command::Adjust { .. } => "adjust",
            Command::SetSpendCap { .. } => "set-spend-cap",
            Command::Grant { .. } | Command::RevokeGrant { .. } => "grant",
            _ => "other",
        },
        TenantCommand::Job(command) => match command {
            JobCommand::Submit { .. } => "submit",
            JobCommand::Cancel { .. } => "cancel",
            JobCommand::Retry { .. } => "retry",
            JobCommand::Delete { .. } => "delete",
            _ => "step",
        },
    }
}

fn outcome_of<T>(answer: &Result<T, TenantError>) -> &'static str {
    match answer {
        Ok(_) => "admitted",
        Err(TenantError::Refused(refusal)) => refusal.code(),
        Err(_) => "error",
    }
}
