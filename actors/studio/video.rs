//! The segment step: at most ten seconds of one scene, encoded without sound.
//!
//! The picture is enlarged first and then moved over, so that motion is finer than a pixel and
//! does not tremble. All segments are encoded alike, which is what lets them be joined by copying.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry_supervision::spawn_blocking;

use super::captions::{self, Caption};
use super::image::Drawing;
use super::plan::{Resolution, Scene};
use super::probe::{self, Expected};
use super::runner::StepError;
use super::tools::{Attempt, options};
use crate::tenant::steps::Span;

/// Frames a second of every video.
pub(super) const FRAMES_PER_S: u64 = 25;
/// Milliseconds of a frame: a whole number, so that times add up.
pub(super) const FRAME_MS: u64 = 1_000 / FRAMES_PER_S;
/// Ticks a second of every segment's time base; a multiple of the frame rate.
const TIMESCALE: &str = "12800";
/// How much closer the picture comes over a scene.
const ZOOM: f64 = 0.06;
/// Most captions of one segment; more would be too short to read.
const CAPTIONS_MAX: usize = 64;

/// One segment to encode.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    /// The picture, of the video's size.
    pub(super) picture: PathBuf,
    /// The scene.
    pub(super) scene: &'a Scene,
    /// The scene's number, which decides the direction of motion.
    pub(super) number: u8,
    /// How long the scene is.
    pub(super) scene_ms: u64,
    /// How long its speech is.
    pub(super) spoken_ms: u64,
    /// Which part of the scene this is.
    pub(super) span: Span,
    /// The video's size.
    pub(super) resolution: Resolution,
}

/// An encoded segment.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) file: PathBuf,
    pub(super) duration_ms: u64,
}

/// The number of frames that begin before a time: boundaries of neighbours meet exactly.
pub(super) fn frames_before(time_ms: u64) -> u64 {
    time_ms.div_ceil(FRAME_MS)
}

/// Encodes a segment and looks at what came out.
pub(super) async fn encode(
    attempt: Attempt<'_>,
    drawing: &Drawing,
    segment: &Segment<'_>,
) -> Result<Encoded, StepError> {
    let start_ms = segment.span.start_ms;
    let end_ms = start_ms + u64::from(segment.span.length_ms);
    let (first, last) = (frames_before(start_ms), frames_before(end_ms));
    let frames = last.saturating_sub(first);
    if frames == 0 {
        return Err(StepError::permanent("segment-empty", "shorter than a frame"));
    }
    let captions = captions::of_narration(&segment.scene.narration, segment.spoken_ms);
    let list = draw_captions(&attempt, drawing, segment, (captions, start_ms, end_ms)).await?;
    let file = attempt.dir.join("segment.mp4");
    let motion = Motion { segment, first, frames, total: frames_before(segment.scene_ms).max(1) };
    attempt.ffmpeg(arguments(&motion, &list, &file)).await?;
    let (width, height) = segment.resolution.size_px();
    let expected = Expected { width, height, duration_ms: frames * FRAME_MS, has_sound: false };
    probe::check(&attempt, &file, &expected).await?;
    Ok(Encoded { file, duration_ms: frames * FRAME_MS })
}

fn arguments(motion: &Motion<'_>, list: &Path, file: &Path) -> Vec<OsString> {
    let resolution = motion.segment.resolution;
    let mut args = options(["-f", "png_pipe", "-i"]);
    args.push(motion.segment.picture.clone().into());
    args.extend(options(["-f", "concat", "-i"]));
    args.push(list.into());
    args.extend(options(["-filter_complex", &motion.filter(), "-map", "[video]", "-an"]));
    args.extend(options(["-frames:v", &motion.frames.to_string()]));
    args.extend(encoder(resolution));
    args.extend(options(["-video_track_timescale", TIMESCALE, "-f", "mp4"]));
    args.push(file.into());
    args
}

