//! Which service behaves how: the one place that breaks the outside world.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a slow service waits before each answer, unless told otherwise.
const SLOW_FOR_MS: u64 = 3_000;

/// A service of the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The mail server.
    Mail,
    /// The image provider.
    Image,
    /// The speech provider.
    Speech,
    /// A customer's receiver of webhooks.
    Receiver,
}

impl Service {
    /// Every service, in the order of pages.
    pub const ALL: [Self; 4] = [Self::Mail, Self::Image, Self::Speech, Self::Receiver];

    fn index(self) -> usize {
        match self {
            Self::Mail => 0,
            Self::Image => 1,
            Self::Speech => 2,
            Self::Receiver => 3,
        }
    }
}

/// How a service behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answers well and at once.
    #[default]
    Healthy,
    /// Answers well, after a while.
    Slow,
    /// Takes the request and never answers.
    Hanging,
    /// Answers with an error at once.
    Failing,
    /// Answers with success and nonsense.
    Garbage,
}

impl Mode {
    /// Every mode, in the order of pages.
    pub const ALL: [Self; 5] =
        [Self::Healthy, Self::Slow, Self::Hanging, Self::Failing, Self::Garbage];
}

/// A service's mode with its delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// How the service behaves.
    pub mode: Mode,
    /// How long it waits before each answer while it is slow.
    pub delay_ms: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self { mode: Mode::Healthy, delay_ms: SLOW_FOR_MS }
    }
}

/// The settings of all services.
#[derive(Debug, Default)]
pub struct Switches {
    settings: Mutex<[Setting; Service::ALL.len()]>,
}

impl Switches {
    /// How a service behaves now.
    pub fn get(&self, service: Service) -> Setting {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)[service.index()]
    }

    /// Makes a service behave so from its next answer on.
    pub fn set(&self, service: Service, mode: Mode) {
        let delay_ms = self.get(service).delay_ms;
        self.put(service, Setting { mode, delay_ms });
    }

    /// Sets mode and delay together.
    pub fn put(&self, service: Service, setting: Setting) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings[service.index()] = setting;
    }

    /// Waits as long as the service's mode says before an answer, and tells the mode to answer in.
    pub(crate) async fn before_answer(&self, service: Service) -> Mode {
        let setting = self.get(service);
        match setting.mode {
            Mode::Slow => tokio::time::sleep(Duration::from_millis(setting.delay_ms)).await,
            Mode::Hanging => std::future::pending().await,
            Mode::Healthy | Mode::Failing | Mode::Garbage => {}
        }
        setting.mode
    }
}

/// A service or mode that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown name `{}`", self.0)
    }
}

impl std::error::Error for UnknownName {}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mail => "mail",
            Self::Image => "image",
            Self::Speech => "speech",
            Self::Receiver => "receiver",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Hanging => "hanging",
            Self::Failing => "failing",
            Self::Garbage => "garbage",
        })
    }
}

impl FromStr for Service {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|service| service.to_string() == name);
        found.ok_or_else(|| UnknownName(name.to_owned()))
    }
}
