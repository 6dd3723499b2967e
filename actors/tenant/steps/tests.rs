mod ends;
mod parts;

use std::sync::Arc;

use super::*;
use crate::ids::TenantId;
use crate::journal::entry::{Author, EntryBody};
use crate::tenant::plan::{Catalogue, PlanTerms};
use crate::tenant::quota::fixture::{at, item, plan};
use crate::tenant::quota::{Command, Refusal, Verdict};
use crate::tenant::state::{TenantCommand, TenantOutcome, TenantState, Turn};

/// Plans and results that examples and properties share.
pub(in crate::tenant) mod fixture {
    use super::*;

    pub(in crate::tenant) fn shape(scenes: usize) -> JobShape {
        let scene = SceneShape { text_bytes: 50, duration_ms: 12_000 };
        JobShape {
            plan_digest: "d1".to_owned(),
            language: "en".parse().unwrap(),
            voice: Voice::F,
            resolution: Resolution::Hd,
            scenes: vec![scene; scenes],
        }
    }

    pub(in crate::tenant) fn result(step: StepName, ms: u64) -> StepResult {
        let usage = match step {
            StepName::Image(_) => vec![item("images", 1)],
            StepName::Speech(_) if ms > 0 => vec![item("tts_ms", ms)],
            StepName::Segment(..) => vec![item("render_ms", ms.max(1))],
            StepName::Assemble => vec![item("storage_bytes", 1_000)],
            StepName::Speech(_) | StepName::Publish => Vec::new(),
        };
        let artifact = Artifact {
            name: "video.mp4".to_owned(),
            key: "jobs/1/video.mp4".to_owned(),
            bytes: 1_000,
            content_type: "video/mp4".to_owned(),
        };
        let artifacts = if step == StepName::Assemble { vec![artifact] } else { Vec::new() };
        StepResult {
            key: format!("jobs/1/{step}"),
            bytes: 1_000,
            duration_ms: ms,
            usage,
            degraded: None,
            artifacts,
        }
    }
}

use fixture::{result, shape};

pub(super) struct World {
    pub(super) state: TenantState,
    pub(super) now: Timestamp,
    pub(super) job: JobId,
}

impl World {
    pub(super) fn new() -> Self {
        Self::under(Arc::clone(&Catalogue::builtin().default_plan().terms))
    }

    fn under(terms: Arc<PlanTerms>) -> Self {
        let state = TenantState::new(TenantId::from_bits(1), terms);
        Self { state, now: at("2026-11-23T09:00:00Z"), job: JobId::from_bits(1) }
    }

    pub(super) fn turn(&mut self, command: JobCommand) -> Turn {
        let turn = self.state.apply(&TenantCommand::Job(command), &Author::SYSTEM, self.now);
        self.state.check();
        turn
    }

    fn code(&mut self, command: JobCommand) -> &'static str {
        match self.turn(command).verdict {
            Verdict::Admitted(_) => "admitted",
            Verdict::Refused(refusal) => refusal.code(),
            Verdict::MoreDue => "more-due",
        }
    }

    pub(super) fn submit(&mut self, scenes: usize) {
        let submit = JobCommand::Submit { job: self.job, shape: Box::new(shape(scenes)) };
        assert_eq!(self.code(submit), "admitted");
    }

    pub(super) fn job(&self) -> &Job {
        self.state.jobs().get(self.job).unwrap()
    }

    fn runnable(&self) -> Vec<String> {
        self.job().runnable(self.now).iter().map(ToString::to_string).collect()
    }

    fn start(&mut self, step: StepName) -> u32 {
        let start = JobCommand::Start { job: self.job, step, timeout_ms: 60_000 };
        assert_eq!(self.code(start), "admitted", "{step}");
        self.job().step(step).unwrap().attempts
    }

    fn succeed(&mut self, step: StepName, ms: u64) -> Turn {
        let attempt = self.start(step);
        let result = Box::new(result(step, ms));
        self.turn(JobCommand::Succeed { job: self.job, step, attempt, result })
    }

    fn fail(&mut self, step: StepName, kind: FailKind, draw: u64) {
        let attempt = self.start(step);
        let code = "provider-unavailable".to_owned();
        let job = self.job;
        let fail = JobCommand::Fail { job, step, attempt, kind, code, draw };
        assert_eq!(self.code(fail), "admitted");
    }

    pub(super) fn usage(&self, meter: &str) -> (u64, u64) {
        let report = self.state.report(self.now);
        let usage = report.meters.iter().find(|usage| usage.meter.as_str() == meter).unwrap();
        (usage.used, usage.reserved)
    }

    /// Finishes everything that can be, each speech lasting so long.
    fn run(&mut self, speech_ms: u64) {
        while let Some(step) = self.job().runnable(self.now).first().copied() {
            let ms = match step {
                StepName::Speech(_) => speech_ms,
                _ => self.job().step(step).unwrap().span.map_or(0, |span| span.length_ms.into()),
            };
            self.succeed(step, ms);
        }
    }
}

