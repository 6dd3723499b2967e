//! Many clients at once for the same few units, and many for the same key.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tenantry_chaos::history::{Answer, Recorder, check};
use tenantry_chaos::script::{LIMIT, SCARCE, Script};
use tenantry_chaos::{Api, Stack};
use tokio::time::{Duration, Instant, sleep};

use crate::faults::Template;
use crate::operators::{operated, tenant_of};
use crate::product::{items, meter};

/// Clients that send at the same moment, each on a connection of its own.
const CLIENTS: usize = 1_000;

/// Batches of events and corrections that are sent at the same moment; batches overlap.
const FACTS: usize = 60;
const BATCH: usize = 5;

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
        // None, where the first answer came too late and was asked for again.
        assert!(answers.iter().filter(|answer| !answer.is_replayed).count() <= 1);
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

#[tokio::test]
async fn events_and_corrections_at_once_count_once_each_also_after_a_kill() {
    let mut stack = operated().await;
    let key = stack.api_key("ada@example.test").await.unwrap();
    let owner = stack.login("ada@example.test").await.unwrap();
    let (tenant, recorder) = (tenant_of(&stack, "ada").await, Recorder::default());

    // Everything is sent at once, everything more than once, and then all of it again.
    for life in 1..=2 {
        let url = stack.server().url();
        let (key, owner) = (key.at(&url), owner.at(&url));
        join_all((0..FACTS).map(async |number| {
            let events: Value = (number..number + BATCH).map(event).collect();
            settled(async || recorder.record(&key, &tenant, events.clone()).await).await;
            let correction = number / 2;
            let name = format!("correction-{correction}");
            let body = json!({ "meter": PLENTY, "reason": "A test",
                               "delta": if correction % 3 == 0 { -5 } else { 3 } });
            let who = (tenant.as_str(), name.as_str());
            let path = "/api/usage/adjustments";
            settled(async || recorder.post(&owner, who, path, body.clone()).await).await;
        }))
        .await;
        recorder.get(&key, &tenant, "/api/usage").await.unwrap();
        if life == 1 {
            stack.kill().await.unwrap();
        } else {
            assert_eq!(stack.stop().await.unwrap(), Some(0));
        }
        judge(&stack, &recorder).await;
        if life == 1 {
            stack.restart().await.unwrap();
        }
    }
}

/// An event, the same whenever it is sent.
fn event(number: usize) -> Value {
    json!({ "specversion": "1.0", "source": "/crowd", "id": number.to_string(), "type": PLENTY,
            "data": { "amount": 1 + number % 7 } })
}

/// Sends something until a busy server takes the time for it.
async fn settled(send: impl AsyncFn() -> Option<Answer>) -> Answer {
    let until = Instant::now() + PATIENCE;
    loop {
        match send().await {
            Some(answer) if !matches!(answer.status, 429 | 503 | 504) => return answer,
            answer => assert!(Instant::now() < until, "{answer:?}"),
        }
        sleep(ASK_EVERY).await;
    }
}

/// The journal must verify, and fit everything that was answered.
async fn judge(stack: &Stack, recorder: &Recorder) {
    stack.verify().await.unwrap();
    let lines = stack.export().await.unwrap();
    let faults = check(&recorder.calls(), &lines, &Script::rules());
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
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
        let who = (self.tenant.as_str(), key);
        let send = async || {
            let body = items(meter, amount);
            self.recorder.post(&self.api, who, "/api/usage/consume", body).await
        };
        settled(send).await
    }

    /// The figures must be these, and the journal must fit everything that was answered.
    async fn end(mut self, (used, reserved): (u64, u64)) {
        let row = meter(&self.api, SCARCE).await;
        assert_eq!((row["used"].as_u64(), row["reserved"].as_u64()), (Some(used), Some(reserved)));
        assert_eq!(self.stack.stop().await.unwrap(), Some(0));
        judge(&self.stack, &self.recorder).await;
    }
}
