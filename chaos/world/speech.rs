//! A speech provider in the style of OpenAI's speech API: a real WAV, hummed, or spoken by espeak-ng.

use std::process::Stdio;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::image::refused;

/// Samples a second, one channel, 16 bits each: what the real one answers for `wav`.
const SAMPLE_RATE_HZ: u32 = 24_000;

/// How long one character is hummed.
const CHAR_MS: u32 = 60;

/// The longest text that a request may have; the real one takes 4,096 characters.
const MAX_CHARS: usize = 4_096;

/// Loudness of the hum, of 32,767.
const AMPLITUDE: f64 = 9_000.0;

/// What is read of a request; other fields are taken and ignored.
#[derive(Debug, Deserialize)]
pub(super) struct SpeechRequest {
    input: String,
    #[serde(default)]
    response_format: Option<String>,
    #[serde(default)]
    voice: String,
}

/// Hums the text; speaks it instead when that is wanted and espeak-ng is there.
pub(super) async fn answer(request: &SpeechRequest, is_spoken: bool) -> Response {
    let chars = request.input.chars().count();
    if chars == 0 || chars > MAX_CHARS {
        return refused("input must have 1 to 4096 characters");
    }
    if request.response_format.as_deref() != Some("wav") {
        return refused("this provider answers wav alone: set response_format");
    }
    let spoken = if is_spoken { speak(request).await } else { None };
    let wav = spoken.unwrap_or_else(|| wav(&request.input));
    ([(CONTENT_TYPE, "audio/wav")], wav).into_response()
}

/// The text in one of espeak-ng's English voices; `None` when there is no espeak-ng.
async fn speak(request: &SpeechRequest) -> Option<Vec<u8>> {
    let is_deep = ["onyx", "echo", "fable", "ash"].contains(&request.voice.as_str());
    let voice = if is_deep { "en-gb+m3" } else { "en-gb+f3" };
    let mut child = Command::new("espeak-ng")
        .args(["--stdin", "--stdout", "-b", "1", "-s", "155", "-v", voice])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    // The text is far smaller than what a pipe takes before its reader must read.
    let mut stdin = child.stdin.take()?;
    stdin.write_all(request.input.as_bytes()).await.ok()?;
    drop(stdin);
    let output = child.wait_with_output().await.ok()?;
    output.status.success().then_some(output.stdout).filter(|wav| wav.starts_with(b"RIFF"))
}

/// A success that is no sound.
pub(super) fn garbage() -> Response {
    ([(CONTENT_TYPE, "audio/wav")], "RIFF but not really").into_response()
}

#[expect(clippy::cast_possible_truncation, reason = "the amplitude is far below the limit of i16")]
fn wav(text: &str) -> Vec<u8> {
    let per_char = SAMPLE_RATE_HZ * CHAR_MS / 1_000;
    let mut samples = Vec::new();
    for char in text.chars() {
        // Letters hum on a scale of their own, everything else is a pause.
        let pitch_hz = if char.is_alphanumeric() { 180 + 12 * (u32::from(char) % 16) } else { 0 };
        for index in 0..per_char {
            let turn = f64::from(pitch_hz * index) / f64::from(SAMPLE_RATE_HZ);
            let fade = (std::f64::consts::PI * f64::from(index) / f64::from(per_char)).sin();
            let sample = (std::f64::consts::TAU * turn).sin() * fade * AMPLITUDE;
            samples.extend_from_slice(&(sample as i16).to_le_bytes());
        }
    }
    let bytes = u32::try_from(samples.len()).unwrap_or(u32::MAX - 36);
    let mut wav = Vec::with_capacity(samples.len() + 44);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(bytes + 36).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    wav.extend_from_slice(&[1, 0, 1, 0]);
    wav.extend_from_slice(&SAMPLE_RATE_HZ.to_le_bytes());
    wav.extend_from_slice(&(SAMPLE_RATE_HZ * 2).to_le_bytes());
    wav.extend_from_slice(&[2, 0, 16, 0]);
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    wav.extend_from_slice(&samples);
    wav
}
