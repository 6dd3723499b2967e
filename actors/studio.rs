//! What a step of a render job does; each provider behind its breaker.
//!
//! [`Studio`] is the real [`StepRunner`]: it looks for a finished result, makes one in a scratch
//! folder of the attempt's own, checks it, and moves it to the tenant's store. It keeps no state
//! of jobs: that is the tenant actor's.

pub mod plan;
pub mod runner;
pub mod slots;
pub mod templates;
pub mod voices;

mod assemble;
mod captions;
mod card;
mod espeak;
mod image;
mod lettering;
mod palette;
mod probe;
mod process;
mod provider;
mod results;
mod scratch;
mod speech;
mod steps;
mod tools;
mod video;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tenantry_supervision::{Breaker, Deadline, Tasks, spawn_blocking};
use tokio_util::sync::CancellationToken;

pub use provider::{InvalidProvider, ProviderSettings};
pub use tools::Tools;

use crate::ids::{JobId, TenantId};
use crate::storage::{Storage, StorageError};
use crate::tenant::steps::{StepName, StepResult};
use image::Drawing;
use lettering::Lettering;
use provider::Provider;
use runner::{Discard, StepError, StepInput, StepRunner, job_folder, steps_folder};
use scratch::ScratchRoot;
use slots::{SlotPermit, Slots};
use voices::Voices;

/// How long asking espeak-ng for its voices may take at start.
const VOICES_TIMEOUT: Duration = Duration::from_secs(20);

/// What the studio is made with.
#[derive(Debug, Clone)]
pub struct StudioSettings {
    /// An images API; without it cards are drawn here.
    pub image: Option<ProviderSettings>,
    /// A speech API; without it espeak-ng speaks.
    pub speech: Option<ProviderSettings>,
    /// The folder for unfinished files; emptied at start. Best on the store's file system.
    pub scratch_dir: PathBuf,
    /// The programs.
    pub tools: Tools,
    /// Images made at once.
    pub image_workers: usize,
    /// Narrations spoken at once.
    pub speech_workers: usize,
    /// Encodes running at once.
    pub video_workers: usize,
}

/// The studio; cheap to clone.
#[derive(Debug, Clone)]
pub struct Studio {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Storage,
    scratch: ScratchRoot,
    tools: Tools,
    drawing: Drawing,
    image: Option<Provider>,
    speech: Option<Provider>,
    voices: Arc<Voices>,
    slots: KindSlots,
}

#[derive(Debug)]
struct KindSlots {
    image: Slots,
    speech: Slots,
    video: Slots,
}

/// How many work and wait in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotReport {
    /// `image`, `speech` or `video`.
    pub pool: &'static str,
    /// Slots there are.
    pub capacity: usize,
    /// Slots that are taken.
    pub busy: usize,
    /// Steps that wait for one.
    pub waiting: usize,
}

/// Why the studio cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    /// The scratch folder cannot be used.
    #[error("the scratch folder cannot be used")]
    Scratch(#[source] io::Error),
    /// A provider's address is wrong.
    #[error(transparent)]
    Provider(#[from] InvalidProvider),
}

impl Studio {
    /// Empties the scratch folder, reads fonts and voices, and stands ready.
    pub async fn start(
        settings: StudioSettings,
        storage: Storage,
        tasks: &Tasks,
    ) -> Result<Self, StudioError> {
        slots::describe();
        let dir = settings.scratch_dir.clone();
        let opened = spawn_blocking("open-studio", tasks, move || {
            (ScratchRoot::open(&dir), Lettering::load())
        });
        let (scratch, lettering) =
            opened.await.map_err(|error| StudioError::Scratch(io::Error::other(error)))?;
        let scratch = scratch.map_err(StudioError::Scratch)?;
        let drawing = Drawing { lettering: Arc::new(lettering), tasks: tasks.clone() };
        let deadline = Deadline::after(VOICES_TIMEOUT);
        let listed = espeak::voices(&settings.tools.espeak_ng, scratch.dir(), deadline).await;
        // Without a voice a provider may still speak, and captions stand over silence.
        let voices = listed.unwrap_or_else(|error| {
            tracing::error!(%error, "espeak-ng cannot be run; `apt-get install espeak-ng`");
            Voices::without_espeak()
        });
        let provider = |name, path, settings: Option<ProviderSettings>| {
            settings.map(|settings| Provider::new(name, path, settings)).transpose()
        };
        let slots = KindSlots {
            image: Slots::new("image", settings.image_workers),
            speech: Slots::new("speech", settings.speech_workers),
            video: Slots::new("video", settings.video_workers),
        };
        let inner = Inner {
            storage,
            scratch,
            drawing,
            image: provider("image", image::PROVIDER_PATH, settings.image)?,
            speech: provider("speech", speech::PROVIDER_PATH, settings.speech)?,
            voices: Arc::new(voices),
            tools: settings.tools,
            slots,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The languages that plans may name.
    pub fn voices(&self) -> Arc<Voices> {
        Arc::clone(&self.inner.voices)
    }

    /// The providers' breakers, for the health registry.
    pub fn breakers(&self) -> Vec<Breaker> {
        let providers = [&self.inner.image, &self.inner.speech];
        providers.into_iter().flatten().map(|provider| provider.breaker().clone()).collect()
    }

    /// How many work and wait, by pool, for metrics.
    pub fn slots(&self) -> [SlotReport; 3] {
        let KindSlots { image, speech, video } = &self.inner.slots;
        [("image", image), ("speech", speech), ("video", video)].map(|(pool, slots)| SlotReport {
            pool,
            capacity: slots.capacity(),
            busy: slots.busy(),
            waiting: slots.waiting(),
        })
    }
}

impl StepRunner for Studio {
    fn acquire(
        &self,
        tenant: TenantId,
        step: StepName,
    ) -> BoxFuture<'static, Result<SlotPermit, StepError>> {
        let slots = &self.inner.slots;
        let slots = match step {
            StepName::Image(_) => slots.image.clone(),
            StepName::Speech(_) => slots.speech.clone(),
            StepName::Segment(..) | StepName::Assemble => slots.video.clone(),
            StepName::Publish => return Box::pin(async { Ok(SlotPermit::unlimited()) }),
        };
        Box::pin(async move {
            let permit = slots.acquire(tenant).await;
            permit.map_err(|full| StepError::retryable("studio-busy", full.to_string()))
        })
    }

    fn run(
        &self,
        input: StepInput,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<StepResult, StepError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            tokio::select! {
                biased;
                result = steps::run(&inner, &input, &cancel) => result,
                // Steps heed both by themselves where a child or a provider is waited for; this
                // ends the waiting for the store.
                () = cancel.cancelled() => Err(StepError::interrupted()),
                () = tokio::time::sleep_until(input.deadline.instant()) => Err(StepError::timed_out()),
            }
        })
    }

    fn discard(
        &self,
        tenant: TenantId,
        job: JobId,
        what: Discard,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        let store = self.inner.storage.tenant(tenant);
        let folder = match what {
            Discard::Intermediates => steps_folder(job),
            Discard::Everything => job_folder(job),
        };
        Box::pin(async move { store.delete_below(&folder).await.map(|_| ()) })
    }
}

#[cfg(test)]
mod tests;
