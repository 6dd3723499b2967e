//! The parts of the local store that touch the file system itself.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::GetResultPayload;

use super::StorageError;

/// Bytes read at once: large enough that a trip to the blocking pool is cheap beside it.
const CHUNK_BYTES: u64 = 128 * 1024;
/// Deepest folder that is searched for interrupted uploads.
const DEPTH_MAX: usize = 16;

/// Runs file system work where it may block.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, StorageError>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(StorageError::Unavailable(Box::new(error))),
    }
}

/// Makes a finished file visible at `target`, durably, by renaming it.
pub(super) fn publish(source: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder)?;
    File::open(source)?.sync_all()?;
    fs::rename(source, target)?;
    File::open(folder)?.sync_all()
}

/// Tells whether a rename failed only because it would cross file systems.
pub(super) fn is_other_device(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::CrossesDevices)
}

/// Gives a stored file a second name, or copies it where links cannot reach.
///
/// Stored files are replaced, never written to, so the second name keeps its content.
pub(super) fn link_or_copy(source: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(source, target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            fs::copy(source, target).map(|_| ())
        }
        other => other,
    }
}

/// Reads a local file in chunks.
pub(super) fn read_file(path: &Path) -> BoxStream<'static, io::Result<Bytes>> {
    let path = path.to_owned();
    let opened = async move {
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            let size_bytes = file.metadata()?.len();
            Ok::<_, io::Error>((file, size_bytes))
        });
        let (file, size_bytes) = opened.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(file_chunks(file, 0..size_bytes))
    };
    stream::once(opened).try_flatten().boxed()
}

/// Streams an opened object; a file in larger chunks than the library's own 8 KiB.
pub(super) fn chunks(
    payload: GetResultPayload,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, StorageError>> {
    match payload {
        GetResultPayload::File(file, _) => {
            file_chunks(file, range).map_err(StorageError::from).boxed()
        }
        GetResultPayload::Stream(stream) => stream.map_err(StorageError::from).boxed(),
    }
}

fn file_chunks(file: File, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((file, range), |(mut file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let length = CHUNK_BYTES.min(range.end - range.start);
            let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.seek(SeekFrom::Start(range.start))?;
            // A file that ends early was cut by something else: an error, not a short body.
            file.read_exact(&mut chunk)?;
            Ok::<_, io::Error>((chunk, file, range.start + length..range.end))
        });
        let (chunk, file, rest) = read.await.map_err(io::Error::other)??;
        Ok(Some((Bytes::from(chunk), (file, rest))))
    })
    .boxed()
}

/// Removes the files of uploads that a crash interrupted (`name#1`).
pub(super) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    remove_unfinished_below(dir, DEPTH_MAX)
}

fn remove_unfinished_below(dir: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            remove_unfinished_below(&entry.path(), depth - 1)?;
        }
        let name = entry.file_name();
        let is_unfinished = name
            .to_str()
            .and_then(|name| name.rsplit_once('#'))
            .is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()));
        if kind.is_file() && is_unfinished {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
