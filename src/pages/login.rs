//! The login pages: ask for a mail, then follow its link or type its code.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use http::header::SET_COOKIE;
use http::{Extensions, HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tenantry_actors::identity::{LinkRequest, Proof};

use super::form::{OpenForm, UserForm};
use super::frame::{Frame, MaybeVisitor, page, see_other};
use crate::auth::client_info;
use crate::problem::{Problem, ProblemKind, Result};
use crate::routes::{Web, login as api};

/// Where to go after a login that was not asked for by a page.
const FIRST_PAGE: &str = "/create";
/// Longer codes and addresses are nobody's.
const FIELD_CHARS_MAX: usize = 254;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    email: String,
    next: String,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "sent.html")]
struct SentPage {
    frame: Frame,
    email: String,
    next: String,
    magic_link: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct LoginArgs {
    #[serde(default)]
    next: String,
}

pub(super) async fn show(
    visitor: MaybeVisitor,
    args: std::result::Result<Query<LoginArgs>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let next = args.map(|Query(args)| args.next).unwrap_or_default();
    let frame = visitor.frame("login");
    let login = LoginPage { frame, email: String::new(), next, error: None };
    page(StatusCode::OK, &login)
}

/// A reload of a page that a form made begins anew.
pub(super) async fn again() -> Response {
    see_other("/login")
}

/// Asks for a mail. The page that follows is the same for known and unknown addresses.
pub(super) async fn ask(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
    OpenForm(fields): OpenForm,
) -> Result<Response> {
    let client = client_info(&extensions, &headers)?;
    let (email, next) = (fields.one("email").trim().to_owned(), fields.one("next").to_owned());
    let request = LinkRequest {
        email: email.clone(),
        next: Some(next.clone()).filter(|next| !next.is_empty()),
        client,
    };
    let identity = web.identity.clone();
    let asked = async move { Ok(identity.request_link(request).await?) };
    let frame = Frame { here: "login", csrf: None };
    match web.detached("login.request_link", asked).await {
        Ok(issued) => {
            let magic_link = issued.magic_link.map(|link| link.expose_secret().to_owned());
            let sent = SentPage { frame, email, next, magic_link, error: None };
            Ok(page(StatusCode::OK, &sent))
        }
        Err(problem) => {
            let error = match problem.kind() {
                ProblemKind::Invalid => "This is not an e-mail address.".to_owned(),
                ProblemKind::RateLimited => {
                    "Too many mails were asked for. Use the newest one, or try later.".to_owned()
                }
                _ => return Err(problem),
            };
            let status = problem.kind().status();
            Ok(page(status, &LoginPage { frame, email, next, error: Some(error) }))
        }
    }
}

/// Signs in with the code out of the mail.
pub(super) async fn enter(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
    OpenForm(fields): OpenForm,
) -> Result<Response> {
    let client = client_info(&extensions, &headers)?;
    let (email, code) = (fields.one("email").trim(), fields.one("code").trim());
    let next = fields.one("next").to_owned();
    if email.len() > FIELD_CHARS_MAX || code.len() > FIELD_CHARS_MAX {
        return Err(Problem::new(ProblemKind::LinkInvalid));
    }
    let proof = Proof::Code { email: email.to_owned(), code: code.to_owned().into() };
    match api::sign_in(&web, proof, client).await {
        Ok(login) => {
            let place = if login.next == "/" { FIRST_PAGE } else { login.next.as_str() };
            let mut response = see_other(place);
            if let Some(cookie) = api::session_cookie(&web, &login) {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            Ok(response)
        }
        Err(problem) if problem.kind() == ProblemKind::LinkInvalid => {
            let frame = Frame { here: "login", csrf: None };
            let error = Some("This code does not work. Is it the newest one?".to_owned());
            let email = email.to_owned();
            let sent = SentPage { frame, email, next, magic_link: None, error };
            Ok(page(StatusCode::UNAUTHORIZED, &sent))
        }
        Err(problem) => Err(problem),
    }
}

/// Signs out.
pub(super) async fn leave(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
    _form: UserForm,
) -> Result<Response> {
    let left = api::leave(&web, &extensions, &headers, false).await?;
    let mut response = see_other("/login");
    response.headers_mut().extend(left.headers().clone());
    Ok(response)
}
