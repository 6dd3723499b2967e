//! The image step: a provider's picture, else the card that is drawn here.
//!
//! Whoever made it, the result is a PNG of exactly the video's size.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tenantry_supervision::{Tasks, spawn_blocking};

use super::card;
use super::lettering::Lettering;
use super::plan::{Resolution, Scene};
use super::provider::{Provider, ProviderError};
use super::runner::{StepError, StepInput};
use super::speech::share;
use super::tools::{Attempt, options};
use crate::tenant::steps::Cause;

/// The path of images at a provider.
pub(super) const PROVIDER_PATH: &str = "/v1/images/generations";
/// Largest answer of a provider: a 4k PNG in base64 is some 30 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A picture of the video's size.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) file: PathBuf,
    pub(super) degraded: Option<Cause>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    prompt: &'a str,
    size: &'a str,
    n: u8,
    response_format: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Datum>,
}

#[derive(Deserialize)]
struct Datum {
    b64_json: String,
}

/// What a picture's first bytes say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Png,
    Jpeg,
    Webp,
}

/// What draws cards.
#[derive(Debug, Clone)]
pub(super) struct Drawing {
    pub(super) lettering: Arc<Lettering>,
    pub(super) tasks: Tasks,
}

/// Makes the picture of one scene.
pub(super) async fn make(
    attempt: Attempt<'_>,
    provider: Option<&Provider>,
    drawing: &Drawing,
    input: &StepInput,
    scene: &Scene,
) -> Result<Picture, StepError> {
    let resolution = input.plan.resolution;
    let mut degraded = None;
    if let Some(provider) = provider {
        let until = share(attempt.deadline, 66);
        match from_provider(&attempt.until(until), provider, scene, resolution).await {
            Ok(file) => return Ok(Picture { file, degraded: None }),
            Err(error) if falls_back(&error, input.is_last_attempt) => {
                degraded = Some(Cause::DrawnCard);
                tracing::warn!(step = %input.step, %error, "the image falls back to a card");
            }
            Err(error) => return Err(error),
        }
    }
    let file = draw(&attempt, drawing, scene, resolution).await?;
    Ok(Picture { file, degraded })
}

fn falls_back(error: &StepError, is_last_attempt: bool) -> bool {
    match error.code {
        "cancelled" | "storage-full" => false,
        "provider-refused" | "provider-breaker-open" => true,
        _ => is_last_attempt,
    }
}

async fn from_provider(
    attempt: &Attempt<'_>,
    provider: &Provider,
    scene: &Scene,
    resolution: Resolution,
) -> Result<PathBuf, StepError> {
    let request = Request {
        model: provider.model(),
        prompt: &scene.image_prompt,
        // The widest of the sizes that the API knows; brought to ours below.
        size: "1792x1024",
        n: 1,
        response_format: "b64_json",
    };
    let asked = provider.post(&request, ANSWER_BYTES_MAX, attempt.deadline, |a| decoded(&a));
    let (picture, format) = tokio::select! {
        biased;
        () = attempt.cancel.cancelled() => return Err(StepError::interrupted()),
        answer = asked => answer?,
    };
    let received = attempt.dir.join("received");
    tokio::fs::write(&received, picture).await?;
    let file = attempt.dir.join("image.png");
    // Only the decoder of that format: what calls itself a PNG is not opened as a playlist.
    let mut args = options(["-f", format.demuxer(), "-i"]);
    args.push(received.into());
    let (width, height) = resolution.size_px();
    let fill = format!(
        "scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height},setsar=1"
    );
    args.extend(options(["-frames:v", "1", "-vf", &fill, "-pix_fmt", "rgb24", "-c:v", "png"]));
    args.extend(options(["-f", "image2", "-update", "1"]));
    args.push(file.clone().into());
    match attempt.ffmpeg(args).await {
        Ok(_) => Ok(file),
        // A picture that no decoder reads is the provider's fault, not the encoder's.
        Err(error) if error.code == "encoder-failed" => {
            Err(StepError::retryable("provider-garbage", "the picture cannot be decoded"))
        }
        Err(error) => Err(error),
    }
}

fn decoded(answer: &[u8]) -> Result<(Vec<u8>, Format), ProviderError> {
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|_| ProviderError::Garbage("not the JSON asked for"))?;
    let datum = answer.data.first().ok_or(ProviderError::Garbage("no picture"))?;
    let picture =
        STANDARD.decode(&datum.b64_json).map_err(|_| ProviderError::Garbage("not base64"))?;
    let format = Format::of(&picture).ok_or(ProviderError::Garbage("no known picture format"))?;
    Ok((picture, format))
}

impl Format {
    fn of(picture: &[u8]) -> Option<Self> {
        if picture.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if picture.starts_with(&[0xff, 0xd8, 0xff]) {
            Some(Self::Jpeg)
        } else if picture.starts_with(b"RIFF") && picture.get(8..12) == Some(b"WEBP".as_slice()) {
            Some(Self::Webp)
        } else {
            None
        }
    }

    fn demuxer(self) -> &'static str {
        match self {
            Self::Png => "png_pipe",
            Self::Jpeg => "jpeg_pipe",
            Self::Webp => "webp_pipe",
        }
    }
}

async fn draw(
    attempt: &Attempt<'_>,
    drawing: &Drawing,
    scene: &Scene,
    resolution: Resolution,
) -> Result<PathBuf, StepError> {
    let file = attempt.dir.join("card.png");
    let (target, prompt) = (file.clone(), scene.image_prompt.clone());
    let lettering = Arc::clone(&drawing.lettering);
    let drawn = spawn_blocking("draw-card", &drawing.tasks, move || {
        let card = card::draw(&lettering, &prompt, resolution.size_px());
        let png = card.and_then(|card| card.encode_png().ok());
        png.map(|png| std::fs::write(target, png))
    });
    match attempt.deadline.run(drawn).await {
        Ok(Ok(Some(written))) => Ok(written.map(|()| file)?),
        Ok(_) => Err(StepError::retryable("card-failed", "the card could not be drawn; fonts?")),
        Err(_) => Err(StepError::timed_out()),
    }
}
