//! The identity plane and the relays, which stand on the same few parts.

use std::sync::Arc;

use tenantry_supervision::{Breaker, Tasks};

use super::HouseError;
use crate::clock::SharedClock;
use crate::database::Database;
use crate::identity::{Identity, IdentityDeps, IdentitySettings};
use crate::intents::{IntentDeps, Intents};
use crate::mail::{Mail, MailDeps, MailSettings, Wake};
use crate::privacy::keys::KeyRing;
use crate::tenant::Tenants;
use crate::webhooks::{WebhookDeps, WebhookError, WebhookSettings, Webhooks};

/// What the identity plane and the relays share.
pub(super) struct Common {
    pub(super) database: Database,
    pub(super) keys: KeyRing,
    pub(super) clock: SharedClock,
    pub(super) relays: Tasks,
}

impl Common {
    pub(super) async fn identity(
        &self,
        mail: MailSettings,
        identity: IdentitySettings,
    ) -> Result<(Identity, Mail), HouseError> {
        let wake = Wake::new();
        let mail = Mail::start(MailDeps {
            db: self.database.clone(),
            keys: self.keys.clone(),
            clock: Arc::clone(&self.clock),
            tasks: self.relays.clone(),
            wake: wake.clone(),
            breaker: Breaker::new(Mail::breaker_settings()),
            settings: mail,
        })?;
        let identity = Identity::start(IdentityDeps {
            db: self.database.clone(),
            keys: self.keys.clone(),
            clock: Arc::clone(&self.clock),
            tasks: self.relays.clone(),
            mail: wake,
            settings: identity,
        })
        .await?;
        Ok((identity, mail))
    }

    pub(super) async fn intents(&self, tenants: &Tenants) -> Intents {
        let intents = Intents::new();
        let started = intents.start(IntentDeps {
            database: self.database.clone(),
            tenants: tenants.clone(),
            keys: self.keys.clone(),
            clock: Arc::clone(&self.clock),
            tasks: self.relays.clone(),
        });
        started.await;
        intents
    }

    pub(super) fn webhooks(&self, settings: WebhookSettings) -> Result<Webhooks, WebhookError> {
        Webhooks::start(WebhookDeps {
            database: self.database.clone(),
            keys: self.keys.clone(),
            clock: Arc::clone(&self.clock),
            tasks: self.relays.clone(),
            settings,
        })
    }
}
