//! What becomes of a delivery after an attempt, written in one transaction.

use metrics::counter;

use super::{DISABLED_TOTAL, MAIL_S, Outcome, Relay};
use crate::clock::Timestamp;
use crate::database::mail_outbox::{self, NewMail};
use crate::database::webhook_deliveries::{self as rows, Claimed, Failed};
use crate::database::{StoreError, SystemTx, webhook_endpoints};
use crate::webhooks::client::{GONE, NotTaken};
use crate::webhooks::endpoints::ENDPOINT_DISABLED;
use crate::webhooks::{GIVE_UP_AFTER, RETRY_AFTER, WebhookError};

impl Relay {
    /// Writes what an attempt came to.
    pub(super) async fn settle(
        &self,
        row: &Claimed,
        outcome: &Outcome,
    ) -> Result<(), WebhookError> {
        let deps = &self.inner.deps;
        let now = deps.clock.now();
        let mut tx = deps.database.relay_tx().await?;
        match outcome {
            Outcome::Delivered(taken) => {
                webhook_endpoints::mark_working(&mut tx, row.tenant, row.endpoint).await?;
                rows::delivered(&mut tx, row, now, taken.status).await?;
            }
            Outcome::Failed(why) => self.settle_failed(&mut tx, row, *why, now).await?,
            Outcome::LeftAlone(wait) => {
                let until = now.checked_add(*wait).unwrap_or(now);
                rows::hand_back(&mut tx, row, until).await?;
            }
            Outcome::Void => {
                let failed = Failed { at: now, status: None, error: ENDPOINT_DISABLED };
                rows::fail(&mut tx, row, failed).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    async fn settle_failed(
        &self,
        tx: &mut SystemTx,
        row: &Claimed,
        why: NotTaken,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // The endpoint first, as everybody who changes it and its deliveries.
        let since = webhook_endpoints::mark_failing(tx, row.tenant, row.endpoint, now).await?;
        let failed = Failed { at: now, status: why.status, error: why.reason };
        let step = usize::try_from(row.step).unwrap_or(usize::MAX);
        match RETRY_AFTER.get(step) {
            Some(wait) => {
                let wait = why.wait.map_or(*wait, |asked| asked.max(*wait));
                let due_at = now.checked_add(wait).unwrap_or(now);
                rows::postpone(tx, row, failed, due_at).await?;
            }
            None => rows::fail(tx, row, failed).await?,
        }
        let is_hopeless = since.is_some_and(|since| now.since(since) >= GIVE_UP_AFTER);
        tracing::info!(
            endpoint.id = %row.endpoint,
            delivery.id = %row.id,
            attempt = row.attempts,
            reason = why.reason,
            "a webhook was not taken"
        );
        match (why.reason, is_hopeless) {
            (GONE, _) => self.disable(tx, row, now, "gone").await,
            (_, true) => self.disable(tx, row, now, "failing").await,
            _ => Ok(()),
        }
    }

    /// Switches an endpoint off, ends what it was owed, and owes its tenant a mail.
    async fn disable(
        &self,
        tx: &mut SystemTx,
        row: &Claimed,
        now: Timestamp,
        why: &'static str,
    ) -> Result<(), StoreError> {
        let (tenant, endpoint) = (row.tenant, row.endpoint);
        if !webhook_endpoints::disable(tx, tenant, endpoint, now, why).await? {
            return Ok(());
        }
        rows::fail_all(tx, tenant, endpoint, now, ENDPOINT_DISABLED).await?;
        let facts = serde_json::json!({ "endpoint": endpoint, "reason": why }).to_string();
        let mail = NewMail {
            id: &format!("webhook-{endpoint}-{}", now.as_micros()),
            kind: "webhook_disabled",
            tenant: Some(tenant),
            facts: Some(&facts),
            secret_sealed: None,
            at: now,
            expires_at: now.plus_s(MAIL_S),
        };
        mail_outbox::insert(tx, &mail).await?;
        counter!(DISABLED_TOTAL, "reason" => why).increment(1);
        tracing::warn!(endpoint.id = %endpoint, reason = why, "a webhook endpoint was switched off");
        Ok(())
    }
}
