//! What reaches a tenant's actor.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::actor::Life;
use super::book::Found;
use super::call::{Answer, CallContext, Idempotency, TenantError};
use super::gate::Admission;
use super::in_flight::Release;
use super::jobs::{StepReady, StepReport};
use super::state::{TenantCommand, TenantOutcome};
use crate::ids::JobId;
use crate::journal::{JournalError, Room};
use crate::studio::plan::RenderPlan;

/// A message to a tenant's actor.
#[derive(Debug)]
pub(super) enum TenantMsg {
    /// Decide a caller's command.
    Decide(Box<Call>),
    /// Decide a command for whose key and events the journal was asked, as of an entry.
    DecideKnown(Box<Call>, u64, Result<Found, JournalError>),
    /// Look at the state, and answer once that state is on disk.
    Read(Box<Read>),
    /// A job's plan was read from the tenant's store, or is gone.
    PlanRead(JobId, Result<Option<Arc<RenderPlan>>, TenantError>),
    /// A step has its slot and asks to begin.
    StepReady(Box<StepReady>),
    /// A step's attempt ended.
    StepEnded(Box<StepReport>),
    /// Something is due: a hold, a retry, the period.
    Alarm,
    /// Panics, to prove that nobody else notices.
    #[cfg(test)]
    Panic,
}

/// A caller's command on its way. Dropped before it was begun, it goes back to the caller, who
/// sends it to the tenant's next life; dropped later, its outcome is unknown.
#[derive(Debug)]
pub(super) struct Call {
    command: Option<TenantCommand>,
    reply: Option<oneshot::Sender<CallEnd>>,
    /// Who asks; shared with the caller, who may have to ask again.
    pub(super) context: Arc<CallContext>,
    admission: Option<Admission>,
}

/// What a command is answered.
pub(super) type CallAnswer = Result<Answer<TenantOutcome>, TenantError>;

/// How a call ended.
#[derive(Debug)]
pub(super) enum CallEnd {
    Answered(CallAnswer),
    NotBegun(TenantCommand),
}

/// A look at a life: computes its answer now, hands it out when told that it may leave.
pub(super) struct Read {
    pub(super) look: Box<dyn FnOnce(&Life) -> Release + Send>,
    pub(super) admission: Admission,
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Read")
    }
}

impl Call {
    pub(super) fn new(
        command: TenantCommand,
        context: Arc<CallContext>,
        admission: Admission,
    ) -> (Box<Self>, oneshot::Receiver<CallEnd>) {
        let (reply, end) = oneshot::channel();
        let call = Self {
            command: Some(command),
            reply: Some(reply),
            context,
            admission: Some(admission),
        };
        (Box::new(call), end)
    }

    /// Says whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.context.deadline.is_past()
            || self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// The key that the caller gave, if any.
    pub(super) fn idempotency(&self) -> Option<&Idempotency> {
        self.context.idempotency.as_ref()
    }

    /// The command, unless it is begun.
    pub(super) fn command(&self) -> Option<&TenantCommand> {
        self.command.as_ref()
    }

    /// Takes the command: from here on it is begun.
    pub(super) fn begin(&mut self) -> Option<TenantCommand> {
        self.command.take()
    }

    /// Puts a command back that changed nothing yet.
    pub(super) fn put_back(&mut self, command: TenantCommand) {
        self.command = Some(command);
    }

    /// Takes the room at the journal that came with the call.
    pub(super) fn take_room(&mut self) -> Option<Room> {
        self.admission.as_mut()?.room.take()
    }

    /// Gives the call new room for another turn.
    pub(super) fn give_room(&mut self, room: Room) {
        if let Some(admission) = self.admission.as_mut() {
            admission.room = Some(room);
        }
    }

    /// Takes the way back, with the places that the call holds until it is answered.
    pub(super) fn into_reply(mut self: Box<Self>) -> Reply {
        self.command = None;
        Reply { reply: self.reply.take(), _admission: self.admission.take() }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let (Some(command), Some(reply)) = (self.command.take(), self.reply.take()) {
            // The caller may have left; then nobody needs the command.
            let _ = reply.send(CallEnd::NotBegun(command));
        }
    }
}

/// The way back to a caller.
#[derive(Debug)]
pub(super) struct Reply {
    reply: Option<oneshot::Sender<CallEnd>>,
    _admission: Option<Admission>,
}

impl Reply {
    pub(super) fn send(self, answer: CallAnswer) {
        if let Some(reply) = self.reply {
            // A caller that left is not our failure.
            let _ = reply.send(CallEnd::Answered(answer));
        }
    }
}
