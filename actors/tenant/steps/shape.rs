//! What the job machine knows of a plan and of a step's result: sizes and lengths, never a word
//! of what the client wrote.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::tenant::quota::Item;

/// The longest language tag.
const MAX_LANGUAGE_BYTES: usize = 35;

/// A plan's measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobShape {
    /// The keyed digest of the plan, whose sealed text lies in the tenant's store.
    pub plan_digest: String,
    /// The language of narration.
    pub language: Language,
    /// The voice of narration.
    pub voice: Voice,
    /// The size of the picture.
    pub resolution: Resolution,
    /// The scenes in order.
    pub scenes: Vec<SceneShape>,
}

/// A scene's measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneShape {
    /// Bytes of narration in UTF-8.
    pub text_bytes: u32,
    /// How long the scene lasts unless its speech is longer.
    pub duration_ms: u32,
}

/// A language's tag as the list of voices has it: `en`, `zh-cn`, `en-gb-x-rp`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Language(Arc<str>);

impl Language {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a language's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a language is 1 to 35 letters, digits or `-`")]
pub struct InvalidLanguage;

impl FromStr for Language {
    type Err = InvalidLanguage;

    fn from_str(text: &str) -> Result<Self, InvalidLanguage> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let fits = (1..=MAX_LANGUAGE_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        if fits && !text.starts_with('-') { Ok(Self(text.into())) } else { Err(InvalidLanguage) }
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The voice of narration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Voice {
    /// A woman's.
    F,
    /// A man's.
    M,
}

/// The size of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Resolution {
    /// 1280 × 720.
    #[serde(rename = "720p")]
    Hd,
    /// 1920 × 1080.
    #[serde(rename = "1080p")]
    FullHd,
    /// 3840 × 2160; not in every plan.
    #[serde(rename = "4k")]
    Uhd,
}

impl Resolution {
    /// Returns the name in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hd => "720p",
            Self::FullHd => "1080p",
            Self::Uhd => "4k",
        }
    }

    /// Returns width and height.
    pub fn size_px(self) -> (u32, u32) {
        match self {
            Self::Hd => (1280, 720),
            Self::FullHd => (1920, 1080),
            Self::Uhd => (3840, 2160),
        }
    }

    /// Returns the feature that a plan must include.
    pub fn feature(self) -> Option<&'static str> {
        match self {
            Self::Hd | Self::FullHd => None,
            Self::Uhd => Some("4k"),
        }
    }

    /// Returns the most that a second of video with its sound may weigh: the encoder's cap.
    pub fn max_bytes_per_s(self) -> u64 {
        match self {
            Self::Hd => 625_000,
            Self::FullHd => 1_250_000,
            Self::Uhd => 5_000_000,
        }
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// Where the result lies in the tenant's store.
    pub key: String,
    /// How much it weighs.
    pub bytes: u64,
    /// How long it plays; 0 for a picture.
    pub duration_ms: u64,
    /// What it used, from what the output really is.
    pub usage: Vec<Item>,
    /// Why it is less than was asked for, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Cause>,
    /// Files that the client may fetch; the assembled video and what belongs to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

/// A file that the client may fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name in the address: `video.mp4`.
    pub name: String,
    /// Where it lies in the tenant's store.
    pub key: String,
    /// How much it weighs.
    pub bytes: u64,
    /// What it is.
    pub content_type: String,
}

/// Why a result is less than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The image provider failed; a card with the prompt was drawn.
    DrawnCard,
    /// The speech provider failed; the local voice spoke.
    LocalVoice,
    /// No voice could speak; the words are captions over silence.
    CaptionedSilence,
}

/// Whether a failed attempt is worth another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailKind {
    /// Another attempt may succeed.
    Retryable,
    /// No attempt can.
    Permanent,
    /// The server ended under it; does not count against the attempts.
    Interrupted,
}
