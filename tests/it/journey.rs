//! The main job, end to end, as a program sees it: log in by mail, render, be metered, hit the limit.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::json;

use crate::product::{
    RENDER_WITHIN, eventually, finished, items, meter, short_plan, submit, video_path,
};
use crate::support::stack;

#[tokio::test]
async fn a_link_logs_in_once_and_its_session_ends_with_the_logout() {
    let stack = stack().start().await.unwrap();
    let api = stack.api();
    let token = stack.login_token("ada@example.test").await.unwrap();
    let body = json!({ "token": token });

    let opened = api.get("/login").await.unwrap();
    let first = api.post("/api/auth/magic-link/verify", &body).await.unwrap();
    let second = api.post("/api/auth/magic-link/verify", &body).await.unwrap();
    let session = api.with_bearer(first.body["access_token"].as_str().unwrap());
    let me = session.get("/api/auth/me").await.unwrap();
    let logout = session.call(Method::POST, "/api/auth/logout", None).await.unwrap();

    assert_eq!(opened.status, 200);
    assert_eq!((first.status, second.status), (200, 401));
    assert_eq!(second.code(), "link-invalid");
    assert_eq!(me.body["email"], "ada@example.test");
    assert_eq!(me.body["role"], "owner");
    assert_eq!(me.body["plan"], "free");
    assert_eq!(logout.status, 204);
    let within = Duration::from_secs(2);
    eventually(within, async || {
        let reply = session.get("/api/auth/me").await.ok()?;
        (reply.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cookie_alone_renews_a_session_but_does_not_end_it() {
    let stack = stack().start().await.unwrap();
    let api = stack.api();
    let token = stack.login_token("ada@example.test").await.unwrap();
    let login = api.post("/api/auth/magic-link/verify", &json!({ "token": token })).await.unwrap();
    let cookie = login.header("set-cookie").split(';').next().unwrap().to_owned();

    let with_cookie =
        async |path| api.with_header(Method::POST, path, ("cookie", &cookie)).await.unwrap().status;
    let logout = with_cookie("/api/auth/logout").await;
    let logout_all = with_cookie("/api/auth/logout-all").await;
    let refresh = with_cookie("/api/auth/refresh").await;

    assert_eq!((logout, logout_all, refresh), (401, 401, 200));
}

#[tokio::test]
async fn the_code_of_the_mail_logs_in_as_the_link_does() {
    let stack = stack().start().await.unwrap();
    stack.login_token("ada@example.test").await.unwrap();
    let mail = stack.world().mailbox().to(Some("ada@example.test")).pop().unwrap();
    let is_code = |word: &&str| {
        let bare = word.replace('-', "");
        bare.len() == 8 && bare.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
    };
    let code =
        mail.text.split_whitespace().find(is_code).unwrap_or_else(|| panic!("{}", mail.text));

    let body = json!({ "email": "ada@example.test", "code": code });
    let login = stack.api().post("/api/auth/magic-link/verify", &body).await.unwrap();

    assert_eq!(login.status, 200, "{login:?}");
    assert!(mail.html.is_some_and(|html| html.contains("#token=")));
    assert!(mail.message_id.is_some());
}

#[tokio::test]
async fn usage_is_metered_up_to_the_limit_and_not_beyond() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();

    let taken = api.post_once("/api/usage/consume", "one", &items("images", 400)).await.unwrap();
    let again = api.post_once("/api/usage/consume", "one", &items("images", 400)).await.unwrap();
    let other = api.post_once("/api/usage/consume", "one", &items("images", 4)).await.unwrap();
    let refused = api.post_once("/api/usage/consume", "two", &items("images", 101)).await.unwrap();
    let rest = api.post_once("/api/usage/consume", "two", &items("images", 100)).await.unwrap();

    assert_eq!(taken.status, 200, "{taken:?}");
    assert_eq!(taken.body["items"][0]["remaining"], 100);
    assert_eq!((again.status, &again.body), (200, &taken.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!((other.status, other.code()), (422, "idempotency-key-reused"));
    assert_eq!((refused.status, refused.code()), (402, "quota-exceeded"));
    assert_eq!(refused.body["remaining"], 100);
    assert!(refused.body["upgrade_url"].as_str().is_some(), "{refused:?}");
    assert!(refused.body["resets_at"].as_str().is_some(), "{refused:?}");
    assert_eq!(rest.status, 200, "{rest:?}");
    assert_eq!(meter(&api, "images").await["remaining"], 0);
}

#[tokio::test]
async fn a_reservation_holds_commits_in_part_and_survives_a_power_cut() {
    let mut stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let mut body = items("images", 300);
    body["ttl_s"] = json!(3_600);

    let held = api.post_once("/api/reservations", "hold", &body).await.unwrap();
    let path = format!("/api/reservations/{}", held.body["id"].as_str().unwrap());
    let refused = api.post_once("/api/usage/consume", "much", &items("images", 201)).await.unwrap();
    stack.restart().await.unwrap();
    let api = api.at(&stack.server().url());
    let found = api.get(&path).await.unwrap();
    let commit = format!("{path}/commit");
    let committed = api.post_once(&commit, "commit", &items("images", 120)).await.unwrap();
    let released = api.post_once(&format!("{path}/release"), "release", &json!({})).await.unwrap();

    assert_eq!(held.status, 201, "{held:?}");
    assert!(held.header("location").ends_with(&path));
    assert_eq!(refused.status, 402, "{refused:?}");
    assert_eq!(found.body["state"], "held", "{found:?}");
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!((released.status, released.code()), (409, "reservation-settled"));
    let images = meter(&api, "images").await;
    assert_eq!((&images["used"], &images["reserved"]), (&json!(120), &json!(0)));
}

#[tokio::test]
async fn a_video_is_rendered_watched_downloaded_and_metered() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let job = submit(&api, "video", &short_plan(2)).await;

    let request = api.request(Method::GET, &format!("/api/render/{job}/events"));
    let mut events = request.send().await.unwrap().bytes_stream();
    let mut seen = String::new();
    while let Some(Ok(bytes)) = events.next().await {
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    let done = finished(&api, &job, RENDER_WITHIN).await;
    let path = video_path(&done);
    let whole = api.get(&path).await.unwrap();
    let part = api.with_header(Method::GET, &path, ("range", "bytes=4-7")).await.unwrap();
    let stranger = stack.api_key("eve@example.test").await.unwrap();
    let foreign = stranger.get(&path).await.unwrap();

    assert_eq!(done["state"], "succeeded", "{done}");
    assert!(seen.contains("id:") && seen.contains("image-01"), "{seen}");
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    assert_eq!((part.status, &part.bytes[..]), (206, &b"ftyp"[..]));
    assert_eq!((foreign.status, foreign.code()), (404, "not-found"));
    assert_eq!(meter(&api, "images").await["used"], 2);
    assert_eq!(meter(&api, "images").await["reserved"], 0);
    assert!(meter(&api, "render_ms").await["used"].as_u64().unwrap() >= 2_000);
    let stored = meter(&api, "storage_bytes").await["used"].as_u64().unwrap();
    assert!(stored >= whole.bytes.len() as u64, "{stored}");

    let deleted = api.call(Method::DELETE, &format!("/api/render/{job}"), None).await.unwrap();
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(meter(&api, "storage_bytes").await["used"], 0);
}

#[tokio::test]
async fn a_render_goes_on_after_a_power_cut_and_is_charged_once() {
    let mut stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let job = submit(&api, "video", &short_plan(3)).await;
    let path = format!("/api/render/{job}");
    eventually(RENDER_WITHIN, async || {
        let reply = api.get(&path).await.ok()?;
        let steps = reply.body["steps"].as_array()?;
        steps.iter().any(|step| step["state"] == "succeeded").then_some(())
    })
    .await;

    stack.restart().await.unwrap();
    let api = api.at(&stack.server().url());
    let done = finished(&api, &job, RENDER_WITHIN).await;

    assert_eq!(done["state"], "succeeded", "{done}");
    let images = meter(&api, "images").await;
    assert_eq!((&images["used"], &images["reserved"]), (&json!(3), &json!(0)));
}

#[tokio::test]
async fn a_cancelled_render_stops_within_two_seconds_and_releases_what_it_held() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let job = submit(&api, "video", &short_plan(8)).await;

    let path = format!("/api/render/{job}/cancel");
    let cancelled = api.post_once(&path, "cancel", &json!({})).await.unwrap();
    let done = finished(&api, &job, Duration::from_secs(2)).await;

    assert!([200, 202].contains(&cancelled.status), "{cancelled:?}");
    assert_eq!(done["state"], "cancelled");
    assert_eq!(meter(&api, "render_ms").await["reserved"], 0);
}

#[tokio::test]
async fn four_k_needs_a_plan_that_has_it() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    let mut plan = short_plan(1);
    plan["resolution"] = json!("4k");

    let refused = api.post_once("/api/render", "big", &plan).await.unwrap();

    assert_eq!((refused.status, refused.code()), (402, "plan-required"));
}

#[tokio::test]
async fn a_stopped_server_ends_in_order_and_forgets_nothing() {
    let mut stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    api.post_once("/api/usage/consume", "one", &items("images", 7)).await.unwrap();

    let code = stack.stop().await.unwrap();
    stack.restart().await.unwrap();
    let api = api.at(&stack.server().url());

    assert_eq!(code, Some(0));
    assert_eq!(meter(&api, "images").await["used"], 7);
}

#[tokio::test]
async fn without_mail_in_development_the_answer_carries_the_link() {
    let stack = stack().without_mail().start().await.unwrap();

    let api = stack.login("ada@example.test").await.unwrap();

    assert_eq!(api.get("/api/auth/me").await.unwrap().status, 200);
}
