//! The outside world as real network servers: mail, image and speech providers and a receiver of
//! webhooks, each breakable.
//!
//! One HTTP listener serves the providers, the mailbox page and the switches; a second one speaks SMTP.
//! Nothing is kept on disk, and every list is bounded.

mod http;
mod image;
mod log;
mod mailbox;
mod pages;
mod receiver;
mod smtp;
mod speech;
mod switches;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tenantry_supervision::{Tasks, spawn};
use tokio::net::TcpListener;

pub use log::{Log, Seen};
pub use mailbox::{Mail, Mailbox};
pub use receiver::{Hook, Receiver};
pub use switches::{Mode, Service, Setting, Switches};

/// How long the world's tasks may take to end before they are aborted.
const STOP_BUDGET: Duration = Duration::from_secs(1);

/// Where the world listens; port 0 picks free ones.
#[derive(Clone, Debug)]
pub struct WorldSettings {
    /// Address of pages and providers.
    pub http: SocketAddr,
    /// Address of the mail server.
    pub smtp: SocketAddr,
    /// Whether the speech provider speaks with espeak-ng, for people; tests are faster with a hum.
    pub is_spoken: bool,
}

impl Default for WorldSettings {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { http: any, smtp: any, is_spoken: false }
    }
}

/// What the world's servers share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) switches: Switches,
    pub(crate) mailbox: Mailbox,
    pub(crate) log: Log,
    pub(crate) receiver: Receiver,
    pub(crate) is_spoken: bool,
}

/// A running outside world; it ends when it is dropped.
#[derive(Debug)]
pub struct World {
    http: SocketAddr,
    smtp: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl World {
    /// Opens both listeners and serves until the world is dropped.
    pub async fn start(settings: WorldSettings) -> anyhow::Result<Self> {
        let http = listen(settings.http).await?;
        let smtp = listen(settings.smtp).await?;
        let world = Self {
            http: http.local_addr()?,
            smtp: smtp.local_addr()?,
            shared: Arc::new(Shared { is_spoken: settings.is_spoken, ..Shared::default() }),
            tasks: Tasks::new(),
        };
        let app = http::router(Arc::clone(&world.shared));
        spawn("world-http", &world.tasks, http::serve(http, app, world.tasks.clone()));
        let shared = Arc::clone(&world.shared);
        spawn("world-smtp", &world.tasks, smtp::serve(smtp, shared, world.tasks.clone()));
        Ok(world)
    }

    /// The address of pages and providers, as a URL without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The mail server's URL.
    #[must_use]
    pub fn smtp_url(&self) -> String {
        format!("smtp://{}", self.smtp)
    }

    /// The base URL of the image provider.
    #[must_use]
    pub fn image_url(&self) -> String {
        format!("{}/image", self.url())
    }

    /// The base URL of the speech provider.
    #[must_use]
    pub fn speech_url(&self) -> String {
        format!("{}/speech", self.url())
    }

    /// The address of a receiver of webhooks; each name is a place of its own.
    #[must_use]
    pub fn receiver_url(&self, name: &str) -> String {
        format!("{}/receiver/{name}", self.url())
    }

    /// The webhooks that arrived.
    #[must_use]
    pub fn receiver(&self) -> &Receiver {
        &self.shared.receiver
    }

    /// The switches that break services.
    #[must_use]
    pub fn switches(&self) -> &Switches {
        &self.shared.switches
    }

    /// The mails that arrived.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.shared.mailbox
    }

    /// The requests that services saw.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Ends every server of the world; true when none had to be aborted.
    pub async fn stop(self) -> bool {
        self.tasks.finish(STOP_BUDGET).await.is_empty()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

#[cfg(test)]
mod tests;
