//! Words of the product for tests: plans, meters, jobs, and waiting for them.

use std::time::Duration;

use serde_json::{Value, json};
use tenantry_chaos::{Api, Reply};
use tokio::time::{Instant, sleep};

/// How long a short render may take on a slow and busy machine.
pub(crate) const RENDER_WITHIN: Duration = Duration::from_mins(4);

/// How often something is looked at again that cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A plan of short scenes, as cheap to render as one can be.
pub(crate) fn short_plan(scenes: usize) -> Value {
    let scene = |number| {
        json!({ "image_prompt": format!("Picture {number}"), "narration": format!("Number {number}."),
                "duration_s": 1 })
    };
    json!({ "topic": "A test", "language": "en", "voice": "F", "resolution": "720p",
            "scenes": (1..=scenes).map(scene).collect::<Vec<_>>() })
}

/// A body that consumes one meter.
pub(crate) fn items(meter: &str, amount: u64) -> Value {
    json!({ "items": [{ "meter": meter, "amount": amount }] })
}

/// One meter's row of the usage report.
pub(crate) async fn meter(api: &Api, name: &str) -> Value {
    let usage = api.get("/api/usage").await.unwrap();
    assert_eq!(usage.status, 200, "{usage:?}");
    let rows = usage.body["meters"].as_array().unwrap();
    rows.iter().find(|row| row["meter"] == name).unwrap().clone()
}

/// Hands a plan in and returns the job's id.
pub(crate) async fn submit(api: &Api, key: &str, plan: &Value) -> String {
    let taken = api.post_once("/api/render", key, plan).await.unwrap();
    assert_eq!(taken.status, 202, "{taken:?}");
    taken.body["id"].as_str().unwrap().to_owned()
}

/// Waits until a job is in a state from which it does not move by itself.
pub(crate) async fn finished(api: &Api, job: &str, within: Duration) -> Value {
    let path = format!("/api/render/{job}");
    let ended = |reply: &Reply| {
        ["succeeded", "failed", "cancelled"].contains(&reply.body["state"].as_str().unwrap_or(""))
    };
    eventually(within, async || api.get(&path).await.ok().filter(ended)).await.body
}

/// Looks until there is something, and fails when there is nothing in time.
pub(crate) async fn eventually<T>(within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing came within {within:?}");
        sleep(LOOK_EVERY).await;
    }
}

/// The path of a job's video.
pub(crate) fn video_path(job: &Value) -> String {
    let artifacts = job["artifacts"].as_array().unwrap_or_else(|| panic!("no artifacts in {job}"));
    let video = artifacts.iter().find(|artifact| artifact["content_type"] == "video/mp4");
    let url = video.and_then(|video| video["url"].as_str());
    let url = url.unwrap_or_else(|| panic!("no video in {job}"));
    url.find("/api/").map_or(url, |at| &url[at..]).to_owned()
}
