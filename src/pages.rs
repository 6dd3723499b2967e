//! The pages: forms that work without scripts, and small scripts that make them pleasant.
//!
//! A page only reads with the session cookie. Every form posts to a page route, which checks
//! that the request came from this site and carries the session's token, and then calls the
//! same functions as the API does.

mod account;
mod assets;
mod create;
mod errors;
mod form;
mod frame;
mod job;
mod library;
mod login;
mod plans;
mod usage;
mod words;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::{get, post};

use crate::routes::Web;
use frame::MaybeVisitor;

/// The pages' router.
pub fn router(web: Web) -> Router {
    Router::new()
        .route("/", get(start))
        .route("/login", get(login::show))
        // A path of its own: the mailed link must not be a mere jump within this page.
        .route("/login/mail", get(login::again).post(login::ask))
        .route("/login/code", get(login::again).post(login::enter))
        .route("/logout", post(login::leave))
        .route("/create", get(create::show).post(create::submit))
        .route("/jobs/{id}", get(job::show))
        .route("/jobs/{id}/cancel", post(job::cancel))
        .route("/jobs/{id}/retry", post(job::retry))
        .route("/jobs/{id}/delete", post(job::delete))
        .route("/library", get(library::show))
        .route("/usage", get(usage::show))
        .route("/plans", get(plans::show))
        .route("/account", get(account::show))
        .route("/account/key", post(account::rotate_key))
        .route("/account/sessions/{id}", post(account::revoke))
        .route("/problems", get(errors::explain))
        .route("/favicon.ico", get(assets::icon))
        .route("/assets/{name}", get(assets::show))
        .fallback(errors::missing)
        .layer(from_fn_with_state(web.clone(), errors::as_pages))
        .layer(DefaultBodyLimit::max(web.body.size_max))
        .with_state(web)
}

async fn start(MaybeVisitor(visitor): MaybeVisitor) -> Redirect {
    Redirect::to(if visitor.is_some() { "/create" } else { "/login" })
}
