//! Files of tenants, in a local folder (object storage by URL comes later).
//!
//! A [`TenantStore`] can name nothing outside `tenants/{id}/`: its keys are relative, checked
//! segment by segment, and prefixed here. A file appears under its key whole or not at all: it is
//! written beside its place and renamed, so a crash, a full disk or a caller that leaves shows
//! readers nothing half-written.

use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt};

use tenantry_supervision::Breaker;

use crate::clock::Timestamp;
use crate::ids::TenantId;

mod error;
mod files;
mod guard;
mod key;

pub use error::StorageError;
pub use key::{content_type, is_valid_key};

use guard::Guard;

/// Bytes of one part of an upload: the least that S3 takes is 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// Where files are kept.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// The folder that holds `tenants/`; made when it is missing.
    pub dir: PathBuf,
}

/// The store of all tenants; cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    local: Arc<LocalFileSystem>,
    guard: Arc<Guard>,
}

/// One tenant's part of the store.
#[derive(Debug, Clone)]
pub struct TenantStore {
    storage: Storage,
    root: String,
}

/// What is known of a stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The key relative to the tenant's store.
    pub key: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Changes whenever the content does; without quotes.
    pub etag: String,
    /// When it was last written.
    pub modified_at: Timestamp,
}

/// An opened file: what it is, which part of it comes, and the bytes.
pub struct Opened {
    /// The whole file's description.
    pub stored: Stored,
    /// The bytes that `stream` yields.
    pub range: Range<u64>,
    /// The content in chunks.
    pub stream: BoxStream<'static, Result<Bytes, StorageError>>,
}

/// Which bytes of a file are wanted, as HTTP's `Range` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last position, both included (`bytes=0-99`).
    Inclusive(u64, u64),
    /// From a position to the end (`bytes=100-`).
    From(u64),
    /// The last so many bytes (`bytes=-100`).
    Last(u64),
}

impl Storage {
    /// Opens the folder, makes it if need be, and removes what interrupted uploads left behind.
    pub async fn open(settings: &StorageSettings) -> Result<Self, StorageError> {
        let dir = settings.dir.clone();
        files::blocking(move || {
            std::fs::create_dir_all(&dir)?;
            files::remove_unfinished(&dir)
        })
        .await?;
        let local = LocalFileSystem::new_with_prefix(&settings.dir)?.with_fsync(true);
        Ok(Self { local: Arc::new(local), guard: Arc::new(Guard::new()) })
    }

    /// Returns the store of one tenant.
    pub fn tenant(&self, tenant: TenantId) -> TenantStore {
        TenantStore { storage: self.clone(), root: format!("tenants/{tenant}") }
    }

    /// The breaker around the store, for the health registry.
    pub fn breaker(&self) -> &Breaker {
        self.guard.breaker()
    }
}

impl TenantStore {
    /// Writes a file from a stream of chunks; on any failure nothing of it remains.
    pub async fn put_stream<S>(&self, key: &str, stream: S) -> Result<Stored, StorageError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send,
    {
        let path = self.path(key)?;
        let store = &self.storage.local;
        let upload = self.storage.guard.call(|| async { Ok(store.put_multipart(&path).await?) });
        let mut upload = upload.await?;
        if let Err(error) = write_parts(upload.as_mut(), stream).await {
            // Best effort: dropping the upload removes its file too, only later.
            let _ = upload.abort().await;
            return self.storage.guard.note(Err(error)).await;
        }
        self.head(key).await
    }

    /// Writes a small file at once.
    pub async fn put(&self, key: &str, content: Bytes) -> Result<Stored, StorageError> {
        self.put_stream(key, futures_util::stream::iter([Ok(content)])).await
    }

    /// Moves a finished local file to `key`: renamed where possible, else copied.
    ///
    /// The file at `file` is gone afterwards only when this succeeds.
    pub async fn put_file(&self, file: &FilePath, key: &str) -> Result<Stored, StorageError> {
        let target = self.storage.local.path_to_filesystem(&self.path(key)?)?;
        let source = file.to_owned();
        let moved = files::blocking(move || files::publish(&source, &target)).await;
        match moved {
            Ok(()) => self.head(key).await,
            Err(StorageError::Unavailable(error)) if files::is_other_device(error.as_ref()) => {
                let stored = self.put_stream(key, files::read_file(file)).await?;
                let source = file.to_owned();
                files::blocking(move || std::fs::remove_file(source)).await?;
                Ok(stored)
            }
            Err(error) => self.storage.guard.note(Err(error)).await,
        }
    }

    /// Brings a stored file to a local path, by link where possible, for a program to read.
    pub async fn fetch(&self, key: &str, file: &FilePath) -> Result<(), StorageError> {
        let source = self.storage.local.path_to_filesystem(&self.path(key)?)?;
        let target = file.to_owned();
        files::blocking(move || files::link_or_copy(&source, &target)).await
    }