/// The encoder's options, equal for all segments of a video.
fn encoder(resolution: Resolution) -> Vec<OsString> {
    let (rate_kbit, buffer_kbit) = rates_kbit(resolution);
    let preset = match resolution {
        Resolution::Hd => "veryfast",
        Resolution::FullHd => "superfast",
        // Four times the pixels in the same time.
        Resolution::Uhd => "ultrafast",
    };
    let (rate, buffer) = (format!("{rate_kbit}k"), format!("{buffer_kbit}k"));
    let mut args = options(["-c:v", "libx264", "-preset", preset, "-profile:v", "high"]);
    args.extend(options(["-crf", "23", "-maxrate", &rate, "-bufsize", &buffer]));
    // Without reordered frames segments begin at zero, and join without a gap.
    args.extend(options(["-bf", "0", "-g", "50", "-threads", "2", "-pix_fmt", "yuv420p"]));
    args.extend(options(["-color_primaries", "bt709", "-color_trc", "bt709"]));
    args.extend(options(["-colorspace", "bt709", "-color_range", "tv", "-map_metadata", "-1"]));
    args
}

/// The encoder's cap and its buffer: together with sound below what a job reserves for a second.
fn rates_kbit(resolution: Resolution) -> (u64, u64) {
    let cap_kbit = resolution.max_bytes_per_s() * 8 / 1_000;
    // Sound and container need the rest.
    let rate_kbit = cap_kbit * 80 / 100;
    (rate_kbit, rate_kbit / 2)
}

/// How the picture moves in one segment.
struct Motion<'a> {
    segment: &'a Segment<'a>,
    /// The segment's first frame in its scene.
    first: u64,
    frames: u64,
    /// Frames of the whole scene.
    total: u64,
}

impl Motion<'_> {
    /// The filter graph: numbers of ours alone.
    fn filter(&self) -> String {
        let (width, height) = self.segment.resolution.size_px();
        // In halves: smaller pictures need finer steps for motion to look as smooth.
        let enlarged = match self.segment.resolution {
            Resolution::Hd => 6,
            Resolution::FullHd => 4,
            Resolution::Uhd => 3,
        };
        let (wide, high) = (width * enlarged / 2, height * enlarged / 2);
        let progress = format!("((on+{})/{})", self.first, self.total);
        // Scenes take turns: closer to the left, away from the right, and so on.
        let (zoom, x, y) = match self.segment.number % 4 {
            0 => (format!("1+{ZOOM}*{progress}"), "0.35", "0.5"),
            1 => (format!("1+{ZOOM}*{progress}"), "0.5", "0.5"),
            2 => (format!("1+{ZOOM}*(1-{progress})"), "0.65", "0.4"),
            _ => (format!("1+{ZOOM}*(1-{progress})"), "0.5", "0.6"),
        };
        let strip_top = height - captions::strip_height(height);
        let matrix = "out_color_matrix=bt709:out_range=tv";
        format!(
            "[0:v]scale={wide}:{high}:flags=bicubic:{matrix},format=yuv420p,\
             zoompan=z='{zoom}':x='(iw-iw/zoom)*{x}':y='(ih-ih/zoom)*{y}'\
             :d={frames}:s={width}x{height}:fps={FRAMES_PER_S}[moving];\
             [1:v]format=rgba,scale=iw:ih:{matrix},format=yuva420p[captions];\
             [moving][captions]overlay=x=0:y={strip_top}:eof_action=repeat:format=yuv420,\
             setsar=1,format=yuv420p[video]",
            frames = self.frames,
        )
    }
}

