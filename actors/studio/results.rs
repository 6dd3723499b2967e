//! Where results lie: under keys made of job, step and input, so that finished work is found
//! again by a retry or after a restart, and never done or charged twice.
//!
//! The digest is of lengths and of other results' keys, never of a client's words: it stands in
//! the journal, which outlives an erased tenant.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::runner::{StepError, StepInput, steps_folder};
use crate::storage::{StorageError, TenantStore};
use crate::tenant::steps::{StepName, StepResult};

/// Changes when the same input gives another result: then older results are not taken.
const VERSION: u8 = 1;
/// Largest note beside a result.
const NOTE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a digest that stand in a key.
const DIGEST_BYTES: usize = 16;

/// The key of a step's result, without its ending.
pub(super) fn stem(input: &StepInput) -> String {
    let mut context = Context::new(&SHA256);
    let mut add = |text: &str| {
        context.update(text.as_bytes());
        context.update(b"\n");
    };
    add(&format!("{VERSION} {} {}", input.step, input.plan.resolution.as_str()));
    if let Some(span) = input.span {
        add(&format!("{} {}", span.start_ms, span.length_ms));
    }
    for (name, result) in &input.results {
        if is_input(input.step, *name) {
            add(&format!("{name} {} {} {}", result.key, result.bytes, result.duration_ms));
        }
    }
    let digest = context.finish();
    let digest = data_encoding::HEXLOWER.encode(digest.as_ref().get(..DIGEST_BYTES).unwrap_or(&[]));
    format!("{}/{}-{digest}", steps_folder(input.job), input.step)
}

/// Tells whether a step works with another one's result.
fn is_input(step: StepName, other: StepName) -> bool {
    match step {
        StepName::Segment(scene, _) => {
            other == StepName::Image(scene) || other == StepName::Speech(scene)
        }
        StepName::Assemble => matches!(other, StepName::Segment(..) | StepName::Speech(_)),
        StepName::Image(_) | StepName::Speech(_) | StepName::Publish => false,
    }
}

/// Finds what an earlier attempt finished: its note is written last, and names a whole file.
pub(super) async fn find(store: &TenantStore, stem: &str) -> Result<Option<StepResult>, StepError> {
    let note = match store.read(&note_key(stem), NOTE_BYTES_MAX).await {
        Ok(note) => note,
        Err(StorageError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(result) = serde_json::from_slice::<StepResult>(&note) else { return Ok(None) };
    match store.head(&result.key).await {
        Ok(stored) if stored.size_bytes == result.bytes => Ok(Some(result)),
        Ok(_) | Err(StorageError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Moves a checked file to its place and notes the result beside it.
pub(super) async fn keep(
    store: &TenantStore,
    stem: &str,
    file: &Path,
    mut result: StepResult,
) -> Result<StepResult, StepError> {
    result.bytes = store.put_file(file, &result.key).await?.size_bytes;
    for artifact in &mut result.artifacts {
        if artifact.key == result.key {
            artifact.bytes = result.bytes;
        }
    }
    for item in &mut result.usage {
        if item.meter.as_str() == "storage_bytes" {
            item.amount = result.bytes;
        }
    }
    let note = serde_json::to_vec(&result)
        .map_err(|_| StepError::permanent("note-invalid", "the result cannot be written"))?;
    store.put(&note_key(stem), Bytes::from(note)).await?;
    Ok(result)
}

fn note_key(stem: &str) -> String {
    format!("{stem}.json")
}
