//! Looks at encoded files before they count.

use std::path::Path;

use serde::Deserialize;

use super::runner::StepError;
use super::tools::{Attempt, options};

/// How far a file's length may be from what was meant: a frame and a packet of sound.
const TOLERANCE_MS: u64 = 120;

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) duration_ms: u64,
    pub(super) has_sound: bool,
}

#[derive(Debug, Deserialize)]
struct Report {
    #[serde(default)]
    streams: Vec<Stream>,
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    codec_type: Option<String>,
    codec_name: Option<String>,
    pix_fmt: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    avg_frame_rate: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Format {
    duration: Option<String>,
}

/// Checks a file with ffprobe: codecs, size, frame rate, length, sound.
pub(super) async fn check(
    attempt: &Attempt<'_>,
    file: &Path,
    expected: &Expected,
) -> Result<u64, StepError> {
    let mut args = options(["-f", "mp4", "-show_streams", "-show_format", "-of", "json", "-i"]);
    args.push(file.into());
    let report = attempt.ffprobe(args).await?;
    judge(&report, expected).map_err(|fault| StepError::retryable("output-invalid", fault))
}

/// Returns the length in milliseconds, or what is wrong.
fn judge(report: &[u8], expected: &Expected) -> Result<u64, &'static str> {
    let report: Report = serde_json::from_slice(report).map_err(|_| "no report")?;
    let of_kind = |kind: &str| {
        let streams = report.streams.iter();
        streams.filter(|stream| stream.codec_type.as_deref() == Some(kind)).collect::<Vec<_>>()
    };
    let [video] = of_kind("video")[..] else { return Err("not one video stream") };
    if video.codec_name.as_deref() != Some("h264") || video.pix_fmt.as_deref() != Some("yuv420p") {
        return Err("not H.264 in yuv420p");
    }
    if (video.width, video.height) != (Some(expected.width), Some(expected.height)) {
        return Err("another size");
    }
    if video.avg_frame_rate.as_deref() != Some("25/1") {
        return Err("another frame rate");
    }
    match (&of_kind("audio")[..], expected.has_sound) {
        ([], false) => {}
        ([audio], true) if audio.codec_name.as_deref() == Some("aac") => {}
        _ => return Err("other sound than expected"),
    }
    let duration = report.format.and_then(|format| format.duration);
    let duration_ms = duration.as_deref().and_then(milliseconds).ok_or("no length")?;
    if duration_ms.abs_diff(expected.duration_ms) > TOLERANCE_MS {
        return Err("another length");
    }
    Ok(duration_ms)
}

/// Reads ffprobe's seconds (`12.345000`); `N/A`, `nan` and negative ones are none.
fn milliseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected =
        Expected { width: 1280, height: 720, duration_ms: 2_000, has_sound: true };
    const GOOD: &str = r#"{"streams":[
        {"codec_type":"video","codec_name":"h264","pix_fmt":"yuv420p","width":1280,"height":720,
         "avg_frame_rate":"25/1"},
        {"codec_type":"audio","codec_name":"aac","avg_frame_rate":"0/0"}],
        "format":{"duration":"2.021000"}}"#;

    fn fault(report: &str) -> &'static str {
        judge(report.as_bytes(), &EXPECTED).unwrap_err()
    }

    #[test]
    fn a_good_file_is_accepted_with_its_length() {
        assert_eq!(judge(GOOD.as_bytes(), &EXPECTED), Ok(2_021));
    }

    #[test]
    fn everything_else_is_told_apart() {
        assert_eq!(fault("{}"), "not one video stream");
        assert_eq!(fault("garbage"), "no report");
        assert_eq!(fault(&GOOD.replace("h264", "hevc")), "not H.264 in yuv420p");
        assert_eq!(fault(&GOOD.replace("yuv420p", "yuv444p")), "not H.264 in yuv420p");
        assert_eq!(fault(&GOOD.replace("1280", "1282")), "another size");
        assert_eq!(fault(&GOOD.replace("25/1", "30/1")), "another frame rate");
        assert_eq!(fault(&GOOD.replace("aac", "mp3")), "other sound than expected");
        assert_eq!(fault(&GOOD.replace("2.021000", "2.200000")), "another length");
        assert_eq!(fault(&GOOD.replace("2.021000", "nan")), "no length");
        assert_eq!(fault(&GOOD.replace("2.021000", "-2.0")), "no length");
        assert_eq!(fault(&GOOD.replace("2.021000", "N/A")), "no length");
    }
}
