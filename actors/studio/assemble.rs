//! The assemble step: segments are joined by copying, and the sound is encoded once for all.
//!
//! Encoding sound per segment would leave a gap of an encoder's start at every join. Each scene's
//! speech is padded to exactly its frames, so that sound and picture never drift apart.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

use super::plan::Resolution;
use super::probe::{self, Expected};
use super::runner::StepError;
use super::speech::{SAMPLE_BYTES, SAMPLE_RATE};
use super::tools::{Attempt, options};
use super::video::FRAME_MS;

/// Bytes of sound that belong to one frame.
const FRAME_SOUND_BYTES: u64 = SAMPLE_RATE * FRAME_MS / 1_000 * SAMPLE_BYTES;
/// Bytes written at once while padding.
const PADDING_BYTES: usize = 64 * 1024;

/// One scene's finished parts, fetched to local files.
#[derive(Debug)]
pub(super) struct ScenePart {
    /// File names of the segments in order, in the attempt's folder.
    pub(super) segments: Vec<String>,
    /// The speech, as the speech step made it.
    pub(super) speech: PathBuf,
    /// Frames of all segments.
    pub(super) frames: u64,
}

/// Joins the scenes into one file and looks at it.
pub(super) async fn join(
    attempt: Attempt<'_>,
    scenes: &[ScenePart],
    resolution: Resolution,
) -> Result<Joined, StepError> {
    let list = attempt.dir.join("segments.txt");
    let mut text = String::from("ffconcat version 1.0\n");
    for name in scenes.iter().flat_map(|scene| &scene.segments) {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "file {name}");
    }
    tokio::fs::write(&list, text).await?;
    let sound = attempt.dir.join("sound.pcm");
    write_sound(&sound, scenes).await?;
    let file = attempt.dir.join("video.mp4");
    let rate = SAMPLE_RATE.to_string();
    let mut args = options(["-f", "concat", "-i"]);
    args.push(list.into());
    args.extend(options(["-f", "s16le", "-ar", &rate, "-ac", "1", "-i"]));
    args.push(sound.into());
    args.extend(options(["-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy"]));
    args.extend(options(["-c:a", "aac", "-b:a", "80k", "-ar", "48000", "-ac", "1"]));
    args.extend(options(["-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4"]));
    args.push(file.clone().into());
    attempt.ffmpeg(args).await?;
    let (width, height) = resolution.size_px();
    let frames: u64 = scenes.iter().map(|scene| scene.frames).sum();
    let expected = Expected { width, height, duration_ms: frames * FRAME_MS, has_sound: true };
    let duration_ms = probe::check(&attempt, &file, &expected).await?;
    Ok(Joined { file, duration_ms })
}

/// The finished video.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) file: PathBuf,
    pub(super) duration_ms: u64,
}

/// Writes all speech behind each other, each scene padded or cut to its frames.
async fn write_sound(file: &Path, scenes: &[ScenePart]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(file).await?);
    for scene in scenes {
        let length = scene.frames * FRAME_SOUND_BYTES;
        let mut speech = File::open(&scene.speech).await?.take(length);
        let copied = tokio::io::copy(&mut speech, &mut out).await?;
        let mut missing = length.saturating_sub(copied);
        let silence = vec![0; PADDING_BYTES];
        while missing > 0 {
            let count = usize::try_from(missing).unwrap_or(PADDING_BYTES).min(PADDING_BYTES);
            out.write_all(&silence[..count]).await?;
            missing -= count as u64;
        }
    }
    out.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_scenes_sound_is_as_long_as_its_frames() {
        let dir = tempfile::tempdir().unwrap();
        let (short, long) = (dir.path().join("short"), dir.path().join("long"));
        std::fs::write(&short, vec![1; 1_000]).unwrap();
        std::fs::write(&long, vec![2; 500_000]).unwrap();
        let part = |speech: &Path, frames| ScenePart {
            segments: Vec::new(),
            speech: speech.to_owned(),
            frames,
        };
        let sound = dir.path().join("sound");

        write_sound(&sound, &[part(&short, 100), part(&long, 10)]).await.unwrap();

        let written = std::fs::read(&sound).unwrap();
        assert_eq!(written.len(), 110 * 1_920);
        assert_eq!(written[..1_000], [1; 1_000]);
        assert!(written[1_000..100 * 1_920].iter().all(|byte| *byte == 0));
        assert!(written[100 * 1_920..].iter().all(|byte| *byte == 2));
    }
}