    /// Opens a file, or a range of it, for reading.
    pub async fn get(&self, key: &str, range: Option<ByteRange>) -> Result<Opened, StorageError> {
        let path = self.path(key)?;
        let stored = self.head(key).await?;
        let wanted = match range {
            None => 0..stored.size_bytes,
            Some(range) => range.within(stored.size_bytes)?,
        };
        let options = if wanted.is_empty() {
            GetOptions::new()
        } else {
            // Between the two reads the file may have been replaced: then the range would be
            // another file's.
            GetOptions::new()
                .with_range(Some(wanted.clone()))
                .with_if_match(Some(quoted(&stored.etag)))
        };
        let store = &self.storage.local;
        let result =
            self.storage.guard.call(|| async { Ok(store.get_opts(&path, options).await?) });
        let stream = files::chunks(result.await?.payload, wanted.clone());
        Ok(Opened { stored, range: wanted, stream })
    }

    /// Reads a whole file of at most `limit_bytes`.
    pub async fn read(&self, key: &str, limit_bytes: u64) -> Result<Bytes, StorageError> {
        let opened = self.get(key, None).await?;
        if opened.stored.size_bytes > limit_bytes {
            return Err(StorageError::TooLarge { limit_bytes });
        }
        let all = opened.stream.try_fold(BytesMut::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        Ok(all.await?.freeze())
    }

    /// Describes a file.
    pub async fn head(&self, key: &str) -> Result<Stored, StorageError> {
        let path = self.path(key)?;
        let store = &self.storage.local;
        let found = self.storage.guard.call(|| async { Ok(store.head(&path).await?) });
        self.stored(found.await?).ok_or(StorageError::InvalidKey)
    }

    /// Deletes a file; one that is not there is deleted already.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let store = &self.storage.local;
        let deleted = self.storage.guard.call(|| async { Ok(store.delete(&path).await?) });
        match deleted.await {
            Err(StorageError::NotFound) => Ok(()),
            other => other,
        }
    }

    /// Lists the files below a folder (`jobs/x`), or all of them for the empty text.
    pub fn list(
        &self,
        folder: &str,
    ) -> Result<BoxStream<'static, Result<Stored, StorageError>>, StorageError> {
        let path =
            if folder.is_empty() { Path::from(self.root.as_str()) } else { self.path(folder)? };
        let this = self.clone();
        let listed = self.storage.local.list(Some(&path)).filter_map(move |item| {
            let found = match item {
                Ok(meta) => this.stored(meta).map(Ok),
                // A folder that was never made is an empty one, a file that went is gone.
                Err(error) => match StorageError::from(error) {
                    StorageError::NotFound => None,
                    error => Some(Err(error)),
                },
            };
            std::future::ready(found)
        });
        Ok(listed.boxed())
    }

    /// Deletes every file below a folder and returns how many bytes that freed.
    pub async fn delete_below(&self, folder: &str) -> Result<u64, StorageError> {
        let files: Vec<Stored> = self.list(folder)?.try_collect().await?;
        let mut freed_bytes: u64 = 0;
        for file in files {
            self.delete(&file.key).await?;
            freed_bytes = freed_bytes.saturating_add(file.size_bytes);
        }
        Ok(freed_bytes)
    }

    /// Sums what a folder holds.
    pub async fn size_bytes(&self, folder: &str) -> Result<u64, StorageError> {
        let sizes = self.list(folder)?.map_ok(|file| file.size_bytes);
        sizes.try_fold(0, |sum: u64, size| async move { Ok(sum.saturating_add(size)) }).await
    }

    fn path(&self, key: &str) -> Result<Path, StorageError> {
        if !is_valid_key(key) {
            return Err(StorageError::InvalidKey);
        }
        Path::parse(format!("{}/{key}", self.root)).map_err(|_| StorageError::InvalidKey)
    }

    fn stored(&self, meta: ObjectMeta) -> Option<Stored> {
        let key = meta.location.as_ref().strip_prefix(&self.root)?.strip_prefix('/')?;
        Some(Stored {
            key: key.to_owned(),
            size_bytes: meta.size,
            etag: meta.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
            modified_at: Timestamp::from_micros(meta.last_modified.timestamp_micros()),
        })
    }
}

impl ByteRange {
    /// Resolves the range against a file's length, as RFC 9110 says.
    pub fn within(self, size_bytes: u64) -> Result<Range<u64>, StorageError> {
        let refused = Err(StorageError::InvalidRange { size_bytes });
        match self {
            Self::Inclusive(first, last) if first > last || first >= size_bytes => refused,
            Self::Inclusive(first, last) => Ok(first..last.saturating_add(1).min(size_bytes)),
            Self::From(first) if first >= size_bytes => refused,
            Self::From(first) => Ok(first..size_bytes),
            Self::Last(0) => refused,
            Self::Last(_) if size_bytes == 0 => refused,
            Self::Last(count) => Ok(size_bytes.saturating_sub(count)..size_bytes),
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("stored", &self.stored)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// Writes all chunks in parts of [`PART_BYTES`] and completes the upload.
async fn write_parts<S>(upload: &mut dyn MultipartUpload, stream: S) -> Result<(), StorageError>
where
    S: Stream<Item = io::Result<Bytes>> + Send,
{
    let mut stream = std::pin::pin!(stream);
    let mut part = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        part.extend_from_slice(&chunk.map_err(StorageError::Source)?);
        if part.len() >= PART_BYTES {
            upload.put_part(part.split().freeze().into()).await?;
        }
    }
    if !part.is_empty() {
        upload.put_part(part.freeze().into()).await?;
    }
    upload.complete().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
