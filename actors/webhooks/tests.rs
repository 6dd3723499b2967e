//! Claims about deliveries, over TCP to a receiver that can be broken.

mod receiver;

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tenantry_supervision::breaker::{Breaker, BreakerState};

use self::receiver::Receiver;
use super::target::Found;
use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use crate::database::{DatabaseSettings, FatalHook, mail_outbox, projections};
use crate::identity::{ClientInfo, Credential, Principal, Role, Scopes};
use crate::ids::{RequestId, SessionId, TenantId, UserId};
use crate::journal::Line;
use crate::journal::changes::Changes;
use crate::journal::entry::{Author, EntryBody, EntryHash, Place};

/// How long a test waits for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with the addresses that it is given, one list a question.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().rev().map(parse).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Scripted {
    fn addresses(&self, _host: String) -> Found {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop();
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}

struct Fixture {
    _folder: TempDir,
    tasks: Tasks,
    clock: Arc<ManualClock>,
    deps: WebhookDeps,
    webhooks: Webhooks,
    owner: Principal,
}

impl Fixture {
    async fn start(reach: Reach, lookup: Arc<dyn Lookup>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let (data_dir, fatal) = (folder.path().to_owned(), FatalHook::default());
        let settings = DatabaseSettings { url: None, data_dir, fatal };
        let database = Database::open(&settings, &tasks).await.unwrap();
        let deps = WebhookDeps {
            database,
            keys: KeyRing::open(folder.path()).unwrap(),
            clock: clock.clone(),
            tasks: tasks.child(),
            settings: WebhookSettings { reach },
        };
        let webhooks = Webhooks::start_with(deps.clone(), lookup).unwrap();
        let owner = Principal {
            tenant: TenantId::generate(&SystemClock),
            credential: Credential::Session {
                session: SessionId::generate(&SystemClock),
                user: UserId::generate(&SystemClock),
            },
            role: Some(Role::Owner),
            scopes: Scopes::ALL,
            authenticated_at: None,
        };
        Self { _folder: folder, tasks, clock, deps, webhooks, owner }
    }

    async fn local() -> Self {
        Self::start(Reach::Local, Arc::new(SystemLookup)).await
    }

    async fn endpoint(&self, url: &str) -> Endpoint {
        let new = NewEndpoint { url: url.to_owned(), events: Subscription::All };
        self.webhooks.create(&self.owner, new, &client()).await.unwrap().0
    }

    /// Projects entry `seq`, which says that a threshold was reached.
    async fn project(&self, seq: u64) {
        let body = serde_json::json!({
            "kind": "threshold_reached", "meter": "images", "percent": 80, "used": 400,
            "limit": 500, "period": "2026-11",
        });
        self.project_fact(seq, body).await;
    }

