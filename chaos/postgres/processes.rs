//! The processes of one server, found by their parent and signalled by their ids.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

/// Where a server writes its id.
pub(super) const PID_FILE: &str = "postmaster.pid";

/// How long killed processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process that serves one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its id.
    pub id: i32,
    /// What it calls itself: user, database, client and what it does.
    pub title: String,
}

/// The id that the server wrote into its folder.
pub(super) fn postmaster(data: &Path) -> Option<i32> {
    fs::read_to_string(data.join(PID_FILE)).ok()?.lines().next()?.trim().parse().ok()
}

/// The children of a server that have a client.
pub(super) fn backends(postmaster: i32) -> Vec<Backend> {
    let titled = |id: i32| {
        let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let title = String::from_utf8_lossy(&words).replace('\0', " ").trim().to_owned();
        // `postgres: user database 127.0.0.1(40312) idle`; helpers have no client's address.
        title.contains('(').then_some(Backend { id, title })
    };
    children(postmaster).into_iter().filter_map(titled).collect()
}

/// The server and all its children.
pub(super) fn family(postmaster: i32) -> Vec<i32> {
    let mut family = children(postmaster);
    if fs::metadata(format!("/proc/{postmaster}")).is_ok() {
        family.push(postmaster);
    }
    family
}

fn children(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| state_and_parent(*id).is_some_and(|(_, of)| of == parent)).collect()
}

/// `123 (name with spaces) S 1 …`: the letter and the parent's id.
fn state_and_parent(id: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Sends a signal to each; one that is gone is no failure.
pub(super) fn signal_all(backends: &[Backend], signal: Signal) {
    for backend in backends {
        let _ = kill(Pid::from_raw(backend.id), signal);
    }
}

/// Kills each, the server itself first so that it restarts nothing.
pub(super) fn kill_all(family: &[i32]) {
    for id in family.iter().rev() {
        let _ = kill(Pid::from_raw(*id), Signal::SIGKILL);
    }
}

/// Waits until none runs any more; what waits to be reaped by somebody else counts as gone.
pub(super) async fn wait_until_gone(family: &[i32]) -> anyhow::Result<()> {
    let runs = |id: &&i32| state_and_parent(**id).is_some_and(|(state, _)| !"ZX".contains(state));
    for _ in 0..GONE_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
        if family.iter().find(runs).is_none() {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    anyhow::bail!("processes of PostgreSQL stay: {family:?}")
}
