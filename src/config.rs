//! The configuration: defaults, then the file, then the environment.
//!
//! All mistakes are reported at once, secrets are never printed, and this is the only module
//! that reads the environment.

pub mod docs;
pub mod field;
pub mod sections;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use field::{Field, Number};
use sections::{
    DatabaseSection, General, Http, JournalSection, Limits, Login, MailSection, Mode, Ops,
    StorageSection, StudioSection, Telemetry, WebhookReach, WebhooksSection,
};

/// Environment variables begin with this.
const PREFIX: &str = "TENANTRY__";

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    /// Settings that belong to no section.
    #[serde(flatten)]
    pub general: General,
    /// The public listener.
    pub http: Http,
    /// The operators' listener.
    pub ops: Ops,
    /// The database.
    pub database: DatabaseSection,
    /// The journal.
    pub journal: JournalSection,
    /// Outgoing mail.
    pub mail: MailSection,
    /// Outgoing webhooks.
    pub webhooks: WebhooksSection,
    /// Login.
    pub login: Login,
    /// The studio.
    pub studio: StudioSection,
    /// Files.
    pub storage: StorageSection,
    /// Rate limits.
    pub limits: Limits,
    /// Logs.
    pub telemetry: Telemetry,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// The settings of every section, for the reader of names and for the documentation.
pub fn all_fields() -> impl Iterator<Item = &'static Field> {
    [
        General::FIELDS,
        Http::FIELDS,
        Ops::FIELDS,
        DatabaseSection::FIELDS,
        JournalSection::FIELDS,
        MailSection::FIELDS,
        WebhooksSection::FIELDS,
        Login::FIELDS,
        StudioSection::FIELDS,
        StorageSection::FIELDS,
        Limits::FIELDS,
        Telemetry::FIELDS,
    ]
    .into_iter()
    .flatten()
}

impl Config {
    /// Loads the configuration of this process.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        Self::from_sources(
            file,
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )
    }

    /// Loads a configuration from a file and the given variables.
    pub fn from_sources(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut table = file.map_or_else(Table::new, |path| read_file(path, &mut errors));
        overlay(&mut table, &variables.into_iter().collect(), &mut errors);
        drop_empty(&mut table);

        let sections =
            ["http", "ops", "database", "journal", "mail", "login", "studio", "storage", "limits"];
        let mut parts: BTreeMap<&str, Value> = BTreeMap::new();
        for name in sections.into_iter().chain(["telemetry", "webhooks"]) {
            if let Some(value) = table.remove(name) {
                parts.insert(name, value);
            }
        }
        let mut section = |name: &str| parts.remove(name);
        let config = Self {
            http: read("http", section("http"), &mut errors),
            ops: read("ops", section("ops"), &mut errors),
            database: read("database", section("database"), &mut errors),
            journal: read("journal", section("journal"), &mut errors),
            mail: read("mail", section("mail"), &mut errors),
            webhooks: read("webhooks", section("webhooks"), &mut errors),
            login: read("login", section("login"), &mut errors),
            studio: read("studio", section("studio"), &mut errors),
            storage: read("storage", section("storage"), &mut errors),
            limits: read("limits", section("limits"), &mut errors),
            telemetry: read("telemetry", section("telemetry"), &mut errors),
            general: read("", Some(Value::Table(table)), &mut errors),
        };
        config.validate(&mut errors);
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// What links begin with: the configured URL, or the address that is listened on.
    pub fn public_url(&self, bound: SocketAddr) -> String {
        let url = self.http.public_url.clone().unwrap_or_else(|| format!("http://{bound}"));
        url.trim_end_matches('/').to_owned()
    }

    /// True for a real installation.
    pub fn is_production(&self) -> bool {
        self.general.mode == Mode::Production
    }

    /// The proxies whose word about a client's address is taken.
    pub fn trusted_proxies(&self) -> Vec<IpAddr> {
        parse_proxies(&self.http.trusted_proxies).unwrap_or_default()
    }

    /// Folder of the tenants' files.
    pub fn storage_url(&self) -> String {
        self.storage.url.clone().unwrap_or_else(|| {
            format!("file://{}", absolute(&self.general.data_dir).join("storage").display())
        })
    }

    fn validate(&self, errors: &mut Vec<String>) {
        let mut need = |holds: bool, text: &str| {
            if !holds {
                errors.push(text.to_owned());
            }
        };
        let http = &self.http;
        for (name, number) in [
            ("http.max_connections", http.max_connections),
            ("http.max_connections_per_address", http.max_connections_per_address),
            ("http.max_in_flight", http.max_in_flight),
            ("limits.anonymous_per_minute", self.limits.anonymous_per_minute),
            ("limits.user_per_second", self.limits.user_per_second),
            ("limits.links_per_address", self.limits.links_per_address),
            ("studio.image_workers", self.studio.image_workers),
            ("studio.speech_workers", self.studio.speech_workers),
            ("studio.video_workers", self.studio.video_workers),
        ] {
            let allowed = Number(1)..=Number(1_000_000);
            need(allowed.contains(&number), &format!("`{name}`: expected 1 to 1000000"));
        }
        for (name, span) in [
            ("drain_timeout", self.general.drain_timeout),
            ("http.first_byte_timeout", http.first_byte_timeout),
            ("http.head_timeout", http.head_timeout),
            ("http.body_timeout", http.body_timeout),
            ("http.request_timeout", http.request_timeout),
            ("studio.image_timeout", self.studio.timeout(self.studio.image_timeout)),
            ("studio.speech_timeout", self.studio.timeout(self.studio.speech_timeout)),
            ("studio.segment_timeout", self.studio.timeout(self.studio.segment_timeout)),
            ("studio.assemble_timeout", self.studio.timeout(self.studio.assemble_timeout)),
        ] {
            need(!span.0.is_zero(), &format!("`{name}`: expected more than nothing"));
        }
        if let Some(url) = &http.public_url {
            let known = url.starts_with("http://") || url.starts_with("https://");
            need(known, "`http.public_url`: expected `http://…` or `https://…`");
        }
        if let Some(url) = &self.mail.smtp_url {
            let known = ["smtp://", "smtps://"].iter().any(|it| url.expose().starts_with(it));
            need(known, "`SMTP_URL`: expected `smtp://…` or `smtps://…`");
        }
        if let Err(bad) = parse_proxies(&http.trusted_proxies) {
            need(false, &format!("`http.trusted_proxies`: `{bad}` is not an address"));
        }
        if self.is_production() {
            self.validate_production(&mut need);
        }
    }

    fn validate_production(&self, need: &mut impl FnMut(bool, &str)) {
        let url = self.http.public_url.as_deref().unwrap_or_default();
        need(url.starts_with("https://"), "production: set `http.public_url` to an `https://` URL");
        need(self.mail.smtp_url.is_some(), "production: set `SMTP_URL`, logins are sent by mail");
        need(
            self.mail.from != MailSection::default().from,
            "production: set `MAIL_FROM` to an address of yours",
        );
        need(
            self.general.operator_token.as_ref().is_some_and(|t| t.expose().len() >= 32),
            "production: set `TENANTRY__OPERATOR_TOKEN` to at least 32 characters",
        );
        need(
            self.webhooks.reach == WebhookReach::Public,
            "production: `webhooks.reach` must be `public`, or tenants reach your own network",
        );
        let weak = self.login.jwt_secret.as_ref().is_some_and(|s| s.expose().len() < 32);
        need(!weak, "production: `JWT_SECRET` needs at least 32 characters");
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn parse_proxies(text: &str) -> Result<Vec<IpAddr>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| part.to_owned())).collect()
}

