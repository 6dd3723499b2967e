//! The account: who is signed in where, and the key for programs.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{Extensions, HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use tenantry_actors::identity::SessionSummary;
use tenantry_actors::ids::SessionId;

use super::form::UserForm;
use super::frame::{Frame, Visitor, page, see_other};
use super::words;
use crate::auth::{Role, client_info};
use crate::problem::Result;
use crate::routes::{PathId, Web};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    csrf: String,
    email: String,
    tenant_name: String,
    tenant_id: String,
    role: &'static str,
    plan: String,
    may_rotate: bool,
    api_key: Option<String>,
    sessions: Vec<Device>,
}

struct Device {
    id: String,
    name: String,
    last_seen: String,
    is_current: bool,
}

pub(super) async fn show(State(web): State<Web>, visitor: Visitor) -> Result<Response> {
    account(&web, &visitor, None).await
}

pub(super) async fn rotate_key(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
    form: UserForm,
) -> Result<Response> {
    form.visitor.caller().at_least(Role::Admin)?;
    let client = client_info(&extensions, &headers)?;
    let (identity, principal) = (web.identity.clone(), form.visitor.caller().0.clone());
    let rotate = async move { Ok(identity.rotate_default_key(&principal, &client).await?) };
    let key = web.detached("account.rotate_api_key", rotate).await?;
    account(&web, &form.visitor, Some(key.api_key.expose_secret().to_owned())).await
}

pub(super) async fn revoke(
    State(web): State<Web>,
    PathId(session): PathId<SessionId>,
    extensions: Extensions,
    headers: HeaderMap,
    form: UserForm,
) -> Result<Response> {
    let client = client_info(&extensions, &headers)?;
    let (identity, principal) = (web.identity.clone(), form.visitor.caller().0.clone());
    let end = async move { Ok(identity.revoke_session(&principal, session, &client).await?) };
    web.detached("login.revoke_session", end).await?;
    Ok(see_other("/account"))
}

async fn account(web: &Web, visitor: &Visitor, api_key: Option<String>) -> Result<Response> {
    let principal = &visitor.caller().0;
    let me = web.identity.me(principal).await?;
    let sessions = web.identity.sessions(principal).await?;
    let plan = web.tenants.plan_name(principal.tenant).await?;
    let shown = AccountPage {
        frame: visitor.frame("account"),
        csrf: visitor.token.as_str().to_owned(),
        email: me.email.as_str().to_owned(),
        tenant_name: me.tenant_name,
        tenant_id: me.tenant_id.to_string(),
        role: me.role.as_str(),
        plan: plan.to_string(),
        may_rotate: visitor.caller().at_least(Role::Admin).is_ok(),
        api_key,
        sessions: sessions.into_iter().map(device).collect(),
    };
    Ok(page(StatusCode::OK, &shown))
}

fn device(session: SessionSummary) -> Device {
    Device {
        id: session.id.to_string(),
        name: session.user_agent.unwrap_or_else(|| "Unknown device".to_owned()),
        last_seen: words::moment(session.last_seen_at),
        is_current: session.current,
    }
}
