//! What all pages share: the frame around them, and who looks at them.

use askama::Template;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::StatusCode;
use http::request::Parts;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::auth::{Caller, Credential, CsrfToken, Recognised};
use crate::problem::Problem;
use crate::routes::{Call, Web};

/// The frame around a page.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Which place of the navigation this is.
    pub(super) here: &'static str,
    /// The token for forms; none if nobody is signed in.
    pub(super) csrf: Option<String>,
}

/// A signed-in user who looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The user, as an argument of calls.
    pub(super) call: Call,
    /// The token that the user's forms carry.
    pub(super) token: CsrfToken,
}

/// Someone who may be signed in.
#[derive(Clone, Debug)]
pub(super) struct MaybeVisitor(pub(super) Option<Visitor>);

impl Visitor {
    pub(super) fn caller(&self) -> &Caller {
        &self.call.caller
    }

    pub(super) fn frame(&self, here: &'static str) -> Frame {
        Frame { here, csrf: Some(self.token.as_str().to_owned()) }
    }
}

impl MaybeVisitor {
    pub(super) fn frame(&self, here: &'static str) -> Frame {
        match &self.0 {
            Some(visitor) => visitor.frame(here),
            None => Frame { here, csrf: None },
        }
    }
}

/// Why there is no visitor.
#[derive(Debug)]
pub(super) enum NoVisitor {
    /// Nobody is signed in: the way to the login page.
    SignIn(Redirect),
    /// It could not be found out.
    Problem(Problem),
}

impl IntoResponse for NoVisitor {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(redirect) => redirect.into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

impl FromRequestParts<Web> for Visitor {
    type Rejection = NoVisitor;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, NoVisitor> {
        let recognised = parts.extensions.get::<Recognised>().filter(|r| r.by_cookie);
        let session = recognised.and_then(|r| match r.principal.credential {
            Credential::Session { session, .. } => Some(session),
            Credential::ApiKey { .. } => None,
        });
        let Some(session) = session else {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let next = utf8_percent_encode(path, NON_ALPHANUMERIC);
            return Err(NoVisitor::SignIn(Redirect::to(&format!("/login?next={next}"))));
        };
        let call = Call::from_request_parts(parts, web).await.map_err(NoVisitor::Problem)?;
        Ok(Self { call, token: CsrfToken::of(&web.keys, session) })
    }
}

impl OptionalFromRequestParts<Web> for Visitor {
    type Rejection = NoVisitor;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Option<Self>, NoVisitor> {
        match <Self as FromRequestParts<Web>>::from_request_parts(parts, web).await {
            Ok(visitor) => Ok(Some(visitor)),
            Err(NoVisitor::SignIn(_)) => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

impl FromRequestParts<Web> for MaybeVisitor {
    type Rejection = NoVisitor;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, NoVisitor> {
        let visitor = <Option<Visitor> as FromRequestParts<Web>>::from_request_parts(parts, web);
        visitor.await.map(Self)
    }
}

/// A page as an answer.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// The way on after a form.
pub(super) fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}
