//! A scripted workload: the same few requests each time, whatever is broken while they run.
//!
//! It uses every verb of the usage plane, alone and several at once, up to a refusal at the limit.
//! A script that was interrupted goes on later: what has no final answer is sent again with its key.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::Api;
use crate::history::{Answer, Recorder, Rules};

/// The limit of [`SCARCE`] that the script is written for.
pub const LIMIT: u64 = 20;

/// The meter whose limit is reached.
pub const SCARCE: &str = "images";

/// A meter whose limit is far.
const PLENTY: &str = "tts_ms";

/// How long a server may say that it cannot now, and how often it is asked again.
const PATIENCE: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The seconds that a hold lives which nothing ends but time.
const SHORT_S: u64 = 1;

/// A tenant of the script: its id and a client with its key.
pub type Tenant = (String, Api);

/// One request.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Consume(&'static str, u64),
    Reserve(&'static str, &'static str, u64),
    /// A hold that lapses by itself.
    ReserveShortly(&'static str, &'static str, u64),
    Commit(&'static str, Option<(&'static str, u64)>),
    Release(&'static str),
    Extend(&'static str),
    /// Events by their numbers, from the first one to before the second: one counts once.
    Report(u64, u64),
    Usage,
    Look(&'static str),
}

use Ask::{Commit, Consume, Extend, Look, Release, Report, Reserve, ReserveShortly, Usage};

/// What is sent: rounds of requests that leave at once, each with the tenant that sends it.
const ROUNDS: &[&[(usize, Ask)]] = &[
    &[(0, Consume(SCARCE, 3))],
    &[(0, ReserveShortly("lapses", PLENTY, 9))],
    &[(0, Reserve("part", SCARCE, 5))],
    &[
        (0, Consume(SCARCE, 2)),
        (0, Consume(PLENTY, 7)),
        (0, Reserve("more", PLENTY, 10)),
        (1, Consume(SCARCE, 1)),
        (1, Reserve("other", SCARCE, 4)),
        (0, Usage),
    ],
    &[(0, Commit("part", Some((SCARCE, 4)))), (0, Report(1, 4)), (1, Report(1, 2))],
    &[(0, Extend("more")), (1, Release("other")), (1, Consume(SCARCE, 20))],
    &[(0, Commit("more", Some((PLENTY, 12)))), (0, Look("part"))],
    &[(0, Reserve("back", SCARCE, 6))],
    &[(0, Consume(SCARCE, 6)), (0, Report(3, 7)), (0, Report(2, 6))],
    &[(0, Release("back"))],
    &[
        (0, Consume(SCARCE, 11)),
        (0, Consume(SCARCE, 11)),
        (0, Consume(PLENTY, 1)),
        (1, Reserve("all", SCARCE, 19)),
    ],
    &[(0, Consume(SCARCE, 1)), (1, Commit("all", None)), (1, Commit("all", None))],
    &[(0, Usage), (1, Usage), (1, Look("all"))],
];

/// How far a script came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// To its end.
    Done,
    /// Until the server left or did not know.
    Broken,
}

/// What became of one request.
#[derive(Debug)]
struct Sent {
    round: usize,
    place: usize,
    answer: Option<Answer>,
}

/// One run of the script, over as many lives of the server as it takes.
#[derive(Debug)]
pub struct Script {
    recorder: Recorder,
    tenants: Vec<String>,
    /// Rounds that are done.
    done: usize,
    holds: HashMap<&'static str, String>,
    /// What is known of each request, by round and place.
    answers: BTreeMap<(usize, usize), Answer>,
}

impl Script {
    /// A script for two tenants, that was not begun.
    #[must_use]
    pub fn new(recorder: Recorder, tenants: Vec<String>) -> Self {
        Self { recorder, tenants, done: 0, holds: HashMap::new(), answers: BTreeMap::new() }
    }

    /// What the checker has to know: the limits that the script was written for.
    #[must_use]
    pub fn rules() -> Rules {
        Rules {
            limits: BTreeMap::from([(SCARCE.to_owned(), Some(LIMIT))]),
            levels: ["storage_bytes".to_owned()].into(),
        }
    }

    /// How many rounds are done.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Goes on to the end, or until the server leaves or does not know. After an interruption
    /// everything that was done, or may have been, is sent once more first.
    pub async fn run(&mut self, clients: &[Api]) -> Progress {
        for round in 0..ROUNDS.len() {
            if self.round(clients, round).await == Progress::Broken {
                return Progress::Broken;
            }
            self.done = self.done.max(round + 1);
        }
        Progress::Done
    }

    /// The path of the hold that nothing ends but time, with its tenant's place.
    #[must_use]
    pub fn lapsing_hold(&self) -> Option<(usize, String)> {
        self.holds.get("lapses").map(|id| (0, format!("/api/reservations/{id}")))
    }

    async fn round(&mut self, clients: &[Api], round: usize) -> Progress {
        let asked = ROUNDS[round].iter().enumerate();
        // What was refused changed nothing: sent again, it would be another request.
        let asked = asked.filter(|(place, _)| {
            let known = self.answers.get(&(round, *place));
            known.is_none_or(Answer::is_success)
        });
        let all: Vec<Sent> = {
            let this = &*self;
            let send = async |(place, (tenant, ask)): (usize, &(usize, Ask))| {
                let answer = this.send(&clients[*tenant], *tenant, (round, place), *ask).await;
                Sent { round, place, answer }
            };
            join_all(asked.map(send)).await
        };
        let mut progress = Progress::Done;
        for Sent { round, place, answer } in all {
            let Some(answer) = answer.filter(|answer| !answer.is_unknown()) else {
                progress = Progress::Broken;
                continue;
            };
            if let (_, Reserve(label, ..) | ReserveShortly(label, ..)) = ROUNDS[round][place]
                && let Some(id) = answer.body["id"].as_str()
            {
                self.holds.insert(label, id.to_owned());
            }
            self.answers.entry((round, place)).or_insert(answer);
        }
        progress
    }

    /// Sends one request, again while the server says that it cannot now.
    async fn send(
        &self,
        api: &Api,
        tenant: usize,
        (round, place): (usize, usize),
        ask: Ask,
    ) -> Option<Answer> {
        let key = format!("script-{round}-{place}");
        let tenant = self.tenants[tenant].as_str();
        let (path, body) = self.request(ask)?;
        let patience = Instant::now() + PATIENCE;
        loop {
            let answer = match &body {
                // An event is known by its own name.
                Some(body) if matches!(ask, Report(..)) => {
                    self.recorder.record(api, tenant, body.clone()).await?
                }
                Some(body) => self.recorder.post(api, (tenant, &key), &path, body.clone()).await?,
                None => self.recorder.get(api, tenant, &path).await?,
            };
            let cannot_now = matches!(answer.status, 429 | 503 | 507);
            if !cannot_now {
                return Some(answer);
            }
            if Instant::now() > patience {
                return None;
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Path and body; none when the hold that it speaks of was never answered.
    fn request(&self, ask: Ask) -> Option<(String, Option<Value>)> {
        let items = |meter: &str, amount: u64| json!([{ "meter": meter, "amount": amount }]);
        let hold = |label: &str, verb: &str| {
            self.holds.get(label).map(|id| format!("/api/reservations/{id}{verb}"))
        };
        let reserve = |meter: &str, amount: u64, ttl_s: u64| {
            let body = json!({ "items": items(meter, amount), "ttl_s": ttl_s });
            Some(("/api/reservations".to_owned(), Some(body)))
        };
        match ask {
            Consume(meter, amount) => {
                let body = json!({ "items": items(meter, amount) });
                Some(("/api/usage/consume".to_owned(), Some(body)))
            }
            Reserve(_, meter, amount) => reserve(meter, amount, 3_600),
            ReserveShortly(_, meter, amount) => reserve(meter, amount, SHORT_S),
            Commit(label, None) => Some((hold(label, "/commit")?, Some(json!({})))),
            Commit(label, Some((meter, amount))) => {
                let body = json!({ "items": items(meter, amount) });
                Some((hold(label, "/commit")?, Some(body)))
            }
            Release(label) => Some((hold(label, "/release")?, Some(json!({})))),
            Extend(label) => Some((hold(label, "/extend")?, Some(json!({ "ttl_s": 7_200 })))),
            Report(from, to) => Some((String::new(), Some((from..to).map(event).collect()))),
            Usage => Some(("/api/usage".to_owned(), None)),
            Look(label) => Some((hold(label, "")?, None)),
        }
    }
}

/// An event, the same whenever it is sent.
fn event(number: u64) -> Value {
    json!({ "specversion": "1.0", "source": "/script", "id": number.to_string(), "type": PLENTY,
            "data": { "amount": number } })
}
