//! The example plans, rendered by the real server and looked at with ffprobe.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_chaos::{Api, Stack};
use tokio::process::Command;

use crate::product::{finished, short_plan, submit, video_path};
use crate::support::stack;

/// How long twenty scenes may take on two busy processors.
const LONG_RENDER_WITHIN: Duration = Duration::from_mins(10);

/// How much longer than its scenes a video may be: each is padded to whole frames.
const SLACK_S: f64 = 0.2;

/// What ffprobe says about a file.
async fn probe(path: &Path) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_streams", "-show_format", "-of", "json"])
        .arg(path)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stream<'a>(probed: &'a Value, kind: &str) -> &'a Value {
    let streams = probed["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["codec_type"] == kind).unwrap()
}

fn seconds(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

/// Renders a plan and checks what came out.
async fn render(api: &Api, name: &str, plan: &Value, size: (u32, u32)) {
    let job = submit(api, name, plan).await;
    let done = finished(api, &job, LONG_RENDER_WITHIN).await;
    assert_eq!(done["state"], "succeeded", "{name}: {done}");
    let video = api.get(&video_path(&done)).await.unwrap().bytes;
    let file = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    std::fs::write(file.path(), &video).unwrap();

    let probed = probe(file.path()).await;

    let picture = stream(&probed, "video");
    let sound = stream(&probed, "audio");
    assert_eq!((&picture["codec_name"], &sound["codec_name"]), (&json!("h264"), &json!("aac")));
    assert_eq!((&picture["width"], &picture["height"]), (&json!(size.0), &json!(size.1)));
    let scenes = plan["scenes"].as_array().unwrap();
    let stated: f64 = scenes.iter().map(|scene| scene["duration_s"].as_f64().unwrap()).sum();
    let lasts = seconds(&probed["format"]["duration"]);
    assert!(lasts >= stated - SLACK_S, "{name}: {lasts} s of {stated} s");
    let apart = (seconds(&picture["duration"]) - seconds(&sound["duration"])).abs();
    assert!(apart <= SLACK_S, "{name}: sound and picture are {apart} s apart");
    // The index stands before the pictures, so that a browser plays while it loads.
    let at = |mark: &[u8]| video.windows(4).position(|window| window == mark).unwrap();
    assert!(at(b"moov") < at(b"mdat"), "{name} does not start fast");
}

async fn rich_stack() -> (Stack, Api, tempfile::NamedTempFile) {
    let plans = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let catalogue = include_str!("../../plans.toml").replacen(
        "default_plan = \"free\"",
        "default_plan = \"enterprise\"",
        1,
    );
    std::fs::write(plans.path(), catalogue).unwrap();
    let path = plans.path().to_str().unwrap();
    let stack = stack().variable("TENANTRY__PLANS", path).start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    (stack, api, plans)
}

#[tokio::test]
async fn every_example_plan_becomes_a_video() {
    let (_stack, api, _plans) = rich_stack().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    assert!(names.len() >= 3, "{names:?}");

    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut plan: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        plan["resolution"] = json!("720p");
        render(&api, name, &plan, (1_280, 720)).await;
    }
}

#[tokio::test]
async fn a_plan_that_has_it_renders_in_four_k() {
    let (_stack, api, _plans) = rich_stack().await;
    let mut plan = short_plan(1);
    plan["resolution"] = json!("4k");

    render(&api, "big", &plan, (3_840, 2_160)).await;
}
