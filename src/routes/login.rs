//! Login: a mailed link or code becomes a session.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, SET_COOKIE};
use http::{Extensions, HeaderMap, StatusCode};
use tenantry_actors::identity::{LinkRequest, Login, Proof};
use tenantry_actors::ids::TenantId;

use super::openapi::Problems;
use super::schema::{
    LinkAnswer, LinkBody, LoginAnswer, MeAnswer, MembershipAnswer, ProofBody, SwitchBody,
    TenantAnswer, UserAnswer,
};
use super::{Call, JsonBody, Web};
use crate::auth::{Caller, client_info};
use crate::problem::{Problem, ProblemKind, Result};

/// Browsers forget what they stored of this site when someone signs out.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// How long other services may keep the public keys.
const JWKS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// Longer proofs are nobody's.
const PROOF_CHARS_MAX: usize = 512;

/// Mails a login link and a code.
#[utoipa::path(
    post, path = "/api/auth/magic-link/request", tag = "login", request_body = LinkBody,
    responses((status = 202, body = LinkAnswer), Problems)
)]
pub(super) async fn request_link(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LinkBody>,
) -> Result<Response> {
    let client = client_info(&extensions, &headers)?;
    let request = LinkRequest { email: body.email, next: body.next, client };
    let identity = web.identity.clone();
    let ask = async move { Ok(identity.request_link(request).await?) };
    let issued = web.detached("login.request_link", ask).await?;
    let magic_link = issued.magic_link.as_ref().map(exposed);
    let answer = LinkAnswer { status: "sent", magic_link };
    Ok((StatusCode::ACCEPTED, axum::Json(answer)).into_response())
}

/// Turns a link's token, or an address with its code, into a session.
#[utoipa::path(
    post, path = "/api/auth/magic-link/verify", tag = "login", request_body = ProofBody,
    responses((status = 200, body = LoginAnswer), Problems)
)]
pub(super) async fn verify(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ProofBody>,
) -> Result<Response> {
    web.same_origin.check(&headers)?;
    let proof = proof(body)?;
    let client = client_info(&extensions, &headers)?;
    let login = sign_in(&web, proof, client).await?;
    logged_in(&web, login).await
}

/// Signs somebody in; the change goes on when the client leaves.
pub(crate) async fn sign_in(
    web: &Web,
    proof: Proof,
    client: tenantry_actors::identity::ClientInfo,
) -> Result<Login> {
    let identity = web.identity.clone();
    web.detached("login.verify", async move { Ok(identity.verify(proof, &client).await?) }).await
}

fn proof(body: ProofBody) -> Result<Proof> {
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|t| t.len() > PROOF_CHARS_MAX);
    if is_long(&body.token) || is_long(&body.code) {
        return Err(Problem::new(ProblemKind::LinkInvalid));
    }
    match (body.token, body.email, body.code) {
        (Some(token), None, None) => Ok(Proof::Token(token.into())),
        (None, Some(email), Some(code)) => Ok(Proof::Code { email, code: code.into() }),
        _ => Err(Problem::invalid("", "expected `token` alone, or `email` with `code`")),
    }
}

/// Renews the session: a new access token, and a new cookie.
#[utoipa::path(
    post, path = "/api/auth/refresh", tag = "login",
    responses((status = 200, body = LoginAnswer), Problems)
)]
pub(super) async fn refresh(
    State(web): State<Web>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response> {
    web.same_origin.check(&headers)?;
    let client = client_info(&extensions, &headers)?;
    let cookie = web.cookie.read(&headers);
    let cookie = cookie.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated))?.to_owned();
    let identity = web.identity.clone();
    let renew = async move { Ok(identity.refresh(&cookie, &client).await?) };
    let login = web.detached("login.refresh", renew).await?;
    logged_in(&web, login).await
}

