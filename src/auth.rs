//! Who asks: credentials become a principal, or the request is charged to its address.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;

use crate::layers::{Charge, Limiter, Policy};
use crate::problem::Problem;

/// The window of the limit for strangers.
const ANONYMOUS_WINDOW: Duration = Duration::from_mins(1);

/// Admits requests.
#[derive(Debug)]
pub struct Gatekeeper {
    strangers: Limiter<IpAddr>,
}

/// An admitted request.
#[derive(Debug)]
pub struct Admitted {
    /// What it was charged, if anything.
    pub charge: Option<Charge>,
}

impl Gatekeeper {
    /// A gatekeeper with the given limits.
    pub fn new(anonymous_per_minute: u64) -> Self {
        let window = Policy::Window { quota: anonymous_per_minute, window: ANONYMOUS_WINDOW };
        Self { strangers: Limiter::new("anonymous", window) }
    }

    /// Admits a request or says why not.
    pub fn admit(&self, request: &Request, address: IpAddr) -> Result<Admitted, Problem> {
        if is_exempt(request.uri().path()) {
            return Ok(Admitted { charge: None });
        }
        let charge = self.strangers.charge(address);
        match charge.refusal() {
            Some(problem) => Err(problem),
            None => Ok(Admitted { charge: Some(charge) }),
        }
    }
}

/// Probes are asked by machines, files of pages come in dozens.
fn is_exempt(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz") || path.starts_with("/assets/")
}
