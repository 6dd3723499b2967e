//! The handle of all tenants: every call of the usage plane goes through it.
//!
//! A call finds its tenant (and wakes it), passes the gates, and is a message; its answer comes
//! straight from the committer. A call that no actor began is sent again to the tenant's next
//! life; one that was begun and lost has an unknown outcome, and its key tells.

mod clock;
mod jobs;
mod past;
mod terms;

pub use self::clock::{Advanced, Happened};

use std::sync::Arc;
use std::time::Duration;

use ractor::MessagingErr;
use tenantry_supervision::Deadline;
use tokio::sync::oneshot;

pub use self::past::{Correction, WHEN_RECORDED};
pub use self::terms::{Exceptions, FeatureStand};
use super::activation::find;
use super::actor::Life;
use super::call::{Answer, CallContext, TenantError};
use super::history::{HistoryPoint, HistoryQuery};
use super::inspect::{Lifted, NodeReport, TenantReport};
use super::live::Live;
use super::message::{Call, CallEnd, Read, TenantMsg};
use super::plan::{MeterName, PlanName};
use super::quota::{Command, Consumed, Item, Outcome, Refusal, Reservation, UsageReport};
use super::shell::{Shell, TenantDeps};
use super::state::{TenantCommand, TenantOutcome};
use crate::ids::{ReservationId, TenantId};

/// How long a read may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The pause before a call is sent again to a tenant that is just ending; it doubles.
const RESEND_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause between two tries.
const MAX_RESEND_PAUSE: Duration = Duration::from_millis(100);

/// The tenants of this node; a cheap handle.
#[derive(Clone, Debug)]
pub struct Tenants {
    pub(super) shell: Arc<Shell>,
}

/// Waits longer before each new try.
#[derive(Debug)]
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(RESEND_PAUSE)
    }

    async fn wait(&mut self, deadline: Deadline) -> Result<(), TenantError> {
        let slept = deadline.run(tokio::time::sleep(self.0)).await;
        self.0 = MAX_RESEND_PAUSE.min(self.0 * 2);
        slept.map_err(|_| TenantError::DeadlineExceeded)
    }
}

impl Tenants {
    /// Starts the tenants of this node: their supervisor, alarms, reaper and sweep.
    pub async fn start(deps: TenantDeps) -> Result<Self, TenantError> {
        let shell = Shell::start(deps).await?;
        super::reaper::start(&shell);
        super::replaced::start(&shell);
        super::sleep::start(&shell);
        Ok(Self { shell })
    }

    /// Whether another server owns the tenant now.
    pub fn is_lost(&self, tenant: TenantId) -> bool {
        self.shell.journal.is_lost(tenant)
    }

