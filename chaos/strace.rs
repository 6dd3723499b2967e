//! Faults of the system itself: `strace` kills a program at its N-th write, or lets the write fail.
//!
//! Calls are counted for each thread and each kind of call by itself, and only those on the given
//! files: so N counts what the one thread does that writes a log, however busy the others are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Calls by which files change, as SQLite and PostgreSQL make them.
pub const WRITES: &str = "write,pwrite64,pwritev,ftruncate,fallocate";

/// Calls by which changes reach the disk.
pub const FLUSHES: &str = "fsync,fdatasync,sync_file_range";

/// An error that a call is made to answer, in the system's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// The device failed.
    Io,
    /// No room is left.
    NoSpace,
}

impl Errno {
    fn word(self) -> &'static str {
        match self {
            Self::Io => "EIO",
            Self::NoSpace => "ENOSPC",
        }
    }
}

/// What to watch and what to do to it.
#[derive(Clone, Debug)]
pub struct Strace {
    report: PathBuf,
    paths: Vec<PathBuf>,
    calls: String,
    inject: Option<String>,
    kills: bool,
}

impl Strace {
    /// Watches calls on files, and writes what it saw to `report`.
    #[must_use]
    pub fn watch(report: &Path, paths: &[PathBuf], calls: &[&str]) -> Self {
        let (report, paths, calls) = (report.to_owned(), paths.to_vec(), calls.join(","));
        Self { report, paths, calls, inject: None, kills: false }
    }

    /// Kills the program when a thread begins its `nth` call.
    #[must_use]
    pub fn kill_at(mut self, nth: u32) -> Self {
        self.inject = Some(format!("inject={}:signal=SIGKILL:when={nth}", self.calls));
        self.kills = true;
        self
    }

    /// Lets `count` calls of a thread fail, from its `nth` on.
    #[must_use]
    pub fn fail_at(mut self, error: Errno, nth: u32, count: u32) -> Self {
        let last = nth.saturating_add(count.saturating_sub(1));
        let word = error.word();
        self.inject = Some(format!("inject={}:error={word}:when={nth}..{last}", self.calls));
        self
    }

    /// Lets the `nth` call of a thread begin so much later.
    #[must_use]
    pub fn delay_at(mut self, nth: u32, pause: Duration) -> Self {
        let pause = pause.as_micros();
        self.inject = Some(format!("inject={}:delay_enter={pause}:when={nth}", self.calls));
        self
    }

    /// The words that stand before the program's own.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["strace".to_owned()];
        words.extend(["-f", "-qq", "-s", "0"].map(ToOwned::to_owned));
        if !self.kills {
            // Calls that nobody watches then cost nothing; but a signal gets lost on that way.
            words.push("--seccomp-bpf".to_owned());
        }
        words.push("-o".to_owned());
        words.push(self.report.display().to_string());
        for path in &self.paths {
            words.extend(["-P".to_owned(), path.display().to_string()]);
        }
        words.extend(["-e".to_owned(), format!("trace={}", self.calls)]);
        if let Some(inject) = &self.inject {
            words.extend(["-e".to_owned(), inject.clone()]);
        }
        words.push("--".to_owned());
        words
    }

    /// What it saw, so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::read(&std::fs::read_to_string(&self.report).unwrap_or_default())
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls of each thread, by name.
    pub calls: BTreeMap<(u32, String), u32>,
    /// Calls that were made to fail.
    pub failed: u32,
    /// Whether the program was killed.
    pub was_killed: bool,
}

impl Report {
    /// Reads `<thread> <call>(…) = …` lines.
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let Some((thread, said)) = line.split_once(' ') else { continue };
            let Ok(thread) = thread.parse() else { continue };
            let said = said.trim_start();
            report.was_killed |= said.starts_with("+++ killed by SIGKILL");
            report.failed += u32::from(said.contains("(INJECTED)"));
            // A call that another thread interrupts is told in two lines.
            let name = said.split_once('(').map_or("", |(name, _)| name);
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                *report.calls.entry((thread, name.to_owned())).or_default() += 1;
            }
        }
        report
    }

    /// The most calls of one kind of any thread: beyond it, nothing is hit.
    #[must_use]
    pub fn most_calls(&self) -> u32 {
        self.calls.values().copied().max().unwrap_or_default()
    }

    /// Whether anything was done to the program.
    #[must_use]
    pub fn was_hit(&self) -> bool {
        self.was_killed || self.failed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_each_thread_by_itself() {
        let report = Report::read(
            "11 pwrite64(21, \"\"..., 32, 0) = 32\n\
             11 fsync(21 <unfinished ...>\n\
             12 fsync(14) = -1 EIO (Input/output error) (INJECTED)\n\
             11 <... fsync resumed>) = 0\n\
             12 +++ exited with 0 +++\n",
        );

        let call = |thread, name: &str| ((thread, name.to_owned()), 1);
        let calls = [call(11, "pwrite64"), call(11, "fsync"), call(12, "fsync")];
        assert_eq!(report.calls, BTreeMap::from(calls));
        assert_eq!((report.most_calls(), report.failed, report.was_killed), (1, 1, false));
        assert!(report.was_hit());
    }

    #[test]
    fn the_words_name_files_calls_and_moment() {
        let paths = [PathBuf::from("/data/journal.db")];
        let words = Strace::watch(Path::new("/tmp/report"), &paths, &[WRITES, FLUSHES]).kill_at(7);

        let words = words.words().join(" ");

        assert!(words.contains("-P /data/journal.db -e trace=write,pwrite64"), "{words}");
        assert!(words.ends_with("fdatasync,sync_file_range:signal=SIGKILL:when=7 --"), "{words}");
    }
}
