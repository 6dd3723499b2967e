//! The render plan: what a tenant asks the studio to make, its shape and its limits.
//!
//! Pure. [`RenderPlan::from_value`] reads outside JSON and names every fault with a JSON pointer
//! instead of stopping at the first. Durations become whole milliseconds by reading the number's
//! decimal text, so that no float decides what is charged. The serde form is the API's own shape
//! (`duration_s`), which is also how a plan is kept in the tenant's store.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::voices::Voices;
use crate::tenant::steps::{InvalidLanguage, JobShape, SceneShape};
pub use crate::tenant::steps::{Resolution, Voice};

mod reader;
mod seconds;

use reader::Reader;

/// Longest topic: it is a title, and stands in lists.
pub const TOPIC_CHARS_MAX: usize = 200;
/// Longest image prompt: image providers refuse more, and a card stops being readable.
pub const IMAGE_PROMPT_CHARS_MAX: usize = 5_000;
/// Longest narration of one scene.
pub const NARRATION_CHARS_MAX: usize = 5_000;
/// Longest narration of a whole plan: about thirty minutes of speech.
pub const NARRATION_CHARS_TOTAL_MAX: usize = 25_000;
/// Most scenes in a plan; there is at least one.
pub const SCENES_MAX: usize = 20;
/// Shortest scene: less cannot be seen.
pub const SCENE_MS_MIN: u64 = 500;
/// Longest scene.
pub const SCENE_MS_MAX: u64 = 600_000;
/// Longest plan in all.
pub const PLAN_MS_MAX: u64 = 30 * 60 * 1000;
/// Longest language tag that is looked up (`en-gb-scotland` has 14).
pub const LANGUAGE_CHARS_MAX: usize = 32;

/// A checked plan: topic, voice, picture size and one to twenty scenes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderPlan {
    /// What the video is about.
    pub topic: String,
    /// A language tag of `GET /api/voices`.
    pub language: String,
    /// Which of the two voices speaks.
    pub voice: Voice,
    /// Size of the picture.
    pub resolution: Resolution,
    /// The scenes in order.
    pub scenes: Vec<Scene>,
}

/// One picture and what is said over it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// What the picture shows.
    pub image_prompt: String,
    /// What is said; empty for a silent scene.
    pub narration: String,
    /// Stated length; the scene lasts longer when its speech does. `duration_s` outside.
    #[serde(rename = "duration_s", with = "seconds")]
    pub duration_ms: u64,
}

/// One fault of a request: where it is and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body; empty for the body itself.
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

impl RenderPlan {
    /// Reads a plan out of request JSON, naming all its faults at once.
    ///
    /// The language is looked up in `voices`; everything else is a limit of this module.
    pub fn from_value(value: &Value, voices: &Voices) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader::default();
        let plan = reader.plan(value);
        let mut errors = reader.into_errors();
        match plan {
            Some(plan) => match plan.validate(voices) {
                Ok(()) if errors.is_empty() => Ok(plan),
                Ok(()) => Err(errors),
                Err(more) => {
                    errors.extend(more);
                    Err(errors)
                }
            },
            None => Err(errors),
        }
    }

    /// Checks every limit of a plan that has the right shape.
    pub fn validate(&self, voices: &Voices) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        check_text(&mut errors, "/topic", &self.topic, 1, TOPIC_CHARS_MAX);
        if self.language.chars().count() > LANGUAGE_CHARS_MAX || !voices.has(&self.language) {
            fault(&mut errors, "/language", "is not a language that `GET /api/voices` lists");
        }
        if self.scenes.is_empty() || self.scenes.len() > SCENES_MAX {
            fault(&mut errors, "/scenes", &format!("must have 1 to {SCENES_MAX} scenes"));
        }
        // A list of a million scenes must not become a million faults.
        for (index, scene) in self.scenes.iter().take(SCENES_MAX).enumerate() {
            scene.validate(index, &mut errors);
        }
        let total_ms: u64 = self.scenes.iter().fold(0, |sum, s| sum.saturating_add(s.duration_ms));
        if total_ms > PLAN_MS_MAX {
            fault(&mut errors, "/scenes", "may last 30 minutes in all at most");
        }
        let spoken: usize = self.scenes.iter().map(|s| s.narration.chars().count()).sum();
        if spoken > NARRATION_CHARS_TOTAL_MAX {
            let detail =
                format!("may have {NARRATION_CHARS_TOTAL_MAX} characters of narration in all");
            fault(&mut errors, "/scenes", &detail);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns the scene by its number in step names, which begin at 1.
    pub fn scene(&self, number: u8) -> Option<&Scene> {
        self.scenes.get(usize::from(number).checked_sub(1)?)
    }

    /// Measures the plan for the job machine, which never sees its words.
    pub fn shape(&self, plan_digest: String) -> Result<JobShape, InvalidLanguage> {
        let measure = |scene: &Scene| SceneShape {
            text_bytes: u32::try_from(scene.narration.len()).unwrap_or(u32::MAX),
            duration_ms: u32::try_from(scene.duration_ms).unwrap_or(u32::MAX),
        };
        Ok(JobShape {
            plan_digest,
            language: self.language.parse()?,
            voice: self.voice,
            resolution: self.resolution,
            scenes: self.scenes.iter().map(measure).collect(),
        })
    }
}

impl Scene {
    fn validate(&self, index: usize, errors: &mut Vec<FieldError>) {
        let at = |field: &str| format!("/scenes/{index}/{field}");
        check_text(errors, &at("image_prompt"), &self.image_prompt, 1, IMAGE_PROMPT_CHARS_MAX);
        check_text(errors, &at("narration"), &self.narration, 0, NARRATION_CHARS_MAX);
        if !(SCENE_MS_MIN..=SCENE_MS_MAX).contains(&self.duration_ms) {
            fault(errors, &at("duration_s"), "must be between 0.5 and 600 seconds");
        }
    }
}

fn fault(errors: &mut Vec<FieldError>, pointer: &str, detail: &str) {
    errors.push(FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() });
}

fn check_text(errors: &mut Vec<FieldError>, pointer: &str, text: &str, min: usize, max: usize) {
    let chars = text.chars().count();
    if text.contains('\0') {
        fault(errors, pointer, "must not contain the character NUL");
    } else if chars > max {
        fault(errors, pointer, &format!("must have at most {max} characters, has {chars}"));
    } else if min > 0 && text.trim().is_empty() {
        fault(errors, pointer, "must not be empty");
    }
}

#[cfg(test)]
mod tests;
