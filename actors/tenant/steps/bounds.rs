//! What a job may use at most, worked out before it begins, and how its video is cut.
//!
//! The bounds are generous, not certain: a step that goes beyond what is held takes the excess
//! if it is available, and fails with `quota-exceeded` if it is not.

use super::{JobShape, MAX_PLAN_MS, Resolution, SceneShape, StepName};
use crate::tenant::quota::Item;

/// Speech is slower than this for no ordinary text: 15 letters take about a second, a Chinese
/// character of three bytes takes a third of one; digits and symbols are read as words.
pub const TTS_MS_PER_BYTE: u64 = 120;
/// Silence before and after, and what short texts need beyond their length.
pub const TTS_MS_BASE: u64 = 2_000;
/// The longest part that is encoded at once.
pub const SEGMENT_MAX_MS: u32 = 10_000;
/// Beside the streams: container, captions, poster.
pub const STORAGE_BASE_BYTES: u64 = 4 * 1024 * 1024;
/// Parts begin at multiples of this, which is a whole number of frames at 25, 30, 50 and 60 a
/// second.
const SEGMENT_GRID_MS: u64 = 200;
/// Shorter than the longest part by one step of the grid, so that rounding never exceeds it.
const SEGMENT_TARGET_MS: u64 = SEGMENT_MAX_MS as u64 - SEGMENT_GRID_MS;

/// Returns the most that a narration's speech is expected to last; nothing for no words.
pub fn speech_bound_ms(scene: SceneShape) -> u64 {
    match scene.text_bytes {
        0 => 0,
        bytes => u64::from(bytes).saturating_mul(TTS_MS_PER_BYTE).saturating_add(TTS_MS_BASE),
    }
}

/// Returns the most that a plan's video is expected to last: each scene as long as the longer of
/// its stated duration and its speech, in whole frames. A job whose video would be longer than
/// any may be fails before it is charged, so that no more than that is ever needed.
pub fn length_bound_ms(shape: &JobShape) -> u64 {
    let longest = |scene: &SceneShape| {
        let scene_ms = speech_bound_ms(*scene).max(u64::from(scene.duration_ms));
        scene_ms.div_ceil(SEGMENT_GRID_MS).saturating_mul(SEGMENT_GRID_MS)
    };
    let rounding_ms = shape.scenes.iter().map(|_| SEGMENT_GRID_MS).fold(0, u64::saturating_add);
    let length_ms = shape.scenes.iter().map(longest).fold(0, u64::saturating_add);
    length_ms.min(MAX_PLAN_MS.saturating_add(rounding_ms))
}

/// Returns what a job may use at most: one image a scene, speech by the text's length, video by
/// the longer of stated duration and speech, storage by the encoder's bitrate cap.
pub fn upper_bounds(shape: &JobShape) -> Vec<Item> {
    let length_ms = length_bound_ms(shape);
    let speech_ms = shape.scenes.iter().copied().map(speech_bound_ms).fold(0, u64::saturating_add);
    let amounts = [
        ("images", u64::try_from(shape.scenes.len()).unwrap_or(u64::MAX)),
        ("tts_ms", speech_ms.min(MAX_PLAN_MS)),
        ("render_ms", length_ms),
        ("storage_bytes", storage_bound_bytes(shape.resolution, length_ms)),
    ];
    amounts
        .into_iter()
        .filter(|(_, amount)| *amount > 0)
        .filter_map(|(meter, amount)| Some(Item { meter: meter.parse().ok()?, amount }))
        .collect()
}

/// Returns the most that a video of a length weighs, its segments not counted: they are removed
/// when it is done.
fn storage_bound_bytes(resolution: Resolution, length_ms: u64) -> u64 {
    // Rounded up to the second.
    let seconds = length_ms.div_ceil(1_000);
    seconds.saturating_mul(resolution.max_bytes_per_s()).saturating_add(STORAGE_BASE_BYTES)
}

/// Cuts a scene into parts of at most [`SEGMENT_MAX_MS`] and about the same length each.
pub fn segment_lengths_ms(scene_ms: u64) -> Vec<u32> {
    let count = scene_ms.div_ceil(SEGMENT_TARGET_MS).max(1);
    let boundary = |index: u64| {
        if index == count {
            return scene_ms;
        }
        let even = scene_ms.saturating_mul(index).checked_div(count).unwrap_or(0);
        even.saturating_sub(even.checked_rem(SEGMENT_GRID_MS).unwrap_or(0))
    };
    (0..count)
        .map(|index| {
            let length = boundary(index.saturating_add(1)).saturating_sub(boundary(index));
            u32::try_from(length).unwrap_or(SEGMENT_MAX_MS)
        })
        .collect()
}

/// How long an attempt at each kind of step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTimeouts {
    /// For an image.
    pub image_ms: u64,
    /// For speech.
    pub speech_ms: u64,
    /// For a segment.
    pub segment_ms: u64,
    /// For joining, whatever it weighs.
    pub assemble_ms: u64,
    /// For each mebibyte that is joined, on top.
    pub assemble_ms_per_mib: u64,
    /// For publishing.
    pub publish_ms: u64,
}

impl Default for StepTimeouts {
    fn default() -> Self {
        Self {
            image_ms: 60_000,
            speech_ms: 60_000,
            segment_ms: 60_000,
            assemble_ms: 60_000,
            assemble_ms_per_mib: 100,
            publish_ms: 60_000,
        }
    }
}

impl StepTimeouts {
    /// Returns how long an attempt may take; `input_bytes` is what `assemble` joins.
    pub fn timeout_ms(&self, step: StepName, input_bytes: u64) -> u64 {
        match step {
            StepName::Image(_) => self.image_ms,
            StepName::Speech(_) => self.speech_ms,
            StepName::Segment(..) => self.segment_ms,
            StepName::Assemble => {
                let mebibytes = input_bytes.div_ceil(1024 * 1024);
                self.assemble_ms.saturating_add(mebibytes.saturating_mul(self.assemble_ms_per_mib))
            }
            StepName::Publish => self.publish_ms,
        }
    }
}
