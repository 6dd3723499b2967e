//! Programs that misbehave, cancellation, hostile text, finished work.

use super::*;
use crate::tenant::steps::FailKind;

const IMAGE: StepName = StepName::Image(1);
const SPEECH: StepName = StepName::Speech(1);
const SEGMENT: StepName = StepName::Segment(1, 1);
/// How soon a step must end after its deadline or cancellation.
const PROMPTLY: Duration = Duration::from_secs(2);

/// Makes a segment's input: picture and speech of the first scene, and its first part.
async fn segment(workshop: &Workshop, plan: &Arc<RenderPlan>, length_ms: u32) -> StepInput {
    let mut input = workshop.input(plan, SEGMENT);
    for step in [IMAGE, SPEECH] {
        let made = workshop.run(workshop.input(plan, step)).await.unwrap();
        input.results.insert(step, made);
    }
    input.span = Some(Span { start_ms: 0, length_ms });
    input
}

/// Opens a workshop with a fake ffmpeg that behaves once the file `fake` says how.
async fn with_fake_ffmpeg(body: &str) -> (tempfile::TempDir, Workshop) {
    let dir = tempfile::tempdir().unwrap();
    let switch = dir.path().join("on");
    let fake = format!("[ -e {0} ] || exec ffmpeg \"$@\"\n{body}", switch.display());
    let ffmpeg = script(dir.path(), &fake);
    let workshop = Workshop::with(|settings| settings.tools.ffmpeg = ffmpeg).await;
    (dir, workshop)
}

/// Tells whether any process works in a folder below this one.
fn somebody_works_below(dir: &Path) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let folders = entries.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
    folders.into_iter().any(|cwd| cwd.starts_with(dir))
}

#[tokio::test]
async fn an_encoder_that_hangs_is_killed_at_the_deadline() {
    let (dir, workshop) =
        with_fake_ffmpeg("trap '' TERM; (sleep 1000 &) ; while :; do sleep 1000; done").await;
    let plan = example("story-3-scenes.json");
    let mut input = segment(&workshop, &plan, 1_000).await;
    std::fs::write(dir.path().join("on"), "").unwrap();
    let begun = tokio::time::Instant::now();
    input.deadline = Deadline::after(Duration::from_millis(800));

    let failed = workshop.run(input).await.unwrap_err();

    assert_eq!((failed.kind, failed.code), (FailKind::Retryable, "step-timeout"));
    assert!(begun.elapsed() < Duration::from_millis(800) + PROMPTLY);
    assert!(workshop.scratch_is_empty());
    workshop.nobody_is_left().await;
}

#[tokio::test]
async fn an_encoder_that_lies_is_found_out() {
    for (body, code) in [
        ("for last; do :; done; echo garbage > \"$last\"; exit 0", "output-invalid"),
        ("exit 0", "output-invalid"),
        ("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1", "encoder-failed"),
        ("kill -SEGV $$", "encoder-failed"),
    ] {
        let (dir, workshop) = with_fake_ffmpeg(body).await;
        let plan = example("story-3-scenes.json");
        let input = segment(&workshop, &plan, 1_000).await;
        std::fs::write(dir.path().join("on"), "").unwrap();

        let failed = workshop.run(input.clone()).await.unwrap_err();

        assert_eq!((failed.kind, failed.code), (FailKind::Retryable, code), "{body}");
        assert!(workshop.scratch_is_empty());
        // Nothing half-made was kept: with a good encoder the next attempt succeeds.
        std::fs::remove_file(dir.path().join("on")).unwrap();
        assert_eq!(workshop.run(input).await.unwrap().duration_ms, 1_000);
    }
}

#[tokio::test]
async fn a_cancelled_encode_ends_promptly_and_leaves_nothing() {
    let workshop = Workshop::open().await;
    let mut plan = RenderPlan::clone(&example("story-3-scenes.json"));
    plan.resolution = plan::Resolution::Uhd;
    plan.scenes[0].duration_ms = 10_000;
    let plan = Arc::new(plan);
    let input = segment(&workshop, &plan, 10_000).await;
    let cancel = CancellationToken::new();
    let running = workshop.studio.run(input, cancel.clone());
    let cancelling = async {
        let encoding = async {
            while !workshop.is_encoding() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, encoding).await.unwrap();
        cancel.cancel();
        tokio::time::Instant::now()
    };

    let (ended, cancelled_at) = tokio::join!(running, cancelling);

    assert_eq!(ended.unwrap_err().kind, FailKind::Interrupted);
    assert!(cancelled_at.elapsed() < PROMPTLY, "{:?}", cancelled_at.elapsed());
    assert!(workshop.scratch_is_empty());
    workshop.nobody_is_left().await;
}

#[tokio::test]
async fn finished_work_is_found_and_not_done_again() {
    let (dir, workshop) = with_fake_ffmpeg("exit 1").await;
    let plan = example("story-3-scenes.json");
    let input = segment(&workshop, &plan, 1_000).await;
    let first = workshop.run(input.clone()).await.unwrap();
    std::fs::write(dir.path().join("on"), "").unwrap();

    let again = workshop.run(StepInput { attempt: 2, ..input.clone() }).await.unwrap();

    assert_eq!(again, first);
    // Another part of the scene is other work.
    let other = StepInput { span: Some(Span { start_ms: 1_000, length_ms: 1_000 }), ..input };
    assert!(workshop.run(other).await.is_err());
    let discarded = workshop.studio.discard(workshop.tenant, workshop.job, Discard::Intermediates);
    discarded.await.unwrap();
    assert_eq!(workshop.store.size_bytes("").await.unwrap(), 0);
}

