//! The parts behind the front end: started in order, stopped in reverse.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use tenantry_actors::clock::SharedClock;
use tenantry_actors::database::{Database, DatabaseError, DatabaseSettings, FatalHook};
use tenantry_actors::identity::{Identity, IdentityDeps, IdentityError, IdentitySettings, Mode};
use tenantry_actors::intents::{IntentDeps, Intents};
use tenantry_actors::journal::{Journal, JournalError, JournalSettings};
use tenantry_actors::mail::{Mail, MailDeps, MailError, MailSettings, Wake};
use tenantry_actors::privacy::keys::{KeyError, KeyRing, SigningKey};
use tenantry_actors::storage::{Storage, StorageError, StorageSettings};
use tenantry_actors::studio::{ProviderSettings, Studio, StudioError, StudioSettings, Tools};
use tenantry_actors::tenant::plan::{Catalogue, CatalogueError};
use tenantry_actors::tenant::steps::StepTimeouts;
use tenantry_actors::tenant::{TenantDeps, TenantError, TenantSettings, Tenants};
use tenantry_supervision::breaker::Breaker;
use tenantry_supervision::health::{Importance, Registry};
use tenantry_supervision::spawn::Tasks;

use crate::config::Config;
use crate::config::field::Secret;

/// The key of the journal's heads is not rotated yet.
const HEADS_KEY_GENERATION: u32 = 0;

/// Every part of the domain, running.
#[derive(Debug)]
pub(super) struct House {
    pub(super) keys: KeyRing,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) journal: Journal,
    pub(super) storage: Storage,
    pub(super) studio: Studio,
    pub(super) tenants: Tenants,
    pub(super) identity: Identity,
    /// Owner of the relays, which stop before the tenants.
    pub(super) relays: Tasks,
    /// Owner of everything else.
    pub(super) tasks: Tasks,
}

