//! Judges a job command on jobs and quota as they are: nothing here changes anything.

use super::{
    FailKind, Job, JobCommand, JobEnd, JobFact, JobShape, JobState, Jobs, MAX_FAILURES,
    MAX_INTERRUPTIONS, MAX_JOB_S, MAX_OPEN_JOBS, MAX_PLAN_MS, MAX_SCENES, RETRY_BASE_MS,
    RETRY_CAP_MS, Step, StepName, StepResult, StepState, segment_lengths_ms, upper_bounds,
};
use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::tenant::quota::{Charge, Fact, Item, MAX_AMOUNT, Quota, Refusal};

/// A decided fact; none if it already is as the command wants it.
type Decided = Result<Option<JobFact>, Refusal>;

/// An attempt that ended badly.
struct Failure<'a> {
    kind: FailKind,
    code: &'a str,
    draw: u64,
}

impl Jobs {
    pub(in crate::tenant) fn decide(
        &self,
        command: &JobCommand,
        quota: &Quota,
        now: Timestamp,
    ) -> Decided {
        match command {
            JobCommand::Submit { job, shape } => self.submit(*job, shape, quota, now),
            JobCommand::Start { job, step, timeout_ms } => {
                self.start(*job, *step, now.plus_ms(*timeout_ms), now)
            }
            JobCommand::Succeed { job, step, attempt, result } => {
                let (job, step) = self.running(*job, *step, *attempt)?;
                succeeded(job, step, result, quota, now).map(Some)
            }
            JobCommand::Fail { job, step, attempt, kind, code, draw } => {
                let (job, step) = self.running(*job, *step, *attempt)?;
                let failure = Failure { kind: *kind, code, draw: *draw };
                failed(job, step, &failure, quota, now).map(Some)
            }
            JobCommand::Timeout { job, step, attempt, draw } => {
                let (job, step) = self.running(*job, *step, *attempt)?;
                let code = "step-timeout";
                let failure = Failure { kind: FailKind::Retryable, code, draw: *draw };
                failed(job, step, &failure, quota, now).map(Some)
            }
            JobCommand::Cancel { job } => self.cancel(*job, quota),
            JobCommand::Retry { job } => self.retry(*job, quota, now),
            JobCommand::Delete { job } => self.delete(*job, quota),
        }
    }

    fn known(&self, id: JobId) -> Result<&Job, Refusal> {
        self.get(id).ok_or(Refusal::JobNotFound)
    }

    fn submit(&self, id: JobId, shape: &JobShape, quota: &Quota, now: Timestamp) -> Decided {
        if self.by_id.contains_key(&id) {
            return Err(Refusal::JobState { state: "submitted" });
        }
        if shape.scenes.is_empty() || shape.scenes.len() > MAX_SCENES {
            return Err(Refusal::InvalidItems { max: MAX_SCENES });
        }
        let stated = shape
            .scenes
            .iter()
            .fold(0u64, |sum, scene| sum.saturating_add(u64::from(scene.duration_ms)));
        if stated > MAX_PLAN_MS {
            return Err(Refusal::PlanTooLong { max_ms: MAX_PLAN_MS });
        }
        check_feature(shape, quota)?;
        self.check_room()?;
        let items = offered(upper_bounds(shape), quota);
        let Fact::JobHeld { items, period, .. } = quota.job_held(id, &items, now)? else {
            return Err(Refusal::JobNotFound);
        };
        Ok(Some(JobFact::JobSubmitted {
            job: id,
            shape: Box::new(shape.clone()),
            items,
            expires_at: now.plus_s(MAX_JOB_S),
            period,
        }))
    }

    fn check_room(&self) -> Result<(), Refusal> {
        if self.expiries.len() < MAX_OPEN_JOBS {
            return Ok(());
        }
        Err(Refusal::TooManyJobs { max: MAX_OPEN_JOBS })
    }

    fn start(&self, id: JobId, name: StepName, deadline_at: Timestamp, now: Timestamp) -> Decided {
        let job = self.known(id)?;
        let step = job.step(name).ok_or(Refusal::JobNotFound)?;
        let may_start = !job.state.is_ended()
            && step.state == StepState::Pending
            && step.retry_at.is_none_or(|at| at <= now)
            && job.has_inputs(name);
        if !may_start {
            return Err(Refusal::JobState { state: job.state.as_str() });
        }
        let attempt = step.attempts.saturating_add(1);
        Ok(Some(JobFact::StepStarted { job: id, step: name, attempt, deadline_at }))
    }

