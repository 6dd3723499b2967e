//! One attempt at a step, from its inputs in the store to its result there.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::assemble::{self, ScenePart};
use super::plan::{PLAN_MS_MAX, Scene};
use super::runner::{StepError, StepInput, job_folder};
use super::scratch::Scratch;
use super::tools::Attempt;
use super::video::{self, FRAME_MS, Segment, frames_before};
use super::{Inner, image, results, speech};
use crate::storage::{TenantStore, content_type};
use crate::tenant::quota::Item;
use crate::tenant::steps::{Artifact, StepName, StepResult};

/// Most bytes of a video besides its streams.
const CONTAINER_BYTES: u64 = 64 * 1024 * 1024;

/// What one attempt works with.
struct Desk<'a> {
    inner: &'a Inner,
    input: &'a StepInput,
    cancel: &'a CancellationToken,
    store: TenantStore,
    scratch: Scratch,
    stem: String,
}

/// Runs one attempt, or finds what an earlier one has finished.
pub(super) async fn run(
    inner: &Inner,
    input: &StepInput,
    cancel: &CancellationToken,
) -> Result<StepResult, StepError> {
    let store = inner.storage.tenant(input.tenant);
    let stem = results::stem(input);
    if let Some(found) = results::find(&store, &stem).await? {
        return Ok(found);
    }
    let scratch = inner.scratch.attempt(&format!("{}-{}", input.step, input.attempt))?;
    let desk = Desk { inner, input, cancel, store, scratch, stem };
    match input.step {
        StepName::Image(number) => desk.image(number).await,
        StepName::Speech(number) => desk.speech(number).await,
        StepName::Segment(number, _) => desk.segment(number).await,
        StepName::Assemble => desk.assemble().await,
        StepName::Publish => Err(StepError::permanent("not-supported", "nowhere to publish to")),
    }
}

