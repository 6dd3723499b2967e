//! The outside world breaks, and costs a feature, never the service.

use std::time::Duration;

use serde_json::{Value, json};
use tenantry_chaos::{Api, Mode, Service, Stack};

use crate::product::{RENDER_WITHIN, eventually, finished, short_plan, submit};
use crate::support::stack;

/// How long a mail may take after the mail server is back: the relay waits longer and longer, and its
/// breaker has to close.
const MAIL_WITHIN: Duration = Duration::from_mins(2);

/// Who logs in.
const EMAIL: &str = "ada@example.test";

/// A stack with providers whose speech gives up soon, and a client of it.
async fn with_providers() -> (Stack, Api) {
    let stack = stack().providers().variable("TENANTRY__STUDIO__SPEECH_TIMEOUT", "6s");
    let stack = stack.start().await.unwrap();
    let api = stack.api_key(EMAIL).await.unwrap();
    (stack, api)
}

/// Renders one scene and returns the job that must have become a video.
async fn rendered(api: &Api) -> Value {
    let job = submit(api, "video", &short_plan(1)).await;
    let done = finished(api, &job, RENDER_WITHIN).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    done
}

#[tokio::test]
async fn healthy_providers_are_asked_and_nothing_is_degraded() {
    let (stack, api) = with_providers().await;

    let done = rendered(&api).await;

    assert_eq!(done["degraded"], json!([]), "{done}");
    assert_eq!(stack.world().log().of(Service::Image).len(), 1);
    assert_eq!(stack.world().log().of(Service::Speech).len(), 1);
}

#[tokio::test]
async fn a_hanging_speech_provider_costs_the_voice_and_not_the_video() {
    let (stack, api) = with_providers().await;
    stack.world().switches().set(Service::Speech, Mode::Hanging);

    let done = rendered(&api).await;

    assert_eq!(done["degraded"].as_array().map(Vec::len), Some(1), "{done}");
    assert!(!stack.world().log().of(Service::Speech).is_empty());
}

#[tokio::test]
async fn providers_that_answer_nonsense_cost_quality_and_not_the_video() {
    let (stack, api) = with_providers().await;
    stack.world().switches().set(Service::Image, Mode::Garbage);
    stack.world().switches().set(Service::Speech, Mode::Garbage);

    let done = rendered(&api).await;

    assert_eq!(done["degraded"].as_array().map(Vec::len), Some(2), "{done}");
}

#[tokio::test]
async fn a_login_mail_waits_until_the_mail_server_is_back_and_comes_once() {
    let stack = stack().start().await.unwrap();
    let api = stack.api();
    stack.world().switches().set(Service::Mail, Mode::Failing);

    let asked = api.post("/api/auth/magic-link/request", &json!({ "email": EMAIL })).await.unwrap();
    let log = stack.world().log();
    eventually(MAIL_WITHIN, async || (!log.of(Service::Mail).is_empty()).then_some(())).await;
    let ready = stack.ops().get("/readyz").await.unwrap();
    stack.world().switches().set(Service::Mail, Mode::Healthy);
    let mails = stack.world().mailbox().wait_for(EMAIL, 1, MAIL_WITHIN).await.unwrap();

    assert_eq!((asked.status, ready.status), (202, 200));
    assert_eq!(mails.len(), 1);
}
