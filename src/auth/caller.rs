//! The principal as an argument of handlers, and what it may do.

use axum::extract::FromRequestParts;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Extensions, HeaderMap};
use tenantry_actors::identity::ClientInfo;
use tenantry_actors::ids::{TenantId, UserId};

use super::{Credential, Principal, Recognised, Role, Scope};
use crate::layers::{ClientAddress, RequestIds};
use crate::problem::{Problem, ProblemKind, Result};

/// What a client calls itself is cut to this.
const USER_AGENT_CHARS_MAX: usize = 200;

/// Someone with a valid credential.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl Caller {
    /// The tenant for which the credential speaks.
    pub fn tenant(&self) -> TenantId {
        self.0.tenant
    }

    /// Checks that the caller may do something of that scope. A key needs the scope; a user needs
    /// the role: viewers read, everyone else works.
    pub fn may(&self, scope: Scope) -> Result<()> {
        let is_change = matches!(scope, Scope::UsageWrite | Scope::RenderWrite);
        let may = match self.0.credential {
            Credential::ApiKey { .. } => self.0.scopes.contains(scope),
            Credential::Session { .. } => {
                !is_change || self.0.role.is_some_and(|role| role >= Role::Member)
            }
        };
        if may { Ok(()) } else { Err(refused("the key's scopes or your role do not allow this")) }
    }

    /// Checks that the caller is a signed-in user and tells which.
    pub fn user(&self) -> Result<UserId> {
        self.0.user().ok_or_else(|| refused("this needs a signed-in user, not an API key"))
    }

    /// Checks that the caller is a signed-in user with at least that role.
    pub fn at_least(&self, role: Role) -> Result<()> {
        self.user()?;
        if self.0.role.is_some_and(|own| own >= role) {
            return Ok(());
        }
        Err(refused(format!("this needs the role {role}")))
    }
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::RoleRequired).detail(detail)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        let recognised = parts.extensions.get::<Recognised>();
        // A cookie got this far with a read of the API, or with a page.
        recognised
            .map(|recognised| Self(recognised.principal.clone()))
            .ok_or_else(|| Problem::new(ProblemKind::Unauthenticated))
    }
}

/// From where and within which request a change comes, for the audit record.
pub fn client_info(extensions: &Extensions, headers: &HeaderMap) -> Result<ClientInfo> {
    let ids = extensions.get::<RequestIds>();
    let ids = ids.ok_or_else(|| Problem::internal("the request has no id"))?;
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    Ok(ClientInfo {
        request: ids.own,
        address: extensions.get::<ClientAddress>().map(|address| address.0),
        user_agent: agent.map(|text| text.chars().take(USER_AGENT_CHARS_MAX).collect()),
    })
}