#[test]
fn a_job_runs_from_images_and_speech_over_segments_to_the_video() {
    let mut world = World::new();
    world.submit(2);
    assert_eq!(world.runnable(), ["image-01", "image-02", "speech-01", "speech-02"]);
    assert_eq!(world.job().state, JobState::Queued);

    world.succeed(StepName::Speech(1), 15_000);
    assert_eq!(world.job().scene_ms(1), 15_000, "longer than stated");
    assert_eq!(world.runnable(), ["image-01", "image-02", "speech-02"], "no image yet");
    world.succeed(StepName::Image(1), 0);
    assert!(world.runnable().contains(&"segment-01-001".to_owned()));
    assert!(world.runnable().contains(&"segment-01-002".to_owned()));

    world.succeed(StepName::Image(2), 0);
    world.succeed(StepName::Speech(2), 1_000);
    assert_eq!(world.job().scene_ms(2), 12_000, "stated is longer");
    world.run(0);

    let job = world.job();
    assert_eq!((job.state, job.progress_percent()), (JobState::Succeeded, 100));
    assert_eq!(job.artifacts.len(), 1);
    assert_eq!(world.usage("images"), (2, 0));
    assert_eq!(world.usage("tts_ms"), (16_000, 0));
    assert_eq!(world.usage("render_ms"), (27_000, 0));
    assert_eq!(world.usage("storage_bytes"), (1_000, 0));
    assert!(!world.state.quota().has_open_holds());
}

#[test]
fn the_upper_bounds_are_held_until_the_end() {
    let mut world = World::new();
    world.submit(3);

    let speech = 50 * TTS_MS_PER_BYTE + TTS_MS_BASE;
    assert_eq!(world.usage("images"), (0, 3));
    assert_eq!(world.usage("tts_ms"), (0, 3 * speech));
    assert_eq!(world.usage("render_ms"), (0, 3 * speech.max(12_000)));
    assert_eq!(world.usage("storage_bytes"), (0, 36 * 625_000 + STORAGE_BASE_BYTES));
    world.succeed(StepName::Image(1), 0);
    assert_eq!(world.usage("images"), (1, 2));
}

#[test]
fn a_failed_step_is_tried_four_times_with_growing_jittered_pauses() {
    let mut world = World::new();
    world.submit(1);
    let step = StepName::Image(1);
    let mut pauses = Vec::new();

    for _ in 0..3 {
        // A draw just below the modulus is the longest pause there is.
        let failures = world.job().step(step).unwrap().failures;
        world.fail(step, FailKind::Retryable, 1_000 << failures);
        let retry_at = world.job().step(step).unwrap().retry_at.unwrap();
        pauses.push(retry_at.since(world.now).as_millis());
        assert_eq!(world.job().next_retry_at(world.now), Some(retry_at));
        assert!(!world.runnable().contains(&"image-01".to_owned()));
        let early = JobCommand::Start { job: world.job, step, timeout_ms: 1 };
        assert_eq!(world.code(early), "job-state");
        world.now = retry_at;
    }
    world.fail(step, FailKind::Retryable, 7);

    assert_eq!(pauses, [1_000, 2_000, 4_000]);
    let job = world.job();
    assert_eq!(job.state, JobState::Failed);
    let error = JobError { code: "provider-unavailable".to_owned(), step: Some(step) };
    assert_eq!(job.error, Some(error));
    assert_eq!(job.step(step).unwrap().attempts, MAX_FAILURES);
    assert!(world.runnable().is_empty());
    assert_eq!(world.usage("images"), (0, 0), "everything held is given back");
}

#[test]
fn a_permanent_failure_is_not_tried_again_and_an_interruption_costs_no_attempt() {
    let mut world = World::new();
    world.submit(1);
    for _ in 0..10 {
        world.fail(StepName::Speech(1), FailKind::Interrupted, 0);
        assert!(world.runnable().contains(&"speech-01".to_owned()), "at once");
    }
    let step = world.job().step(StepName::Speech(1)).unwrap();
    assert_eq!((step.attempts, step.failures, step.interruptions), (10, 0, 10));
    assert!(!step.is_last_attempt());

    world.fail(StepName::Speech(1), FailKind::Permanent, 0);
    assert_eq!(world.job().state, JobState::Failed);
}

