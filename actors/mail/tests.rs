//! Claims about mails, over TCP to a mail server that can be broken.

mod sink;

use std::sync::Arc;

use secrecy::ExposeSecret;
use tempfile::TempDir;
use tenantry_supervision::breaker::BreakerState;

use self::sink::{Behaviour, Sink};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::database::{Backend, mail_outbox, projections, testing};
use crate::identity::{
    ClientInfo, Identity, IdentityDeps, IdentitySettings, LinkRequest, Mode, Proof,
};
use crate::ids::{RequestId, TenantId};
use crate::journal::Line;
use crate::journal::changes::Changes;
use crate::journal::entry::{Author, EntryBody, EntryHash, Place};

const ADA: &str = "ada@example.test";
/// How long a test waits for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    _folder: TempDir,
    db: Database,
    sink: Sink,
    tasks: Tasks,
    deps: MailDeps,
    mail: Mail,
    wake: Wake,
    identity: Identity,
}

impl Fixture {
    async fn start(behaviour: Behaviour) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, clock) = (Tasks::new(), Arc::new(SystemClock));
        let sink = Sink::start(&tasks, behaviour).await;
        let settings = testing::settings(folder.path()).await;
        let db = Database::open(&settings, &tasks).await.unwrap();
        let (keys, wake) = (KeyRing::open(folder.path()).unwrap(), Wake::new());
        let url = "https://app.example.test".to_owned();
        let identity = Identity::start(IdentityDeps {
            db: db.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            mail: wake.clone(),
            settings: IdentitySettings {
                public_url: url.clone(),
                mode: Mode::Development,
                jwt_secret: None,
                links_per_address: 3,
            },
        });
        let identity = identity.await.unwrap();
        let smtp_url = Some(SecretString::from(sink.url()));
        let from = "Tenantry <login@tenantry.test>".to_owned();
        let (retry_first, retry_max) = (Duration::from_millis(50), Duration::from_millis(200));
        let settings = MailSettings { smtp_url, from, public_url: url, retry_first, retry_max };
        let deps = MailDeps {
            db: db.clone(),
            keys,
            clock,
            tasks: tasks.child(),
            wake: wake.clone(),
            breaker: breaker(),
            settings,
        };
        let mail = Mail::start(deps.clone()).unwrap();
        Self { _folder: folder, db, sink, tasks, deps, mail, wake, identity }
    }

    /// Ends the relay in the middle of what it does, and starts another one.
    async fn restart(&mut self) {
        self.deps.tasks.finish(Duration::ZERO).await;
        self.deps.tasks = self.tasks.child();
        self.deps.breaker = breaker();
        self.mail = Mail::start(self.deps.clone()).unwrap();
    }

    async fn request(&self, email: &str) -> SecretString {
        let request = RequestId::generate(&SystemClock);
        let client = ClientInfo { request, address: None, user_agent: None };
        let request = LinkRequest { email: email.to_owned(), next: None, client };
        self.identity.request_link(request).await.unwrap().magic_link.unwrap()
    }

    /// Projects a line that says that a threshold was reached.
    async fn project(&self, tenant: TenantId, percent: u8) {
        let body = serde_json::json!({
            "kind": "threshold_reached",
            "meter": "images",
            "percent": percent,
            "used": 5 * u64::from(percent),
            "limit": 500,
            "period": "2026-11",
        });
        let body = EntryBody::Usage(serde_json::from_value(body).unwrap());
        let (seq, at, prev) = (u64::from(percent), SystemClock.now(), EntryHash::GENESIS);
        let author = Author { by: "system", req: None, idem: None, fp: None };
        let line = Line::seal(body, &Place { tenant, seq, at, prev }, &author);
        let mut changes = Changes::new(tenant);
        changes.add(&line).unwrap();
        let mut tx = self.db.system_tx().await.unwrap();
        projections::apply(&mut tx, &[&changes]).await.unwrap();
        tx.commit().await.unwrap();
        self.wake.notify();
    }

    /// Waits until no mail is owed, and returns each mail's end.
    async fn settled(&self) -> Vec<(String, Option<String>)> {
        until("the outbox is empty", async || {
            let mut reader = self.db.reader().await.unwrap();
            mail_outbox::depth(&mut reader).await.unwrap() == 0
        })
        .await;
        let mut reader = self.db.reader().await.unwrap();
        mail_outbox::ends(&mut reader).await.unwrap()
    }
}

/// A breaker that is quick to open and close; its timeout is long for a mail server that works.
fn breaker() -> Breaker {
    Breaker::new(BreakerSettings {
        failures: 2,
        open_for: Duration::from_millis(100),
        max_open_for: Duration::from_millis(200),
        timeout: Duration::from_millis(1_500),
        ..Mail::breaker_settings()
    })
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

#[tokio::test]
async fn a_login_mail_arrives_with_link_and_code_as_text_and_html() {
    let world = Fixture::start(Behaviour::Healthy).await;

    let link = world.request(ADA).await;

    assert_eq!(world.settled().await, [("sent".to_owned(), None)]);
    let mails = world.sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].recipients, [ADA]);
    let text = mails[0].unfolded();
    assert!(text.contains(link.expose_secret()), "{text}");
    for part in [
        "From: Tenantry <login@tenantry.test>",
        "To: ada@example.test",
        "Subject: Your link and code to log in",
        "Auto-Submitted: auto-generated",
        "Content-Type: text/plain",
        "Content-Type: text/html",
        "@tenantry.test>",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[tokio::test]
async fn a_sent_mail_leaves_no_secret_in_the_outbox() {
    let world = Fixture::start(Behaviour::Healthy).await;
    world.request(ADA).await;
    world.settled().await;

    let mut reader = world.db.reader().await.unwrap();
    assert_eq!(mail_outbox::secrets(&mut reader).await.unwrap(), 0);
}

#[tokio::test]
async fn a_hanging_server_opens_the_breaker_and_gets_the_mail_once_when_it_heals() {
    let world = Fixture::start(Behaviour::HangInData).await;
    world.request(ADA).await;
    world.request("bob@example.test").await;
    until("the breaker opens", async || world.mail.breaker().state() == BreakerState::Open).await;

    world.sink.behave(Behaviour::Healthy);

    let ends = world.settled().await;
    assert!(ends.iter().all(|(state, _)| state == "sent"), "{ends:?}");
    let mails = world.sink.mails();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        let tried: Vec<_> = world.sink.attempts(&mail.recipients[0]);
        assert!(tried.len() >= 2, "it was tried before");
        assert!(tried.iter().all(|id| *id == mail.message_id()), "{tried:?}");
    }
}

