//! Signed-in devices, and the tenant's default API key.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use tenantry_actors::ids::SessionId;

use super::body::NoBody;
use super::openapi::Problems;
use super::schema::{KeyAnswer, ListAnswer, SessionAnswer};
use super::{PathId, Web};
use crate::auth::{Caller, Role, client_info};
use crate::problem::Result;

/// Lists the user's signed-in devices.
#[utoipa::path(
    get, path = "/api/auth/sessions", tag = "login",
    responses((status = 200, body = ListAnswer<SessionAnswer>), Problems),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(web): State<Web>,
    caller: Caller,
) -> Result<axum::Json<ListAnswer<SessionAnswer>>> {
    caller.user()?;
    let sessions = web.identity.sessions(&caller.0).await?;
    let data = sessions.into_iter().map(|session| SessionAnswer {
        id: session.id.to_string(),
        created_at: session.created_at.to_string(),
        last_seen_at: session.last_seen_at.to_string(),
        expires_at: session.expires_at.to_string(),
        user_agent: session.user_agent,
        current: session.current,
    });
    Ok(axum::Json(ListAnswer { data: data.collect(), next_cursor: None }))
}

/// Signs one device out.
#[utoipa::path(
    delete, path = "/api/auth/sessions/{id}", tag = "login",
    params(("id" = String, Path, description = "The session")),
    responses((status = 204), Problems), security(("bearer" = []))
)]
pub(super) async fn revoke(
    State(web): State<Web>,
    caller: Caller,
    PathId(session): PathId<SessionId>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<StatusCode> {
    caller.user()?;
    let client = client_info(&extensions, &headers)?;
    let identity = web.identity.clone();
    let end = async move { Ok(identity.revoke_session(&caller.0, session, &client).await?) };
    web.detached("login.revoke_session", end).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new default API key; the old one is dead within a second.
#[utoipa::path(
    post, path = "/api/account/rotate-api-key", tag = "account",
    responses((status = 200, body = KeyAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn rotate_api_key(
    State(web): State<Web>,
    caller: Caller,
    extensions: Extensions,
    headers: HeaderMap,
    _body: NoBody,
) -> Result<Response> {
    caller.at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let identity = web.identity.clone();
    let rotate = async move { Ok(identity.rotate_default_key(&caller.0, &client).await?) };
    let key = web.detached("account.rotate_api_key", rotate).await?;
    let api_key = key.api_key.expose_secret().to_owned();
    let answer = KeyAnswer { api_key, created_at: key.created_at.to_string() };
    Ok(axum::Json(answer).into_response())
}
