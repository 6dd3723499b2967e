//! Folders for one attempt each: everything a child writes goes there first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The folder that holds the attempts' folders.
#[derive(Debug, Clone)]
pub(super) struct ScratchRoot {
    dir: PathBuf,
}

/// One attempt's folder, removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: TempDir,
}

impl ScratchRoot {
    /// Makes the folder and removes what a killed server left in it.
    ///
    /// Only one server works on a data folder (it holds the lock), so everything there is stale.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { dir: fs::canonicalize(dir)? })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a folder for one attempt; no two attempts ever share one.
    pub(super) fn attempt(&self, label: &str) -> io::Result<Scratch> {
        let dir = tempfile::Builder::new().prefix(&format!("{label}-")).tempdir_in(&self.dir)?;
        Ok(Scratch { dir })
    }
}

impl Scratch {
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of a file in the folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
