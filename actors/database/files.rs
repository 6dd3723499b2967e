//! The data folder: made private, locked by one process, and watched for removal.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::DatabaseError;

/// Name of the file whose lock says that the folder is taken.
const LOCK_FILE: &str = "lock";
/// How often a taken lock is tried again, and how long in between. The lock belongs to the open
/// file, which a program that is being started shares from its fork to its exec, where it is closed;
/// killed in between, a server leaves the lock to that half-started program for a moment.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Nobody but the server's user reads the folder.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The data folder, held by this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: Option<(File, Identity)>,
}

/// What a path led to when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl DataDir {
    /// Makes the folder if needed and takes its lock.
    pub(super) fn lock(path: &Path) -> Result<Self, DatabaseError> {
        let folder = |source| DatabaseError::Folder { path: path.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(folder)?;
        // An absolute path stays right when the process changes its directory.
        let path = fs::canonicalize(path).map_err(folder)?;
        let folder = |source| DatabaseError::Folder { path: path.clone(), source };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join(LOCK_FILE))
            .map_err(folder)?;
        let mut tries = LOCK_TRIES;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if tries > 0 => tries -= 1,
                TryLockError::WouldBlock => return Err(DatabaseError::InUse { path }),
                TryLockError::Error(source) => return Err(folder(source)),
            }
            thread::sleep(LOCK_PAUSE);
        }
        let identity = Identity::of_file(&file).map_err(folder)?;
        Ok(Self { lock: Some((file, identity)), path })
    }

    /// Uses the folder beside the process that holds it.
    pub(super) fn without_lock(path: &Path) -> Result<Self, DatabaseError> {
        let path = fs::canonicalize(path)
            .map_err(|source| DatabaseError::Folder { path: path.to_path_buf(), source })?;
        Ok(Self { path, lock: None })
    }

    /// Refuses a folder without this file: it was never used, or is another one.
    pub(super) fn require(&self, name: &str) -> Result<(), DatabaseError> {
        let path = self.path.join(name);
        match fs::metadata(&path) {
            Ok(_) => Ok(()),
            Err(source) => Err(DatabaseError::Folder { path, source }),
        }
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes newly created names durable: a file's own flush does not cover its folder.
    pub(super) fn flush(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// The lock file and what it was when it was locked.
    pub(super) fn lock_identity(&self) -> Option<(PathBuf, Identity)> {
        self.lock.as_ref().map(|(_, identity)| (self.path.join(LOCK_FILE), *identity))
    }
}

impl Identity {
    fn of_file(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { device: meta.dev(), inode: meta.ino() })
    }

    /// What the path leads to now.
    pub(super) fn of_path(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self { device: meta.dev(), inode: meta.ino() })
    }
}
