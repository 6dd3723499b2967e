//! Many clients at once for the same few units, and many for the same key.

use futures_util::future::join_all;
use serde_json::Value;
use tenantry_chaos::history::{Answer, Recorder, check};
use tenantry_chaos::script::{LIMIT, SCARCE, Script};
use tenantry_chaos::{Api, Stack};
use tokio::time::{Duration, Instant, sleep};

use crate::faults::Template;
use crate::product::{items, meter};

/// Clients that send at the same moment, each on a connection of its own.
const CLIENTS: usize = 1_000;

/// A meter whose limit is far.
const PLENTY: &str = "tts_ms";

/// How long a busy server may send clients away, and how often they come back.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(50);

#[tokio::test]
async fn of_a_thousand_clients_for_the_last_unit_one_wins() {
    let scene = Scene::start(None).await;
    let first = scene.consume("first", LIMIT - 1).await;
    assert_eq!(first.status, 200, "{first:?}");

    let keys: Vec<String> = (0..CLIENTS).map(|number| format!("client-{number}")).collect();
    let answers = join_all(keys.iter().map(|key| scene.consume(key, 1))).await;

    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(402)), (1, CLIENTS - 1));
    scene.end((LIMIT, 0)).await;
}

#[tokio::test]
async fn a_thousand_times_the_same_key_has_one_effect_and_one_answer() {
    one_key_at_once(None).await;
}

/// Sends one key from every client at once, for some rounds.
pub(crate) async fn one_key_at_once(bug: Option<&str>) {
    let scene = Scene::start(bug).await;

    for round in 1..=4 {
        let key = format!("round-{round}");
        let answers = join_all((0..CLIENTS / 4).map(|_| scene.consume(&key, 2))).await;
        let bodies: Vec<&Value> = answers.iter().map(|answer| &answer.body).collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{:?}", &bodies[..2]);
        assert_eq!(answers.iter().filter(|answer| !answer.is_replayed).count(), 1);
    }
    scene.end((8, 0)).await;
}

#[tokio::test]
async fn a_crowd_with_a_key_each_is_all_there_in_the_end() {
    crowd(None).await;
}

/// Sends many requests with a key each, that fall into few commits.
pub(crate) async fn crowd(bug: Option<&str>) {
    let scene = Scene::start(bug).await;

    let keys: Vec<String> =
        (0..CLIENTS / 4).map(|number| format!("one-of-many-{number}")).collect();
    let answers = join_all(keys.iter().map(|key| scene.consume_of(PLENTY, key, 1))).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    scene.end((0, 0)).await;
}

/// A server with a scarce meter, and one tenant.
struct Scene {
    stack: Stack,
    api: Api,
    tenant: String,
    recorder: Recorder,
}

impl Scene {
    async fn start(bug: Option<&str>) -> Self {
        let template = Template::with_bug(bug).await;
        let (mut stack, tenants) = template.stack().await;
        stack.restart().await.unwrap();
        let (tenant, key) = tenants[0].clone();
        let api = stack.api().with_bearer(&key);
        Self { stack, api, tenant, recorder: Recorder::default() }
    }

    async fn consume(&self, key: &str, amount: u64) -> Answer {
        self.consume_of(SCARCE, key, amount).await
    }

    /// Consumes, and comes back while the server is busy.
    async fn consume_of(&self, meter: &str, key: &str, amount: u64) -> Answer {
        let until = Instant::now() + PATIENCE;
        loop {
            let body = items(meter, amount);
            let who = (self.tenant.as_str(), key);
            let answer = self.recorder.post(&self.api, who, "/api/usage/consume", body).await;
            match answer {
                Some(answer) if !matches!(answer.status, 429 | 503 | 409) => return answer,
                _ => assert!(Instant::now() < until, "{key}: {answer:?}"),
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// The figures must be these, and the journal must fit everything that was answered.
    async fn end(mut self, (used, reserved): (u64, u64)) {
        let row = meter(&self.api, SCARCE).await;
        assert_eq!((row["used"].as_u64(), row["reserved"].as_u64()), (Some(used), Some(reserved)));
        assert_eq!(self.stack.stop().await.unwrap(), Some(0));
        self.stack.verify().await.unwrap();
        let lines = self.stack.export().await.unwrap();
        let faults = check(&self.recorder.calls(), &lines, &Script::rules());
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