    /// Finds the attempt that a report is about; a late report of a former one is stale.
    fn running(&self, id: JobId, name: StepName, attempt: u32) -> Result<(&Job, &Step), Refusal> {
        let job = self.known(id)?;
        let step = job.step(name).ok_or(Refusal::JobNotFound)?;
        if step.state != StepState::Running || step.attempts != attempt {
            return Err(Refusal::StaleAttempt);
        }
        Ok((job, step))
    }

    fn cancel(&self, id: JobId, quota: &Quota) -> Decided {
        let job = self.known(id)?;
        match job.state {
            JobState::Cancelled => Ok(None),
            state if state.is_ended() => Err(Refusal::JobState { state: state.as_str() }),
            _ => {
                let (end, period) = end(id, JobState::Cancelled, &[], quota)?;
                Ok(Some(JobFact::JobCancelled { job: id, end, period }))
            }
        }
    }

    fn retry(&self, id: JobId, quota: &Quota, now: Timestamp) -> Decided {
        let job = self.known(id)?;
        let may_retry =
            matches!(job.state, JobState::Failed | JobState::Cancelled) && !job.steps.is_empty();
        if !may_retry {
            return Err(Refusal::JobState { state: job.state.as_str() });
        }
        check_feature(&job.shape, quota)?;
        self.check_room()?;
        let items = offered(unused(upper_bounds(&job.shape), &job.usage), quota);
        let Fact::JobHeld { items, period, .. } = quota.job_held(id, &items, now)? else {
            return Err(Refusal::JobNotFound);
        };
        let expires_at = now.plus_s(MAX_JOB_S);
        Ok(Some(JobFact::JobRetried { job: id, items, expires_at, period }))
    }

    fn delete(&self, id: JobId, quota: &Quota) -> Decided {
        let job = self.known(id)?;
        let end = if job.state.is_ended() {
            None
        } else {
            Some(end(id, JobState::Cancelled, &[], quota)?.0)
        };
        // Never more than there is: someone may have freed a part of it by hand.
        let stored: Vec<Item> = job
            .usage
            .iter()
            .map(|item| Item {
                meter: item.meter.clone(),
                amount: item.amount.min(quota.level(&item.meter)),
            })
            .filter(|item| item.amount > 0)
            .collect();
        let mut items = if stored.is_empty() { Vec::new() } else { quota.freed(&stored)? };
        // The hold is closed by the same entry, before the level is lowered.
        for charge in &mut items {
            let mut returned = end.iter().flat_map(|end| &end.returned);
            if let Some(returned) = returned.find(|r| r.meter == charge.meter) {
                charge.reserved = returned.reserved;
            }
        }
        Ok(Some(JobFact::JobDeleted { job: id, items, end, period: quota.open_period_name() }))
    }

    /// Returns what ends a job that was open for too long, and when that was due.
    pub(in crate::tenant) fn due(
        &self,
        quota: &Quota,
        now: Timestamp,
    ) -> Option<(Timestamp, JobFact)> {
        let (at, id) = *self.expiries.first()?;
        if at > now {
            return None;
        }
        let (end, period) = end(id, JobState::Failed, &[], quota).ok()?;
        Some((at, JobFact::JobExpired { job: id, end, period }))
    }
}

fn check_feature(shape: &JobShape, quota: &Quota) -> Result<(), Refusal> {
    shape.resolution.feature().map_or(Ok(()), |feature| quota.check_feature(feature))
}

/// Leaves out the meters that the plan in force does not have: another product's catalogue may
/// not charge for all that the studio does.
fn offered(items: Vec<Item>, quota: &Quota) -> Vec<Item> {
    let is_offered = |item: &Item| quota.terms().meter(item.meter.as_str()).is_some();
    items
        .into_iter()
        .filter(is_offered)
        .map(|item| Item { amount: item.amount.min(MAX_AMOUNT), ..item })
        .collect()
}

