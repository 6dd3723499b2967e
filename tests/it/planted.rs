//! Known bugs, planted one at a time: the tests of the whole find each of them.
//!
//! The server of these tests is built with the feature `planted-bugs`, and plants the bug that a
//! file in its data folder names. Every trial here is the body of another test, and passes there.

use std::fs;

use futures_util::stream::{StreamExt as _, iter};

use crate::contention::{crowd, one_key_at_once};
use crate::faults::{attempt, disk, life};
use crate::straddle::straddle;

/// Trials at once: most of their time they wait.
const AT_ONCE: usize = 4;

/// How much of what was found the table shows.
const SHOWN_CHARS: usize = 110;

/// What is done to a server that has the bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The script, a kill, the script's requests again.
    Life,
    /// Many clients with one key.
    OneKey,
    /// Many clients with a key each.
    Crowd,
    /// A flush that fails.
    Flush,
    /// A full disk.
    Full,
    /// A period that ends under load.
    Straddle,
    /// A write that takes long, and a kill meanwhile.
    SlowWrite,
}

/// The bugs by the names that `actors/planted.rs` knows, and what is expected to find them.
const BUGS: &[(&str, Trial)] = &[
    ("check-then-add", Trial::Life),
    ("lost-expiry", Trial::Life),
    ("reset-race", Trial::Straddle),
    ("non-atomic-key", Trial::OneKey),
    ("forgotten-keys", Trial::Life),
    ("torn-replay", Trial::Life),
    ("lost-line", Trial::Crowd),
    ("full-disk-is-done", Trial::Full),
    ("no-flush", Trial::Flush),
    ("skipped-projection", Trial::Life),
    ("answer-before-commit", Trial::SlowWrite),
    ("dirty-read", Trial::SlowWrite),
];

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the table is what a reader wants of it")]
async fn every_planted_bug_is_found() {
    let trials = iter(BUGS).map(async |(bug, trial)| {
        let bug = Some(*bug);
        let found = attempt(async {
            match trial {
                Trial::Life => life(bug).await,
                Trial::OneKey => one_key_at_once(bug).await,
                Trial::Crowd => crowd(bug).await,
                Trial::Flush => disk::flush_fails(bug).await,
                Trial::Full => disk::no_room(bug).await,
                Trial::Straddle => straddle(bug).await,
                Trial::SlowWrite => disk::slow_write(bug).await,
            }
        });
        (bug, trial, found.await.err())
    });
    let mut results: Vec<_> = trials.buffer_unordered(AT_ONCE).collect().await;
    results.sort_by_key(|(bug, ..)| *bug);

    for (bug, trial, found) in &results {
        let found = found.as_deref().unwrap_or("NOT FOUND").replace('\n', " ");
        let found: String = found.chars().take(SHOWN_CHARS).collect();
        println!("| {} | {trial:?} | {found}", bug.unwrap_or_default());
    }
    let missed = results.iter().filter(|(.., found)| found.is_none()).count();
    assert_eq!(missed, 0, "of {} planted bugs", results.len());
}

/// The switch is off wherever it was not asked for: nothing but the tests of the whole asks.
#[test]
fn no_build_that_ships_can_have_a_planted_bug() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |path: &str| {
        let text = fs::read_to_string(format!("{root}/{path}")).unwrap();
        text.parse::<toml::Table>().unwrap()
    };
    let features = read("actors/Cargo.toml")["features"].as_table().unwrap().clone();
    assert!(!features.contains_key("default"), "nothing is on by default");
    for crate_folder in ["", "chaos/", "load/"] {
        let manifest = read(&format!("{crate_folder}Cargo.toml"));
        let Some(actors) = manifest["dependencies"].get("tenantry-actors") else { continue };
        assert!(actors.get("features").is_none(), "{crate_folder} turns on {actors:?}");
    }
}
