//! Providers that answer, and providers that misbehave.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tenantry_supervision::BreakerState;

use super::double::{Double, Mood};
use super::*;
use crate::tenant::steps::{Cause, FailKind};

/// Long for a provider on the same machine, short for a test.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(20);
const IMPATIENT: Duration = Duration::from_millis(300);
const IMAGE: StepName = StepName::Image(1);
const SPEECH: StepName = StepName::Speech(1);

fn picture_in(format: &str) -> Vec<u8> {
    let output = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "color=red:s=300x200", "-frames:v", "1"])
        .args(["-c:v", format, "-f", "image2pipe", "-"])
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

fn answer_with(picture: &[u8]) -> Mood {
    let answer = json!({"created": 1, "data": [{"b64_json": STANDARD.encode(picture)}]});
    Mood::Answer(answer.to_string().into_bytes())
}

/// Two seconds of a quiet tone, with the endless lengths of a streamed header.
fn streamed_wav() -> Vec<u8> {
    let rate: u32 = 16_000;
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * 2).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data\xff\xff\xff\xff");
    for index in 0..rate * 2 {
        let sample: i16 = if index / 20 % 2 == 0 { 300 } else { -300 };
        wav.extend(sample.to_le_bytes());
    }
    wav
}

struct House {
    workshop: Workshop,
    image: Double,
    speech: Double,
    plan: Arc<RenderPlan>,
}

impl House {
    async fn open(image: Mood, speech: Mood, timeout: Duration) -> Self {
        Self::with_tools(image, speech, timeout, Tools::default()).await
    }

    async fn with_tools(image: Mood, speech: Mood, timeout: Duration, tools: Tools) -> Self {
        let (image, speech) = (Double::start(image).await, Double::start(speech).await);
        let workshop = Workshop::with(|settings| {
            settings.image = Some(image.settings(timeout));
            settings.speech = Some(speech.settings(timeout));
            settings.tools = tools;
        })
        .await;
        Self { workshop, image, speech, plan: example("story-3-scenes.json") }
    }

    async fn first(&self, step: StepName) -> Result<StepResult, StepError> {
        self.workshop.run(self.workshop.input(&self.plan, step)).await
    }

    async fn last(&self, step: StepName) -> Result<StepResult, StepError> {
        let mut input = self.workshop.input(&self.plan, step);
        input.attempt = 4;
        input.is_last_attempt = true;
        self.workshop.run(input).await
    }

    fn breaker(&self, index: usize) -> BreakerState {
        self.workshop.studio.breakers()[index].state()
    }
}

#[tokio::test]
async fn a_providers_picture_is_brought_to_the_videos_size() {
    for format in ["png", "mjpeg", "libwebp"] {
        let picture = picture_in(format);
        let house = House::open(answer_with(&picture), Mood::Hang, PROVIDER_TIMEOUT).await;

        let made = house.first(IMAGE).await.unwrap();

        let file = house.workshop.fetch(&made, "made.png").await;
        assert_eq!(probed(&file, "stream=codec_name,width,height"), "png,1280,720", "{format}");
        assert_eq!(made.degraded, None);
        assert_eq!((made.usage[0].meter.as_str(), made.usage[0].amount), ("images", 1));
        let (head, body) = house.image.seen().remove(0);
        assert!(head.starts_with("post /v1/images/generations http/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: bearer sk-test"));
        let prompt = &house.plan.scenes[0].image_prompt;
        assert_eq!(
            body,
            json!({"model": "model-1", "prompt": prompt, "size": "1792x1024", "n": 1,
                "response_format": "b64_json"})
        );
    }
}

#[tokio::test]
async fn a_providers_speech_is_levelled_and_charged_by_its_length() {
    let house = House::open(Mood::Hang, Mood::Answer(streamed_wav()), PROVIDER_TIMEOUT).await;

    let made = house.first(SPEECH).await.unwrap();

    assert_eq!(made.degraded, None);
    assert_eq!(made.duration_ms, 2_000);
    assert_eq!((made.usage[0].meter.as_str(), made.usage[0].amount), ("tts_ms", 2_000));
    let samples = std::fs::read(house.workshop.fetch(&made, "made.pcm").await).unwrap();
    let loudest =
        samples.chunks(2).map(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs()).max().unwrap();
    assert!(loudest > 2_000, "made louder: {loudest}");
    let (_, body) = house.speech.seen().remove(0);
    assert_eq!(body["input"], house.plan.scenes[0].narration);
    assert_eq!(body["response_format"], "wav");
    assert_eq!(body["voice"], "nova");
}

