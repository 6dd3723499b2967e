//! The world seen from outside: over real sockets, as the server and its users see it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::harness::Api;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

const MAIL: &str = "EHLO me\r\nMAIL FROM:<a@from.test>\r\nRCPT TO:<b@to.test>\r\nDATA\r\n\
    Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <one@from.test>\r\n\r\n\
    Follow http://127.0.0.1/login#token=abc now\r\n..dotted <script>\r\n.\r\nQUIT\r\n";

async fn world() -> World {
    World::start(WorldSettings::default()).await.unwrap()
}

async fn send_mail(world: &World, session: &str) -> String {
    let mut stream = TcpStream::connect(world.smtp).await.unwrap();
    stream.write_all(session.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn a_pipelined_mail_arrives_decoded_with_its_links() {
    let world = world().await;

    let said = send_mail(&world, MAIL).await;

    let mails = world.mailbox().wait_for("B@to.test", 1, LONG).await.unwrap();
    assert_eq!(mails[0].subject, "Grüße");
    assert_eq!(mails[0].message_id.as_deref(), Some("one@from.test"));
    assert_eq!(mails[0].links, ["http://127.0.0.1/login#token=abc"]);
    assert!(mails[0].text.contains("\r\n.dotted") || mails[0].text.contains("\n.dotted"));
    assert_eq!(mails[0].html, None);
    assert!(said.starts_with("220 ") && said.ends_with("221 2.0.0 goodbye\r\n"), "{said}");
}

#[tokio::test]
async fn the_mailbox_page_shows_the_text_safely_and_the_link_to_follow() {
    let world = world().await;
    send_mail(&world, MAIL).await;
    let api = Api::new(&world.url());

    let list = api.get("/mailbox?to=b@to.test").await.unwrap();
    let mail = api.get("/mailbox/1").await.unwrap();
    let json = api.get("/mailbox/api/messages?to=b@to.test").await.unwrap();
    let nobody = api.get("/mailbox/api/messages?to=c@to.test").await.unwrap();

    let mail = String::from_utf8_lossy(&mail.bytes).into_owned();
    assert!(String::from_utf8_lossy(&list.bytes).contains("href=/mailbox/1"));
    assert!(mail.contains("<a href=\"http://127.0.0.1/login#token=abc\" rel=noopener>"), "{mail}");
    assert!(mail.contains(".dotted &lt;script&gt;") && !mail.contains("<script"), "{mail}");
    assert_eq!(json.body["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(nobody.body["messages"], json!([]));
}

#[tokio::test]
async fn commands_out_of_order_are_refused() {
    let world = world().await;

    let said = send_mail(&world, "DATA\r\nRCPT TO:<b@to.test>\r\nFOO\r\nQUIT\r\n").await;

    let codes: Vec<_> = said.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "503", "503", "500", "221"]);
    assert!(world.mailbox().to(None).is_empty());
}

#[tokio::test]
async fn a_failing_mail_server_refuses_and_a_hanging_one_says_nothing() {
    let world = world().await;
    let api = Api::new(&world.url());

    let put = json!({ "mode": "failing" });
    let set = api.call(reqwest::Method::PUT, "/api/world/mail", Some(&put)).await.unwrap();
    let said = send_mail(&world, "EHLO me\r\nQUIT\r\n").await;
    world.switches().set(Service::Mail, Mode::Hanging);
    let silent = timeout(SHORT, send_mail(&world, "QUIT\r\n")).await;

    assert_eq!(set.body["mode"], "failing");
    assert!(said.lines().all(|line| line.starts_with("451 ")), "{said}");
    assert!(silent.is_err());
}

#[tokio::test]
async fn the_image_provider_draws_a_png_of_the_asked_size() {
    let world = world().await;
    let api = Api::new(&world.url()).with_bearer("key");
    let request = json!({ "model": "any", "prompt": "a lighthouse", "size": "320x180", "n": 1 });

    let drawn = api.post("/image/v1/images/generations", &request).await.unwrap();
    let again = api.post("/image/v1/images/generations", &request).await.unwrap();

    let png = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        drawn.body["data"][0]["b64_json"].as_str().unwrap(),
    )
    .unwrap();
    let picture = tiny_skia::Pixmap::decode_png(&png).unwrap();
    assert_eq!((picture.width(), picture.height()), (320, 180));
    assert_eq!(drawn.body, again.body);
    assert!(world.log().of(Service::Image)[0].summary.contains("a lighthouse"));
}

#[tokio::test]
async fn the_speech_provider_hums_a_wav_as_long_as_its_text() {
    let world = world().await;
    let api = Api::new(&world.url()).with_bearer("key");
    let request = json!({ "model": "any", "voice": "alloy", "input": "ten chars!",
                          "response_format": "wav" });

    let spoken = api.post("/speech/v1/audio/speech", &request).await.unwrap();

    assert_eq!(spoken.header("content-type"), "audio/wav");
    assert_eq!(&spoken.bytes[..4], b"RIFF");
    let ms = (spoken.bytes.len() - 44) / 2 * 1_000 / 24_000;
    assert_eq!(ms, 600);
}

#[tokio::test]
async fn the_speech_provider_speaks_where_people_listen() {
    let settings = WorldSettings { is_spoken: true, ..WorldSettings::default() };
    let world = World::start(settings).await.unwrap();
    let api = Api::new(&world.url()).with_bearer("key");
    let request = json!({ "input": "hello", "response_format": "wav", "voice": "onyx" });

    let spoken = api.post("/speech/v1/audio/speech", &request).await.unwrap();

    assert_eq!(&spoken.bytes[..4], b"RIFF");
    // The hum of five characters is 300 ms at 24 kHz; espeak-ng speaks at 22,050 Hz.
    assert_eq!(&spoken.bytes[24..28], &22_050_u32.to_le_bytes());
}

#[tokio::test]
async fn providers_break_as_switched_and_heal_again() {
    let world = world().await;
    let api = Api::new(&world.url()).with_bearer("key");
    let request = json!({ "prompt": "x", "size": "16x16" });
    let draw = || api.post("/image/v1/images/generations", &request);

    world.switches().set(Service::Image, Mode::Failing);
    let failing = draw().await.unwrap();
    world.switches().set(Service::Image, Mode::Garbage);
    let garbage = draw().await.unwrap();
    world.switches().set(Service::Image, Mode::Hanging);
    let hanging = timeout(SHORT, draw()).await;
    world.switches().put(Service::Image, Setting { mode: Mode::Slow, delay_ms: 1 });
    let slow = draw().await.unwrap();
    world.switches().set(Service::Image, Mode::Healthy);
    let healthy = draw().await.unwrap();

    assert_eq!(failing.status, 503);
    assert_eq!(garbage.status, 200);
    assert_ne!(garbage.body, healthy.body);
    assert!(hanging.is_err());
    assert_eq!((slow.status, healthy.status), (200, 200));
    assert_eq!(slow.body, healthy.body);
}

#[tokio::test]
async fn a_provider_without_a_key_or_with_nonsense_refuses() {
    let world = world().await;
    let anonymous = Api::new(&world.url());
    let api = anonymous.with_bearer("key");
    let path = "/image/v1/images/generations";

    let no_key = anonymous.post(path, &json!({ "prompt": "x" })).await.unwrap();
    let no_prompt = api.post(path, &json!({ "prompt": "" })).await.unwrap();
    let too_big = api.post(path, &json!({ "prompt": "x", "size": "9999x1" })).await.unwrap();
    let no_object = api.post(path, &Value::Null).await.unwrap();

    let statuses = [no_key.status, no_prompt.status, too_big.status, no_object.status];
    assert_eq!(statuses, [401, 400, 400, 400]);
}

#[tokio::test]
async fn the_first_page_shows_and_switches_every_service() {
    let world = world().await;
    let api = Api::new(&world.url());

    let request = api
        .request(reqwest::Method::POST, "/switches/speech")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("mode=slow");
    let switched = api.send(request).await.unwrap();
    let page = api.get("/").await.unwrap();

    assert_eq!((switched.status, switched.header("location")), (303, "/"));
    let page = String::from_utf8_lossy(&page.bytes).into_owned();
    assert!(page.contains("data-service=speech data-mode=slow"), "{page}");
    assert!(page.contains("data-service=mail data-mode=healthy"), "{page}");
}

#[tokio::test]
async fn a_world_that_stops_leaves_no_task() {
    let world = world().await;
    world.switches().set(Service::Mail, Mode::Hanging);
    let _waiting = TcpStream::connect(world.smtp).await.unwrap();

    assert!(world.stop().await);
}