impl Desk<'_> {
    fn attempt(&self) -> Attempt<'_> {
        let tools = &self.inner.tools;
        Attempt::new(tools, self.scratch.dir(), self.input.deadline, self.cancel)
    }

    async fn image(&self, number: u8) -> Result<StepResult, StepError> {
        let scene = self.scene(number)?;
        let provider = self.inner.image.as_ref();
        let drawing = &self.inner.drawing;
        let made = image::make(self.attempt(), provider, drawing, self.input, scene).await?;
        let result = StepResult {
            key: format!("{}.png", self.stem),
            bytes: 0,
            duration_ms: 0,
            usage: usage("images", 1),
            degraded: made.degraded,
            artifacts: Vec::new(),
        };
        results::keep(&self.store, &self.stem, &made.file, result).await
    }

    async fn speech(&self, number: u8) -> Result<StepResult, StepError> {
        let scene = self.scene(number)?;
        let provider = self.inner.speech.as_ref();
        let spoken = speech::make(self.attempt(), provider, self.input, scene).await?;
        let charged_ms = if spoken.has_voice { spoken.duration_ms } else { 0 };
        let result = StepResult {
            key: format!("{}.pcm", self.stem),
            bytes: 0,
            duration_ms: spoken.duration_ms,
            usage: usage("tts_ms", charged_ms),
            degraded: spoken.degraded,
            artifacts: Vec::new(),
        };
        results::keep(&self.store, &self.stem, &spoken.file, result).await
    }

    async fn segment(&self, number: u8) -> Result<StepResult, StepError> {
        let scene = self.scene(number)?;
        self.check_length()?;
        let span = self
            .input
            .span
            .ok_or_else(|| StepError::permanent("input-missing", "a segment without a span"))?;
        let picture = self.fetch(StepName::Image(number), "image.png").await?;
        let segment = Segment {
            picture,
            scene,
            number,
            scene_ms: self.scene_ms(number, scene),
            spoken_ms: self.spoken_ms(number),
            span,
            resolution: self.input.plan.resolution,
        };
        let encoded = video::encode(self.attempt(), &self.inner.drawing, &segment).await?;
        let result = StepResult {
            key: format!("{}.mp4", self.stem),
            bytes: 0,
            duration_ms: encoded.duration_ms,
            usage: usage("render_ms", encoded.duration_ms),
            degraded: None,
            artifacts: Vec::new(),
        };
        results::keep(&self.store, &self.stem, &encoded.file, result).await
    }

    async fn assemble(&self) -> Result<StepResult, StepError> {
        self.check_length()?;
        let mut parts = Vec::new();
        for number in (1u8..).take(self.input.plan.scenes.len()) {
            parts.push(self.part(number).await?);
        }
        let file_bytes_max = self.bytes_of_segments().saturating_mul(2) + CONTAINER_BYTES;
        let attempt = Attempt { file_bytes_max, ..self.attempt() };
        let joined = assemble::join(attempt, &parts, self.input.plan.resolution).await?;
        let key = format!("{}/video-{}.mp4", job_folder(self.input.job), self.digest());
        let artifact = Artifact {
            name: "video.mp4".to_owned(),
            key: key.clone(),
            bytes: 0,
            content_type: content_type(&key).to_owned(),
        };
        let result = StepResult {
            key,
            bytes: 0,
            duration_ms: joined.duration_ms,
            // The amount is the file's size, which is known once it is stored.
            usage: usage("storage_bytes", 1),
            degraded: None,
            artifacts: vec![artifact],
        };
        results::keep(&self.store, &self.stem, &joined.file, result).await
    }

    /// Fetches one scene's segments and speech.
    async fn part(&self, number: u8) -> Result<ScenePart, StepError> {
        let mut segments = Vec::new();
        let mut frames = 0;
        for (name, result) in &self.input.results {
            if matches!(name, StepName::Segment(scene, _) if *scene == number) {
                let file = format!("{name}.mp4");
                self.store.fetch(&result.key, &self.scratch.file(&file)).await?;
                segments.push(file);
                frames += result.duration_ms / FRAME_MS;
            }
        }
        if segments.is_empty() {
            return Err(StepError::permanent("input-missing", "a scene without segments"));
        }
        let speech = self.fetch(StepName::Speech(number), &format!("speech-{number}.pcm")).await?;
        Ok(ScenePart { segments, speech, frames })
    }

    /// Brings the result of another step to the scratch folder.
    async fn fetch(&self, name: StepName, file: &str) -> Result<PathBuf, StepError> {
        let result = self.input.results.get(&name);
        let result =
            result.ok_or_else(|| StepError::permanent("input-missing", format!("no {name}")))?;
        let path = self.scratch.file(file);
        self.store.fetch(&result.key, &path).await?;
        Ok(path)
    }

    fn scene(&self, number: u8) -> Result<&Scene, StepError> {
        let scene = self.input.plan.scene(number);
        scene.ok_or_else(|| StepError::permanent("input-missing", "no such scene in the plan"))
    }

    fn spoken_ms(&self, number: u8) -> u64 {
        self.input.results.get(&StepName::Speech(number)).map_or(0, |speech| speech.duration_ms)
    }

    fn scene_ms(&self, number: u8, scene: &Scene) -> u64 {
        scene.duration_ms.max(self.spoken_ms(number))
    }

    /// Refuses a video that its speech has made longer than a plan may be.
    fn check_length(&self) -> Result<(), StepError> {
        let scenes = (1u8..).zip(&self.input.plan.scenes);
        let total_ms: u64 = scenes
            .map(|(number, scene)| frames_before(self.scene_ms(number, scene)) * FRAME_MS)
            .sum();
        // Rounding each scene up to a frame must not make a plan of just thirty minutes fail.
        let rounding_ms = FRAME_MS * self.input.plan.scenes.len() as u64;
        if total_ms > PLAN_MS_MAX + rounding_ms {
            return Err(StepError::permanent("video-too-long", "longer than thirty minutes"));
        }
        Ok(())
    }

    fn bytes_of_segments(&self) -> u64 {
        let segments = self.input.results.iter();
        segments
            .filter(|(name, _)| matches!(name, StepName::Segment(..)))
            .map(|(_, result)| result.bytes)
            .sum::<u64>()
            // The sound before it is encoded: thirty minutes are 86 MB.
            .max(speech::bytes_of(PLAN_MS_MAX * 2))
    }

    fn digest(&self) -> &str {
        self.stem.rsplit_once('-').map_or("", |(_, digest)| digest)
    }
}

fn usage(meter: &str, amount: u64) -> Vec<Item> {
    let meter = meter.parse().ok().filter(|_| amount > 0);
    meter.map(|meter| Item { meter, amount }).into_iter().collect()
}
