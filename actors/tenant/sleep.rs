//! Putting tenants to sleep: the idle ones, those beyond the cap, and all at shutdown.

use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::{Deadline, spawn};

use super::metrics;
use super::shell::Shell;

/// How often the awake are counted and the idle looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How long a sweep waits after the one before, however many wake up.
const SWEEP_APART: Duration = Duration::from_millis(250);

/// How often a drain looks whether all sleep.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long the steps' children may take to be killed and reaped.
const STEPS_END_WITHIN: Duration = Duration::from_secs(3);

/// How long snapshots and look-ups on their way may take.
const TASKS_END_WITHIN: Duration = Duration::from_secs(2);

/// Starts the sweep.
pub(super) fn start(shell: &Arc<Shell>) {
    let shell = Arc::clone(shell);
    let tasks = shell.tasks.clone();
    spawn("passivate", &tasks.clone(), async move {
        loop {
            tokio::select! {
                () = tasks.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = crowded(&shell) => {}
            }
            sweep(&shell);
        }
    });
}

/// Waits until more are awake than may be, but no shorter than from one sweep to the next.
async fn crowded(shell: &Shell) {
    tokio::time::sleep(SWEEP_APART).await;
    shell.crowded.notified().await;
}

/// Puts the idle to sleep, and forgets what is long down.
pub(super) fn sweep(shell: &Shell) {
    for tenant in shell.directory.sleepy(shell.settings.idle_for, shell.settings.max_awake) {
        shell.directory.put_to_sleep(tenant, false);
    }
    shell.directory.tidy();
    metrics::census(shell.directory.awake(), shell.node_gate.depth());
}

/// Puts everyone to sleep and ends every task; `false` when some did not make it in time.
pub(super) async fn drain(shell: &Shell, deadline: Deadline) -> bool {
    // Steps are cut off first: they go on from their last finished one after the next start.
    shell.steps.cancel();
    let all_asleep = put_all_to_sleep(shell, deadline).await;
    let steps_left = shell.steps.finish(deadline.within(STEPS_END_WITHIN).remaining()).await;
    let tasks_left = shell.tasks.finish(deadline.within(TASKS_END_WITHIN).remaining()).await;
    all_asleep && steps_left.is_empty() && tasks_left.is_empty()
}

async fn put_all_to_sleep(shell: &Shell, deadline: Deadline) -> bool {
    loop {
        for tenant in shell.directory.begin_drain() {
            shell.directory.put_to_sleep(tenant, true);
        }
        if shell.directory.is_empty() {
            return true;
        }
        if deadline.is_past() {
            tracing::warn!(awake = shell.directory.awake(), "some tenants did not drain in time");
            return false;
        }
        tokio::time::sleep(DRAIN_LOOK_EVERY).await;
    }
}
