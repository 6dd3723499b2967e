//! One client of the kill test, with its log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tenantry_chaos::{Api, Reply};
use tokio::time::{Instant, sleep};

use super::{PLENTY, SCARCE};
use crate::product::items;

/// How long after a fault the server may still say that it cannot answer now.
const RECOVERS_WITHIN: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What a request does to the tenant's usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Consume(u64),
    Reserve(u64),
    /// The reservation's units become used.
    Commit(u64),
    /// The reservation's units become free.
    Release(u64),
}

/// One request that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) effect: Effect,
    meter: &'static str,
    path: String,
    key: String,
    body: Value,
    /// The answer, once one came; without it the outcome is not known.
    pub(crate) answer: Option<Value>,
}

/// One client: it sends one request at a time.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    tenant: String,
    api: Api,
    rng: StdRng,
    /// Every request whose outcome is a success or not known.
    log: Vec<Sent>,
    /// Where the requests begin that were sent since the last kill.
    fresh_from: usize,
    sent: usize,
    refused: usize,
    /// Reservations that are open as far as this client knows: path, meter and units.
    open: HashMap<String, (&'static str, u64)>,
}

impl Client {
    pub(crate) fn new(number: usize, tenant: String, api: Api, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let (log, open) = (Vec::new(), HashMap::new());
        Self { number, tenant, api, rng, log, fresh_from: 0, sent: 0, refused: 0, open }
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(crate) fn log(&self) -> &[Sent] {
        &self.log
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.log.iter().filter(|sent| sent.answer.is_some()).count()
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Units of a meter used by what this client knows to have happened.
    pub(crate) fn used(&self, meter: &str) -> u64 {
        let known = self.log.iter().filter(|sent| sent.answer.is_some() && sent.meter == meter);
        known
            .map(|sent| match sent.effect {
                Effect::Consume(units) | Effect::Commit(units) => units,
                Effect::Reserve(_) | Effect::Release(_) => 0,
            })
            .sum()
    }

    /// Units of a meter held by this client's open reservations.
    pub(crate) fn held(&self, meter: &str) -> u64 {
        self.open.values().filter(|(held, _)| *held == meter).map(|(_, units)| units).sum()
    }

    /// Sends one request after the other until the server is gone or the work is over.
    pub(crate) async fn work(&mut self, url: &str, is_over: &AtomicBool) {
        self.api = self.api.at(url);
        self.fresh_from = self.log.len();
        while !is_over.load(Ordering::Acquire) {
            let sent = self.choose();
            self.log.push(sent.clone());
            let Ok(reply) = self.api.post_once(&sent.path, &sent.key, &sent.body).await else {
                return;
            };
            match reply.status {
                200 | 201 => self.acknowledge(self.log.len() - 1, reply.body),
                402 => {
                    self.refused += 1;
                    self.log.pop();
                }
                // The server may say that it does not know, or that it cannot now: ask after the kill.
                503 | 504 => return,
                _ => panic!("{sent:?} was answered {reply:?}"),
            }
        }
    }

    /// Uses up what is left of the scarce meter; returns how many requests were acknowledged.
    pub(crate) async fn use_up(&mut self, url: &str) -> usize {
        let (elsewhere, before) = (self.api.at(url), self.acknowledged());
        loop {
            self.sent += 1;
            let sent = Sent {
                effect: Effect::Consume(1),
                meter: SCARCE,
                path: "/api/usage/consume".to_owned(),
                key: format!("client-{}-{}", self.number, self.sent),
                body: items(SCARCE, 1),
                answer: None,
            };
            let reply = elsewhere.post_once(&sent.path, &sent.key, &sent.body).await.unwrap();
            match reply.status {
                200 => {
                    self.log.push(sent);
                    self.acknowledge(self.log.len() - 1, reply.body);
                }
                402 => return self.acknowledged() - before,
                _ => panic!("{sent:?} was answered {reply:?}"),
            }
        }
    }

    /// Repeats what was sent since the last kill: what was acknowledged must be answered the same.
    pub(crate) async fn repeat(&mut self, url: &str, context: &str) {
        self.api = self.api.at(url);
        let mut kept = self.log.split_off(self.fresh_from);
        for sent in kept.drain(..) {
            let reply = self.ask_again(&sent).await;
            if let Some(first) = &sent.answer {
                let replayed = reply.header("idempotency-replayed");
                assert_eq!((&reply.body, replayed), (first, "true"), "{context}: {sent:?}");
                self.log.push(sent);
                continue;
            }
            match reply.status {
                200 | 201 => {
                    self.log.push(sent);
                    self.acknowledge(self.log.len() - 1, reply.body);
                }
                402 => self.refused += 1,
                _ => panic!("{context}: {sent:?} was answered {reply:?}"),
            }
        }
    }

    /// Sends a request again until the server can say something about it.
    async fn ask_again(&self, sent: &Sent) -> Reply {
        let until = Instant::now() + RECOVERS_WITHIN;
        loop {
            let reply = self.api.post_once(&sent.path, &sent.key, &sent.body).await.unwrap();
            if !matches!(reply.status, 503 | 504) || Instant::now() > until {
                return reply;
            }
            sleep(ASK_EVERY).await;
        }
    }

    fn acknowledge(&mut self, index: usize, answer: Value) {
        let sent = &mut self.log[index];
        match sent.effect {
            Effect::Reserve(units) => {
                let id = answer["id"].as_str().unwrap();
                self.open.insert(format!("/api/reservations/{id}"), (sent.meter, units));
            }
            Effect::Commit(_) | Effect::Release(_) => {
                let (reservation, _) = sent.path.rsplit_once('/').unwrap();
                self.open.remove(reservation);
            }
            Effect::Consume(_) => {}
        }
        sent.answer = Some(answer);
    }

    fn choose(&mut self) -> Sent {
        self.sent += 1;
        let key = format!("client-{}-{}", self.number, self.sent);
        let units = self.rng.random_range(1..=5);
        let meter = if self.rng.random() { SCARCE } else { PLENTY };
        let open = self.open.iter().next().map(|(path, held)| (path.clone(), *held));
        match (self.rng.random_range(0..10), open) {
            (0..3, _) => {
                let mut body = items(meter, units);
                body["ttl_s"] = json!(86_400);
                let path = "/api/reservations".to_owned();
                Sent { effect: Effect::Reserve(units), meter, path, key, body, answer: None }
            }
            (verb @ 3..6, Some((path, (meter, held)))) => {
                let (effect, verb) = match verb {
                    3..5 => (Effect::Commit(held), "commit"),
                    _ => (Effect::Release(held), "release"),
                };
                let path = format!("{path}/{verb}");
                Sent { effect, meter, path, key, body: json!({}), answer: None }
            }
            _ => {
                let path = "/api/usage/consume".to_owned();
                let body = items(meter, units);
                Sent { effect: Effect::Consume(units), meter, path, key, body, answer: None }
            }
        }
    }
}
