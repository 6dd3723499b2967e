//! The webhooks that the simulated receiver saw, whatever it answered.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

/// How many webhooks are kept; the oldest go first.
const MAX_HOOKS: usize = 10_000;

/// Where the receiver redirects to when it answers nonsense: nothing may ever arrive there.
pub(super) const REDIRECTED: &str = "redirected";

/// One webhook as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Hook {
    /// The last part of the path.
    pub name: String,
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
    /// The body, byte for byte.
    pub body: String,
    /// What the receiver answered.
    pub answered: u16,
}

impl Hook {
    pub(super) fn new(name: &str, headers: &HeaderMap, body: String, answered: u16) -> Self {
        let header = |name| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Self {
            name: name.to_owned(),
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            body,
            answered,
        }
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Every webhook that arrived, the newest last.
#[derive(Debug)]
pub struct Receiver {
    count: watch::Sender<u64>,
    hooks: Mutex<VecDeque<Hook>>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self { count: watch::Sender::new(0), hooks: Mutex::default() }
    }
}

impl Receiver {
    /// The webhooks that arrived at one place.
    pub fn at(&self, name: &str) -> Vec<Hook> {
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.iter().filter(|hook| hook.name == name).cloned().collect()
    }

    /// Waits until at least `count` webhooks arrived at a place, and returns them.
    pub async fn wait_for(&self, name: &str, count: usize, within: Duration) -> Option<Vec<Hook>> {
        let mut arrivals = self.count.subscribe();
        let arrived = async {
            loop {
                let hooks = self.at(name);
                if hooks.len() >= count {
                    return Some(hooks);
                }
                arrivals.changed().await.ok()?;
            }
        };
        timeout(within, arrived).await.ok().flatten()
    }

    pub(super) fn add(&self, hook: Hook) {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if hooks.len() == MAX_HOOKS {
            hooks.pop_front();
        }
        hooks.push_back(hook);
        drop(hooks);
        self.count.send_modify(|count| *count += 1);
    }
}
