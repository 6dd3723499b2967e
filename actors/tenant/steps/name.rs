//! The names of steps: `image-01`, `speech-01`, `segment-01-003`, `assemble`, `publish`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names a step of a job. Scenes and segments count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepName {
    /// Makes a scene's image.
    Image(u8),
    /// Makes a scene's speech.
    Speech(u8),
    /// Encodes a part of a scene.
    Segment(u8, u16),
    /// Joins the segments.
    Assemble,
    /// Puts the video somewhere else.
    Publish,
}

impl StepName {
    /// Returns the kind: the label of metrics and the key of timeouts.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Speech(_) => "speech",
            Self::Segment(..) => "segment",
            Self::Assemble => "assemble",
            Self::Publish => "publish",
        }
    }

    /// Returns the scene's number, from 1.
    pub fn scene(self) -> Option<u8> {
        match self {
            Self::Image(scene) | Self::Speech(scene) | Self::Segment(scene, _) => Some(scene),
            Self::Assemble | Self::Publish => None,
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(scene) => write!(f, "image-{scene:02}"),
            Self::Speech(scene) => write!(f, "speech-{scene:02}"),
            Self::Segment(scene, segment) => write!(f, "segment-{scene:02}-{segment:03}"),
            Self::Assemble => f.write_str("assemble"),
            Self::Publish => f.write_str("publish"),
        }
    }
}

/// The text is not a step's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a step's name")]
pub struct InvalidStepName;

impl FromStr for StepName {
    type Err = InvalidStepName;

    fn from_str(text: &str) -> Result<Self, InvalidStepName> {
        let mut parts = text.splitn(3, '-');
        let kind = parts.next().unwrap_or("");
        let scene = parts.next().and_then(|part| part.parse().ok());
        let segment = parts.next().and_then(|part| part.parse().ok());
        let name = match (kind, scene, segment) {
            ("image", Some(scene), None) => Self::Image(scene),
            ("speech", Some(scene), None) => Self::Speech(scene),
            ("segment", Some(scene), Some(segment)) => Self::Segment(scene, segment),
            ("assemble", None, None) => Self::Assemble,
            ("publish", None, None) => Self::Publish,
            _ => return Err(InvalidStepName),
        };
        // One name, one text: `image-1` and `image-+01` are not names.
        if name.to_string() == text { Ok(name) } else { Err(InvalidStepName) }
    }
}

impl Serialize for StepName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
