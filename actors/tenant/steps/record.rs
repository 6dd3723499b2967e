//! Job facts change the jobs here and nowhere else, live and in replay alike.

use super::{
    FailKind, Job, JobEnd, JobError, JobFact, JobState, Jobs, MAX_DETAILED_JOBS, Span, Step,
    StepName, StepResult, StepState,
};
use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::tenant::quota::{Charge, Inconsistent, Item};

type Recorded = Result<(), &'static str>;

impl Jobs {
    /// Records a fact; the quota's side of it is recorded by the caller.
    pub(in crate::tenant) fn record(
        &mut self,
        fact: &JobFact,
        at: Timestamp,
    ) -> Result<(), Inconsistent> {
        self.change(fact, at)
            .map_err(|reason| Inconsistent { kind: fact.kind(), reason: reason.to_owned() })
    }

    fn change(&mut self, fact: &JobFact, at: Timestamp) -> Recorded {
        match fact {
            JobFact::JobSubmitted { job, shape, expires_at, .. } => {
                let fresh = Job::submitted(*job, (**shape).clone(), at, *expires_at);
                self.expiries.insert((*expires_at, *job));
                match self.by_id.insert(*job, fresh) {
                    None => Ok(()),
                    Some(_) => Err("the job is already there"),
                }
            }
            JobFact::StepStarted { job, step, attempt, deadline_at } => {
                self.started(*job, *step, *attempt, *deadline_at, at)
            }
            JobFact::StepSucceeded { job, step, result, segments_ms, items, end, .. } => {
                let known = self.by_id.get_mut(job).ok_or("there is no such job")?;
                succeed(known, *step, result, at)?;
                charge(known, items);
                if let StepName::Speech(scene) = step {
                    add_segments(known, *scene, segments_ms);
                }
                self.ended(*job, end.as_ref(), None, at)
            }
            JobFact::StepFailed { job, step, failure, code, retry_at, end, .. } => {
                let known = self.by_id.get_mut(job).ok_or("there is no such job")?;
                fail(known, *step, *failure, code, *retry_at, at)?;
                let error = JobError { code: code.clone(), step: Some(*step) };
                self.ended(*job, end.as_ref(), Some(error), at)
            }
            JobFact::JobCancelled { job, end, .. } => self.ended(*job, Some(end), None, at),
            JobFact::JobExpired { job, end, .. } => {
                let error = JobError { code: "job-expired".to_owned(), step: None };
                self.ended(*job, Some(end), Some(error), at)
            }
            JobFact::JobRetried { job, expires_at, .. } => self.retried(*job, *expires_at),
            JobFact::JobDeleted { job, .. } => {
                let gone = self.by_id.remove(job).ok_or("there is no such job")?;
                self.expiries.remove(&(gone.expires_at, *job));
                self.detailed.retain(|id| id != job);
                Ok(())
            }
        }
    }

    fn started(
        &mut self,
        id: JobId,
        name: StepName,
        attempt: u32,
        deadline_at: Timestamp,
        at: Timestamp,
    ) -> Recorded {
        let job = self.by_id.get_mut(&id).ok_or("there is no such job")?;
        job.state = JobState::Running;
        let step = job.step_mut(name).ok_or("there is no such step")?;
        if step.state != StepState::Pending || attempt != step.attempts.saturating_add(1) {
            return Err("the step does not wait for that attempt");
        }
        step.state = StepState::Running;
        step.attempts = attempt;
        step.started_at = Some(at);
        step.ended_at = None;
        step.deadline_at = Some(deadline_at);
        step.retry_at = None;
        Ok(())
    }

    fn ended(
        &mut self,
        id: JobId,
        end: Option<&JobEnd>,
        error: Option<JobError>,
        at: Timestamp,
    ) -> Recorded {
        let Some(end) = end else { return Ok(()) };
        let job = self.by_id.get_mut(&id).ok_or("there is no such job")?;
        if job.state.is_ended() {
            return Err("the job has already ended");
        }
        job.state = end.state;
        job.ended_at = Some(at);
        job.error = error;
        for step in &mut job.steps {
            if matches!(step.state, StepState::Pending | StepState::Running) {
                step.state = StepState::Cancelled;
                step.deadline_at = None;
                step.retry_at = None;
            }
        }
        self.expiries.remove(&(job.expires_at, id));
        self.detailed.push_back(id);
        if self.detailed.len() > MAX_DETAILED_JOBS
            && let Some(oldest) = self.detailed.pop_front()
            && let Some(job) = self.by_id.get_mut(&oldest)
        {
            job.steps = Vec::new();
        }
        Ok(())
    }

    fn retried(&mut self, id: JobId, expires_at: Timestamp) -> Recorded {
        let job = self.by_id.get_mut(&id).ok_or("there is no such job")?;
        if !job.state.is_ended() {
            return Err("the job has not ended");
        }
        job.state = JobState::Queued;
        job.ended_at = None;
        job.error = None;
        job.expires_at = expires_at;
        for step in &mut job.steps {
            if step.state != StepState::Succeeded {
                step.state = StepState::Pending;
                step.failures = 0;
                step.interruptions = 0;
                step.error = None;
            }
        }
        self.expiries.insert((expires_at, id));
        self.detailed.retain(|detailed| *detailed != id);
        Ok(())
    }
}

fn running_mut(job: &mut Job, name: StepName) -> Result<&mut Step, &'static str> {
    let step = job.step_mut(name).ok_or("there is no such step")?;
    if step.state == StepState::Running { Ok(step) } else { Err("the step is not running") }
}

fn succeed(job: &mut Job, name: StepName, result: &StepResult, at: Timestamp) -> Recorded {
    let step = running_mut(job, name)?;
    step.state = StepState::Succeeded;
    step.ended_at = Some(at);
    step.deadline_at = None;
    step.error = None;
    step.result = Some(result.clone());
    job.artifacts.extend(result.artifacts.iter().cloned());
    if let Some(cause) = result.degraded
        && !job.degraded.contains(&cause)
    {
        job.degraded.push(cause);
    }
    Ok(())
}

fn fail(
    job: &mut Job,
    name: StepName,
    kind: FailKind,
    code: &str,
    retry_at: Option<Timestamp>,
    at: Timestamp,
) -> Recorded {
    let step = running_mut(job, name)?;
    step.state = if retry_at.is_some() { StepState::Pending } else { StepState::Failed };
    step.ended_at = Some(at);
    step.deadline_at = None;
    step.retry_at = retry_at;
    step.error = Some(code.to_owned());
    match kind {
        FailKind::Interrupted => step.interruptions = step.interruptions.saturating_add(1),
        FailKind::Retryable | FailKind::Permanent => {
            step.failures = step.failures.saturating_add(1);
        }
    }
    Ok(())
}

fn charge(job: &mut Job, items: &[Charge]) {
    for charge in items {
        match job.usage.iter_mut().find(|item| item.meter == charge.meter) {
            Some(item) => item.amount = item.amount.saturating_add(charge.amount),
            None => {
                job.usage.push(Item { meter: charge.meter.clone(), amount: charge.amount });
            }
        }
    }
}

fn add_segments(job: &mut Job, scene: u8, lengths_ms: &[u32]) {
    let place = job.steps.partition_point(|step| step.name < StepName::Segment(scene, 0));
    let mut start_ms = 0u64;
    let segments = (1u16..).zip(lengths_ms).map(|(number, length_ms)| {
        let span = Span { start_ms, length_ms: *length_ms };
        start_ms = start_ms.saturating_add(u64::from(*length_ms));
        Step::new(StepName::Segment(scene, number), Some(span))
    });
    job.steps.splice(place..place, segments);
}
