//! The speech step: a provider, then the local voice, then captions over silence.
//!
//! Whoever speaks, the result is the same: one channel of 16-bit samples at a fixed rate without
//! a header, levelled. Its length in bytes is its length in time, so what is charged is counted
//! in samples and not read out of a file that somebody else wrote.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use tenantry_supervision::Deadline;

use super::espeak;
use super::plan::{RenderPlan, SCENE_MS_MAX, Scene, Voice};
use super::provider::{Provider, ProviderError};
use super::runner::{StepError, StepInput};
use super::tools::{Attempt, options};
use crate::tenant::steps::Cause;

/// Samples a second of all speech in the studio.
pub(super) const SAMPLE_RATE: u64 = 24_000;
/// Bytes of a sample.
pub(super) const SAMPLE_BYTES: u64 = 2;
/// The path of speech at a provider.
pub(super) const PROVIDER_PATH: &str = "/v1/audio/speech";

/// Largest answer of a provider: ten minutes of stereo at 48 kHz are 115 MB.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Loudness of all speech, in LUFS: what podcasts and video sites use.
const LOUDNESS_LUFS: f64 = -16.0;
/// Most that speech is made louder or quieter; beyond it is noise, not a quiet voice.
const GAIN_DB_MAX: f64 = 24.0;
/// Quieter than this is silence, which stays silence.
const SILENCE_LUFS: f64 = -60.0;
/// How long one reads a letter of a caption, and a caption at least.
const READING_MS_PER_CHAR: u64 = 65;
const READING_MS_MIN: u64 = 1_500;

/// Speech, or the silence that stands for it.
#[derive(Debug)]
pub(super) struct Spoken {
    /// Samples as described above.
    pub(super) file: PathBuf,
    /// How long it is.
    pub(super) duration_ms: u64,
    /// Whether a voice is heard: only that is charged.
    pub(super) has_voice: bool,
    /// Why it is less than was asked for.
    pub(super) degraded: Option<Cause>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    voice: &'a str,
    input: &'a str,
    response_format: &'a str,
}

/// Speaks the narration of one scene.
pub(super) async fn make(
    attempt: Attempt<'_>,
    provider: Option<&Provider>,
    input: &StepInput,
    scene: &Scene,
) -> Result<Spoken, StepError> {
    let text = scene.narration.trim();
    if text.is_empty() {
        return silence(&attempt, 0, None).await;
    }
    let mut degraded = None;
    if let Some(provider) = provider {
        let until = share(attempt.deadline, 50);
        match from_provider(&attempt.until(until), provider, &input.plan, text).await {
            Ok(spoken) => return Ok(spoken),
            Err(error) if falls_back(&error, input.is_last_attempt) => {
                degraded = Some(Cause::LocalVoice);
                tracing::warn!(step = %input.step, %error, "speech falls back to the local voice");
            }
            Err(error) => return Err(error),
        }
    }
    let until = if input.is_last_attempt { share(attempt.deadline, 75) } else { attempt.deadline };
    match local(&attempt.until(until), &input.plan, text).await {
        Ok(spoken) => Ok(Spoken { degraded, ..spoken }),
        Err(error) if input.is_last_attempt && !is_final(&error) => {
            tracing::warn!(step = %input.step, %error, "speech falls back to captions");
            silence(&attempt, reading_ms(text), Some(Cause::CaptionedSilence)).await
        }
        Err(error) => Err(error),
    }
}

/// Tells whether to go on to the fallback at once instead of trying the provider again.
fn falls_back(error: &StepError, is_last_attempt: bool) -> bool {
    let is_hopeless = matches!(error.code, "provider-refused" | "provider-breaker-open");
    !is_final(error) && (is_last_attempt || is_hopeless)
}

/// Cancelled, or too long in anybody's voice: no fallback helps.
fn is_final(error: &StepError) -> bool {
    matches!(error.code, "cancelled" | "speech-too-long" | "storage-full")
}

/// A deadline after so many hundredths of the time that is left.
pub(super) fn share(deadline: Deadline, percent: u32) -> Deadline {
    let rest = deadline.remaining();
    deadline.earlier_by(rest.saturating_sub(rest * percent / 100))
}

async fn from_provider(
    attempt: &Attempt<'_>,
    provider: &Provider,
    plan: &RenderPlan,
    text: &str,
) -> Result<Spoken, StepError> {
    let voice = match plan.voice {
        Voice::F => "nova",
        Voice::M => "onyx",
    };
    let request = Request { model: provider.model(), voice, input: text, response_format: "wav" };
    let asked = provider.post(&request, ANSWER_BYTES_MAX, attempt.deadline, checked_wav);
    let wav = tokio::select! {
        biased;
        () = attempt.cancel.cancelled() => return Err(StepError::interrupted()),
        wav = asked => wav?,
    };
    let file = attempt.dir.join("provider.wav");
    tokio::fs::write(&file, wav).await?;
    level(attempt, &file).await
}

fn checked_wav(answer: Bytes) -> Result<Bytes, ProviderError> {
    let is_wav = answer.starts_with(b"RIFF") && answer.get(8..12) == Some(b"WAVE".as_slice());
    if is_wav { Ok(answer) } else { Err(ProviderError::Garbage("not a WAV file")) }
}

