//! The master key's file: made once, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::{hkdf, rand};
use data_encoding::BASE64URL_NOPAD;
use secrecy::zeroize::Zeroizing;

use super::{KEY_BYTES, KeyError};

/// What the file is called in errors and on disk.
const FILE: &str = "master.key";
/// What the file begins with, so that a future form can be told apart.
const PREFIX: &str = "tenantry-master-v1:";
/// Separates this product's derivations from any other use of the same bytes.
const SALT: &[u8] = b"tenantry/hkdf/v1";
/// The permission bits that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// The key from which every other one is derived, or by which it is wrapped.
pub(super) struct MasterKey {
    root: hkdf::Prk,
}

impl MasterKey {
    /// Reads the key file in `folder`, or makes folder and file.
    pub(super) fn open(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(FILE);
        if !path.try_exists().map_err(io_error)? {
            create(folder, &path).map_err(io_error)?;
        }
        let mode = fs::metadata(&path).map_err(io_error)?.permissions().mode();
        if mode & OTHERS != 0 {
            return Err(KeyError::Exposed { file: FILE });
        }
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(io_error)?);
        let key = parse(&text).ok_or(KeyError::Corrupt { file: FILE })?;
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(key.as_slice());
        Ok(Self { root })
    }

    /// Derives the key of one purpose.
    pub(super) fn derive(&self, purpose: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        let info = [purpose.as_bytes()];
        self.root
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .expect("HKDF-SHA256 gives one block of its own length for any purpose");
        key
    }
}

fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let encoded = text.trim_end().strip_prefix(PREFIX)?;
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    if bytes.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

/// Writes a new key beside its place and links it there, so that of two first starts at once
/// both use the same key and neither ever sees half a file.
fn create(folder: &Path, path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    rand::fill(key.as_mut_slice()).map_err(|_| io::Error::other("no randomness"))?;
    let text = Zeroizing::new(format!("{PREFIX}{}\n", BASE64URL_NOPAD.encode(key.as_slice())));
    let draft = folder.join(format!("{FILE}.{}.new", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}

fn io_error(source: io::Error) -> KeyError {
    KeyError::Io { file: FILE, source }
}
