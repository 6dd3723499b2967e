//! Who asks: credentials become a principal, or the request is charged to its address.
//!
//! The API takes a bearer token. The session cookie is enough to read, never to change: changes
//! with it come through the pages, which check where the request came from and a token of theirs.

mod caller;
mod cookie;
mod csrf;
mod operator;

use std::net::IpAddr;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, Uri};
use tenantry_actors::identity::{Identity, IdentityError};
use tenantry_actors::ids::UserId;

use crate::layers::{Charge, Limiter, Policy};
use crate::problem::{Problem, ProblemKind};

pub use caller::{Caller, client_info};
pub use cookie::SessionCookie;
pub use csrf::{CsrfToken, SameOrigin};
pub use operator::{Operator, OperatorToken};
pub use tenantry_actors::identity::{Credential, Principal, Role, Scope};

/// The window of the limit for strangers.
const ANONYMOUS_WINDOW: Duration = Duration::from_mins(1);
/// A user's burst, in seconds of the rate.
const USER_BURST_S: u64 = 2;
/// Longer credentials are nobody's.
const CREDENTIAL_BYTES_MAX: usize = 4_096;

/// How many requests are let through.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Of one address without valid credentials, in a minute.
    pub anonymous_per_minute: u64,
    /// Of one signed-in user, in a second.
    pub user_per_second: u64,
}

/// Admits requests.
#[derive(Debug)]
pub struct Gatekeeper {
    identity: Identity,
    cookie: SessionCookie,
    operator: Option<OperatorToken>,
    strangers: Limiter<IpAddr>,
    users: Limiter<UserId>,
}

/// An admitted request.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Who asks, if a credential says so.
    pub recognised: Option<Recognised>,
    /// Whether it is an operators' call with their token.
    pub is_operator: bool,
    /// What it was charged, if anything.
    pub charge: Option<Charge>,
}

/// How a principal was recognised.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// Who asks.
    pub principal: Principal,
    /// Whether only the browser's cookie says so.
    pub by_cookie: bool,
}

impl Gatekeeper {
    /// A gatekeeper over an identity plane.
    pub fn new(
        identity: Identity,
        cookie: SessionCookie,
        operator: Option<OperatorToken>,
        limits: RateLimits,
    ) -> Self {
        let window =
            Policy::Window { quota: limits.anonymous_per_minute, window: ANONYMOUS_WINDOW };
        let per_second = limits.user_per_second.max(1);
        let cells = Policy::Cells {
            every: Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX),
            burst: per_second.saturating_mul(USER_BURST_S),
        };
        Self {
            identity,
            cookie,
            operator,
            strangers: Limiter::new("anonymous", window),
            users: Limiter::new("user", cells),
        }
    }

    /// Admits a request and tells who asks, or says why not.
    pub async fn admit(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Admitted, Problem> {
        let path = uri.path();
        if is_exempt(path) {
            return Ok(Admitted::default());
        }
        if self.is_operator(path, headers) {
            return Ok(Admitted { is_operator: true, ..Admitted::default() });
        }
        let recognised = self.recognise(headers, takes_cookie(method, path)).await?;
        let charge = match &recognised {
            None => Some(self.strangers.charge(address)),
            Some(Recognised { principal, .. }) => {
                principal.user().map(|user| self.users.charge(user))
            }
        };
        if let Some(refusal) = charge.as_ref().and_then(Charge::refusal) {
            return Err(refusal);
        }
        Ok(Admitted { recognised, is_operator: false, charge })
    }

    /// Whether an operators' call carries their token. Elsewhere it is nobody's credential.
    fn is_operator(&self, path: &str, headers: &HeaderMap) -> bool {
        let Some(operator) = &self.operator else { return false };
        path.starts_with(operator::PATHS) && bearer(headers).is_some_and(|token| operator.is(token))
    }

    async fn recognise(
        &self,
        headers: &HeaderMap,
        takes_cookie: bool,
    ) -> Result<Option<Recognised>, Problem> {
        if headers.contains_key(AUTHORIZATION) {
            let Some(token) = bearer(headers) else { return Ok(None) };
            let principal = known(self.identity.authenticate(token).await)?;
            return Ok(principal.map(|principal| Recognised { principal, by_cookie: false }));
        }
        if !takes_cookie {
            return Ok(None);
        }
        let Some(token) = self.cookie.read(headers) else { return Ok(None) };
        let principal = known(self.identity.page_session(token).await)?;
        Ok(principal.map(|principal| Recognised { principal, by_cookie: true }))
    }
}

/// A credential that is not valid is none; only a failure to look is an error.
fn known(found: Result<Principal, IdentityError>) -> Result<Option<Principal>, Problem> {
    match found {
        Ok(principal) => Ok(Some(principal)),
        Err(error) => {
            let problem = Problem::from(error);
            if problem.kind() == ProblemKind::Unauthenticated { Ok(None) } else { Err(problem) }
        }
    }
}

/// The bearer token of a request, if there is exactly one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() || value.len() > CREDENTIAL_BYTES_MAX {
        return None;
    }
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

/// Whether the browser's cookie says anything here: to pages, and to reads of the API.
fn takes_cookie(method: &Method, path: &str) -> bool {
    !path.starts_with("/api/") || matches!(*method, Method::GET | Method::HEAD)
}

/// Probes are asked by machines, files of pages come in dozens.
fn is_exempt(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/favicon.ico") || path.starts_with("/assets/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer(&headers(&["Bearer tk_1"])), Some("tk_1"));
        assert_eq!(bearer(&headers(&["bearer tk_1"])), Some("tk_1"));
    }

    #[test]
    fn anything_but_one_plain_bearer_token_is_none() {
        let long = format!("Bearer {}", "x".repeat(CREDENTIAL_BYTES_MAX));
        for bad in [
            &["Basic dXNlcg=="][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer  a"],
            &["Bearer a", "Bearer a"],
            &[&long],
        ] {
            assert_eq!(bearer(&headers(bad)), None, "{bad:?}");
        }
    }
}
