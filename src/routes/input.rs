//! Ids of paths, query strings and idempotency keys as arguments.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use http::HeaderMap;
use http::header::HeaderName;
use http::request::Parts;
use serde::de::DeserializeOwned;
use tenantry_actors::ids::RequestId;
use tenantry_actors::tenant::{CallContext, Idempotency, KeyOwner};
use tenantry_supervision::deadline::Deadline;

use super::Web;
use crate::auth::{Caller, Operator};
use crate::layers::{self, RequestIds};
use crate::problem::{Problem, ProblemKind, Result};

/// The header that names an operation.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key.
const KEY_CHARS_MAX: usize = 255;

/// The id in the path. What is none is not found, like an id that nobody has.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let missing = || Problem::new(ProblemKind::NotFound);
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| missing())?;
        text.parse().map(Self).map_err(|_| missing())
    }
}

/// The query string, with nothing unknown in it.
#[derive(Clone, Copy, Debug)]
pub struct QueryArgs<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryArgs<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        Query::try_from_uri(&parts.uri).map(|Query(value)| Self(value)).map_err(|rejection| {
            let text = rejection.body_text();
            let reason = text.rsplit(": ").next().unwrap_or_default().to_owned();
            Problem::new(ProblemKind::MalformedQuery).detail(reason)
        })
    }
}

/// The client's name for this operation, if it sent one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl IdempotencyKey {
    /// The key, which this call cannot do without.
    pub fn required(&self) -> Result<&str> {
        named(self.0.as_deref())
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        idempotency_key(&parts.headers).map(|key| Self(key.map(str::to_owned)))
    }
}

/// Reads the key of a call that cannot do without one.
pub(super) fn named(key: Option<&str>) -> Result<&str> {
    key.ok_or_else(|| Problem::new(ProblemKind::IdempotencyKeyRequired))
}

/// Reads the key, quoted or bare.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = || Problem::new(ProblemKind::IdempotencyKeyInvalid);
    let text = value.to_str().map_err(|_| invalid())?.trim();
    let quoted = text.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
    let key = match quoted {
        None => text,
        Some(inner) => inner.ok_or_else(invalid)?,
    };
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    let is_plain = quoted.is_none() || !key.contains(['"', '\\']);
    let fits = (1..=KEY_CHARS_MAX).contains(&key.len());
    if values.next().is_some() || !is_visible || !is_plain || !fits {
        return Err(invalid());
    }
    Ok(Some(key))
}

/// Who calls, within which request, until when.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    passage: Passage,
}

/// An operator's call, within which request, until when.
#[derive(Clone, Debug)]
pub struct OperatorCall {
    passage: Passage,
}

/// What the tenant is told of a request.
#[derive(Clone, Copy, Debug)]
struct Passage {
    request: RequestId,
    deadline: Deadline,
}

impl Passage {
    fn of(parts: &Parts) -> Result<Self> {
        let lost = || Problem::internal("the request passed no front");
        let request = parts.extensions.get::<RequestIds>().ok_or_else(lost)?.own;
        let deadline = *parts.extensions.get::<Deadline>().ok_or_else(lost)?;
        Ok(Self { request, deadline })
    }

    fn context(&self, by: String, idempotency: Option<Idempotency>) -> CallContext {
        CallContext { by, request: self.request, idempotency, deadline: self.deadline }
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self { caller, passage: Passage::of(parts)? })
    }
}

impl<S: Sync> FromRequestParts<S> for OperatorCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Operator::from_request_parts(parts, state).await?;
        Ok(Self { passage: Passage::of(parts)? })
    }
}

impl Call {
    /// The call of a request that passed the front, if somebody makes it.
    pub fn of(passage: layers::Passage) -> Result<Self> {
        let recognised = passage.recognised;
        let recognised = recognised.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated))?;
        let caller = Caller(recognised.principal);
        let passage = Passage { request: passage.ids.own, deadline: passage.deadline };
        Ok(Self { caller, passage })
    }

    /// What the tenant is told about a call that cannot be repeated by key.
    pub fn context(&self) -> CallContext {
        self.passage.context(self.caller.0.actor(), None)
    }

    /// What the tenant is told about a call under a key, if there is one.
    pub fn keyed(
        &self,
        web: &Web,
        route: &'static str,
        key: Option<&str>,
        canonical_body: &[u8],
    ) -> CallContext {
        let owner = KeyOwner::Tenant;
        let named = |key| Idempotency::new(&web.keys, owner, route, key, canonical_body);
        self.passage.context(self.caller.0.actor(), key.map(named))
    }
}

impl OperatorCall {
    /// What the tenant is told about a call under a key, if there is one.
    pub fn keyed(
        &self,
        web: &Web,
        route: &'static str,
        key: Option<&str>,
        canonical_body: &[u8],
    ) -> CallContext {
        let owner = KeyOwner::Operator;
        let named = |key| Idempotency::new(&web.keys, owner, route, key, canonical_body);
        self.passage.context(Operator::ACTOR.to_owned(), key.map(named))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&[u8]]) -> std::result::Result<Option<String>, ProblemKind> {
        let headers: HeaderMap =
            values.iter().map(|v| (IDEMPOTENCY_KEY, v.to_vec().try_into().unwrap())).collect();
        let key = idempotency_key(&headers).map_err(|problem| problem.kind());
        key.map(|key| key.map(str::to_owned))
    }

    #[test]
    fn a_key_is_the_same_quoted_and_bare() {
        assert_eq!(read(&[b"a-1"]), Ok(Some("a-1".to_owned())));
        assert_eq!(read(&[b"\"a-1\""]), Ok(Some("a-1".to_owned())));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn a_key_is_one_to_255_visible_characters() {
        let (longest, longer) = ([b'x'; 255], [b'x'; 256]);
        assert!(read(&[&longest]).is_ok());
        for bad in [&b""[..], b"\"\"", b"\"a", b"a b", b"\xffa", b"\"a\\\"b\"", &longer] {
            assert_eq!(read(&[bad]), Err(ProblemKind::IdempotencyKeyInvalid), "{bad:?}");
        }
        assert!(read(&[b"a", b"a"]).is_err());
    }

    proptest! {
        #[test]
        fn visible_characters_are_kept_as_they_are(key in "[!#-\\[\\]-~]{1,255}") {
            prop_assert_eq!(read(&[key.as_bytes()]), Ok(Some(key.clone())));
            let quoted = format!("\"{key}\"");
            prop_assert_eq!(read(&[quoted.as_bytes()]), Ok(Some(key)));
        }
    }
}