/// Signs this session out.
#[utoipa::path(
    post, path = "/api/auth/logout", tag = "login",
    responses((status = 204), Problems), security(("bearer" = []))
)]
pub(super) async fn logout(
    State(web): State<Web>,
    // A cookie alone changes nothing here: that is for the pages' own form.
    _caller: Caller,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response> {
    leave(&web, &extensions, &headers, false).await
}

/// Signs all sessions of the user out.
#[utoipa::path(
    post, path = "/api/auth/logout-all", tag = "login",
    responses((status = 204), Problems), security(("bearer" = []))
)]
pub(super) async fn logout_all(
    State(web): State<Web>,
    _caller: Caller,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response> {
    leave(&web, &extensions, &headers, true).await
}

/// Ends one session or all, known by the bearer token or by the cookie of our own pages.
pub(crate) async fn leave(
    web: &Web,
    extensions: &Extensions,
    headers: &HeaderMap,
    everywhere: bool,
) -> Result<Response> {
    let client = client_info(extensions, headers)?;
    let recognised = extensions.get::<crate::auth::Recognised>();
    let principal = if let Some(recognised) = recognised {
        recognised.principal.clone()
    } else {
        web.same_origin.check(headers)?;
        let cookie = web.cookie.read(headers);
        let cookie = cookie.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated))?;
        web.identity.page_session(cookie).await?
    };
    Caller(principal.clone()).user()?;
    let identity = web.identity.clone();
    let end = async move {
        if everywhere {
            identity.logout_all(&principal, &client).await?;
        } else {
            identity.logout(&principal, &client).await?;
        }
        Ok(())
    };
    web.detached("login.logout", end).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(SET_COOKIE, web.cookie.clear());
    headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\", \"storage\""));
    Ok(response)
}

/// Tells who the caller is.
#[utoipa::path(
    get, path = "/api/auth/me", tag = "login",
    responses((status = 200, body = MeAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn me(State(web): State<Web>, caller: Caller) -> Result<axum::Json<MeAnswer>> {
    caller.user()?;
    let me = web.identity.me(&caller.0).await?;
    let plan = web.tenants.plan_name(caller.tenant()).await?;
    let member = |tenant: tenantry_actors::identity::Membership| MembershipAnswer {
        id: tenant.id.to_string(),
        name: tenant.name,
        role: tenant.role.to_string(),
    };
    Ok(axum::Json(MeAnswer {
        user_id: me.user_id.to_string(),
        email: me.email.as_str().to_owned(),
        tenant_id: me.tenant_id.to_string(),
        tenant_name: me.tenant_name,
        role: me.role.to_string(),
        plan: plan.to_string(),
        tenants: me.tenants.into_iter().map(member).collect(),
    }))
}

/// Gives tokens for another tenant of the user.
#[utoipa::path(
    post, path = "/api/auth/switch", tag = "login", request_body = SwitchBody,
    responses((status = 200, body = LoginAnswer), Problems), security(("bearer" = []))
)]
pub(super) async fn switch(
    State(web): State<Web>,
    call: Call,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SwitchBody>,
) -> Result<Response> {
    call.caller.user()?;
    let tenant = body.tenant_id.parse::<TenantId>();
    let tenant = tenant.map_err(|_| Problem::new(ProblemKind::NotFound))?;
    let client = client_info(&extensions, &headers)?;
    let (identity, principal) = (web.identity.clone(), call.caller.0);
    let change = async move { Ok(identity.switch(&principal, tenant, &client).await?) };
    let login = web.detached("login.switch", change).await?;
    logged_in(&web, login).await
}

/// The public keys with which access tokens can be checked.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "login",
    responses((status = 200, description = "A JWK set"))
)]
pub(super) async fn jwks(State(web): State<Web>) -> Response {
    ([(CACHE_CONTROL, JWKS_CACHE)], axum::Json(web.identity.jwks())).into_response()
}

/// Answers with a session, and sets its cookie.
async fn logged_in(web: &Web, login: Login) -> Result<Response> {
    let plan = web.tenants.plan_name(login.tenant.id).await?;
    let cookie = session_cookie(web, &login);
    let answer = LoginAnswer {
        access_token: exposed(&login.access_token),
        token_type: "Bearer",
        expires_in: login.expires_in_s,
        user: UserAnswer {
            id: login.user.id.to_string(),
            email: login.user.email.as_str().to_owned(),
        },
        tenant: TenantAnswer {
            id: login.tenant.id.to_string(),
            name: login.tenant.name,
            plan: plan.to_string(),
            role: login.tenant.role.to_string(),
        },
        next: login.next,
    };
    let mut response = axum::Json(answer).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The header that keeps a browser signed in; none if what it has stays good.
pub(crate) fn session_cookie(web: &Web, login: &Login) -> Option<HeaderValue> {
    let token = login.refresh_token.as_ref()?;
    web.cookie.set(&exposed(token), login.refresh_max_age_s)
}

fn exposed(secret: &secrecy::SecretString) -> String {
    use secrecy::ExposeSecret as _;
    secret.expose_secret().to_owned()
}
