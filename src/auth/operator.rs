//! Operators: whoever has the token of the configuration may call `/api/admin/…`, and only that.

use axum::extract::FromRequestParts;
use http::request::Parts;
use tenantry_actors::privacy::keys;

use super::Recognised;
use crate::problem::{Problem, ProblemKind, Result};

/// What the paths of operators' calls begin with.
pub(super) const PATHS: &str = "/api/admin/";

/// The operators' token, as its digest: comparing digests tells nothing of the token's length.
#[derive(Clone)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// The token of the configuration.
    pub fn new(token: &str) -> Self {
        Self(keys::sha256_hex(token.as_bytes()))
    }

    /// Says whether a credential is the token.
    pub(super) fn is(&self, credential: &str) -> bool {
        keys::equal(self.0.as_bytes(), keys::sha256_hex(credential.as_bytes()).as_bytes())
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

/// An operator, as an argument of handlers.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

impl Operator {
    /// Who acts, as journal entries name it.
    pub const ACTOR: &'static str = "operator";
}

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        if let Some(operator) = parts.extensions.get::<Self>() {
            return Ok(*operator);
        }
        let kind = match parts.extensions.get::<Recognised>() {
            Some(_) => ProblemKind::RoleRequired,
            None => ProblemKind::Unauthenticated,
        };
        Err(Problem::new(kind).detail("This needs the operators' token."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_alone_is_the_token_and_it_is_never_shown() {
        let token = OperatorToken::new("correct horse battery staple");

        assert!(token.is("correct horse battery staple"));
        for other in ["", "correct horse battery stapl", "correct horse battery staple "] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains("correct"));
    }
}
