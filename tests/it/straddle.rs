//! Many operations while a period ends: each belongs to exactly one of the two.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tenantry_chaos::Api;
use tenantry_chaos::history::{Answer, Recorder, check};
use tenantry_chaos::script::{SCARCE, Script};
use tokio::time::{Instant, sleep};

use crate::faults::Template;
use crate::product::items;

/// Where the tenant's own clock stands at first, and where it is moved to.
const BEFORE: &str = "2027-01-31T23:59:00Z";
const AFTER: &str = "2027-02-01T00:00:30Z";

/// The two periods, in order.
const PERIODS: [&str; 2] = ["2027-01", "2027-02"];

/// Operations in all, and those of them that certainly come before and after the period's end.
const OPERATIONS: usize = 500;
const CERTAIN: usize = 100;

/// How long a busy server may send clients away, and how often they come back.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A meter whose limit is far.
const PLENTY: &str = "tts_ms";

#[tokio::test]
async fn of_five_hundred_operations_straddling_a_periods_end_each_is_in_one_period() {
    straddle(None).await;
}

/// Sends the operations while the tenant's clock passes the month's end.
pub(crate) async fn straddle(bug: Option<&str>) {
    let template = Template::with_bug(bug).await;
    let (mut stack, _) = template.stack().await;
    let words = ["tenant", "create", "--test", "--at", BEFORE, "--json"];
    let made = stack.run(&words).await.unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let field = |name: &str| made[name].as_str().unwrap().to_owned();
    let (tenant, key) = (field("tenant_id"), field("api_key"));
    stack.restart().await.unwrap();
    let client =
        Client { api: stack.api().with_bearer(&key), tenant, recorder: Recorder::default() };
    let holds = join_all((0..OPERATIONS).step_by(5).map(|number| client.hold(number))).await;

    let send = |range: std::ops::Range<usize>| {
        join_all(range.map(|number| client.operate(number, &holds[number / 5])))
    };
    send(0..CERTAIN).await;
    let (_, advanced) = join(send(CERTAIN..OPERATIONS - CERTAIN), client.advance()).await;
    assert_eq!(advanced.status, 200, "{advanced:?}");
    send(OPERATIONS - CERTAIN..OPERATIONS).await;
    client.recorder.get(&client.api, &client.tenant, "/api/usage").await.unwrap();

    assert_eq!(stack.stop().await.unwrap(), Some(0));
    stack.verify().await.unwrap();
    let lines = stack.export_months(&PERIODS).await.unwrap();
    let faults = check(&client.recorder.calls(), &lines, &Script::rules());
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    each_is_in_one_period(&lines, &client.tenant);
}

/// What opens a period's use stands before its end or after, and what holds of it end counts there.
fn each_is_in_one_period(lines: &str, tenant: &str) {
    let entries: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let own: Vec<&Value> = entries.iter().filter(|entry| entry["tenant"] == tenant).collect();
    let rolls: Vec<usize> =
        (0..own.len()).filter(|index| own[*index]["kind"] == "period_rolled").collect();
    assert_eq!(rolls.len(), 1, "one end of one period");
    let opens = |entry: &&&Value| entry["kind"] == "consumed" || entry["kind"] == "reserved";
    for (part, period) in [&own[..rolls[0]], &own[rolls[0]..]].iter().zip(PERIODS) {
        let mut opened = part.iter().filter(opens);
        assert!(opened.clone().count() >= CERTAIN / 5, "both periods were used");
        assert!(opened.all(|entry| entry["period"] == period), "{period}");
    }
    let committed = own[rolls[0]..].iter().filter(|entry| entry["kind"] == "committed");
    let of_january = committed.filter(|entry| entry["period"] == PERIODS[0]).count();
    assert!(of_january >= CERTAIN / 5, "holds of the old period ended in the new one");
}

struct Client {
    api: Api,
    tenant: String,
    recorder: Recorder,
}

impl Client {
    async fn post(&self, key: &str, path: &str, body: Value) -> Answer {
        let who = (self.tenant.as_str(), key);
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.recorder.post(&self.api, who, path, body.clone()).await.unwrap();
            // A busy server may be late, or send clients away.
            let is_late = matches!(answer.status, 429 | 503 | 504) && Instant::now() < until;
            assert!(is_late || matches!(answer.status, 200 | 201 | 402), "{answer:?}");
            if !is_late {
                return answer;
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Opens the hold that an operation will end.
    async fn hold(&self, number: usize) -> String {
        let mut body = items(PLENTY, 5);
        body["ttl_s"] = json!(3_600);
        let answer = self.post(&format!("hold-{number}"), "/api/reservations", body).await;
        answer.body["id"].as_str().unwrap().to_owned()
    }

    async fn operate(&self, number: usize, hold: &str) {
        let key = format!("operation-{number}");
        let consume = "/api/usage/consume";
        match number % 5 {
            0 | 1 => self.post(&key, consume, items(SCARCE, 1)).await,
            2 => self.post(&key, consume, items(PLENTY, 7)).await,
            3 => {
                let mut body = items(PLENTY, 3);
                body["ttl_s"] = json!(3_600);
                self.post(&key, "/api/reservations", body).await
            }
            _ => {
                let path = format!("/api/reservations/{hold}/commit");
                self.post(&key, &path, items(PLENTY, 4)).await
            }
        };
    }

    async fn advance(&self) -> Answer {
        let body = json!({ "to": AFTER });
        self.post("advance", "/api/test/clock/advance", body).await
    }
}
