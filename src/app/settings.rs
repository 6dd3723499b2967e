//! What the configuration means for each part behind the front end.

use std::path::PathBuf;

use secrecy::SecretString;
use tenantry_actors::clock::SharedClock;
use tenantry_actors::database::{DatabaseSettings, FatalHook};
use tenantry_actors::identity::{IdentitySettings, Mode};
use tenantry_actors::mail::MailSettings;
use tenantry_actors::root::HouseSettings;
use tenantry_actors::storage::StorageSettings;
use tenantry_actors::studio::{ProviderSettings, StudioSettings, Tools};
use tenantry_actors::tenant::TenantSettings;
use tenantry_actors::tenant::plan::{Catalogue, CatalogueError};
use tenantry_actors::tenant::steps::StepTimeouts;
use tenantry_actors::webhooks::{Reach, WebhookSettings};
use tenantry_supervision::health::Registry;

use crate::config::Config;
use crate::config::field::{Number, Secret, Span};
use crate::config::sections::WebhookReach;

/// What the configuration names and what cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
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
    /// Files of one machine would be missing on the next owner's.
    #[error(
        "journal.archive_after cannot be used with a database server: the files would lie on one \
         machine alone"
    )]
    ArchiveOfServer,
    /// This kind of store is not known.
    #[error("cannot use the storage `{0}`: only `file://…` is known")]
    StorageUrl(String),
}

/// What the front end and the parts behind it share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) clock: SharedClock,
    pub(super) health: Registry,
    pub(super) fatal: FatalHook,
}

/// The settings of the whole house.
pub(super) fn house(
    config: &Config,
    public_url: &str,
    common: Common,
) -> Result<HouseSettings, SettingsError> {
    let Common { clock, health, fatal } = common;
    let data_dir = config.general.data_dir.clone();
    let unusable = |source| SettingsError::DataDir { path: data_dir.clone(), source };
    std::fs::create_dir_all(&data_dir).map_err(unusable)?;
    let database = database(config, fatal);
    let is_server = database.url.as_deref().is_some_and(|url| url.starts_with("postgres"));
    if is_server && config.journal.archive_after.is_some() {
        return Err(SettingsError::ArchiveOfServer);
    }
    Ok(HouseSettings {
        data_dir: database.data_dir,
        database_url: database.url,
        catalogue: catalogue(config)?,
        archive_after: config.journal.archive_after.map(|span| span.0),
        storage: StorageSettings { dir: storage_dir(config)? },
        studio: studio(config),
        mail: MailSettings::new(
            config.mail.smtp_url.as_ref().map(secret),
            config.mail.from.clone(),
            public_url.to_owned(),
        ),
        webhooks: webhooks(config),
        identity: identity(config, public_url),
        tenants: tenants(config),
        clock,
        health,
        fatal: database.fatal,
    })
}

/// Meters and plans: the built-in ones, or those of the configured file.
pub(crate) fn catalogue(config: &Config) -> Result<Catalogue, SettingsError> {
    let Some(path) = &config.general.plans else { return Ok(Catalogue::builtin()) };
    let unreadable = |source| SettingsError::CatalogueFile { path: path.clone(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(Catalogue::parse(&text, &path.display().to_string())?)
}

/// Where the database is.
pub(crate) fn database(config: &Config, fatal: FatalHook) -> DatabaseSettings {
    DatabaseSettings {
        url: config.database.url.as_ref().map(|url| url.expose().to_owned()),
        data_dir: config.general.data_dir.clone(),
        fatal,
    }
}

fn storage_dir(config: &Config) -> Result<PathBuf, SettingsError> {
    let url = config.storage_url();
    let path = url.strip_prefix("file://").filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or(SettingsError::StorageUrl(url.clone()))
}

fn studio(config: &Config) -> StudioSettings {
    let studio = &config.studio;
    let count = |number: Number| usize::try_from(number.0).unwrap_or(1);
    StudioSettings {
        image: studio.image_api_url.as_ref().map(|url| ProviderSettings {
            base_url: url.trim_end_matches('/').to_owned(),
            api_key: studio.image_api_key.as_ref().map(secret),
            model: studio.image_model.clone(),
            timeout: studio.timeout(studio.image_timeout).0,
        }),
        speech: studio.speech_api_url.as_ref().map(|url| ProviderSettings {
            base_url: url.trim_end_matches('/').to_owned(),
            api_key: studio.speech_api_key.as_ref().map(secret),
            model: studio.speech_model.clone(),
            timeout: studio.timeout(studio.speech_timeout).0,
        }),
        scratch_dir: config.general.data_dir.join("scratch"),
        tools: Tools::default(),
        image_workers: count(studio.image_workers),
        speech_workers: count(studio.speech_workers),
        video_workers: count(studio.video_workers),
    }
}

fn webhooks(config: &Config) -> WebhookSettings {
    let reach = match config.webhooks.reach {
        WebhookReach::Public => Reach::Public,
        WebhookReach::Local => Reach::Local,
    };
    WebhookSettings { reach }
}

fn tenants(config: &Config) -> TenantSettings {
    let studio = &config.studio;
    let ms =
        |own: Option<Span>| u64::try_from(studio.timeout(own).0.as_millis()).unwrap_or(u64::MAX);
    let timeouts = StepTimeouts {
        image_ms: ms(studio.image_timeout),
        speech_ms: ms(studio.speech_timeout),
        segment_ms: ms(studio.segment_timeout),
        assemble_ms: ms(studio.assemble_timeout),
        ..StepTimeouts::default()
    };
    TenantSettings { timeouts, ..TenantSettings::default() }
}

/// What is configured about logins.
pub(crate) fn identity(config: &Config, public_url: &str) -> IdentitySettings {
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
