//! The OpenAPI document: what the router serves, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Response as ResponseDoc, ResponseBuilder,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::schema::{FieldErrorDocument, ProblemDocument};
use crate::problem::PROBLEM_JSON;

/// Every route may answer with a problem.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        let problem = Ref::from_schema_name("ProblemDocument");
        let response = |about: &str| {
            let content = ContentBuilder::new().schema(Some(problem.clone())).build();
            let response = ResponseBuilder::new().description(about);
            RefOr::T(response.content(PROBLEM_JSON, content).build())
        };
        BTreeMap::from([
            ("4XX".to_owned(), response("The request was refused; nothing changed")),
            ("5XX".to_owned(), response("The service could not do it")),
        ])
    }
}

/// The document before its routes.
pub(super) fn head() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An access token of a login, or an API key (`tk_live_…`)"))
        .build();
    let operator = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The operators' token of the configuration"))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("operator", SecurityScheme::Http(operator))
        .schema(ProblemDocument::name(), ProblemDocument::schema())
        .schema(FieldErrorDocument::name(), FieldErrorDocument::schema())
        .build();
    let info = InfoBuilder::new()
        .title("Tenantry")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Login, tenants, metering with hard quotas, and a studio."))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// The whole document.
fn document() -> OpenApi {
    super::api().split_for_parts().1
}

/// The document as it is committed and served.
pub fn text() -> String {
    document().to_pretty_json().unwrap_or_default()
}

/// Serves the document.
pub(super) async fn serve() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (head, TEXT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

        let committed = std::fs::read_to_string(path).unwrap_or_default();

        assert!(committed == super::text() + "\n", "write it with `tenantry docs openapi`");
    }
}