#[test]
fn a_step_that_takes_the_server_down_does_not_do_so_for_ever() {
    let mut world = World::new();
    world.submit(1);
    for _ in 0..MAX_INTERRUPTIONS {
        world.fail(StepName::Image(1), FailKind::Interrupted, 0);
    }

    assert_eq!(world.job().state, JobState::Failed);
}

#[test]
fn a_late_report_of_a_former_attempt_changes_nothing() {
    let mut world = World::new();
    world.submit(1);
    let (job, step) = (world.job, StepName::Image(1));
    let attempt = world.start(step);
    assert_eq!(world.state.jobs().next_deadline(), Some(world.now.plus_s(60)));
    world.now = world.now.plus_s(60);
    assert_eq!(world.code(JobCommand::Timeout { job, step, attempt, draw: 0 }), "admitted");
    assert_eq!(world.job().step(step).unwrap().error.as_deref(), Some("step-timeout"));

    let late = |world: &mut World| {
        let result = Box::new(result(step, 0));
        world.code(JobCommand::Succeed { job, step, attempt, result })
    };
    assert_eq!(late(&mut world), "stale-attempt");
    world.start(step);
    assert_eq!(late(&mut world), "stale-attempt");
    assert_eq!(world.usage("images"), (0, 1));
}

#[test]
fn usage_beyond_the_hold_is_taken_if_available_and_else_fails_the_job() {
    let limits = [Some(1), Some(20_000), None];
    let mut world = World::under(plan("small", limits));
    world.submit(1);
    assert_eq!(world.usage("tts_ms"), (0, 8_000));

    world.succeed(StepName::Speech(1), 9_000);
    assert_eq!(world.usage("tts_ms"), (9_000, 0), "the excess was available");

    let mut world = World::under(plan("small", limits));
    world.submit(1);
    let turn = world.succeed(StepName::Speech(1), 20_001);
    let [line] = &turn.lines[..] else { panic!("{turn:?}") };
    let EntryBody::Job(JobFact::StepFailed { code, .. }) = &line.body else { panic!("{line:?}") };
    assert_eq!(code, "quota-exceeded");
    assert_eq!(world.job().state, JobState::Failed);
    assert_eq!(world.usage("tts_ms"), (0, 0));
}

#[test]
fn speech_that_makes_the_video_too_long_fails_the_job() {
    let mut world = World::new();
    world.submit(2);
    world.succeed(StepName::Speech(1), MAX_PLAN_MS);

    let job = world.job();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.as_ref().unwrap().code, "plan-too-long");
}

#[test]
fn a_job_that_the_quota_or_the_plan_does_not_allow_is_refused_whole() {
    let mut world = World::under(plan("tiny", [Some(2), None, None]));
    let job = world.job;
    let submit = |world: &mut World, shape: JobShape| {
        world.code(JobCommand::Submit { job, shape: Box::new(shape) })
    };

    assert_eq!(submit(&mut world, shape(3)), "quota-exceeded");
    let uhd = JobShape { resolution: Resolution::Uhd, ..shape(1) };
    assert_eq!(submit(&mut world, uhd), "plan-required");
    assert_eq!(submit(&mut world, shape(0)), "invalid-items");
    assert_eq!(submit(&mut world, shape(21)), "invalid-items");
    let long = SceneShape { text_bytes: 0, duration_ms: 600_001 };
    let long = JobShape { scenes: vec![long; 3], ..shape(1) };
    assert_eq!(submit(&mut world, long), "plan-too-long");
    assert_eq!(world.usage("images"), (0, 0));
    assert_eq!(submit(&mut world, shape(2)), "admitted");
    assert_eq!(submit(&mut world, shape(2)), "job-state");
    assert_eq!(world.code(JobCommand::Cancel { job: JobId::from_bits(9) }), "job-not-found");
}

#[test]
fn progress_never_goes_back() {
    let mut world = World::new();
    world.submit(3);
    let mut last = 0;
    while let Some(step) = world.job().runnable(world.now).first().copied() {
        world.succeed(step, 25_000);
        let progress = world.job().progress_percent();
        assert!(progress >= last, "{progress} after {last}");
        last = progress;
    }
    assert_eq!(last, 100);
}