    /// Uses units at once, all items or none.
    pub async fn consume(
        &self,
        tenant: TenantId,
        items: Vec<Item>,
        context: CallContext,
    ) -> Result<Answer<Consumed>, TenantError> {
        let command = TenantCommand::Usage(Command::Consume { items });
        let answer = self.decide_for(tenant, command, Arc::new(context)).await?;
        answer.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::Consumed(consumed)) => Ok(consumed),
            other => Err(unexpected(&other)),
        })
    }

    /// Holds units before the work.
    pub async fn reserve(
        &self,
        tenant: TenantId,
        items: Vec<Item>,
        ttl_s: u64,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        let id = ReservationId::generate(&*self.shell.clock);
        self.ask_hold(tenant, Command::Reserve { id, items, ttl_s }, &context).await
    }

    /// Describes a hold, open or ended.
    pub async fn reservation(
        &self,
        tenant: TenantId,
        id: ReservationId,
    ) -> Result<Reservation, TenantError> {
        self.read(tenant, move |life| {
            let found = life.book.state().reservation(id, life.book.now());
            found.ok_or(TenantError::Refused(Refusal::ReservationNotFound))
        })
        .await
    }

    /// Uses held units and gives back the rest; all of them unless items say otherwise. With `late`
    /// a hold that lapsed is charged all the same.
    pub async fn commit(
        &self,
        tenant: TenantId,
        id: ReservationId,
        (items, late): (Option<Vec<Item>>, bool),
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        self.ask_hold(tenant, Command::Commit { id, items, late }, &context).await
    }

    /// Gives back a hold.
    pub async fn release(
        &self,
        tenant: TenantId,
        id: ReservationId,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        self.ask_hold(tenant, Command::Release { id }, &context).await
    }

    /// Lets a hold live longer.
    pub async fn extend(
        &self,
        tenant: TenantId,
        id: ReservationId,
        ttl_s: u64,
        context: CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        self.ask_hold(tenant, Command::Extend { id, ttl_s }, &context).await
    }

    /// Reports where the tenant stands.
    pub async fn usage(&self, tenant: TenantId) -> Result<UsageReport, TenantError> {
        self.read(tenant, |life| Ok(life.book.state().report(life.book.now()))).await
    }

    /// Names the plan in force.
    pub async fn plan_name(&self, tenant: TenantId) -> Result<PlanName, TenantError> {
        self.read(tenant, |life| Ok(life.book.state().quota().terms().plan.clone())).await
    }

    /// Says whether a tenant may use a feature.
    pub async fn allows(&self, tenant: TenantId, feature: &str) -> Result<bool, TenantError> {
        let feature = feature.to_owned();
        self.read(tenant, move |life| Ok(life.book.state().quota().allows(&feature))).await
    }

    /// Tells whether a tenant may use a feature, and who says so.
    pub async fn feature(
        &self,
        tenant: TenantId,
        feature: &str,
    ) -> Result<FeatureStand, TenantError> {
        let feature = feature.to_owned();
        let look = move |life: &Life| {
            let quota = life.book.state().quota();
            Ok(FeatureStand {
                allowed: quota.allows(&feature),
                is_switched: quota.switched_features().contains_key(&feature),
                plan: quota.terms().plan.clone(),
            })
        };
        self.read(tenant, look).await
    }

    /// Reports usage of past days or months.
    pub async fn usage_history(
        &self,
        tenant: TenantId,
        query: HistoryQuery,
    ) -> Result<Vec<HistoryPoint>, TenantError> {
        super::history::read(&self.shell.database, tenant, &query).await
    }

    /// Reports where a level stands for many tenants, as the projections have it: those with an id
    /// from `first` to `last`.
    pub async fn levels(
        &self,
        first: TenantId,
        last: TenantId,
        meter: &MeterName,
    ) -> Result<Vec<(TenantId, u64)>, TenantError> {
        super::history::levels(&self.shell.database, (first, last), meter).await
    }

    /// Wakes a tenant, so that it does what is due.
    pub async fn wake(&self, tenant: TenantId, deadline: Deadline) -> Result<(), TenantError> {
        find(&self.shell, tenant, deadline).await.map(drop)
    }

    /// Lets a tenant run again that was kept from it: after too many failures, or because entries
    /// of it could not be projected. Those are projected once more; if that fails, nothing changes.
    pub async fn lift_quarantine(&self, tenant: TenantId) -> Result<Lifted, TenantError> {
        let entries = self.shell.journal.lift_quarantine(tenant).await.map_err(|error| {
            tracing::warn!(tenant.id = %tenant, %error, "a quarantine cannot be lifted");
            TenantError::Unavailable
        })?;
        let was_failing = self.shell.directory.lift(tenant);
        tracing::warn!(tenant.id = %tenant, was_failing, entries, "quarantine lifted");
        Ok(Lifted { was_failing, entries })
    }

    /// Shows one tenant's actor to an operator.
    pub async fn inspect_tenant(&self, tenant: TenantId) -> Result<TenantReport, TenantError> {
        self.read(tenant, |life| Ok(TenantReport::of(life))).await
    }

    /// Shows the node to an operator.
    pub fn inspect(&self) -> NodeReport {
        NodeReport::of(&self.shell)
    }

    /// Puts every tenant to sleep; nothing wakes any more. Says whether all slept in time.
    pub async fn drain(&self, deadline: Deadline) -> bool {
        super::sleep::drain(&self.shell, deadline).await
    }

    async fn ask_hold(
        &self,
        tenant: TenantId,
        command: Command,
        context: &CallContext,
    ) -> Result<Answer<Reservation>, TenantError> {
        self.ask(tenant, command, context).await?.try_map(|outcome| match outcome {
            TenantOutcome::Usage(Outcome::Reservation(reservation)) => Ok(reservation),
            other => Err(unexpected(&other)),
        })
    }

    async fn ask(
        &self,
        tenant: TenantId,
        command: Command,
        context: &CallContext,
    ) -> Result<Answer<TenantOutcome>, TenantError> {
        self.decide(tenant, TenantCommand::Usage(command), context).await
    }

    /// Has a command decided and waits until that is on disk.
    pub(super) async fn decide(
        &self,
        tenant: TenantId,
        command: TenantCommand,
        context: &CallContext,
    ) -> Result<Answer<TenantOutcome>, TenantError> {
        self.decide_for(tenant, command, Arc::new(context.clone())).await
    }

    async fn decide_for(
        &self,
        tenant: TenantId,
        mut command: TenantCommand,
        context: Arc<CallContext>,
    ) -> Result<Answer<TenantOutcome>, TenantError> {
        let deadline = context.deadline;
        let mut pause = Pause::new();
        loop {
            let live = find(&self.shell, tenant, deadline).await?;
            let admission = self.shell.node_gate.admit(tenant, &live.gate, deadline).await?;
            let (call, end) = Call::new(command, Arc::clone(&context), admission);
            // A message that an ending actor hands back tells through `end` that it was not begun.
            drop(live.actor.send_message(TenantMsg::Decide(call)));
            match deadline.run(end).await {
                Ok(Ok(CallEnd::Answered(answer))) => return answer,
                Ok(Ok(CallEnd::NotBegun(back))) => command = back,
                // It was begun, and the actor is gone or late: its key tells what became of it.
                Ok(Err(_)) | Err(_) => return Err(TenantError::OutcomeUnknown),
            }
            pause.wait(deadline).await?;
        }
    }

    /// Looks at a tenant's state; answers once what was seen is on disk.
    pub(super) async fn read<T, F>(&self, tenant: TenantId, look: F) -> Result<T, TenantError>
    where
        T: Send + 'static,
        F: Fn(&Life) -> Result<T, TenantError> + Send + Clone + 'static,
    {
        let deadline = Deadline::after(READ_WITHIN);
        let mut pause = Pause::new();
        loop {
            let live = find(&self.shell, tenant, deadline).await?;
            let seen = self.look(&live, look.clone())?;
            match deadline.run(seen).await {
                Ok(Ok(seen)) => return seen,
                Ok(Err(_)) => pause.wait(deadline).await?,
                Err(_) => return Err(TenantError::DeadlineExceeded),
            }
        }
    }

    fn look<T, F>(
        &self,
        live: &Live,
        look: F,
    ) -> Result<oneshot::Receiver<Result<T, TenantError>>, TenantError>
    where
        T: Send + 'static,
        F: FnOnce(&Life) -> Result<T, TenantError> + Send + 'static,
    {
        let admission = self.shell.node_gate.admit_read(&live.gate)?;
        let (reply, seen) = oneshot::channel();
        let look = Box::new(move |life: &Life| {
            if reply.is_closed() {
                // Whoever asked has left: nothing is computed for nobody.
                return Box::new(|_| {}) as super::in_flight::Release;
            }
            let found = look(life);
            let release: super::in_flight::Release = Box::new(move |result| {
                // A reader that left is not our failure.
                let _ = reply.send(result.map_err(TenantError::from).and(found));
            });
            release
        });
        let message = TenantMsg::Read(Box::new(Read { look, admission }));
        match live.actor.send_message(message) {
            // An ending actor drops the message, and the receiver says so.
            Ok(()) | Err(MessagingErr::SendErr(_) | MessagingErr::ChannelClosed) => Ok(seen),
            Err(_) => Err(TenantError::Unavailable),
        }
    }
}

/// An outcome of another kind than the command's own: a line was written by another version.
pub(super) fn unexpected(outcome: &TenantOutcome) -> TenantError {
    tracing::error!(?outcome, "an answer of another kind");
    TenantError::OutcomeUnknown
}