#[tokio::test]
async fn garbage_is_told_apart_and_tried_again_before_the_fallback() {
    let png = picture_in("png");
    let html = b"<html>Sorry</html>".to_vec();
    let data = |text: &str| Mood::Answer(json!({"data": [{"b64_json": text}]}).to_string().into());
    for (what, mood) in [
        ("html", Mood::Answer(html.clone())),
        ("nothing", Mood::Answer(Vec::new())),
        ("no data", Mood::Answer(b"{\"data\":[]}".to_vec())),
        ("not base64", data("%%%")),
        ("not a picture", answer_with(&html)),
        ("half a picture", answer_with(&png[..40])),
        ("a playlist", answer_with(b"#EXTM3U\nfile:///etc/passwd\n")),
    ] {
        let house = House::open(mood, Mood::Hang, PROVIDER_TIMEOUT).await;

        let failed = house.first(IMAGE).await.unwrap_err();
        let made = house.last(IMAGE).await.unwrap();

        assert_eq!((failed.kind, failed.code), (FailKind::Retryable, "provider-garbage"), "{what}");
        assert_eq!(made.degraded, Some(Cause::DrawnCard), "{what}");
        assert!(house.workshop.scratch_is_empty());
    }
}

#[tokio::test]
async fn endless_and_broken_answers_end() {
    let house = House::open(Mood::Endless, Mood::Truncate(streamed_wav()), PROVIDER_TIMEOUT).await;

    assert_eq!(house.first(IMAGE).await.unwrap_err().code, "provider-garbage");
    assert_eq!(house.first(SPEECH).await.unwrap_err().code, "provider-unavailable");
    assert_eq!(house.last(SPEECH).await.unwrap().degraded, Some(Cause::LocalVoice));
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone_and_the_fallback_comes_at_once() {
    let house = House::open(Mood::Status(500), Mood::Status(429), PROVIDER_TIMEOUT).await;

    for _ in 0..5 {
        assert_eq!(house.first(IMAGE).await.unwrap_err().code, "provider-unavailable");
        assert_eq!(house.first(SPEECH).await.unwrap_err().code, "provider-unavailable");
    }
    assert_eq!((house.breaker(0), house.breaker(1)), (BreakerState::Open, BreakerState::Open));
    let asked = house.image.seen().len();

    assert_eq!(house.first(IMAGE).await.unwrap().degraded, Some(Cause::DrawnCard));
    assert_eq!(house.first(SPEECH).await.unwrap().degraded, Some(Cause::LocalVoice));
    assert_eq!(house.image.seen().len(), asked, "it was not asked");
}

#[tokio::test]
async fn a_refused_prompt_falls_back_at_once_and_says_nothing_about_the_provider() {
    let house = House::open(Mood::Status(400), Mood::Status(422), PROVIDER_TIMEOUT).await;

    assert_eq!(house.first(IMAGE).await.unwrap().degraded, Some(Cause::DrawnCard));
    assert_eq!(house.first(SPEECH).await.unwrap().degraded, Some(Cause::LocalVoice));
    assert_eq!((house.breaker(0), house.breaker(1)), (BreakerState::Closed, BreakerState::Closed));
}

#[tokio::test]
async fn a_provider_that_hangs_counts_as_failing_and_comes_back() {
    let house = House::open(Mood::Hang, Mood::Hang, IMPATIENT).await;

    assert_eq!(house.first(IMAGE).await.unwrap_err().code, "provider-unavailable");
    assert_eq!(house.last(SPEECH).await.unwrap().degraded, Some(Cause::LocalVoice));

    house.image.set(answer_with(&picture_in("png")));
    assert_eq!(house.last(IMAGE).await.unwrap().degraded, None);
}

#[tokio::test]
async fn without_any_voice_captions_stand_over_silence_and_cost_nothing() {
    let broken = tempfile::tempdir().unwrap();
    // Lists its voices, and fails to speak.
    let espeak = script(broken.path(), "[ \"$1\" = --voices ] && exec espeak-ng --voices; exit 1");
    let tools = Tools { espeak_ng: espeak, ..Tools::default() };
    let house = House::with_tools(Mood::Hang, Mood::Status(503), PROVIDER_TIMEOUT, tools).await;
    house.speech.set(Mood::Status(400));

    assert_eq!(house.first(SPEECH).await.unwrap_err().code, "voice-failed");
    let silent = house.last(SPEECH).await.unwrap();

    assert_eq!(silent.degraded, Some(Cause::CaptionedSilence));
    assert_eq!(silent.usage, []);
    assert!(silent.duration_ms >= 1_500, "long enough to read the captions");
}
