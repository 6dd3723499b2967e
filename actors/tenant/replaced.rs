//! Stops the tenants of shards that another server has taken.

use std::sync::Arc;

use tenantry_supervision::spawn;

use super::shell::Shell;

/// Starts to listen for losses.
pub(super) fn start(shell: &Arc<Shell>) {
    spawn("replaced", &shell.tasks, listen(Arc::clone(shell)));
}

async fn listen(shell: Arc<Shell>) {
    let mut losses = shell.journal.losses();
    loop {
        let changed = tokio::select! {
            () = shell.tasks.cancelled() => return,
            changed = losses.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        // A loss that comes while we look is seen by the next turn.
        losses.borrow_and_update();
        let mut tenants = Vec::new();
        shell.directory.each_live(|live| tenants.push(live.tenant));
        for tenant in tenants.into_iter().filter(|tenant| shell.journal.is_lost(*tenant)) {
            // Its steps end with it: whoever owns it now runs them.
            shell.directory.put_to_sleep(tenant, true);
        }
    }
}
