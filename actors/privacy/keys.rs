//! The key ring: everything secret that lives outside the databases, and what is derived from it.
//!
//! ```text
//! master key (keys/master.key, 0600)
//!  ├─ HKDF "digest/…"   keyed look-up digests          ├─ HKDF "sign/…"    Ed25519 signing keys
//!  ├─ HKDF "refresh/…"  successors of refresh tokens   └─ HKDF "system/…"  the system's own cipher
//!  └─ wraps one random data key per tenant and per user (keys/keystore)
//! ```
//!
//! Data keys stand in a file of their own and not in a table: a database backup then never holds
//! the key to what it holds, so destroying a key reaches the backups as well. They are random and
//! not derived, since what can be derived again cannot be destroyed.

mod cipher;
mod master;
mod signing;
mod store;

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{constant_time, digest, hmac, rand};
use data_encoding::HEXLOWER;
use tenantry_supervision::spawn::{Tasks, spawn_blocking};

pub use self::cipher::{Cipher, Place};
use self::master::MasterKey;
pub use self::signing::{PublicKey, SigningKey};
use self::store::KeyStore;
use crate::ids::{TenantId, UserId};

/// Length of every symmetric key, in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// Length of the digests that stand in every line of the journal, in bytes.
const SCOPED_BYTES: usize = 16;

/// Holds the master key and hands out ciphers, digests and signing keys.
#[derive(Clone)]
pub struct KeyRing {
    inner: Arc<Inner>,
}

struct Inner {
    digest_key: hmac::Key,
    refresh_key: hmac::Key,
    system: Cipher,
    master: MasterKey,
    store: KeyStore,
    random: SystemRandom,
    tasks: Tasks,
}

impl KeyRing {
    /// Opens the key folder in `data_dir`, creating the master key on the first start.
    ///
    /// A key file that others may read is refused: it has to be taken as known.
    pub fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let folder = data_dir.join("keys");
        let master = MasterKey::open(&folder)?;
        let store = KeyStore::open(&folder, &master.derive("wrap/v1"))?;
        let system = Cipher::new(&master.derive("system/v1"), "system")?;
        let digest_key = hmac::Key::new(hmac::HMAC_SHA256, master.derive("digest/v1").as_slice());
        let refresh_key = hmac::Key::new(hmac::HMAC_SHA256, master.derive("refresh/v1").as_slice());
        let random = SystemRandom::new();
        let tasks = Tasks::new();
        let inner = Inner { digest_key, refresh_key, system, master, store, random, tasks };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the keyed digest of `bytes` as hex; digests of different domains never meet.
    pub fn digest(&self, domain: &str, bytes: &[u8]) -> String {
        HEXLOWER.encode(keyed(&self.inner.digest_key, &[domain.as_bytes(), bytes]).as_ref())
    }

