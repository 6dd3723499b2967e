//! Runs the steps of a tenant's jobs: what is runnable becomes a task, what ends becomes a message.
//!
//! The pure machine says what may run and what an end means. A step first waits for its slot,
//! which is no part of its time; then the actor enters its start, and only when that is on disk
//! does it begin. Each attempt has a deadline; what passes it is cancelled and waited for.

mod attempt;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::ActorRef;
use tenantry_supervision::spawn;
use tokio_util::sync::CancellationToken;

pub(super) use self::attempt::{StepEnd, StepReady, StepReport};
use super::live::Vitals;
use super::message::TenantMsg;
use super::plan_store;
use super::shell::Shell;
use crate::clock::Timestamp;
use crate::ids::{JobId, TenantId};
use crate::studio::plan::RenderPlan;
use crate::tenant::steps::{Job, Jobs, StepName};

/// Steps of one tenant that wait for a slot or run: no tenant fills the queue of all.
const MAX_ATTEMPTS: usize = 64;

/// Keeps a tenant awake while it exists.
#[derive(Debug)]
pub(super) struct Busy(Arc<Vitals>);

/// A step that waits for its slot, or runs.
#[derive(Debug)]
struct Attempt {
    cancel: CancellationToken,
    _busy: Busy,
}

#[derive(Debug)]
enum Plan {
    Reading,
    Ready(Arc<RenderPlan>),
}

/// The steps of one tenant that are under way.
#[derive(Debug)]
pub(super) struct JobRunner {
    shell: Arc<Shell>,
    tenant: TenantId,
    actor: ActorRef<TenantMsg>,
    vitals: Arc<Vitals>,
    attempts: HashMap<(JobId, StepName), Attempt>,
    plans: HashMap<JobId, Plan>,
    /// Held while a job is open, also between two attempts.
    open: Option<Busy>,
}

impl Busy {
    pub(super) fn new(vitals: &Arc<Vitals>) -> Self {
        vitals.busy.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(vitals))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl JobRunner {
    pub(super) fn new(
        shell: Arc<Shell>,
        tenant: TenantId,
        actor: ActorRef<TenantMsg>,
        vitals: &Arc<Vitals>,
    ) -> Self {
        Self {
            shell,
            tenant,
            actor,
            vitals: Arc::clone(vitals),
            attempts: HashMap::new(),
            plans: HashMap::new(),
            open: None,
        }
    }

    /// Starts what is runnable of every open job.
    pub(super) fn drive_all(&mut self, jobs: &Jobs, now: Timestamp) {
        for job in jobs.open() {
            self.start_runnable(job, now);
        }
        self.note_open(jobs);
    }

    /// Starts what is runnable of a job that changed, or ends what runs of one that ended.
    pub(super) fn drive(&mut self, jobs: &Jobs, id: JobId, now: Timestamp) {
        match jobs.get(id) {
            Some(job) if !job.state.is_ended() => self.start_runnable(job, now),
            _ => self.abandon(id),
        }
        self.note_open(jobs);
    }

    /// Says whether a step of the job waits or runs.
    pub(super) fn is_running(&self, id: JobId) -> bool {
        self.attempts.keys().any(|(job, _)| *job == id)
    }

    /// Says whether this attempt is still wanted.
    pub(super) fn is_wanted(&self, job: JobId, step: StepName) -> bool {
        self.attempts.get(&(job, step)).is_some_and(|attempt| !attempt.cancel.is_cancelled())
    }

    /// Forgets an attempt that ended, and starts what comes next: of its job, or of any job if
    /// there was no room for more before.
    pub(super) fn ended(&mut self, jobs: &Jobs, of: (JobId, StepName), now: Timestamp) {
        let was_full = self.attempts.len() >= MAX_ATTEMPTS;
        self.attempts.remove(&of);
        if was_full {
            self.drive_all(jobs, now);
        } else {
            self.drive(jobs, of.0, now);
        }
    }

    /// Forgets an attempt that never began; it is tried again later.
    pub(super) fn not_begun(&mut self, job: JobId, step: StepName) {
        self.attempts.remove(&(job, step));
    }

    /// Takes a plan that was read; `false` when nobody needs it any more.
    pub(super) fn plan_ready(&mut self, job: JobId, plan: Arc<RenderPlan>) {
        if let Some(slot) = self.plans.get_mut(&job) {
            *slot = Plan::Ready(plan);
        }
    }

    /// Forgets a plan that could not be read; the next look reads it again.
    pub(super) fn plan_failed(&mut self, job: JobId) {
        self.plans.remove(&job);
    }

    /// The plan of a job that runs.
    pub(super) fn plan(&self, job: JobId) -> Option<Arc<RenderPlan>> {
        match self.plans.get(&job)? {
            Plan::Reading => None,
            Plan::Ready(plan) => Some(Arc::clone(plan)),
        }
    }

    /// Ends everything: the tenant goes to sleep or the server stops.
    pub(super) fn stop(&mut self) {
        for (_, attempt) in self.attempts.drain() {
            attempt.cancel.cancel();
        }
        self.open = None;
    }

    fn abandon(&mut self, id: JobId) {
        for ((job, _), attempt) in &self.attempts {
            if *job == id {
                attempt.cancel.cancel();
            }
        }
        self.plans.remove(&id);
    }

    fn note_open(&mut self, jobs: &Jobs) {
        let is_open = jobs.open().next().is_some();
        match (&self.open, is_open) {
            (None, true) => self.open = Some(Busy::new(&self.vitals)),
            (Some(_), false) => self.open = None,
            _ => {}
        }
    }

    fn start_runnable(&mut self, job: &Job, now: Timestamp) {
        for step in job.runnable(now) {
            if self.attempts.contains_key(&(job.id, step)) {
                continue;
            }
            if self.attempts.len() >= MAX_ATTEMPTS {
                return;
            }
            match self.plans.get(&job.id) {
                Some(Plan::Ready(_)) => self.start(job.id, step),
                Some(Plan::Reading) => return,
                None => {
                    self.plans.insert(job.id, Plan::Reading);
                    self.read_plan(job);
                    return;
                }
            }
        }
    }

    fn start(&mut self, job: JobId, step: StepName) {
        // Also cancelled when all steps of the node are: at shutdown.
        let cancel = self.shell.steps.token().child_token();
        let attempt = Attempt { cancel: cancel.clone(), _busy: Busy::new(&self.vitals) };
        self.attempts.insert((job, step), attempt);
        let task = attempt::Task {
            shell: Arc::clone(&self.shell),
            tenant: self.tenant,
            actor: self.actor.clone(),
            job,
            step,
            cancel,
        };
        spawn("step", &self.shell.steps, task.run());
    }

    fn read_plan(&self, job: &Job) {
        let (shell, tenant, actor) = (Arc::clone(&self.shell), self.tenant, self.actor.clone());
        let (id, digest) = (job.id, job.shape.plan_digest.clone());
        spawn("read-plan", &self.shell.tasks, async move {
            let plan = plan_store::read(&shell, tenant, id, &digest).await;
            // An actor that is gone has no use for the plan.
            let _ = actor.send_message(TenantMsg::PlanRead(id, plan));
        });
    }
}

impl Drop for JobRunner {
    fn drop(&mut self) {
        // Also after a panic: nothing of a life that is gone goes on.
        self.stop();
    }
}
