//! Looks for processes that outlived their server, in `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long ended children may take to leave the process table.
const LEAVE_WITHIN_MS: u64 = 5_000;

/// How often it is looked again.
const LOOK_EVERY_MS: u64 = 20;

/// Command lines of the processes that name a folder in arguments or environment, with their ids.
#[must_use]
pub fn running_with(folder: &Path) -> Vec<(i32, String)> {
    let Some(folder) = folder.to_str() else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let line = text(&entry.path().join("cmdline"))?;
            let names =
                line.contains(folder) || text(&entry.path().join("environ"))?.contains(folder);
            names.then_some((id, line))
        })
        .collect()
}

/// A file of `/proc` as words; `None` when the process has just ended.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

/// Waits a little until no process names a folder; returns those that stay.
pub(super) fn wait_until_none(folder: &Path) -> Vec<(i32, String)> {
    let mut left = running_with(folder);
    for _ in 0..LEAVE_WITHIN_MS / LOOK_EVERY_MS {
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
        left = running_with(folder);
    }
    left
}
