//! A job and its steps, and what can be read from them.

use serde::{Deserialize, Serialize};

use super::{Artifact, Cause, JobShape, MAX_FAILURES, SceneShape, StepName, StepResult};
use crate::clock::Timestamp;
use crate::ids::JobId;
use crate::tenant::quota::Item;

/// Of a scene's work: so many hundredths are its image, its speech, and its segments together.
const IMAGE_SHARE: u64 = 15;
const SPEECH_SHARE: u64 = 15;
const SEGMENTS_SHARE: u64 = 70;
/// Of a job's work: so many hundredths are its scenes; the rest joins them.
const SCENES_SHARE: u64 = 90;

/// `Queued => Running => (Succeeded | Failed | Cancelled)`, and `Failed | Cancelled => Queued`
/// by a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No step was started yet.
    Queued,
    /// Steps were started.
    Running,
    /// The video is there.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// It was no longer wanted.
    Cancelled,
}

impl JobState {
    /// Returns the name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Says whether nothing more will happen by itself.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// `Pending => Running => (Succeeded | Pending | Failed | Cancelled)`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Waits for other steps, a free slot or its next attempt.
    Pending,
    /// An attempt is under way.
    Running,
    /// Its result is there.
    Succeeded,
    /// It failed for good.
    Failed,
    /// Its job ended before it.
    Cancelled,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// How it stands.
    pub state: StepState,
    /// How many attempts were started; each has its own number and file.
    pub attempts: u32,
    /// How many attempts failed, those cut off by the server's end not counted.
    pub failures: u32,
    /// How many attempts were cut off by the server's end.
    pub interruptions: u32,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When the last attempt ended.
    pub ended_at: Option<Timestamp>,
    /// When the running attempt is cut off.
    pub deadline_at: Option<Timestamp>,
    /// When the next attempt may begin.
    pub retry_at: Option<Timestamp>,
    /// Why the last attempt failed, as a slug.
    pub error: Option<String>,
    /// Which part of its scene a segment is.
    pub span: Option<Span>,
    /// What came of it.
    pub result: Option<StepResult>,
}

/// A part of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins in the scene.
    pub start_ms: u64,
    /// How long it is.
    pub length_ms: u32,
}

impl Step {
    pub(super) fn new(name: StepName, span: Option<Span>) -> Self {
        Self {
            name,
            state: StepState::Pending,
            attempts: 0,
            failures: 0,
            interruptions: 0,
            started_at: None,
            ended_at: None,
            deadline_at: None,
            retry_at: None,
            error: None,
            span,
            result: None,
        }
    }

    /// Says whether the attempt after this many failures is the last one.
    pub fn is_last_attempt(&self) -> bool {
        self.failures.saturating_add(1) >= MAX_FAILURES
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A slug: `quota-exceeded`, `step-timeout`, `job-expired`.
    pub code: String,
    /// The step that failed.
    pub step: Option<StepName>,
}

/// A render job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// The plan's measure.
    pub shape: JobShape,
    /// How it stands.
    pub state: JobState,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its steps, by kind and scene. Empty for jobs that ended long ago.
    pub steps: Vec<Step>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What it used so far.
    pub usage: Vec<Item>,
    /// What it is less than asked for.
    pub degraded: Vec<Cause>,
    /// What the client may fetch.
    pub artifacts: Vec<Artifact>,
}

impl Job {
    /// Makes a job as it is when it was just submitted.
    pub(in crate::tenant) fn submitted(
        id: JobId,
        shape: JobShape,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        let numbers = (1u8..).take(shape.scenes.len());
        let images = numbers.clone().map(StepName::Image);
        let speeches = numbers.map(StepName::Speech);
        let names = images.chain(speeches).chain([StepName::Assemble]);
        Self {
            id,
            steps: names.map(|name| Step::new(name, None)).collect(),
            shape,
            state: JobState::Queued,
            submitted_at: at,
            expires_at,
            ended_at: None,
            error: None,
            usage: Vec::new(),
            degraded: Vec::new(),
            artifacts: Vec::new(),
        }
    }

    /// Returns a step.
    pub fn step(&self, name: StepName) -> Option<&Step> {
        let index = self.steps.binary_search_by_key(&name, |step| step.name).ok()?;
        self.steps.get(index)
    }

    pub(super) fn step_mut(&mut self, name: StepName) -> Option<&mut Step> {
        let index = self.steps.binary_search_by_key(&name, |step| step.name).ok()?;
        self.steps.get_mut(index)
    }

    /// Returns a finished step's result.
    pub fn result(&self, name: StepName) -> Option<&StepResult> {
        self.step(name)?.result.as_ref()
    }