/// Which part did not start, and why.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// The folder of data cannot be made.
    #[error("cannot use the data folder {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The catalogue cannot be read.
    #[error("cannot read the catalogue {}", path.display())]
    CatalogueFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The catalogue is wrong.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The keys cannot be used.
    #[error("cannot open the keys")]
    Keys(#[from] KeyError),
    /// The database cannot be opened.
    #[error("cannot open the database")]
    Database(#[from] DatabaseError),
    /// The journal cannot be opened.
    #[error("cannot open the journal")]
    Journal(#[from] JournalError),
    /// The store of files cannot be opened.
    #[error("cannot open the storage")]
    Storage(#[from] StorageError),
    /// This kind of store is not known.
    #[error("cannot use the storage `{0}`: only `file://…` is known")]
    StorageUrl(String),
    /// The studio cannot work here.
    #[error("cannot start the studio")]
    Studio(#[from] StudioError),
    /// The tenants cannot be served.
    #[error("cannot start the tenants")]
    Tenants(#[from] TenantError),
    /// Logins cannot be served.
    #[error("cannot start the identity plane")]
    Identity(#[from] IdentityError),
    /// Mail cannot be sent.
    #[error("cannot start the mail relay")]
    Mail(#[from] MailError),
}

impl House {
    /// Starts every part in order.
    pub(super) async fn start(
        config: &Config,
        public_url: &str,
        clock: SharedClock,
        health: &Registry,
        fatal: FatalHook,
    ) -> Result<Self, HouseError> {
        let data_dir = config.general.data_dir.clone();
        let unusable = |source| HouseError::DataDir { path: data_dir.clone(), source };
        std::fs::create_dir_all(&data_dir).map_err(unusable)?;
        let catalogue = Arc::new(catalogue(config)?);
        let tasks = Tasks::new();
        let database = Database::open(&database_settings(config, fatal), &tasks).await?;
        let keys = KeyRing::open(&data_dir)?;
        let signer = Some(Arc::new(heads_key(&keys)?));
        let settings = JournalSettings { signer, ..JournalSettings::default() };
        let journal = Journal::start(&database, clock.clone(), &tasks, settings).await?;
        let storage = Storage::open(&StorageSettings { dir: storage_dir(config)? }).await?;
        let studio = Studio::start(studio_settings(config), storage.clone(), &tasks).await?;
        let tenants = Tenants::start(TenantDeps {
            journal: journal.clone(),
            database: database.clone(),
            catalogue: catalogue.clone(),
            clock: clock.clone(),
            keys: keys.clone(),
            storage: storage.clone(),
            studio: Arc::new(studio.clone()),
            tasks: tasks.clone(),
            settings: tenant_settings(config),
        })
        .await?;
        let wake = Wake::new();
        let identity = Identity::start(IdentityDeps {
            db: database.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            mail: wake.clone(),
            settings: identity_settings(config, public_url),
        })
        .await?;
        let house = Self {
            keys,
            catalogue,
            journal,
            storage,
            studio,
            tenants,
            identity,
            relays: Tasks::new(),
            tasks,
        };
        house.start_relays(config, public_url, Outbox { database, clock, wake }, health)?;
        Ok(house)
    }

    /// Starts what carries work out of the database: mails and intents.
    fn start_relays(
        &self,
        config: &Config,
        public_url: &str,
        parts: Outbox,
        health: &Registry,
    ) -> Result<(), HouseError> {
        let Outbox { database, clock, wake } = parts;
        let smtp_url = config.mail.smtp_url.as_ref().map(secret);
        let (from, public_url) = (config.mail.from.clone(), public_url.to_owned());
        let mail = Mail::start(MailDeps {
            db: database.clone(),
            keys: self.keys.clone(),
            clock: clock.clone(),
            tasks: self.relays.clone(),
            wake,
            breaker: Breaker::new(Mail::breaker_settings()),
            settings: MailSettings::new(smtp_url, from, public_url),
        })?;
        Intents::new().start(IntentDeps {
            database,
            tenants: self.tenants.clone(),
            keys: self.keys.clone(),
            clock,
            tasks: self.relays.clone(),
        });
        health.register_breaker(Importance::Optional, mail.breaker());
        health.register_breaker(Importance::Optional, self.storage.breaker());
        for breaker in self.studio.breakers() {
            health.register_breaker(Importance::Optional, &breaker);
        }
        Ok(())
    }
}

/// What the relays read from, and what wakes them.
struct Outbox {
    database: Database,
    clock: SharedClock,
    wake: Wake,
}

fn catalogue(config: &Config) -> Result<Catalogue, HouseError> {
    let Some(path) = &config.general.plans else { return Ok(Catalogue::builtin()) };
    let unreadable = |source| HouseError::CatalogueFile { path: path.clone(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(Catalogue::parse(&text, &path.display().to_string())?)
}

/// The key that signs the journal's end.
pub(crate) fn heads_key(keys: &KeyRing) -> Result<SigningKey, KeyError> {
    keys.signing_key("journal-heads", HEADS_KEY_GENERATION)
}

/// Where the database is.
pub(crate) fn database_settings(config: &Config, fatal: FatalHook) -> DatabaseSettings {
    DatabaseSettings {
        url: config.database.url.as_ref().map(|url| url.expose().to_owned()),
        data_dir: config.general.data_dir.clone(),
        fatal,
    }
}

fn storage_dir(config: &Config) -> Result<PathBuf, HouseError> {
    let url = config.storage_url();
    let path = url.strip_prefix("file://").filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or(HouseError::StorageUrl(url.clone()))
}

fn studio_settings(config: &Config) -> StudioSettings {
    let studio = &config.studio;
    let provider = |url: &Option<String>, key: &Option<Secret>, model: &str| {
        url.as_ref().map(|url| ProviderSettings {
            base_url: url.trim_end_matches('/').to_owned(),
            api_key: key.as_ref().map(secret),
            model: model.to_owned(),
            timeout: studio.step_timeout.0,
        })
    };
    let count = |number: crate::config::field::Number| usize::try_from(number.0).unwrap_or(1);
    StudioSettings {
        image: provider(&studio.image_api_url, &studio.image_api_key, &studio.image_model),
        speech: provider(&studio.speech_api_url, &studio.speech_api_key, &studio.speech_model),
        scratch_dir: config.general.data_dir.join("scratch"),
        tools: Tools::default(),
        image_workers: count(studio.image_workers),
        speech_workers: count(studio.speech_workers),
        video_workers: count(studio.video_workers),
    }
}

fn tenant_settings(config: &Config) -> TenantSettings {
    let step_ms = u64::try_from(config.studio.step_timeout.0.as_millis()).unwrap_or(u64::MAX);
    let timeouts = StepTimeouts {
        image_ms: step_ms,
        speech_ms: step_ms,
        segment_ms: step_ms,
        assemble_ms: step_ms,
        ..StepTimeouts::default()
    };
    TenantSettings { timeouts, ..TenantSettings::default() }
}

/// What is configured about logins.
pub(crate) fn identity_settings(config: &Config, public_url: &str) -> IdentitySettings {
    IdentitySettings {
        public_url: public_url.to_owned(),
        mode: if config.is_production() { Mode::Production } else { Mode::Development },
        jwt_secret: config.login.jwt_secret.as_ref().map(secret),
        links_per_address: u32::try_from(config.limits.links_per_address.0).unwrap_or(u32::MAX),
    }
}

fn secret(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose().to_owned())
}