#[tokio::test]
async fn a_request_does_not_wait_for_a_silent_server() {
    let world = Fixture::start(Behaviour::Silent).await;

    world.request(ADA).await;

    assert_eq!(world.sink.commands(""), 0, "the server has not said a word yet");
}

#[tokio::test]
async fn a_mail_that_a_dying_relay_was_sending_goes_out_at_the_next_start() {
    if testing::backend() != Backend::Sqlite {
        return; // A server may have another owner that is sending: the mail's lease has to end.
    }
    let mut world = Fixture::start(Behaviour::HangInData).await;
    world.request(ADA).await;
    until("an attempt", async || !world.sink.attempts(ADA).is_empty()).await;
    world.sink.behave(Behaviour::Healthy);

    world.restart().await;

    assert_eq!(world.settled().await, [("sent".to_owned(), None)]);
    assert_eq!(world.sink.mails()[0].message_id(), world.sink.attempts(ADA)[0]);
}

#[tokio::test]
async fn a_lost_answer_repeats_the_mail_with_the_same_message_id() {
    let world = Fixture::start(Behaviour::DropAfterData).await;
    world.request(ADA).await;
    until("two attempts", async || world.sink.attempts(ADA).len() >= 2).await;

    world.sink.behave(Behaviour::Healthy);

    world.settled().await;
    let tried = world.sink.attempts(ADA);
    assert!(tried.iter().all(|id| *id == tried[0]), "{tried:?}");
}

#[tokio::test]
async fn a_deferred_mail_is_tried_again_and_the_breaker_stays_closed() {
    let world = Fixture::start(Behaviour::Defer).await;
    world.request(ADA).await;
    until("four attempts", async || world.sink.commands("RCPT") >= 4).await;
    assert_eq!(world.mail.breaker().state(), BreakerState::Closed);

    world.sink.behave(Behaviour::Healthy);

    assert_eq!(world.settled().await[0].0, "sent");
    assert_eq!(world.sink.mails().len(), 1);
}

#[tokio::test]
async fn a_refused_mail_is_dead_at_once_and_hinders_no_other() {
    let world = Fixture::start(Behaviour::RejectRecipient("nobody@")).await;
    world.request("nobody@example.test").await;
    world.request(ADA).await;

    let mut ends = world.settled().await;

    ends.sort();
    assert_eq!(ends[0].0, "dead");
    let error = ends[0].1.clone().unwrap();
    assert!(error.contains("550") && !error.contains("nobody"), "{error}");
    assert_eq!(ends[1].0, "sent");
    assert_eq!(world.mail.breaker().state(), BreakerState::Closed);
}

#[tokio::test]
async fn an_alert_of_much_usage_goes_to_the_owners_once_however_often_it_is_projected() {
    let world = Fixture::start(Behaviour::Healthy).await;
    let link = world.request(ADA).await;
    let (_, token) = link.expose_secret().split_once("#token=").unwrap();
    let request = RequestId::generate(&SystemClock);
    let client = ClientInfo { request, address: None, user_agent: None };
    let proof = Proof::Token(SecretString::from(token));
    let login = world.identity.verify(proof, &client).await.unwrap();
    world.settled().await;

    for percent in [50, 80, 80] {
        world.project(login.tenant.id, percent).await;
        world.settled().await;
    }

    let mails = world.sink.mails();
    assert_eq!(mails.len(), 3);
    assert!(mails[1].unfolded().contains("Subject: 50 % of images is used"));
    let text = mails[2].unfolded();
    assert_eq!(mails[2].recipients, [ADA]);
    assert!(text.contains("Subject: 80 % of images is used"), "{text}");
    assert!(text.contains("400 of 500"), "{text}");
    assert!(text.contains("https://app.example.test/usage"), "{text}");
}

#[tokio::test]
async fn an_alert_for_a_tenant_without_members_is_dropped() {
    let world = Fixture::start(Behaviour::Healthy).await;
    let (tenant, _) =
        world.identity.create_tenants("program", 1, None, None).await.unwrap().remove(0);

    world.project(tenant, 100).await;

    let ends = world.settled().await;
    assert_eq!(ends[0].0, "dead");
    assert!(world.sink.mails().is_empty());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let url = SecretString::from("http://mail.test");
    assert!(matches!(Transport::new(Some(&url)), Err(MailError::InvalidUrl)));
    assert!(matches!(message::Sender::parse("nobody"), Err(MailError::InvalidSender)));
    let text = format!("{:?}", MailSettings::new(Some(url), "a@b.test".into(), String::new()));
    assert!(!text.contains("mail.test"), "{text}");
}
