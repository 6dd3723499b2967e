//! Calls to providers in the style of OpenAI's API: bulkhead, breaker, timeout, client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tenantry_supervision::retry::Retryable;
use tenantry_supervision::{Breaker, BreakerError, BreakerSettings, Deadline};
use tokio::sync::Semaphore;

use super::runner::StepError;

/// Calls to one provider at once.
const CALLS_MAX: usize = 8;
/// Failures in a row before a provider is left alone.
const FAILURES: u32 = 5;
/// How long it is left alone at first, and at most.
const OPEN_FOR: Duration = Duration::from_secs(2);
const MAX_OPEN_FOR: Duration = Duration::from_mins(1);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a provider is and how long it may take.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The address before `/v1/…`.
    pub base_url: String,
    /// The bearer token.
    pub api_key: Option<SecretString>,
    /// Which model is asked for.
    pub model: String,
    /// How long a call may take.
    pub timeout: Duration,
}

/// A provider behind its bulkhead and breaker; cheap to clone.
#[derive(Clone)]
pub(super) struct Provider {
    client: Client,
    settings: Arc<ProviderSettings>,
    url: Url,
    places: Arc<Semaphore>,
    breaker: Breaker,
}

/// Why a call to a provider gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// It refuses this request and would again (4xx).
    #[error("refused with status {0}")]
    Refused(StatusCode),
    /// It fails, cannot be reached or is too slow.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It fails so often that it is not asked at present.
    #[error("left alone for now")]
    BreakerOpen,
    /// Its answer is not what was asked for.
    #[error("answered with something else: {0}")]
    Garbage(&'static str),
}

impl Retryable for ProviderError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Garbage(_))
    }
}

impl From<ProviderError> for StepError {
    fn from(error: ProviderError) -> Self {
        let code = match &error {
            ProviderError::Refused(_) => "provider-refused",
            ProviderError::BreakerOpen => "provider-breaker-open",
            ProviderError::Unavailable(_) => "provider-unavailable",
            ProviderError::Garbage(_) => "provider-garbage",
        };
        Self::retryable(code, error.to_string())
    }
}

/// A provider's address is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {name} provider's address is not an http(s) URL")]
pub struct InvalidProvider {
    /// Which provider.
    pub name: &'static str,
}

impl Provider {
    pub(super) fn new(
        name: &'static str,
        path: &str,
        settings: ProviderSettings,
    ) -> Result<Self, InvalidProvider> {
        let invalid = InvalidProvider { name };
        let base = settings.base_url.trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}")).map_err(|_| invalid.clone())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A provider that redirects could send the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| invalid)?;
        let breaker = Breaker::new(BreakerSettings {
            name,
            failures: FAILURES,
            open_for: OPEN_FOR,
            max_open_for: MAX_OPEN_FOR,
            timeout: settings.timeout,
        });
        let places = Arc::new(Semaphore::new(CALLS_MAX));
        Ok(Self { client, settings: Arc::new(settings), url, places, breaker })
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) fn model(&self) -> &str {
        &self.settings.model
    }

    /// Posts a request and reads an answer of at most `bytes_max`, which `check` must accept.
    ///
    /// The check is part of the call: a provider that answers with garbage is a failing one.
    pub(super) async fn post<T>(
        &self,
        body: &(impl Serialize + Sync),
        bytes_max: usize,
        deadline: Deadline,
        check: impl FnOnce(Bytes) -> Result<T, ProviderError> + Send,
    ) -> Result<T, ProviderError> {
        let late = || ProviderError::Unavailable("no time left".to_owned());
        let _place =
            deadline.run(self.places.acquire()).await.map_err(|_| late())?.map_err(|_| late())?;
        let call = self.breaker.call(|| async {
            // Inside the breaker, so that a hang counts although our own deadline cut it.
            let answer = deadline.run(self.exchange(body, bytes_max)).await;
            check(answer.map_err(|_| late())??)
        });
        match call.await {
            Ok(value) => Ok(value),
            Err(BreakerError::Failed(error)) => Err(error),
            Err(BreakerError::Open { .. }) => Err(ProviderError::BreakerOpen),
            Err(BreakerError::TimedOut { .. }) => {
                Err(ProviderError::Unavailable("timed out".to_owned()))
            }
        }
    }

    async fn exchange(
        &self,
        body: &(impl Serialize + Sync),
        bytes_max: usize,
    ) -> Result<Bytes, ProviderError> {
        // The address holds no secret, yet errors name it: it is left out.
        let failed =
            |error: reqwest::Error| ProviderError::Unavailable(error.without_url().to_string());
        let mut request = self.client.post(self.url.clone()).json(body);
        if let Some(key) = &self.settings.api_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if is_refusal(status) {
            return Err(ProviderError::Refused(status));
        }
        if status != StatusCode::OK {
            return Err(ProviderError::Unavailable(format!("status {status}")));
        }
        let mut answer = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > bytes_max {
                return Err(ProviderError::Garbage("too large"));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer.freeze())
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

/// Tells whether the same request would be refused again. A wrong key (401, 403) is the
/// operator's to mend: until then the provider counts as failing.
fn is_refusal(status: StatusCode) -> bool {
    let is_passing = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::PAYMENT_REQUIRED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_client_error() && !is_passing
}
