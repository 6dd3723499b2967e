//! Alerts are told exactly once, by mail and by webhook, however often the server is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::{OsRng, StdRng};
use rand::{Rng as _, SeedableRng as _, TryRngCore as _};
use serde_json::{Value, json};
use tenantry_chaos::{Api, Stack};
use tokio::time::sleep;

use crate::product::{eventually, items};
use crate::support::stack;

/// Tenants that reach their limits at once.
const TENANTS: usize = 3;

/// What each may use: two units are one part of a hundred, so that every threshold is met exactly.
const LIMIT: u64 = 200;

/// How often the server is killed, and how long it works before, at most.
const KILLS: usize = 8;
const MAX_LOAD_MS: u64 = 400;

/// How long the last mail and the last webhook may take.
const TOLD_WITHIN: Duration = Duration::from_mins(1);

/// How long a client waits that was told to.
const PAUSE: Duration = Duration::from_millis(20);

struct Tenant {
    address: String,
    place: String,
    endpoint: String,
    api: Api,
    /// Units whose use was acknowledged.
    used: u64,
}

impl Tenant {
    async fn new(stack: &Stack, number: usize) -> Self {
        let address = format!("owner-{number}@example.test");
        let owner = stack.login(&address).await.unwrap();
        let place = format!("tenant-{number}");
        let body = json!({
            "url": stack.world().receiver_url(&place), "events": ["usage.threshold_reached"],
        });
        let created = owner.post("/api/webhook-endpoints", &body).await.unwrap();
        assert_eq!(created.status, 201, "{created:?}");
        let endpoint = created.body["id"].as_str().unwrap().to_owned();
        // A key outlives the server's address, which is a part of a session's token.
        let api = stack.api_key(&address).await.unwrap();
        Self { address, place, endpoint, api, used: 0 }
    }

    /// Uses one unit after the other, each under a key of its own, until the server is gone.
    async fn work(&mut self, url: &str) {
        let api = self.api.at(url);
        while self.used < LIMIT {
            let key = format!("unit-{}", self.used);
            match api.post_once("/api/usage/consume", &key, &items("images", 1)).await {
                Ok(reply) if reply.status == 200 => self.used += 1,
                // It says that the same key may be tried again.
                Ok(reply) if [409, 503, 504].contains(&reply.status) => sleep(PAUSE).await,
                Ok(reply) => panic!("{key}: {reply:?}"),
                Err(_) => return,
            }
        }
    }
}

#[tokio::test]
async fn every_threshold_is_one_mail_and_one_webhook_across_kills() {
    let seed = OsRng.try_next_u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let plans = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let catalogue = include_str!("../../plans.toml");
    let limited = catalogue.replacen("images = 500,", &format!("images = {LIMIT},"), 1);
    std::fs::write(plans.path(), limited).unwrap();
    let mut stack = stack()
        .variable("TENANTRY__PLANS", plans.path().to_str().unwrap())
        .variable("TENANTRY__WEBHOOKS__REACH", "local")
        .start()
        .await
        .unwrap();
    let mut tenants = Vec::new();
    for number in 0..TENANTS {
        tenants.push(Tenant::new(&stack, number).await);
    }

    for _ in 0..KILLS {
        let url = stack.server().url();
        let load = join_all(tenants.iter_mut().map(|tenant| tenant.work(&url)));
        let moment = Duration::from_millis(rng.random_range(0..=MAX_LOAD_MS));
        let (_, killed) = tokio::join!(load, async {
            sleep(moment).await;
            stack.kill().await
        });
        killed.unwrap();
        stack.restart().await.unwrap();
    }
    let url = stack.server().url();
    join_all(tenants.iter_mut().map(|tenant| tenant.work(&url))).await;

    for tenant in &tenants {
        assert_eq!(tenant.used, LIMIT, "seed {seed}");
        // First the mails: one that came late would be taken for the login's.
        check_mails(&stack, tenant, seed).await;
        check_webhooks(&stack, tenant, seed).await;
    }
}

/// Each threshold is one delivery, with one id however often it arrived.
async fn check_webhooks(stack: &Stack, tenant: &Tenant, seed: u64) {
    let api = stack.login(&tenant.address).await.unwrap();
    let path = format!("/api/webhook-endpoints/{}/deliveries", tenant.endpoint);
    let listed = eventually(TOLD_WITHIN, async || {
        let data = api.get(&path).await.ok()?.body["data"].as_array()?.clone();
        let is_done = |it: &Value| it["state"] == "delivered";
        (data.len() >= 3 && data.iter().all(is_done)).then_some(data)
    })
    .await;
    let mut ids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for hook in stack.world().receiver().at(&tenant.place) {
        let percent = hook.json()["data"]["percent"].as_u64().unwrap();
        ids.entry(percent).or_default().insert(hook.id);
    }
    assert_eq!(listed.len(), 3, "seed {seed}: {listed:?}");
    let counts: Vec<(u64, usize)> =
        ids.iter().map(|(percent, ids)| (*percent, ids.len())).collect();
    assert_eq!(counts, [(50, 1), (80, 1), (100, 1)], "seed {seed}");
}

/// Each threshold is one mail, with one Message-ID however often it was sent.
async fn check_mails(stack: &Stack, tenant: &Tenant, seed: u64) {
    let mails = eventually(TOLD_WITHIN, async || {
        let mails = stack.world().mailbox().to(Some(&tenant.address));
        let alerts: BTreeMap<String, BTreeSet<Option<String>>> = mails
            .into_iter()
            .filter(|mail| mail.subject.contains("of images is used"))
            .fold(BTreeMap::new(), |mut alerts, mail| {
                let ids: &mut BTreeSet<_> = alerts.entry(mail.subject).or_default();
                ids.insert(mail.message_id);
                alerts
            });
        (alerts.len() == 3).then_some(alerts)
    })
    .await;
    assert!(mails.values().all(|ids| ids.len() == 1), "seed {seed}: {mails:?}");
}
