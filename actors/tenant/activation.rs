//! Waking a tenant: one task for however many callers wait, and everything read before it lives.

use std::sync::Arc;
use std::time::Duration;

use ractor::Actor;
use tenantry_supervision::{Deadline, spawn, spawn_blocking};
use tokio::time::Instant;

use super::actor::{Beginning, TenantActor};
use super::book::{Book, RebuildError};
use super::call::TenantError;
use super::directory::Route;
use super::gate::TenantGate;
use super::live::Live;
use super::metrics;
use super::shell::Shell;
use crate::ids::TenantId;

/// How long waking one tenant may take, the wait for its turn included.
const WAKE_WITHIN: Duration = Duration::from_secs(30);

/// Entries beyond which replaying gets a thread of its own: it would hold up others otherwise.
const ENTRIES_IN_PLACE: usize = 2_000;

/// The answer for a tenant that only an operator can mend.
const UNPROJECTED: TenantError = TenantError::Quarantined { retry_after_s: 60 };

/// Finds a tenant, waking it if it sleeps; waits until the deadline at most.
pub(super) async fn find(
    shell: &Arc<Shell>,
    tenant: TenantId,
    deadline: Deadline,
) -> Result<Arc<Live>, TenantError> {
    loop {
        if shell.journal.is_quarantined(tenant) {
            return Err(UNPROJECTED);
        }
        // Another server owns it: what is in memory here may be old.
        if shell.journal.is_lost(tenant) {
            return Err(TenantError::Unavailable);
        }
        match shell.directory.route(tenant) {
            Route::Live(live) => return Ok(live),
            Route::Refused(error) => return Err(error),
            Route::Start => start(shell, tenant),
            Route::Wait(mut change) => {
                let ended = deadline.run(change.changed()).await;
                if ended.is_err() {
                    return Err(TenantError::DeadlineExceeded);
                }
                if let Some(error) = change.borrow().clone() {
                    return Err(error);
                }
            }
        }
    }
}

/// Wakes a tenant in a task of its own, so that a caller that leaves ends nothing.
fn start(shell: &Arc<Shell>, tenant: TenantId) {
    let shell = Arc::clone(shell);
    let tasks = shell.tasks.clone();
    spawn("activate", &tasks, async move {
        let began = Instant::now();
        match activate(&shell, tenant).await {
            Ok(live) => {
                shell.directory.started(live);
                metrics::activated(began.elapsed());
            }
            Err(error) => shell.directory.start_failed(tenant, error),
        }
    });
}

async fn activate(shell: &Arc<Shell>, tenant: TenantId) -> Result<Arc<Live>, TenantError> {
    let deadline = Deadline::after(WAKE_WITHIN);
    let turn = shell.activations.enter(deadline).await;
    let _turn = turn.map_err(|_| TenantError::Unavailable)?;
    let book = match rebuild(shell, tenant, deadline).await? {
        Ok(book) => Ok(book),
        // A snapshot is a cache: what it hides is still in the journal, entry by entry.
        Err(error) => {
            tracing::error!(tenant.id = %tenant, %error, "a tenant is rebuilt without its snapshot");
            shell.journal.forget_snapshot(tenant).await.map_err(|_| TenantError::Unavailable)?;
            rebuild(shell, tenant, deadline).await?
        }
    };
    let book = book.map_err(|error| {
        // The log says something that cannot be: this tenant must not run before it is looked at.
        tracing::error!(tenant.id = %tenant, %error, "a tenant cannot be rebuilt");
        UNPROJECTED
    })?;
    let vitals = Arc::clone(book.vitals());
    let generation = shell.directory.next_generation();
    let beginning = Beginning { tenant, generation, book };
    let actor = TenantActor { shell: Arc::clone(shell) };
    let (actor, _) = TenantActor::spawn_linked(None, actor, beginning, shell.supervisor.clone())
        .await
        .map_err(|error| {
            tracing::error!(tenant.id = %tenant, %error, "a tenant's actor did not start");
            TenantError::Unavailable
        })?;
    Ok(Arc::new(Live { tenant, generation, actor, gate: TenantGate::new(), vitals }))
}

/// Reads what the journal has of a tenant, and makes its state of it.
async fn rebuild(
    shell: &Arc<Shell>,
    tenant: TenantId,
    deadline: Deadline,
) -> Result<Result<Book, RebuildError>, TenantError> {
    let recovered = deadline.run(shell.journal.activate(tenant)).await;
    let recovered = recovered.map_err(|_| TenantError::Unavailable)?;
    let recovered = recovered.map_err(|error| {
        tracing::warn!(tenant.id = %tenant, %error, "a tenant cannot be read");
        TenantError::Unavailable
    })?;
    let is_long = recovered.entries.len() > ENTRIES_IN_PLACE;
    let terms = Arc::clone(&shell.catalogue.default_plan().terms);
    let (journal, clock) = (shell.journal.clone(), Arc::clone(&shell.clock));
    let rebuild = move || Book::rebuild(tenant, recovered, &terms, journal, clock);
    if !is_long {
        return Ok(rebuild());
    }
    let rebuilt = spawn_blocking("rebuild", &shell.tasks, rebuild).await;
    rebuilt.map_err(|_| TenantError::Unavailable)
}