    /// Returns half of the keyed digest of `scope`, a NUL and `bytes` as hex: 128 bits are enough
    /// that no two of a tenant's keys meet, and half as much to write as the whole.
    pub fn scoped_digest(&self, domain: &str, scope: &str, bytes: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.inner.digest_key);
        update(&mut context, &[domain.as_bytes()]);
        update(&mut context, &[scope.as_bytes(), &[0], bytes]);
        let tag = context.sign();
        let half = tag.as_ref().get(..SCOPED_BYTES).unwrap_or(tag.as_ref());
        HEXLOWER.encode(half)
    }

    /// Returns the first half of the keyed digest: enough where the bytes come by the thousand.
    pub fn short_digest(&self, domain: &str, bytes: &[u8]) -> [u8; 16] {
        let tag = keyed(&self.inner.digest_key, &[domain.as_bytes(), bytes]);
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        short
    }

    /// Returns the cipher of the system itself, for rows that belong to nobody yet.
    pub fn system_cipher(&self) -> Cipher {
        self.inner.system.clone()
    }

    /// Returns the tenant's cipher; its data key is made on first use.
    pub async fn tenant_cipher(&self, tenant: TenantId) -> Result<Cipher, KeyError> {
        self.cipher_of(tenant.to_string()).await
    }

    /// Returns the user's cipher; its data key is made on first use.
    pub async fn user_cipher(&self, user: UserId) -> Result<Cipher, KeyError> {
        self.cipher_of(user.to_string()).await
    }

    /// Makes the data keys of many new tenants with one flush.
    pub async fn prepare_tenants(&self, tenants: &[TenantId]) -> Result<(), KeyError> {
        self.create(tenants.iter().map(TenantId::to_string).collect()).await
    }

    /// Destroys a tenant's data key: what it sealed can never be opened again.
    pub async fn destroy_tenant(&self, tenant: TenantId) -> Result<(), KeyError> {
        self.on_disk(move |store| store.destroy(&tenant.to_string())).await
    }

    /// Returns the signing key of that purpose and generation, for tokens or journal heads.
    ///
    /// The same purpose and generation give the same key after a restart; a rotation counts the
    /// generation up. A signing key that leaks tells nothing of the master key or of another.
    pub fn signing_key(&self, purpose: &str, generation: u32) -> Result<SigningKey, KeyError> {
        let seed = self.inner.master.derive(&format!("sign/{purpose}/{generation}"));
        SigningKey::from_seed(&seed)
    }

    /// Fills an array with random bytes for a secret.
    pub fn random<const N: usize>(&self) -> Result<[u8; N], KeyError> {
        let mut bytes = [0_u8; N];
        rand::SecureRandom::fill(&self.inner.random, &mut bytes).map_err(|_| KeyError::Random)?;
        Ok(bytes)
    }

    /// Authenticates parts under the key of refresh tokens.
    pub(crate) fn refresh_mac(&self, parts: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut mac = [0_u8; KEY_BYTES];
        mac.copy_from_slice(keyed(&self.inner.refresh_key, parts).as_ref());
        mac
    }

    async fn cipher_of(&self, subject: String) -> Result<Cipher, KeyError> {
        if let Some(cipher) = self.inner.store.cipher(&subject)? {
            return Ok(cipher);
        }
        self.create(vec![subject.clone()]).await?;
        self.inner.store.cipher(&subject)?.ok_or(KeyError::Corrupt { file: "keystore" })
    }

    async fn create(&self, subjects: Vec<String>) -> Result<(), KeyError> {
        self.on_disk(move |store| store.create(&subjects)).await
    }

    /// Runs file work to its end on a blocking thread, even when the caller has gone.
    async fn on_disk(
        &self,
        work: impl FnOnce(&KeyStore) -> Result<(), KeyError> + Send + 'static,
    ) -> Result<(), KeyError> {
        let inner = Arc::clone(&self.inner);
        let done = spawn_blocking("keystore", &self.inner.tasks, move || work(&inner.store));
        done.await.unwrap_or(Err(KeyError::Interrupted))
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

/// Returns the SHA-256 of `bytes` as hex, for secrets that carry 128 bits of chance or more.
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Compares two secrets in a time that does not tell where they differ.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Authenticates parts, each with its length before it, so that no two lists look alike.
fn keyed(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        update(&mut context, &[part]);
    }
    context.sign()
}

/// Adds one part that comes in pieces, with its length before it.
fn update(context: &mut hmac::Context, pieces: &[&[u8]]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    context.update(&(length as u64).to_be_bytes());
    for piece in pieces {
        context.update(piece);
    }
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file cannot be read or written.
    #[error("cannot use the key file {file}")]
    Io {
        /// The file's name.
        file: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key file may be read by other users of the machine.
    #[error("the key file {file} may be read by others; set its mode to 0600")]
    Exposed {
        /// The file's name.
        file: &'static str,
    },
    /// A key file does not have the expected form, or was made with another master key.
    #[error("the key file {file} is damaged or belongs to another master key")]
    Corrupt {
        /// The file's name.
        file: &'static str,
    },
    /// The key was destroyed, and what it sealed is gone with it.
    #[error("the data key was destroyed")]
    Destroyed,
    /// A sealed text does not open: altered, moved to another place, or of another key.
    #[error("the sealed text does not open here")]
    Sealed,
    /// A configured secret is too short to be one.
    #[error("the secret for signing tokens is shorter than 32 bytes")]
    WeakSecret,
    /// The system's source of randomness failed.
    #[error("no randomness is available")]
    Random,
    /// The process is stopping.
    #[error("the key store is stopping")]
    Interrupted,
}

#[cfg(test)]
mod tests;
