//! One client of the kill test: what it sends is recorded for the history checker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tenantry_chaos::Api;
use tenantry_chaos::history::{Answer, Recorder};
use tokio::time::{Instant, sleep};

use super::{PLENTY, SCARCE};
use crate::product::items;

/// How often a server is asked again that cannot answer now.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Events of a batch that are new, and those before them that are sent once more.
const NEW_EVENTS: u64 = 2;
const OLD_EVENTS: usize = 4;

/// Amounts by which a meter is used up: each until it is refused.
const USED_UP_BY: &[u64] = &[40, 5, 1];

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Consume,
    Reserve,
    /// The end of the reservation with this path.
    End(String),
    /// A batch of events, which has no key.
    Events,
}

/// One request that was sent since the last kill.
#[derive(Clone, Debug)]
struct Sent {
    kind: Kind,
    path: String,
    key: String,
    body: Value,
    /// The answer, once one came; without it the outcome is not known.
    answer: Option<Answer>,
}

/// One client: it sends one request at a time.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    tenant: String,
    api: Api,
    recorder: Recorder,
    /// How long after a fault a server may still say that it cannot answer now.
    patience: Duration,
    rng: StdRng,
    /// The requests since the last kill whose outcome is a success or not known.
    fresh: Vec<Sent>,
    sent: u64,
    acknowledged: usize,
    /// Reservations that are open as far as this client knows.
    open: BTreeSet<String>,
    /// Events that were sent before.
    events: VecDeque<Value>,
}

impl Client {
    pub(crate) fn new(
        number: usize,
        (tenant, api): (String, Api),
        recorder: Recorder,
        patience: Duration,
        seed: u64,
    ) -> Self {
        Self {
            number,
            tenant,
            api,
            recorder,
            patience,
            rng: StdRng::seed_from_u64(seed),
            fresh: Vec::new(),
            sent: 0,
            acknowledged: 0,
            open: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Sends one request after the other until the server is gone or the work is over.
    pub(crate) async fn work(&mut self, url: &str, is_over: &AtomicBool) {
        self.api = self.api.at(url);
        self.fresh.clear();
        while !is_over.load(Ordering::Acquire) {
            let sent = self.choose();
            let answer = self.send(&sent).await;
            self.fresh.push(sent);
            let Some(answer) = answer else { return };
            match answer.status {
                200 | 201 => self.acknowledge(self.fresh.len() - 1, answer),
                402 => drop(self.fresh.pop()),
                // The server may say that it does not know, or that it cannot now: ask after the kill.
                503 | 504 => return,
                _ => panic!("{:?} was answered {answer:?}", self.fresh.last()),
            }
        }
    }

    /// Uses up what is left of the scarce meter; returns how many requests were acknowledged.
    pub(crate) async fn use_up(&mut self, url: &str) -> usize {
        self.api = self.api.at(url);
        let before = self.acknowledged;
        for amount in USED_UP_BY {
            let mut is_left = true;
            while is_left {
                self.sent += 1;
                let sent = Sent {
                    kind: Kind::Consume,
                    path: "/api/usage/consume".to_owned(),
                    key: format!("client-{}-{}", self.number, self.sent),
                    body: items(SCARCE, *amount),
                    answer: None,
                };
                let answer = self.ask_again(&sent).await;
                assert!(matches!(answer.status, 200 | 402), "{sent:?} was answered {answer:?}");
                is_left = answer.status == 200;
                self.acknowledged += usize::from(is_left);
            }
        }
        self.acknowledged - before
    }

    /// Repeats what was sent since the last kill: what was acknowledged must be answered the same.
    pub(crate) async fn repeat(&mut self, url: &str, context: &str) {
        self.api = self.api.at(url);
        let fresh = std::mem::take(&mut self.fresh);
        for sent in fresh {
            let answer = self.ask_again(&sent).await;
            if let Some(first) = sent.answer.as_ref().filter(|_| sent.kind != Kind::Events) {
                let is_same = answer.body == first.body && answer.is_replayed;
                assert!(is_same, "{context}: {sent:?} was answered {answer:?}");
            } else if sent.answer.is_some() {
                let results = answer.body["results"].as_array().unwrap();
                let is_known = results.iter().all(|result| result["status"] == "duplicate");
                assert!(is_known, "{context}: {sent:?} was answered {answer:?}");
            } else {
                match answer.status {
                    200 | 201 => {
                        self.fresh.push(sent);
                        self.acknowledge(self.fresh.len() - 1, answer);
                    }
                    402 => {}
                    _ => panic!("{context}: {sent:?} was answered {answer:?}"),
                }
            }
        }
    }

    /// Sends a request again until the server can say something about it.
    async fn ask_again(&self, sent: &Sent) -> Answer {
        let until = Instant::now() + self.patience;
        loop {
            let answer = self.send(sent).await.unwrap();
            if !matches!(answer.status, 503 | 504) || Instant::now() >= until {
                return answer;
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn send(&self, sent: &Sent) -> Option<Answer> {
        let Sent { kind, path, key, body, .. } = sent;
        let tenant = self.tenant.as_str();
        match kind {
            Kind::Events => self.recorder.record(&self.api, tenant, body.clone()).await,
            _ => self.recorder.post(&self.api, (tenant, key), path, body.clone()).await,
        }
    }

    fn acknowledge(&mut self, index: usize, answer: Answer) {
        self.acknowledged += 1;
        let sent = &mut self.fresh[index];
        match &sent.kind {
            Kind::Reserve => {
                let id = answer.body["id"].as_str().unwrap();
                self.open.insert(format!("/api/reservations/{id}"));
            }
            Kind::End(reservation) => {
                self.open.remove(reservation);
            }
            Kind::Consume | Kind::Events => {}
        }
        sent.answer = Some(answer);
    }

    fn choose(&mut self) -> Sent {
        self.sent += 1;
        let units = self.rng.random_range(1..=5);
        let meter = if self.rng.random() { SCARCE } else { PLENTY };
        let open = self.open.first().cloned();
        let (kind, path, body) = match (self.rng.random_range(0..12), open) {
            (0..3, _) => {
                let mut body = items(meter, units);
                body["ttl_s"] = json!(86_400);
                (Kind::Reserve, "/api/reservations".to_owned(), body)
            }
            (verb @ 3..6, Some(hold)) => {
                let verb = if verb < 5 { "commit" } else { "release" };
                let path = format!("{hold}/{verb}");
                (Kind::End(hold), path, json!({}))
            }
            (6..8, _) => (Kind::Events, "/api/events".to_owned(), self.batch()),
            _ => (Kind::Consume, "/api/usage/consume".to_owned(), items(meter, units)),
        };
        let key = format!("client-{}-{}", self.number, self.sent);
        Sent { kind, path, key, body, answer: None }
    }

    /// New events, and some that were sent before.
    fn batch(&mut self) -> Value {
        let new = (0..NEW_EVENTS).map(|place| {
            json!({ "specversion": "1.0", "source": "/kill", "type": PLENTY,
                    "id": format!("{}-{}-{place}", self.number, self.sent),
                    "data": { "amount": 1 + (self.sent + place) % 7 } })
        });
        let new: Vec<Value> = new.collect();
        let batch = self.events.iter().cloned().chain(new.iter().cloned()).collect();
        self.events.extend(new);
        while self.events.len() > OLD_EVENTS {
            self.events.pop_front();
        }
        batch
    }
}