fn read_file(path: &Path, errors: &mut Vec<String>) -> Table {
    let parsed = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read `{}`: {error}", path.display()))
        .and_then(|text| {
            text.parse::<Table>().map_err(|error| format!("`{}`: {error}", path.display()))
        });
    parsed.unwrap_or_else(|error| {
        errors.push(error);
        Table::new()
    })
}

fn read<T: DeserializeOwned + Default>(
    name: &str,
    value: Option<Value>,
    errors: &mut Vec<String>,
) -> T {
    let Some(value) = value else { return T::default() };
    serde_path_to_error::deserialize(value).unwrap_or_else(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        let dot = if name.is_empty() || path.is_empty() { "" } else { "." };
        let reason = error.inner().to_string();
        errors.push(format!("`{name}{dot}{path}`: {}", reason.trim()));
        T::default()
    })
}

/// A setting that is empty counts as not set, in the file as in the environment.
fn drop_empty(table: &mut Table) {
    table.retain(|_, value| value.as_str() != Some(""));
    for value in table.iter_mut().filter_map(|(_, value)| value.as_table_mut()) {
        drop_empty(value);
    }
}

/// Lays the variables over the file. A variable that is set but empty counts as not set.
fn overlay(table: &mut Table, variables: &BTreeMap<String, String>, errors: &mut Vec<String>) {
    let mut set = |field: &Field, text: &str| {
        let value = Value::String(text.to_owned());
        if field.section.is_empty() {
            table.insert(field.name.to_owned(), value);
            return;
        }
        let section = table
            .entry(field.section.to_owned())
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut();
        if let Some(section) = section {
            section.insert(field.name.to_owned(), value);
        }
    };
    let present = |name: &str| variables.get(name).filter(|text| !text.is_empty());
    let mut known = Vec::new();
    for field in all_fields() {
        let own = field.variable();
        if let Some(text) = field.env.and_then(present) {
            set(field, text);
        }
        if let Some(text) = present(&own) {
            set(field, text);
        }
        known.push(own);
    }
    for name in variables.keys().filter(|name| name.starts_with(PREFIX)) {
        if !known.contains(name) {
            errors.push(format!("`{name}`: no such setting"));
        }
    }
}

#[cfg(test)]
mod tests;
