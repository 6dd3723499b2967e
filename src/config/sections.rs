//! The sections of the configuration, one struct each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::field::{Listen, Number, Secret, Size, Span, section};

/// What kind of installation this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// On a developer's machine: works without any configuration.
    #[default]
    Development,
    /// For real: refuses to start on development defaults.
    Production,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a person's eyes.
    Text,
}

/// How far outgoing webhooks may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookReach {
    /// Over https to public addresses alone.
    #[default]
    Public,
    /// Also without encryption, and to this machine and its network.
    Local,
}

const fn local(port: u16) -> Listen {
    Listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

const fn seconds(count: u64) -> Span {
    Span(Duration::from_secs(count))
}

section! {
    /// Settings that belong to no section.
    General in "" {
        /// `development` or `production`. Production refuses to start on development defaults.
        mode: Mode = Mode::Development;
        /// Where the database file, the tenants' files and the keys live.
        data_dir: PathBuf = PathBuf::from("./data");
        /// Path of a `plans.toml` that replaces the built-in catalogue.
        plans: Option<PathBuf> = None;
        /// The secret of operators' calls.
        operator_token: Option<Secret> = None;
        /// How long a stop may take before it is cut short.
        drain_timeout: Span = seconds(25);
    }
}

section! {
    /// The public listener.
    Http in "http" {
        /// Where to listen. Port 0 picks a free one.
        listen: Listen = local(8080);
        /// What links in mails begin with. Never taken from a request.
        public_url: Option<String> = None;
        /// Proxies whose `X-Forwarded-For` is believed, as addresses separated by commas.
        trusted_proxies: String = String::new();
        /// Open connections, at most.
        max_connections: Number = Number(4_096);
        /// Open connections from one address (of IPv6: from one /64), at most.
        max_connections_per_address: Number = Number(1_024);
        /// Requests being worked on, at most. The next one is answered 503 at once.
        max_in_flight: Number = Number(2_048);
        /// How long a new connection may stay silent.
        first_byte_timeout: Span = seconds(5);
        /// How long a request's head may take, and how long an idle connection is kept.
        head_timeout: Span = seconds(20);
        /// How long a body may pause between two pieces, in either direction.
        body_timeout: Span = seconds(10);
        /// How long a request may take until its answer begins.
        request_timeout: Span = seconds(15);
        /// The largest JSON body.
        max_body: Size = Size(1 << 20);
    }
}

section! {
    /// The operators' listener: health and metrics.
    Ops in "ops" {
        /// Where to listen. Port 0 picks a free one.
        listen: Listen = local(9090);
    }
}

section! {
    /// The database.
    DatabaseSection in "database" {
        /// `sqlite://…` or `postgres://…`; the default is `sqlite://<data dir>/tenantry.db`.
        url: Option<Secret> = None, env "DATABASE_URL";
    }
}

section! {
    /// The journal.
    JournalSection in "journal" {
        /// How old a row is before it moves from the database to a file in `<data dir>/journal`.
        /// Without it, all rows stay in the database. Not with a database server: the next owner of
        /// a shard would lack the files.
        archive_after: Option<Span> = None;
    }
}

section! {
    /// Outgoing mail.
    MailSection in "mail" {
        /// `smtp://user:pass@host:port` or `smtps://…`. Without it, development logs each message.
        smtp_url: Option<Secret> = None, env "SMTP_URL";
        /// The sender of every message.
        from: String = "Tenantry <no-reply@localhost>".to_owned(), env "MAIL_FROM";
    }
}

section! {
    /// Outgoing webhooks.
    WebhooksSection in "webhooks" {
        /// `public`: over https to public addresses alone. `local`, for development: also without
        /// encryption, and to this machine and its network.
        reach: WebhookReach = WebhookReach::Public;
    }
}

section! {
    /// Login.
    Login in "login" {
        /// Signs access tokens with HS256. Without it, EdDSA keys in the data folder are used.
        jwt_secret: Option<Secret> = None, env "JWT_SECRET";
    }
}

section! {
    /// The studio's providers and workers.
    StudioSection in "studio" {
        /// Base URL of an images API in the style of OpenAI's. Without it, cards are drawn here.
        image_api_url: Option<String> = None, env "IMAGE_API_URL";
        /// Key of the images API.
        image_api_key: Option<Secret> = None, env "IMAGE_API_KEY";
        /// The model that is asked for images.
        image_model: String = "gpt-image-1".to_owned();
        /// Base URL of a speech API in the style of OpenAI's. Without it, `espeak-ng` speaks.
        speech_api_url: Option<String> = None, env "SPEECH_API_URL";
        /// Key of the speech API.
        speech_api_key: Option<Secret> = None, env "SPEECH_API_KEY";
        /// The model that is asked for speech.
        speech_model: String = "gpt-4o-mini-tts".to_owned();
        /// How long one attempt at a step may take.
        step_timeout: Span = seconds(60);
        /// The same for images alone.
        image_timeout: Option<Span> = None;
        /// The same for narrations alone.
        speech_timeout: Option<Span> = None;
        /// The same for encoding a segment alone.
        segment_timeout: Option<Span> = None;
        /// The same for joining the segments alone; large ones get more.
        assemble_timeout: Option<Span> = None;
        /// Images drawn at once.
        image_workers: Number = Number(4);
        /// Narrations spoken at once.
        speech_workers: Number = Number(4);
        /// Encodes running at once.
        video_workers: Number = Number(2);
    }
}

impl StudioSection {
    /// A kind's own timeout, or that of all steps.
    pub fn timeout(&self, own: Option<Span>) -> Span {
        own.unwrap_or(self.step_timeout)
    }
}

section! {
    /// Files of tenants.
    StorageSection in "storage" {
        /// `file://…`; the default is `file://<data dir>/storage`.
        url: Option<String> = None, env "STORAGE_URL";
    }
}

section! {
    /// Rate limits.
    Limits in "limits" {
        /// Requests a minute of one address without valid credentials.
        anonymous_per_minute: Number = Number(60);
        /// Requests a second of one signed-in user; twice as many in a burst.
        user_per_second: Number = Number(10);
        /// Login mails to one address in 15 minutes.
        links_per_address: Number = Number(3);
    }
}

section! {
    /// Logs.
    Telemetry in "telemetry" {
        /// `json` or `text`.
        log_format: LogFormat = LogFormat::Json;
        /// What is logged, as `level` or `target=level,…`.
        log_level: String = "info".to_owned();
    }
}
