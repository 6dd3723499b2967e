//! A posted form: from this site, with the session's token.

use axum::Form;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::response::{IntoResponse, Response};

use super::frame::Visitor;
use crate::problem::{Problem, ProblemKind};
use crate::routes::Web;

/// The fields of a form, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, String)>);

impl Fields {
    /// The first field of that name, or nothing.
    pub(super) fn one(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All fields of that name.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// A form that anyone may post from this site's pages.
#[derive(Clone, Debug)]
pub(super) struct OpenForm(pub(super) Fields);

/// A form of a signed-in user.
#[derive(Clone, Debug)]
pub(super) struct UserForm {
    pub(super) visitor: Visitor,
    pub(super) fields: Fields,
}

impl FromRequest<Web> for OpenForm {
    type Rejection = Response;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Response> {
        web.same_origin.check(request.headers()).map_err(IntoResponse::into_response)?;
        let form = Form::<Vec<(String, String)>>::from_request(request, web).await;
        let Form(fields) = form.map_err(|rejection| {
            let status = rejection.status();
            let kind = match status.as_u16() {
                413 => ProblemKind::BodyTooLarge,
                415 => ProblemKind::UnsupportedMediaType,
                _ => ProblemKind::MalformedBody,
            };
            Problem::new(kind).into_response()
        })?;
        Ok(Self(Fields(fields)))
    }
}

impl FromRequest<Web> for UserForm {
    type Rejection = Response;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, web).await;
        let visitor = visitor.map_err(IntoResponse::into_response)?;
        let request = Request::from_parts(parts, body);
        let OpenForm(fields) = OpenForm::from_request(request, web).await?;
        visitor.token.check(fields.one("csrf")).map_err(IntoResponse::into_response)?;
        Ok(Self { visitor, fields })
    }
}