/// Draws the captions that are seen in the segment and lists them for ffmpeg: our own file names
/// and numbers. Returns the list's path.
async fn draw_captions(
    attempt: &Attempt<'_>,
    drawing: &Drawing,
    segment: &Segment<'_>,
    (captions, start_ms, end_ms): (Vec<Caption>, u64, u64),
) -> Result<PathBuf, StepError> {
    let shown = shown_between(captions, start_ms, end_ms);
    let list = attempt.dir.join("captions.txt");
    let (target, dir) = (list.clone(), attempt.dir.to_owned());
    let lettering = Arc::clone(&drawing.lettering);
    let size = segment.resolution.size_px();
    let drawn = spawn_blocking("draw-captions", &drawing.tasks, move || {
        let mut text = String::from("ffconcat version 1.0\n");
        for (index, (caption, length_ms)) in shown.iter().enumerate() {
            let strip = captions::draw(&lettering, caption, size);
            let png = strip.and_then(|strip| strip.encode_png().ok());
            let png = png.ok_or_else(|| std::io::Error::other("not drawn"))?;
            std::fs::write(dir.join(format!("caption-{index:02}.png")), png)?;
            let (s, ms) = (length_ms / 1_000, length_ms % 1_000);
            // Writing to a text cannot fail.
            let _ = write!(text, "file caption-{index:02}.png\nduration {s}.{ms:03}\n");
        }
        std::fs::write(target, text)
    });
    match attempt.deadline.run(drawn).await {
        Ok(Ok(written)) => Ok(written.map(|()| list)?),
        Ok(Err(_)) => Err(StepError::retryable("captions-failed", "could not be drawn")),
        Err(_) => Err(StepError::timed_out()),
    }
}

/// Which texts are seen in a part of the scene and for how long, nothing included.
fn shown_between(captions: Vec<Caption>, start_ms: u64, end_ms: u64) -> Vec<(String, u64)> {
    let mut shown: Vec<(String, u64)> = Vec::new();
    let mut now_ms = start_ms;
    for caption in captions {
        let (from_ms, until_ms) = (caption.from_ms.max(now_ms), caption.until_ms.min(end_ms));
        // What is shorter than a frame is not seen, and time must not run backwards.
        if until_ms < from_ms + FRAME_MS || shown.len() >= CAPTIONS_MAX {
            continue;
        }
        if from_ms > now_ms {
            shown.push((String::new(), from_ms - now_ms));
        }
        shown.push((caption.text, until_ms - from_ms));
        now_ms = until_ms;
    }
    if now_ms < end_ms || shown.is_empty() {
        shown.push((String::new(), (end_ms - now_ms).max(FRAME_MS)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption(text: &str, from_ms: u64, until_ms: u64) -> Caption {
        Caption { text: text.to_owned(), from_ms, until_ms }
    }

    #[test]
    fn a_segment_shows_what_is_said_in_it() {
        let all = || vec![caption("a", 0, 4_000), caption("b", 4_000, 12_000)];

        assert_eq!(
            shown_between(all(), 0, 10_000),
            [("a".to_owned(), 4_000), ("b".to_owned(), 6_000)]
        );
        assert_eq!(
            shown_between(all(), 10_000, 15_000),
            [("b".to_owned(), 2_000), (String::new(), 3_000)]
        );
        assert_eq!(shown_between(all(), 15_000, 16_000), [(String::new(), 1_000)]);
        assert_eq!(shown_between(Vec::new(), 0, 20), [(String::new(), FRAME_MS)]);
    }

    #[test]
    fn neighbouring_segments_share_no_frame() {
        assert_eq!(frames_before(9_800), 245);
        assert_eq!(frames_before(9_801), 246);
        assert_eq!(frames_before(500), 13);
    }

    #[test]
    fn the_encoders_cap_stays_below_what_is_reserved() {
        for resolution in [Resolution::Hd, Resolution::FullHd, Resolution::Uhd] {
            let (rate_kbit, buffer_kbit) = rates_kbit(resolution);
            let sound_kbit = 128;
            let ten_seconds_bytes = (rate_kbit * 10 + buffer_kbit + sound_kbit * 10) * 1_000 / 8;
            assert!(ten_seconds_bytes < resolution.max_bytes_per_s() * 10);
        }
    }
}