async fn local(attempt: &Attempt<'_>, plan: &RenderPlan, text: &str) -> Result<Spoken, StepError> {
    let file = attempt.dir.join("espeak.wav");
    let wav = espeak::speak(attempt, text, &plan.language, plan.voice)
        .await
        .map_err(|error| error.into_step_error("voice-failed"))?;
    if wav.len() >= espeak::SOUND_BYTES_MAX {
        return Err(too_long());
    }
    tokio::fs::write(&file, wav).await?;
    level(attempt, &file).await
}

/// Brings speech to the studio's rate and loudness.
async fn level(attempt: &Attempt<'_>, wav: &Path) -> Result<Spoken, StepError> {
    let longest = format!("{}", (SCENE_MS_MAX + 1_000) / 1_000);
    let input = |mut args: Vec<std::ffi::OsString>| {
        let mut all = options(["-f", "wav", "-i"]);
        all.push(wav.into());
        all.append(&mut options(["-map", "0:a:0", "-t", &longest]));
        all.append(&mut args);
        all
    };
    let measure = options(["-af", "aresample=24000,ebur128=framelog=verbose", "-f", "null", "-"]);
    let measured = attempt.ffmpeg_telling(input(measure)).await?;
    let filter = match gain_db(&measured.stderr) {
        Some(gain) => format!("volume={gain:.2}dB,alimiter=limit=0.89:level=disabled"),
        None => "anull".to_owned(),
    };
    let file = attempt.dir.join("speech.pcm");
    let rate = SAMPLE_RATE.to_string();
    let mut convert =
        options(["-af", &filter, "-ac", "1", "-ar", &rate, "-c:a", "pcm_s16le", "-f", "s16le"]);
    convert.push(file.clone().into());
    attempt.ffmpeg(input(convert)).await?;
    let duration_ms = duration_ms(tokio::fs::metadata(&file).await?.len());
    if duration_ms == 0 {
        return Err(StepError::retryable("speech-empty", "no sound was made"));
    }
    if duration_ms > SCENE_MS_MAX {
        return Err(too_long());
    }
    Ok(Spoken { file, duration_ms, has_voice: true, degraded: None })
}

fn too_long() -> StepError {
    StepError::permanent("speech-too-long", "longer than a scene may be")
}

/// Reads the measured loudness and returns the change that brings it to ours.
fn gain_db(report: &str) -> Option<f64> {
    let line = report.lines().rev().find_map(|line| line.trim().strip_prefix("I:"))?;
    let loudness: f64 = line.trim().strip_suffix("LUFS")?.trim().parse().ok()?;
    let is_sound = loudness.is_finite() && loudness > SILENCE_LUFS;
    is_sound.then(|| (LOUDNESS_LUFS - loudness).clamp(-GAIN_DB_MAX, GAIN_DB_MAX))
}

async fn silence(
    attempt: &Attempt<'_>,
    duration_ms: u64,
    degraded: Option<Cause>,
) -> Result<Spoken, StepError> {
    let file = attempt.dir.join("speech.pcm");
    let made = tokio::fs::File::create(&file).await?;
    made.set_len(bytes_of(duration_ms)).await?;
    Ok(Spoken { file, duration_ms, has_voice: false, degraded })
}

/// How long captions of a text must be shown to be read.
fn reading_ms(text: &str) -> u64 {
    let chars = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    chars.saturating_mul(READING_MS_PER_CHAR).clamp(READING_MS_MIN, SCENE_MS_MAX)
}

/// Whole milliseconds of so many bytes of samples.
pub(super) fn duration_ms(bytes: u64) -> u64 {
    bytes / SAMPLE_BYTES * 1_000 / SAMPLE_RATE
}

/// Bytes of so many milliseconds of samples.
pub(super) fn bytes_of(duration_ms: u64) -> u64 {
    duration_ms * SAMPLE_RATE / 1_000 * SAMPLE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loudness_is_read_from_the_summary() {
        let report = "[x] t: 1 M: -20 S:-120 I: -70.0 LUFS\n Summary:\n\n  Integrated loudness:\n    I:         -22.5 LUFS\n    Threshold: -32.9 LUFS\n\n  LRA: 0.0 LU";

        assert_eq!(gain_db(report), Some(6.5));
        assert_eq!(gain_db(&report.replace("-22.5", "-70.0")), None);
        assert_eq!(gain_db(&report.replace("-22.5", "-45.0")), Some(GAIN_DB_MAX));
        assert_eq!(gain_db(&report.replace("-22.5", "nan")), None);
        assert_eq!(gain_db("garbage"), None);
    }

    #[test]
    fn time_is_counted_in_samples() {
        assert_eq!(bytes_of(1_000), 48_000);
        assert_eq!(duration_ms(48_000), 1_000);
        assert_eq!(duration_ms(0), 0);
        assert_eq!(duration_ms(bytes_of(600_000)), 600_000);
    }

    #[test]
    fn captions_stay_long_enough_to_be_read() {
        assert_eq!(reading_ms("Oh"), READING_MS_MIN);
        assert_eq!(reading_ms(&"x".repeat(100)), 6_500);
        assert_eq!(reading_ms(&"x".repeat(100_000)), SCENE_MS_MAX);
    }
}