    /// Returns how long a scene lasts, as far as is known: its stated duration until its speech
    /// is there, then the longer of both. Scenes count from 1.
    pub fn scene_ms(&self, scene: u8) -> u64 {
        let index = usize::from(scene).saturating_sub(1);
        let stated = self.shape.scenes.get(index).map_or(0, |s: &SceneShape| s.duration_ms);
        let spoken = self.result(StepName::Speech(scene)).map_or(0, |result| result.duration_ms);
        spoken.max(u64::from(stated))
    }

    /// Returns how long the video will be, as far as is known.
    pub fn length_ms(&self) -> u64 {
        let scenes = (1u8..).take(self.shape.scenes.len());
        scenes.map(|scene| self.scene_ms(scene)).fold(0, u64::saturating_add)
    }

    /// Lists the steps that could be started now: their inputs are there, and their last
    /// attempt, if any, lies far enough back.
    pub fn runnable(&self, now: Timestamp) -> Vec<StepName> {
        if self.state.is_ended() {
            return Vec::new();
        }
        let waits = |step: &&Step| {
            step.state == StepState::Pending
                && step.retry_at.is_none_or(|at| at <= now)
                && self.has_inputs(step.name)
        };
        self.steps.iter().filter(waits).map(|step| step.name).collect()
    }

    pub(super) fn has_inputs(&self, name: StepName) -> bool {
        let is_done = |name| self.step(name).is_some_and(|s| s.state == StepState::Succeeded);
        match name {
            StepName::Image(_) | StepName::Speech(_) => true,
            StepName::Segment(scene, _) => {
                is_done(StepName::Image(scene)) && is_done(StepName::Speech(scene))
            }
            StepName::Assemble => {
                let before = |step: &&Step| step.name < StepName::Assemble;
                self.steps.iter().filter(before).all(|s| s.state == StepState::Succeeded)
            }
            StepName::Publish => is_done(StepName::Assemble),
        }
    }

    /// Lists the running steps with their attempts.
    pub fn running(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.state == StepState::Running)
    }

    /// Returns the next deadline of a running step.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.running().filter_map(|step| step.deadline_at).min()
    }

    /// Returns when the next failed step may be tried again, if that is yet to come.
    pub fn next_retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        let pending = self.steps.iter().filter(|step| step.state == StepState::Pending);
        pending.filter_map(|step| step.retry_at).filter(|at| *at > now).min()
    }

    /// Returns the bytes that `assemble` joins.
    pub fn input_bytes(&self) -> u64 {
        let segments = self.steps.iter().filter(|s| matches!(s.name, StepName::Segment(..)));
        segments.filter_map(|s| s.result.as_ref()).fold(0, |sum, r| sum.saturating_add(r.bytes))
    }

    /// Returns the step that a person is told about: one that runs, else the next one.
    pub fn current_step(&self) -> Option<StepName> {
        if self.state.is_ended() {
            return self.error.as_ref().and_then(|error| error.step);
        }
        let pending = self.steps.iter().find(|step| step.state == StepState::Pending);
        self.running().last().or(pending).map(|step| step.name)
    }

    /// Returns how much of the work is done, in hundredths; it never goes back.
    pub fn progress_percent(&self) -> u8 {
        if self.state == JobState::Succeeded {
            return 100;
        }
        let scenes = u64::try_from(self.shape.scenes.len()).unwrap_or(1).max(1);
        let sum = (1u8..)
            .take(self.shape.scenes.len())
            .map(|scene| self.scene_percent(scene))
            .fold(0, u64::saturating_add);
        let percent = sum.saturating_mul(SCENES_SHARE).checked_div(scenes.saturating_mul(100));
        u8::try_from(percent.unwrap_or(0)).unwrap_or(0).min(99)
    }

    fn scene_percent(&self, scene: u8) -> u64 {
        let share = |name, share| match self.step(name).map(|step| step.state) {
            Some(StepState::Succeeded) => share,
            _ => 0,
        };
        let (mut done, mut all) = (0u64, 0u64);
        let first = self.steps.partition_point(|step| step.name < StepName::Segment(scene, 0));
        for step in self.steps.iter().skip(first) {
            let (StepName::Segment(of, _), Some(span)) = (step.name, step.span) else { break };
            if of != scene {
                break;
            }
            let length = u64::from(span.length_ms);
            all = all.saturating_add(length);
            if step.state == StepState::Succeeded {
                done = done.saturating_add(length);
            }
        }
        let segments = done.saturating_mul(SEGMENTS_SHARE).checked_div(all).unwrap_or(0);
        segments
            .saturating_add(share(StepName::Image(scene), IMAGE_SHARE))
            .saturating_add(share(StepName::Speech(scene), SPEECH_SHARE))
    }
}
