//! Claims about deliveries, over TCP to a receiver that can be broken.

mod failing;
mod queues;
mod reaching;
mod receiver;
mod servers;
mod telling;

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use self::receiver::Receiver;
use super::target::Found;
use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use crate::database::testing::settings;
use crate::database::{DatabaseSettings, mail_outbox, projections};
use crate::identity::{ClientInfo, Credential, Principal, Role, Scopes};
use crate::ids::{RequestId, ReservationId, SessionId, TenantId, UserId};
use crate::journal::Line;
use crate::journal::changes::Changes;
use crate::journal::entry::{Author, EntryBody, EntryHash, Place};

/// How long a test waits for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// When every entry of these tests was made.
const AT: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

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
    folder: TempDir,
    tasks: Tasks,
    clock: Arc<ManualClock>,
    deps: WebhookDeps,
    webhooks: Webhooks,
    owner: Principal,
}

impl Fixture {
    async fn start(reach: Reach, lookup: Arc<dyn Lookup>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, clock) = (Tasks::new(), Arc::new(ManualClock::new(SystemClock.now())));
        let deps = WebhookDeps {
            database: Database::open(&settings(folder.path()).await, &tasks).await.unwrap(),
            keys: KeyRing::open(folder.path()).unwrap(),
            clock: clock.clone(),
            tasks: tasks.child(),
            settings: WebhookSettings { reach },
        };
        let webhooks = Webhooks::start_with(deps.clone(), lookup).unwrap();
        Self { folder, tasks, clock, deps, webhooks, owner: owner() }
    }

    async fn local() -> Self {
        Self::start(Reach::Local, Arc::new(SystemLookup)).await
    }

    async fn endpoint(&self, url: &str) -> Endpoint {
        self.endpoint_of(&self.owner, url).await
    }

    async fn endpoint_of(&self, owner: &Principal, url: &str) -> Endpoint {
        let new = NewEndpoint { url: url.to_owned(), events: Subscription::All };
        self.webhooks.create(owner, new, &client()).await.unwrap().0
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
        self.project_all(self.owner.tenant, [(seq, body)]).await;
    }

    /// Projects entries that say that holds lapsed, all in one turn.
    async fn project_lapses(&self, tenant: TenantId, seqs: impl IntoIterator<Item = u64>) {
        let lapse = |seq: u64| {
            let body = serde_json::json!({
                "kind": "expired", "reservation": ReservationId::from_bits(seq.into()),
                "items": [], "expires_at": AT, "period": "2026-11",
            });
            (seq, body)
        };
        self.project_all(tenant, seqs.into_iter().map(lapse)).await;
    }

    async fn project_all(
        &self,
        tenant: TenantId,
        entries: impl IntoIterator<Item = (u64, serde_json::Value)>,
    ) {
        let mut changes = Changes::new(tenant);
        for (seq, body) in entries {
            let body = EntryBody::Usage(serde_json::from_value(body).unwrap());
            let author = Author { by: "system", req: None, idem: None, fp: None };
            let place = Place { tenant, seq, at: AT, prev: EntryHash::GENESIS };
            changes.add(&Line::seal(body, &place, &author)).unwrap();
        }
        let mut tx = self.deps.database.projector_tx().await.unwrap();
        projections::apply(&mut tx, &[&changes]).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn deliveries(&self, endpoint: &Endpoint) -> Vec<Delivery> {
        self.deliveries_of(self.owner.tenant, endpoint).await
    }

    async fn deliveries_of(&self, tenant: TenantId, endpoint: &Endpoint) -> Vec<Delivery> {
        self.webhooks.deliveries(tenant, endpoint.id, None, 20_000).await.unwrap()
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

/// The owner of a tenant of his own.
fn owner() -> Principal {
    Principal {
        tenant: TenantId::generate(&SystemClock),
        credential: Credential::Session {
            session: SessionId::generate(&SystemClock),
            user: UserId::generate(&SystemClock),
        },
        role: Some(Role::Owner),
        scopes: Scopes::ALL,
        authenticated_at: None,
    }
}

/// Looks again and again until it is as wanted.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("not {what}"));
}

fn client() -> ClientInfo {
    let request = RequestId::generate(&SystemClock);
    ClientInfo { request, address: None, user_agent: None }
}
