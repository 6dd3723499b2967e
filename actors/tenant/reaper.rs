//! Wakes tenants for what is due while nobody calls: alarms of the awake, and the projected list
//! of what sleeping ones have to be woken for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::{Deadline, spawn};
use tokio::time::Instant;

use super::activation::find;
use super::call::TenantError;
use super::message::TenantMsg;
use super::shell::Shell;
use crate::database::{StoreError, listings};
use crate::ids::TenantId;

/// Tenants that one look at the list wakes; the next look finds the others.
const MAX_WAKES: usize = 1_000;

/// Rows of the list that are read at once.
const PAGE: i64 = 1_000;

/// Apart from each other by this: a start must not wake a thousand tenants at the same moment.
const SPREAD: Duration = Duration::from_millis(20);

/// How long waking one may take before it is left to the next look.
const WAKE_WITHIN: Duration = Duration::from_secs(30);

/// How long a tenant may wait for its turn among those that nobody called for.
const WAKE_TURN_WITHIN: Duration = Duration::from_mins(2);

/// The pause before a tenant that cannot be woken is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Starts both.
pub(super) fn start(shell: &Arc<Shell>) {
    spawn("alarms", &shell.tasks, ring(Arc::clone(shell)));
    spawn("reaper", &shell.tasks, reap(Arc::clone(shell)));
}

async fn ring(shell: Arc<Shell>) {
    loop {
        let tenant = tokio::select! {
            () = shell.tasks.cancelled() => return,
            tenant = shell.alarms.next() => tenant,
        };
        if let Some(live) = shell.directory.live(tenant) {
            // One that ends right now has an alarm set for it by its supervisor.
            let _ = live.actor.send_message(TenantMsg::Alarm);
            continue;
        }
        let shell = Arc::clone(&shell);
        let tasks = shell.tasks.clone();
        spawn("wake", &tasks, async move { wake(&shell, tenant).await });
    }
}

/// Wakes a sleeping tenant; its first act is to do what is due.
async fn wake(shell: &Arc<Shell>, tenant: TenantId) {
    // One that waited for too long goes without a turn: it must not wait for ever.
    let _place = shell.background.enter(Deadline::after(WAKE_TURN_WITHIN)).await;
    match find(shell, tenant, Deadline::after(WAKE_WITHIN)).await {
        Ok(_) => {}
        Err(TenantError::Quarantined { retry_after_s }) => {
            shell.alarms.set(tenant, Instant::now() + Duration::from_secs(retry_after_s));
        }
        Err(error) => {
            tracing::debug!(tenant.id = %tenant, %error, "a tenant cannot be woken now");
            shell.alarms.set(tenant, Instant::now() + RETRY_PAUSE);
        }
    }
}

async fn reap(shell: Arc<Shell>) {
    loop {
        match due(&shell).await {
            Ok(tenants) => {
                let mut at = Instant::now();
                for tenant in tenants {
                    shell.alarms.set(tenant, at);
                    at += SPREAD;
                }
            }
            Err(error) => tracing::warn!(%error, "what is due cannot be read"),
        }
        tokio::select! {
            () = shell.tasks.cancelled() => return,
            () = tokio::time::sleep(shell.settings.reap_every) => {}
        }
    }
}

/// The sleeping tenants that have something due, the longest due first.
async fn due(shell: &Shell) -> Result<Vec<TenantId>, StoreError> {
    let now = shell.clock.now();
    let (mut tenants, mut seen, mut last) = (Vec::new(), HashSet::new(), None);
    loop {
        // Those that are awake fill whole pages: their jobs stand in the list until they end.
        let mut reader = shell.database.reader().await?;
        let page = listings::due(&mut reader, now, last, PAGE).await?;
        let Some(end) = page.last() else { return Ok(tenants) };
        if tenants.len() >= MAX_WAKES {
            return Ok(tenants);
        }
        last = Some(*end);
        let sleeping = page.into_iter().map(|(_, tenant)| tenant);
        let sleeping = sleeping.filter(|tenant| shell.directory.live(*tenant).is_none());
        let sleeping = sleeping.filter(|tenant| !shell.journal.is_lost(*tenant));
        tenants.extend(sleeping.filter(|tenant| seen.insert(*tenant)));
    }
}
