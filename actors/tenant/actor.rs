//! The tenant's actor: takes messages one at a time and never waits inside of one.
//!
//! A command is applied in memory at once; its entries and the prepared answer go to the
//! committer, and the next message is taken. What needs waiting (a key in the projected table, a
//! plan in the store, a step) is a task that sends its result back as a message.

mod decide;
mod follow;
mod steps;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tenantry_supervision::spawn;

use super::book::{Book, Lookup};
use super::feed::Feed;
use super::jobs::JobRunner;
use super::live::Vitals;
use super::message::TenantMsg;
use super::shell::Shell;
use crate::clock::Timestamp;
use crate::ids::TenantId;

/// Why an actor stopped that had handed over something which will never be on disk.
pub(super) const APPEND_FAILED: &str = "append failed";

/// Entries that are worth a snapshot when a tenant falls asleep; fewer are read as fast as one.
const SNAPSHOT_AT_REST: u64 = 32;

/// The actor's unchanging part.
#[derive(Debug)]
pub(super) struct TenantActor {
    pub(super) shell: Arc<Shell>,
}

/// What a life begins with: all input and output was done before.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) tenant: TenantId,
    pub(super) generation: u64,
    pub(super) book: Book,
}

/// One life of a tenant.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) shell: Arc<Shell>,
    pub(super) tenant: TenantId,
    pub(super) myself: ActorRef<TenantMsg>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) book: Book,
    pub(super) jobs: JobRunner,
    pub(super) feed: Arc<Feed>,
    /// What the alarm is set to.
    pub(super) alarm_at: Option<Timestamp>,
    /// Whether the steps that an earlier life left running were settled.
    pub(super) is_resumed: bool,
}

impl Actor for TenantActor {
    type Msg = TenantMsg;
    type State = Life;
    type Arguments = Beginning;

    async fn pre_start(
        &self,
        myself: ActorRef<TenantMsg>,
        beginning: Beginning,
    ) -> Result<Life, ActorProcessingErr> {
        let Beginning { tenant, generation, mut book } = beginning;
        let vitals = Arc::clone(book.vitals());
        self.shell.directory.register(myself.get_id(), tenant, generation);
        book.stop_on_failure(myself.clone());
        // What an earlier life left to do comes before any call.
        myself.send_message(TenantMsg::Alarm)?;
        Ok(Life {
            jobs: JobRunner::new(Arc::clone(&self.shell), tenant, myself.clone(), &vitals),
            shell: Arc::clone(&self.shell),
            tenant,
            myself,
            vitals,
            book,
            feed: Arc::default(),
            alarm_at: None,
            is_resumed: false,
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<TenantMsg>,
        message: TenantMsg,
        life: &mut Life,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TenantMsg::Decide(call) => life.decide(call, &Lookup::NotAsked),
            TenantMsg::DecideKnown(call, asked_at, found) => {
                life.decide_known(call, asked_at, found);
            }
            TenantMsg::Read(read) => life.read(*read),
            TenantMsg::PlanRead(job, plan) => life.plan_read(job, plan),
            TenantMsg::StepReady(ready) => life.step_ready(*ready),
            TenantMsg::StepEnded(report) => life.step_ended(*report),
            TenantMsg::Alarm => life.ring(),
            #[cfg(test)]
            TenantMsg::Panic => panic!("a test asked for it"),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<TenantMsg>,
        life: &mut Life,
    ) -> Result<(), ActorProcessingErr> {
        life.jobs.stop();
        if life.book.has_open_jobs() {
            life.vitals.wake_again.store(true, std::sync::atomic::Ordering::Release);
        } else {
            self.shell.alarms.clear(life.tenant);
        }
        // A life whose entries failed has nothing that is worth keeping.
        if life.vitals.in_flight.settle().await
            && let Some(checkpoint) = life.book.checkpoint(SNAPSHOT_AT_REST)
        {
            checkpoint.store().await;
        }
        Ok(())
    }
}

impl Life {
    /// Sends a message to itself once `work` has its result.
    pub(super) fn later(
        &self,
        name: &'static str,
        work: impl Future<Output = TenantMsg> + Send + 'static,
    ) {
        let myself = self.myself.clone();
        spawn(name, &self.shell.tasks, async move {
            // An actor that is gone has no use for the result.
            let _ = myself.send_message(work.await);
        });
    }
}