#[tokio::test]
async fn hostile_text_is_only_text() {
    let canary = tempfile::tempdir().unwrap();
    let touched = canary.path().join("touched");
    let workshop = Workshop::open().await;
    let mut plan = RenderPlan::clone(&example("story-3-scenes.json"));
    plan.scenes.truncate(1);
    plan.scenes[0].duration_ms = 500;
    let path = touched.display();
    plan.scenes[0].narration = format!(
        "'; touch {path} # $(touch {path}) `touch {path}` %{{pts}} \\: {{\\an8}} [in]\n-f /etc/passwd"
    );
    plan.scenes[0].image_prompt = plan.scenes[0].narration.clone();
    for hostile in ["-w/tmp/x --stdout", "--help", "<speak><break time='99999s'/></speak>", "[["] {
        let mut plan = plan.clone();
        plan.scenes[0].narration = hostile.to_owned();
        let mut input = workshop.input(&Arc::new(plan), SPEECH);
        input.job = JobId::generate(&SystemClock);

        let spoken = workshop.run(input).await.unwrap();

        assert!((100..30_000).contains(&spoken.duration_ms), "{hostile}: {}", spoken.duration_ms);
    }
    let plan = Arc::new(plan);

    let mut input = segment(&workshop, &plan, 1_000).await;
    input.span = Some(Span { start_ms: 0, length_ms: 1_000 });
    let encoded = workshop.run(input).await.unwrap();

    assert_eq!(encoded.duration_ms, 1_000);
    assert!(!touched.exists());
}

#[tokio::test]
async fn a_video_that_speech_makes_too_long_is_refused() {
    let workshop = Workshop::open().await;
    let plan = example("story-3-scenes.json");
    let mut input = segment(&workshop, &plan, 1_000).await;
    for number in 1..=3 {
        let mut long = input.results[&SPEECH].clone();
        long.duration_ms = 601_000;
        input.results.insert(StepName::Speech(number), long);
    }

    let failed = workshop.run(input).await.unwrap_err();

    assert_eq!((failed.kind, failed.code), (FailKind::Permanent, "video-too-long"));
}

#[tokio::test]
async fn scratch_folders_of_a_killed_server_are_removed_at_the_next_start() {
    let workshop = Workshop::with(|settings| {
        let stale = settings.scratch_dir.join("segment-01-001-1-abc");
        std::fs::create_dir_all(&stale).unwrap();
        std::fs::write(stale.join("segment.mp4"), "half").unwrap();
    })
    .await;

    assert!(workshop.scratch_is_empty());
}

#[tokio::test]
async fn a_full_scratch_disk_is_told_apart_and_left_empty() {
    let small = tempfile::tempdir().unwrap();
    let mount = |program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.args(args).arg(small.path()).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let is_mounted = mount("mount", &["-t", "tmpfs", "-o", "size=256k", "tmpfs"]);
    // Where nothing may be mounted, an encoder that meets a full disk says the same.
    let (_dir, full) = {
        let dir = tempfile::tempdir().unwrap();
        let says = "echo 'x: No space left on device' >&2; exit 1";
        let ffmpeg = script(dir.path(), says);
        (dir, Tools { ffmpeg, ..Tools::default() })
    };
    let workshop = Workshop::with(|settings| {
        if is_mounted {
            settings.scratch_dir = small.path().to_owned();
        } else {
            settings.tools = full;
        }
    })
    .await;
    let plan = example("story-3-scenes.json");

    let failed = workshop.run(workshop.input(&plan, SPEECH)).await;

    let left = std::fs::read_dir(small.path()).unwrap().count();
    assert!(!is_mounted || mount("umount", &["-l"]));
    let failed = failed.unwrap_err();
    assert_eq!((failed.kind, failed.code), (FailKind::Retryable, "storage-full"), "{failed}");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_missing_voice_costs_speech_and_nothing_else() {
    let workshop = Workshop::with(|settings| {
        settings.tools.espeak_ng = "/nowhere/espeak-ng".into();
    })
    .await;
    let plan = example("story-3-scenes.json");
    let mut input = workshop.input(&plan, SPEECH);
    input.is_last_attempt = true;

    let silent = workshop.run(input).await.unwrap();

    assert_eq!(silent.degraded, Some(crate::tenant::steps::Cause::CaptionedSilence));
    assert!(workshop.studio.voices().has("en-gb"));
}

impl Workshop {
    fn is_encoding(&self) -> bool {
        let scratch = self.dir.path().join("scratch");
        let attempts = std::fs::read_dir(scratch).unwrap().flatten();
        attempts.into_iter().any(|attempt| attempt.path().join("segment.mp4").exists())
    }

    async fn nobody_is_left(&self) {
        let scratch = std::fs::canonicalize(self.dir.path()).unwrap();
        let gone = async {
            while somebody_works_below(&scratch) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(PROMPTLY, gone).await.is_ok(), "a process is left");
    }
}
