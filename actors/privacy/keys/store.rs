//! The file of wrapped data keys: one line an owner, appended and flushed before first use.
//!
//! A line is `v1 <owner> <wrapped key> <check value>`, or `v1 <owner> destroyed`. The last line of
//! an owner counts. Destroying rewrites the file, so that no wrapped copy stays behind in it; the
//! word that remains keeps the owner from being given a second key.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use secrecy::zeroize::Zeroizing;

use super::{Cipher, KEY_BYTES, KeyError, Place, sha256_hex};

const FILE: &str = "keystore";
const VERSION: &str = "v1";
const DESTROYED: &str = "destroyed";
/// How many hex digits of a key's digest prove later which key was destroyed.
const CHECK_DIGITS: usize = 16;

/// Holds the wrapped keys in memory and appends new ones to the file.
pub(super) struct KeyStore {
    path: PathBuf,
    wrap: Cipher,
    // Held while the file is written, so that a key in the map is always a key on disk.
    lines: Mutex<Lines>,
}

struct Lines {
    file: File,
    wrapped: HashMap<String, Option<String>>,
}

impl KeyStore {
    pub(super) fn open(folder: &Path, wrap: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let path = folder.join(FILE);
        let wrap = Cipher::new(wrap, "keystore")?;
        let file = append_to(&path).map_err(io_error)?;
        let text = fs::read_to_string(&path).map_err(io_error)?;
        // A torn last line was never flushed, hence never used.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io_error)?;
        }
        let mut wrapped = HashMap::new();
        for line in text[..whole].lines() {
            let (owner, key) = parse(line).ok_or(KeyError::Corrupt { file: FILE })?;
            wrapped.insert(owner.to_owned(), key.map(str::to_owned));
        }
        let store = Self { path, wrap, lines: Mutex::new(Lines { file, wrapped }) };
        store.check_one()?;
        Ok(store)
    }

    /// Returns the owner's cipher, or nothing if it has no key yet.
    pub(super) fn cipher(&self, owner: &str) -> Result<Option<Cipher>, KeyError> {
        let wrapped = match self.lock().wrapped.get(owner) {
            None => return Ok(None),
            Some(None) => return Err(KeyError::Destroyed),
            Some(Some(wrapped)) => wrapped.clone(),
        };
        let key = Zeroizing::new(self.wrap.open(place(owner), &wrapped)?);
        let key: &[u8; KEY_BYTES] =
            key.as_slice().try_into().map_err(|_| KeyError::Corrupt { file: FILE })?;
        Cipher::new(key, owner).map(Some)
    }

    /// Makes a key for each owner that has none, with one write and one flush for all.
    pub(super) fn create(&self, owners: &[String]) -> Result<(), KeyError> {
        let mut lines = self.lock();
        let mut fresh = Vec::new();
        let mut text = String::new();
        for owner in owners.iter().filter(|owner| !lines.wrapped.contains_key(*owner)) {
            let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
            rand::fill(key.as_mut_slice()).map_err(|_| KeyError::Random)?;
            let wrapped = self.wrap.seal(place(owner), key.as_slice())?;
            text.push_str(&line(owner, &wrapped, &check_value(&key)));
            fresh.push((owner.clone(), Some(wrapped)));
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let before = lines.file.metadata().map_err(io_error)?.len();
        let written = lines.file.write_all(text.as_bytes()).and_then(|()| lines.file.sync_data());
        if let Err(source) = written {
            // Whatever part arrived must not stand before the next line.
            lines.file.set_len(before).map_err(io_error)?;
            return Err(io_error(source));
        }
        lines.wrapped.extend(fresh);
        Ok(())
    }

    /// Replaces the owner's key by the word that it was destroyed.
    pub(super) fn destroy(&self, owner: &str) -> Result<(), KeyError> {
        let mut lines = self.lock();
        let mut kept = String::new();
        for text in fs::read_to_string(&self.path).map_err(io_error)?.lines() {
            if parse(text).is_none_or(|(name, _)| name != owner) {
                kept.push_str(text);
                kept.push('\n');
            }
        }
        for word in [VERSION, " ", owner, " ", DESTROYED, "\n"] {
            kept.push_str(word);
        }
        lines.file = self.replace(&kept).map_err(io_error)?;
        lines.wrapped.insert(owner.to_owned(), None);
        Ok(())
    }

    fn replace(&self, text: &str) -> io::Result<File> {
        let draft = self.path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        fs::set_permissions(&draft, fs::metadata(&self.path)?.permissions())?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
        append_to(&self.path)
    }

    /// Opens one key, so that a keystore of another master key is found at the start.
    fn check_one(&self) -> Result<(), KeyError> {
        let owner =
            self.lock().wrapped.iter().find(|(_, key)| key.is_some()).map(|(name, _)| name.clone());
        let Some(owner) = owner else { return Ok(()) };
        self.cipher(&owner).map(|_| ()).map_err(|_| KeyError::Corrupt { file: FILE })
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn parse(line: &str) -> Option<(&str, Option<&str>)> {
    let mut words = line.split(' ');
    match (words.next()?, words.next()?, words.next()?, words.next()) {
        (VERSION, owner, DESTROYED, None) => Some((owner, None)),
        (VERSION, owner, wrapped, Some(_)) => Some((owner, Some(wrapped))),
        _ => None,
    }
}

fn line(owner: &str, wrapped: &str, check: &str) -> String {
    format!("{VERSION} {owner} {wrapped} {check}\n")
}

fn check_value(key: &[u8; KEY_BYTES]) -> String {
    let mut text = Zeroizing::new(b"kcv".to_vec());
    text.extend_from_slice(key);
    let mut value = sha256_hex(&text);
    value.truncate(CHECK_DIGITS);
    value
}

fn place(owner: &str) -> Place<'_> {
    Place { table: FILE, column: "key", row: owner }
}

fn io_error(source: io::Error) -> KeyError {
    KeyError::Io { file: FILE, source }
}