    async fn project_fact(&self, seq: u64, body: serde_json::Value) {
        let tenant = self.owner.tenant;
        let body = EntryBody::Usage(serde_json::from_value(body).unwrap());
        let at = Timestamp::from_micros(1_795_000_000_000_000);
        let author = Author { by: "system", req: None, idem: None, fp: None };
        let line = Line::seal(body, &Place { tenant, seq, at, prev: EntryHash::GENESIS }, &author);
        let mut changes = Changes::new(tenant);
        changes.add(&line).unwrap();
        let mut tx = self.deps.database.system_tx().await.unwrap();
        projections::apply(&mut tx, &[&changes]).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn deliveries(&self, endpoint: &Endpoint) -> Vec<Delivery> {
        self.webhooks.deliveries(self.owner.tenant, endpoint.id, None, 100).await.unwrap()
    }

    /// Waits until a delivery is as wanted, and returns it.
    async fn delivery(&self, endpoint: &Endpoint, is: impl Fn(&Delivery) -> bool) -> Delivery {
        let look = async {
            loop {
                let found = self.deliveries(endpoint).await.into_iter().find(|it| is(it));
                if let Some(found) = found {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await.ok();
        let late = self.deliveries(endpoint).await.pop();
        found.unwrap_or_else(|| panic!("not as wanted; the oldest is {late:?}"))
    }

    async fn shown(&self, endpoint: &Endpoint) -> Endpoint {
        self.webhooks.show(self.owner.tenant, endpoint.id).await.unwrap()
    }

    async fn mails(&self) -> i64 {
        let mut reader = self.deps.database.reader().await.unwrap();
        mail_outbox::depth(&mut reader).await.unwrap()
    }
}

fn client() -> ClientInfo {
    let request = RequestId::generate(&SystemClock);
    ClientInfo { request, address: None, user_agent: None }
}

#[tokio::test]
async fn an_entry_is_delivered_once_however_often_it_is_projected() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    let endpoint = world.endpoint(&receiver.url()).await;

    for seq in [1, 2, 1, 2, 1] {
        world.project(seq).await;
    }
    receiver.wait_for(2).await;
    world.project(1).await;
    world.project(3).await;
    let seen = receiver.wait_for(3).await;

    let mut ids: Vec<&str> = seen.iter().map(|hook| hook.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((seen.len(), ids.len()), (3, 3));
    assert_eq!(world.deliveries(&endpoint).await.len(), 3);
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(body["type"], "usage.threshold_reached");
    assert_eq!(body["id"], seen[0].header("webhook-id"));
    assert_eq!(body["data"]["percent"], 80);
}

#[tokio::test]
async fn passing_a_limit_is_told_once_in_a_period() {
    let world = Fixture::local().await;
    let endpoint = world.endpoint("http://127.0.0.1:9/hook").await;
    let consumed = |used: u64, amount: u64, period: &str| {
        let item = serde_json::json!({
            "meter": "images", "amount": amount, "used": used, "reserved": 0, "limit": 500,
        });
        serde_json::json!({ "kind": "consumed", "items": [item], "period": period })
    };

    world.project_fact(1, consumed(500, 100, "2026-11")).await;
    world.project_fact(2, consumed(501, 1, "2026-11")).await;
    world.project_fact(3, consumed(600, 99, "2026-11")).await;
    world.project_fact(9, consumed(510, 20, "2026-11")).await;
    world.project_fact(12, consumed(510, 510, "2026-12")).await;

    let mut told: Vec<(u64, String)> =
        world.deliveries(&endpoint).await.into_iter().map(|it| (it.seq, it.kind)).collect();
    told.sort();
    let kind = "usage.over_limit".to_owned();
    assert_eq!(told, [(2, kind.clone()), (12, kind)]);
}

#[tokio::test]
async fn the_schedule_is_followed_to_its_end_and_a_resend_begins_it_anew() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("500 Internal Server Error");
    let endpoint = world.endpoint(&receiver.url()).await;
    world.project(1).await;

    for (tries, wait) in (1..).zip(RETRY_AFTER).take(3) {
        let now = Some(world.clock.now());
        let is_tried = |it: &Delivery| it.attempts == tries && it.last_attempt_at == now;
        let waiting = world.delivery(&endpoint, is_tried).await;
        assert_eq!((waiting.state, waiting.last_status), (DeliveryState::Pending, Some(500)));
        assert_eq!(waiting.next_attempt_at, world.clock.now().checked_add(wait));
        world.clock.advance(wait);
    }
    let now = Some(world.clock.now());
    world.delivery(&endpoint, |it| it.attempts == 4 && it.last_attempt_at == now).await;
    let steps = RETRY_AFTER.len();
    world.deps.database.tamper(&format!("UPDATE webhook_deliveries SET step = {steps}")).await;
    world.clock.advance(RETRY_AFTER[3]);
    let over = world.delivery(&endpoint, |it| it.state == DeliveryState::Failed).await;
    assert_eq!((over.attempts, over.next_attempt_at), (5, None));

    receiver.answer("200 OK");
    let next = world.webhooks.resend(&world.owner, over.id, &client()).await.unwrap();

    // Five failures in a row opened the breaker, which a resend does not force.
    assert_eq!((next.state, next.event), (DeliveryState::Pending, over.event));
    let seen = receiver.wait_for(5).await;
    assert!(seen.iter().all(|hook| hook.header("webhook-id") == over.event.to_string()));
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_switched_off_and_its_owner_gets_one_mail() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("503 Service Unavailable");
    let endpoint = world.endpoint(&receiver.url()).await;
    world.project(1).await;
    world.delivery(&endpoint, |it| it.attempts == 1 && it.last_error.is_some()).await;
    assert!(world.shown(&endpoint).await.failing_since.is_some());

    world.clock.advance(GIVE_UP_AFTER);
    let over = world.delivery(&endpoint, |it| it.state == DeliveryState::Failed).await;
    world.project(2).await;

    let shown = world.shown(&endpoint).await;
    assert_eq!(shown.disabled_reason.as_deref(), Some("failing"));
    assert_eq!(over.last_error.as_deref(), Some("endpoint-disabled"));
    // The mail about the endpoint, and those about the two thresholds.
    assert_eq!(world.mails().await, 3);
    assert_eq!(world.deliveries(&endpoint).await.len(), 1, "one that is off is owed nothing");
    let refused = world.webhooks.resend(&world.owner, over.id, &client()).await;
    assert!(matches!(refused, Err(WebhookError::Disabled)));

    receiver.answer("200 OK");
    let on = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    world.webhooks.change(&world.owner, endpoint.id, on, &client()).await.unwrap();
    world.webhooks.resend(&world.owner, over.id, &client()).await.unwrap();
    world.delivery(&endpoint, |it| it.state == DeliveryState::Delivered).await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_believed_at_once() {
    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("410 Gone");
    let endpoint = world.endpoint(&receiver.url()).await;

    world.project(1).await;
    world.delivery(&endpoint, |it| it.state == DeliveryState::Failed).await;

    assert_eq!(world.shown(&endpoint).await.disabled_reason.as_deref(), Some("gone"));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let world = Fixture::local().await;
    let (receiver, elsewhere) =
        (Receiver::start(&world.tasks).await, Receiver::start(&world.tasks).await);
    receiver.answer(&format!("302 Found\r\nlocation: {}", elsewhere.url()));
    let endpoint = world.endpoint(&receiver.url()).await;

    world.project(1).await;
    let failed = world.delivery(&endpoint, |it| it.last_error.is_some()).await;

    assert_eq!((failed.last_error.as_deref(), failed.last_status), (Some("redirect"), Some(302)));
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_reaches_no_private_address() {
    // The first list is what a check before the connection would have seen.
    let lists: [&[&str]; 5] =
        [&["127.0.0.1"], &["10.0.0.1", "::1"], &["169.254.169.254"], &["::ffff:127.0.0.1"], &[]];
    for list in lists {
        let lookup = Scripted::answering(&[list]);
        let world = Fixture::start(Reach::Public, lookup.clone()).await;
        let endpoint = world.endpoint("https://rebound.example.com/hook").await;

        world.project(1).await;
        let failed = world.delivery(&endpoint, |it| it.last_error.is_some()).await;

        assert_eq!(failed.last_error.as_deref(), Some("address-not-public"), "{list:?}");
        assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "it is asked once, and believed once");
        world.tasks.finish(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn one_that_hangs_keeps_no_other_waiting() {
    let world = Fixture::local().await;
    let (stuck, healthy) =
        (Receiver::start(&world.tasks).await, Receiver::start(&world.tasks).await);
    stuck.hang();
    world.endpoint(&stuck.url()).await;
    for seq in 1..=300 {
        world.project(seq).await;
    }
    let endpoint = world.endpoint(&healthy.url()).await;
    let started = tokio::time::Instant::now();

    world.project(1_000).await;
    world.delivery(&endpoint, |it| it.state == DeliveryState::Delivered).await;

    assert!(started.elapsed() < client::ATTEMPT_TIMEOUT, "it waited for the one that hangs");
    assert!(stuck.seen().len() <= 4, "only a few places are held: {}", stuck.seen().len());
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_left_alone() {
    let breaker = Breaker::one_of_many(relay::breaker_settings());
    for _ in 0..5 {
        let failing = async || Err::<(), _>(client::NotTaken::because("status"));
        breaker.call(failing).await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Open);

    let world = Fixture::local().await;
    let receiver = Receiver::start(&world.tasks).await;
    receiver.answer("500 Internal Server Error");
    let endpoint = world.endpoint(&receiver.url()).await;
    for seq in 1..=40 {
        world.project(seq).await;
    }
    world
        .delivery(&endpoint, |it| it.attempts == 0 && it.next_attempt_at > Some(world.clock.now()))
        .await;

    // What was under way when the breaker opened came to its end too.
    assert!(receiver.seen().len() <= 5 + 4, "{}", receiver.seen().len());
}

#[tokio::test]
async fn what_another_tenant_has_is_not_found() {
    let world = Fixture::local().await;
    let endpoint = world.endpoint("http://127.0.0.1:9/hook").await;
    let eve = Principal { tenant: TenantId::generate(&SystemClock), ..world.owner.clone() };
    let webhooks = &world.webhooks;
    let change = EndpointChange::default();

    let missing = [
        webhooks.show(eve.tenant, endpoint.id).await.map(drop),
        webhooks.change(&eve, endpoint.id, change, &client()).await.map(drop),
        webhooks.rotate_secret(&eve, endpoint.id, 0, &client()).await.map(drop),
        webhooks.deliveries(eve.tenant, endpoint.id, None, 1).await.map(drop),
        webhooks.remove(&eve, endpoint.id, &client()).await,
    ];

    for result in missing {
        assert!(matches!(result, Err(WebhookError::NotFound)), "{result:?}");
    }
    assert!(webhooks.list(eve.tenant).await.unwrap().is_empty());
}
