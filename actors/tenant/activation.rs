//! Waking a tenant: one task for however many callers wait, and everything read before it lives.

use std::sync::Arc;
use std::time::Duration;

use ractor::Actor;
use tenantry_supervision::{Deadline, spawn, spawn_blocking};
use tokio::sync::watch;
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

/// Tenants that are woken in a second at the least: tells those that find no place when to come
/// again.
const WAKES_PER_S: u32 = 1_000;

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
            Route::Start(change) => {
                start(shell, tenant);
                wait(change, deadline).await?;
            }
            Route::Wait(change) => wait(change, deadline).await?,
        }
    }
}

/// Waits until a tenant has started or ended, or for the reason why it does not.
async fn wait(
    mut change: watch::Receiver<Option<TenantError>>,
    deadline: Deadline,
) -> Result<(), TenantError> {
    // A closed channel means that it did; the directory knows what came of it.
    if deadline.run(change.changed()).await.is_err() {
        return Err(TenantError::DeadlineExceeded);
    }
    change.borrow().clone().map_or(Ok(()), Err)
}

/// Wakes a tenant in a task of its own, so that a caller that leaves ends nothing. So many wait at
/// most: in a storm the others are told when to come again.
fn start(shell: &Arc<Shell>, tenant: TenantId) {
    let Ok(place) = shell.waking.try_enter() else {
        let retry_after_s = u64::from(shell.waking.capacity() / WAKES_PER_S);
        return shell.directory.start_failed(tenant, TenantError::Overloaded { retry_after_s });
    };
    let shell = Arc::clone(shell);
    let tasks = shell.tasks.clone();
    spawn("activate", &tasks, async move {
        match activate(&shell, tenant).await {
            Ok(live) => {
                shell.directory.started(live);
                if shell.directory.awake() > shell.settings.max_awake {
                    shell.crowded.notify_one();
                }
            }
            Err(error) => shell.directory.start_failed(tenant, error),
        }
        drop(place);
    });
}

async fn activate(shell: &Arc<Shell>, tenant: TenantId) -> Result<Arc<Live>, TenantError> {
    let deadline = Deadline::after(WAKE_WITHIN);
    let turn = shell.activations.enter(deadline).await;
    let _turn = turn.map_err(|_| TenantError::Overloaded { retry_after_s: 1 })?;
    if !shell.directory.is_awaited(tenant) {
        // Whoever wanted it has left: the turn goes to one that is still wanted.
        metrics::wake_shed();
        return Err(TenantError::DeadlineExceeded);
    }
    let began = Instant::now();
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
    metrics::activated(began.elapsed());
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
