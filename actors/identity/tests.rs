//! Claims about logins, on a real database file.

mod dump;
mod keys;
mod links;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::database::{audit as audit_rows, mail_outbox, testing};
use crate::ids::RequestId;
use crate::mail::OpenedSecret;

const ADA: &str = "ada@example.test";
const BOB: &str = "bob@example.test";

/// How long a test waits for what takes a moment, on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_mins(1);

/// An identity plane on files of its own, with a clock that the test moves.
struct Fixture {
    folder: TempDir,
    db: Database,
    keys: KeyRing,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    identity: Identity,
}

impl Fixture {
    async fn start() -> Self {
        Self::start_with(Mode::Development, None).await
    }

    async fn start_with(mode: Mode, jwt_secret: Option<SecretString>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let settings = testing::settings(folder.path()).await;
        let db = Database::open(&settings, &tasks).await.unwrap();
        let keys = KeyRing::open(folder.path()).unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-23T09:00:00Z".parse().unwrap()));
        let deps = IdentityDeps {
            db: db.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            mail: Wake::new(),
            settings: IdentitySettings {
                public_url: "https://app.example.test".to_owned(),
                mode,
                jwt_secret,
                links_per_address: 3,
            },
        };
        let identity = Identity::start(deps).await.unwrap();
        Self { folder, db, keys, clock, tasks, identity }
    }

    /// Starts another node on the same database.
    async fn another_node(&self) -> Identity {
        let deps = IdentityDeps {
            db: self.db.clone(),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            mail: Wake::new(),
            settings: self.identity.inner.settings.clone(),
        };
        Identity::start(deps).await.unwrap()
    }

    fn client(&self) -> ClientInfo {
        ClientInfo {
            request: RequestId::generate(&*self.clock),
            address: Some("192.0.2.7".parse().unwrap()),
            user_agent: Some("Netscape".to_owned()),
        }
    }

    fn advance_s(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn request(&self, email: &str) -> Result<LinkIssued, IdentityError> {
        let (email, client) = (email.to_owned(), self.client());
        self.identity.request_link(LinkRequest { email, next: None, client }).await
    }

    /// Requests a mail and reads link token and code out of it.
    async fn mailed(&self, email: &str) -> (String, String) {
        let before = self.outbox().await;
        self.request(email).await.unwrap();
        let mut after = self.outbox().await;
        after.retain(|(id, _)| before.iter().all(|(old, _)| old != id));
        let (_, secret) = after.pop().expect("a mail is owed");
        assert_eq!(secret.email, email);
        let (_, token) = secret.link.split_once("#token=").expect("the link has a fragment");
        (token.to_owned(), secret.code)
    }

    async fn outbox(&self) -> Vec<(String, OpenedSecret)> {
        let mut tx = self.db.system_tx().await.unwrap();
        let rows = mail_outbox::claim(&mut tx, Timestamp::MAX, Timestamp::MAX, 1_000).await;
        // The transaction is dropped: looking takes nothing.
        rows.unwrap()
            .into_iter()
            .map(|row| {
                let sealed = row.secret_sealed.as_deref().unwrap();
                let secret = OpenedSecret::open(&self.keys, &row.id, sealed).unwrap();
                (row.id, secret)
            })
            .collect()
    }

    async fn verify_token(&self, token: &str) -> Result<Login, IdentityError> {
        let proof = Proof::Token(SecretString::from(token));
        self.identity.verify(proof, &self.client()).await
    }

    async fn verify_code(&self, email: &str, code: &str) -> Result<Login, IdentityError> {
        let proof = Proof::Code { email: email.to_owned(), code: SecretString::from(code) };
        self.identity.verify(proof, &self.client()).await
    }

    async fn log_in(&self, email: &str) -> Login {
        let (token, _) = self.mailed(email).await;
        // The next login of the same address must not meet the limit of mails.
        let login = self.verify_token(&token).await.unwrap();
        self.advance_s(6 * 60);
        login
    }

    async fn principal(&self, login: &Login) -> Principal {
        self.identity.authenticate(login.access_token.expose_secret()).await.unwrap()
    }

    async fn refresh(&self, cookie: &str) -> Result<Login, IdentityError> {
        self.identity.refresh(cookie, &self.client()).await
    }

    async fn break_records(&self, is_broken: bool) {
        let mut tx = self.db.system_tx().await.unwrap();
        audit_rows::set_broken(&mut tx, is_broken).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn actions(&self) -> Vec<String> {
        let mut reader = self.db.reader().await.unwrap();
        audit_rows::actions(&mut reader).await.unwrap()
    }
}

fn cookie(login: &Login) -> String {
    login.refresh_token.as_ref().expect("the login has a cookie").expose_secret().to_owned()
}

fn is_refused<T>(result: &Result<T, IdentityError>) -> bool {
    matches!(result, Err(IdentityError::Unauthenticated))
}