/// Takes away what a job's finished steps already used.
fn unused(bounds: Vec<Item>, usage: &[Item]) -> Vec<Item> {
    let used = |item: &Item| {
        usage.iter().find(|used| used.meter == item.meter).map_or(0, |used| used.amount)
    };
    bounds
        .into_iter()
        .map(|item| Item { amount: item.amount.saturating_sub(used(&item)), ..item })
        .filter(|item| item.amount > 0)
        .collect()
}

fn succeeded(
    job: &Job,
    step: &Step,
    result: &StepResult,
    quota: &Quota,
    now: Timestamp,
) -> Result<JobFact, Refusal> {
    let usage: Vec<Item> = result
        .usage
        .iter()
        .filter(|item| item.amount > 0 && quota.terms().meter(item.meter.as_str()).is_some())
        .cloned()
        .collect();
    let mut segments_ms = Vec::new();
    if let StepName::Speech(scene) = step.name {
        let before = job.scene_ms(scene);
        let scene_ms = before.max(result.duration_ms);
        let length_ms = job.length_ms().saturating_sub(before).saturating_add(scene_ms);
        if length_ms > MAX_PLAN_MS {
            return fails_for_good(job, step, "plan-too-long", quota);
        }
        segments_ms = segment_lengths_ms(scene_ms);
    }
    let (items, period) = match quota.part_committed(job.id, &usage, now) {
        Ok(Fact::PartCommitted { items, period, .. }) => (items, period),
        Ok(_) => return Err(Refusal::JobNotFound),
        Err(refusal) => return fails_for_good(job, step, refusal.code(), quota),
    };
    // The last of the steps ends the job; speech never does, it adds segments.
    let is_last = segments_ms.is_empty()
        && job.steps.iter().all(|s| s.name == step.name || s.state == StepState::Succeeded);
    let end = if is_last { Some(end(job.id, JobState::Succeeded, &items, quota)?.0) } else { None };
    Ok(JobFact::StepSucceeded {
        job: job.id,
        step: step.name,
        attempt: step.attempts,
        result: Box::new(result.clone()),
        segments_ms,
        items,
        end,
        period,
    })
}

fn fails_for_good(job: &Job, step: &Step, code: &str, quota: &Quota) -> Result<JobFact, Refusal> {
    let failure = Failure { kind: FailKind::Permanent, code, draw: 0 };
    failed(job, step, &failure, quota, Timestamp::MIN)
}

fn failed(
    job: &Job,
    step: &Step,
    failure: &Failure<'_>,
    quota: &Quota,
    now: Timestamp,
) -> Result<JobFact, Refusal> {
    let failures = step.failures.saturating_add(1);
    let interruptions = step.interruptions.saturating_add(1);
    let retry_at = match failure.kind {
        FailKind::Permanent => None,
        FailKind::Retryable if failures >= MAX_FAILURES => None,
        FailKind::Retryable => Some(now.plus_ms(backoff_ms(failures, failure.draw))),
        FailKind::Interrupted if interruptions >= MAX_INTERRUPTIONS => None,
        FailKind::Interrupted => Some(now),
    };
    let (end, period) = end(job.id, JobState::Failed, &[], quota)?;
    Ok(JobFact::StepFailed {
        job: job.id,
        step: step.name,
        attempt: step.attempts,
        failure: failure.kind,
        code: failure.code.to_owned(),
        retry_at,
        end: retry_at.is_none().then_some(end),
        period,
    })
}

/// Exponential, capped, and with full jitter: anything from nothing to the cap is equally likely,
/// so that steps which failed together do not come back together.
fn backoff_ms(failures: u32, draw: u64) -> u64 {
    let doublings = failures.saturating_sub(1);
    let factor = 2u64.saturating_pow(doublings);
    let ceiling = RETRY_BASE_MS.saturating_mul(factor).min(RETRY_CAP_MS);
    // The range is tiny beside 64 bits: no delay is noticeably likelier than another.
    draw.checked_rem(ceiling.saturating_add(1)).unwrap_or(0)
}

/// Works out what a job's hold gives back, after `parts` left it in the same entry.
fn end(
    id: JobId,
    state: JobState,
    parts: &[Charge],
    quota: &Quota,
) -> Result<(JobEnd, crate::tenant::period::PeriodName), Refusal> {
    let Some(Fact::JobClosed { items, period, .. }) = quota.job_closed(id, parts) else {
        return Err(Refusal::JobNotFound);
    };
    Ok((JobEnd { state, returned: items }, period))
}
