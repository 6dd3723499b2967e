//! Bugs that a test can plant, to see that the tests find them.
//!
//! Each is a mistake that such a service is likely to be made with. They exist with the feature
//! `planted-bugs` alone, which the tests' build turns on and no other does: without it [`is`] is
//! constantly false and every branch on it goes. Which one is planted is said by a file in the data
//! folder, so a server without that file has none in either build.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Bug {
    /// What others hold is overlooked when availability is checked.
    CheckThenAdd = 1,
    /// Nothing ends a hold whose time is over.
    LostExpiry,
    /// A hold that outlives its period is settled in the new one.
    ResetRace,
    /// A key is known only once its entry is on disk, not from the decision on.
    NonAtomicKey,
    /// A tenant that is rebuilt has forgotten the keys that it knew.
    ForgottenKeys,
    /// A tenant that is rebuilt misses its last entry.
    TornReplay,
    /// A commit of several lines loses one.
    LostLine,
    /// A commit that found the disk full counts as done.
    FullDiskIsDone,
    /// Commits are not flushed.
    NoFlush,
    /// The projector passes over a line.
    SkippedProjection,
    /// An answer leaves before its entry is on disk.
    AnswerBeforeCommit,
    /// A read shows what is not on disk yet.
    DirtyRead,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::path::Path;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    /// The file whose text names the bug.
    const FILE: &str = "planted-bug";

    const NAMES: &[(&str, Bug)] = &[
        ("check-then-add", Bug::CheckThenAdd),
        ("lost-expiry", Bug::LostExpiry),
        ("reset-race", Bug::ResetRace),
        ("non-atomic-key", Bug::NonAtomicKey),
        ("forgotten-keys", Bug::ForgottenKeys),
        ("torn-replay", Bug::TornReplay),
        ("lost-line", Bug::LostLine),
        ("full-disk-is-done", Bug::FullDiskIsDone),
        ("no-flush", Bug::NoFlush),
        ("skipped-projection", Bug::SkippedProjection),
        ("answer-before-commit", Bug::AnswerBeforeCommit),
        ("dirty-read", Bug::DirtyRead),
    ];

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants what the folder's file names.
    ///
    /// # Panics
    ///
    /// When there is no such bug: a test that plants nothing would find nothing.
    pub(crate) fn plant_from(folder: &Path) {
        let Ok(name) = std::fs::read_to_string(folder.join(FILE)) else { return };
        let bug = NAMES.iter().find(|(known, _)| *known == name.trim());
        let (_, bug) = bug.expect("a bug of that name");
        PLANTED.store(*bug as u8, Ordering::Relaxed);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use self::switch::{is, plant_from};

/// Says whether a bug is planted: never, in what ships.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
