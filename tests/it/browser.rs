//! The main job in a real browser: log in by mail, make a video, watch it, see usage, hit the limit.

mod driver;

use std::time::Duration;

use fantoccini::key::Key;
use serde_json::{Value, json};
use tenantry_chaos::{Stack, World, WorldSettings};

use crate::product::{RENDER_WITHIN, items};
use crate::support::stack;
use driver::Browser;

/// How long a page may take on a busy machine.
const PAGE_WITHIN: Duration = Duration::from_secs(30);

/// Who logs in.
const EMAIL: &str = "ada@example.test";

/// Tells how far the video has played, and how wide its picture is.
const PLAYED: &str = "const video = document.querySelector('video'); \
    if (video.paused) { video.muted = true; video.play(); } \
    return [video.currentTime, video.videoWidth, video.error && video.error.message];";

/// Tells whether something is wider than the window.
const OVERFLOWS: &str = "return document.documentElement.scrollWidth > window.innerWidth;";

/// Logs in as a person does: form, mailbox, link, button.
async fn log_in(browser: &Browser, stack: &Stack) {
    browser.goto(&format!("{}/login", stack.server().url())).await;
    browser.fill("#email", EMAIL).await;
    browser.press("form.stack button").await;
    browser.shown("#code").await;
    // The mailbox page does not reload by itself, so the mail must be there first.
    let mails = stack.world().mailbox().wait_for(EMAIL, 1, PAGE_WITHIN).await;
    assert!(mails.is_some(), "no mail arrived");
    browser.goto(&format!("{}/mailbox", stack.world().url())).await;
    browser.press(".mails a").await;
    browser.press(".text a").await;
    browser.press("#confirm-button").await;
    browser.shown("form.create").await;
}

/// Uses up what is left of a meter, through an API key made in the browser.
async fn use_up(stack: &Stack, browser: &Browser, meter: &str) {
    browser.goto(&format!("{}/account", stack.server().url())).await;
    browser.press("form[action='/account/key'] button").await;
    let key = browser.text("code.secret").await;
    let api = stack.api().with_bearer(key.trim());
    let usage = api.get("/api/usage").await.unwrap().body;
    let row = usage["meters"].as_array().unwrap().iter().find(|row| row["meter"] == meter);
    let rest = row.unwrap()["remaining"].as_u64().unwrap();
    let taken = api.post_once("/api/usage/consume", "all", &items(meter, rest)).await.unwrap();
    assert_eq!(taken.status, 200, "{taken:?}");
}

#[tokio::test]
async fn a_person_logs_in_makes_a_video_watches_it_and_meets_the_limit() {
    let stack = stack().providers().start().await.unwrap();
    let browser = Browser::open(1_280, 900).await;
    log_in(&browser, &stack).await;

    browser.press(".chips a").await;
    browser.shown(".chips a[aria-current]").await;
    browser.press("button.primary[value=render]").await;
    browser.shown_within("#steps [data-state=succeeded]", RENDER_WITHIN).await;
    browser.shown_within("video.player", RENDER_WITHIN).await;
    let played = browser.until(PLAYED, |played| played[0].as_f64() > Some(0.2)).await;
    browser.goto(&format!("{}/usage", stack.server().url())).await;
    let used = browser.text("#meter-images + .big").await;
    let bar = browser.run("return document.querySelector('.meter meter').value;").await;
    use_up(&stack, &browser, "images").await;
    browser.goto(&format!("{}/create", stack.server().url())).await;
    browser.press(".chips a").await;
    browser.shown(".chips a[aria-current]").await;
    browser.press("button.primary[value=render]").await;
    browser.shown("a.button[href='/plans']").await;
    let page = browser.text("main").await;

    assert_eq!(played[1].as_u64(), Some(1_280), "{played}");
    assert!(!used.starts_with("0 "), "{used}");
    assert!(bar.as_f64().is_some(), "{bar}");
    assert!(page.contains("begins anew on"), "{page}");
    browser.goto(&format!("{}/library", stack.server().url())).await;
    browser.shown("a.job").await;
    browser.close().await;
}

#[tokio::test]
async fn the_keyboard_alone_is_enough() {
    let stack = stack().start().await.unwrap();
    let browser = Browser::open(1_280, 900).await;
    browser.goto(&format!("{}/login", stack.server().url())).await;

    browser.type_keys(EMAIL).await;
    browser.type_key(Key::Enter).await;
    browser.shown("#code").await;
    let mails = stack.world().mailbox().wait_for(EMAIL, 1, PAGE_WITHIN).await.unwrap();
    browser.goto(&mails[0].links[0]).await;
    browser.shown("#confirm:not([hidden])").await;
    browser.type_key(Key::Enter).await;
    browser.shown("form.create").await;
    browser.tab_to(".chips a").await;
    browser.type_key(Key::Enter).await;
    browser.shown(".chips a[aria-current]").await;
    browser.tab_to("button.primary[value=render]").await;
    browser.type_key(Key::Enter).await;
    browser.shown("#job").await;
    browser.tab_to("form[action$='/cancel'] button").await;
    browser.type_key(Key::Enter).await;
    browser.shown("#job[data-state=cancelled]").await;

    browser.close().await;
}

#[tokio::test]
async fn every_page_fits_a_phone() {
    let stack = stack().start().await.unwrap();
    let browser = Browser::open(360, 740).await;
    let url = stack.server().url();
    let mut wide = Vec::new();
    for path in ["/login", "/plans"] {
        browser.goto(&format!("{url}{path}")).await;
        wide.extend((browser.run(OVERFLOWS).await == json!(true)).then_some(path));
    }

    log_in(&browser, &stack).await;
    for path in ["/create", "/library", "/usage", "/account", "/problems", "/nowhere"] {
        browser.goto(&format!("{url}{path}")).await;
        wide.extend((browser.run(OVERFLOWS).await == json!(true)).then_some(path));
    }
    browser.goto(&stack.world().url()).await;
    wide.extend((browser.run(OVERFLOWS).await == json!(true)).then_some("the outside world"));
    let width: Value = browser.run("return window.innerWidth;").await;

    assert_eq!(width, 360);
    assert!(wide.is_empty(), "wider than the window: {wide:?}");
    browser.close().await;
}

#[tokio::test]
async fn the_outside_world_can_be_switched_by_hand() {
    let world = World::start(WorldSettings::default()).await.unwrap();
    let browser = Browser::open(1_280, 800).await;

    browser.goto(&world.url()).await;
    browser.press("[data-service=speech] button[value=hanging]").await;
    browser.shown("[data-service=speech][data-mode=hanging]").await;

    browser.close().await;
}
