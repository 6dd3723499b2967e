//! What a stack is made of, chosen before it starts.

use std::path::PathBuf;

use super::{ServerSettings, Stack};
use crate::postgres::{Postgres, PostgresBuilder};
use crate::world::{World, WorldSettings};

/// Chooses what a stack is made of.
#[derive(Debug)]
pub struct StackBuilder {
    binary: PathBuf,
    variables: Vec<(String, String)>,
    providers: bool,
    mail: bool,
    server: bool,
    postgres: Option<PostgresBuilder>,
}

impl StackBuilder {
    pub(super) fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            variables: Vec::new(),
            providers: false,
            mail: true,
            server: true,
            postgres: None,
        }
    }

    /// Sets an environment variable of the server.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Lets the server use the world's image and speech providers in place of its built-in ones.
    #[must_use]
    pub fn providers(mut self) -> Self {
        self.providers = true;
        self
    }

    /// Leaves mail unconfigured: in development the answer then carries the link.
    #[must_use]
    pub fn without_mail(mut self) -> Self {
        self.mail = false;
        self
    }

    /// Gives the server a PostgreSQL of its own in place of embedded files.
    #[must_use]
    pub fn postgres(self) -> Self {
        self.postgres_as(Postgres::builder())
    }

    /// The same, started as the test chooses.
    #[must_use]
    pub fn postgres_as(mut self, builder: PostgresBuilder) -> Self {
        self.postgres = Some(builder);
        self
    }

    /// Leaves the server for a later [`Stack::restart`], so that commands can run on its folder first.
    #[must_use]
    pub fn without_server(mut self) -> Self {
        self.server = false;
        self
    }

    /// Starts the world, then the server, and waits until it is ready.
    pub async fn start(self) -> anyhow::Result<Stack> {
        let world = World::start(WorldSettings::default()).await?;
        let data = tempfile::Builder::new().prefix("tenantry-stack-").tempdir()?;
        let mut variables = vec![
            // Tests come from one address and log in often.
            ("TENANTRY__LIMITS__ANONYMOUS_PER_MINUTE".to_owned(), "100000".to_owned()),
            ("TENANTRY__LIMITS__USER_PER_SECOND".to_owned(), "10000".to_owned()),
            ("TENANTRY__LIMITS__LINKS_PER_ADDRESS".to_owned(), "1000".to_owned()),
        ];
        if self.mail {
            variables.push(("SMTP_URL".to_owned(), world.smtp_url()));
            variables.push(("MAIL_FROM".to_owned(), "Tenantry <login@tenantry.test>".to_owned()));
        }
        if self.providers {
            variables.push(("IMAGE_API_URL".to_owned(), world.image_url()));
            variables.push(("IMAGE_API_KEY".to_owned(), "image-key".to_owned()));
            variables.push(("SPEECH_API_URL".to_owned(), world.speech_url()));
            variables.push(("SPEECH_API_KEY".to_owned(), "speech-key".to_owned()));
        }
        let postgres = match self.postgres {
            Some(builder) => Some(builder.start().await?),
            None => None,
        };
        if let Some(postgres) = &postgres {
            variables.push(("DATABASE_URL".to_owned(), postgres.url()));
        }
        // What the test asked for comes last and wins.
        variables.extend(self.variables);
        let settings = ServerSettings {
            binary: self.binary,
            data_dir: data.path().to_owned(),
            listen: None,
            ops_listen: None,
            variables,
            wrapper: Vec::new(),
        };
        let mut stack = Stack { server: None, settings, world, postgres, data };
        if self.server {
            stack.restart().await?;
        }
        Ok(stack)
    }
}
