//! Headers that every answer carries.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// What a page may do: load its own files, and nothing inline.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     media-src 'self'; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
     form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
/// What an answer of the API may do if a browser shows it: nothing.
const API_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox",
);

const CROSS_ORIGIN_OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// Room for them and for those of the server, made at once.
const HEADERS_ADDED: usize = 12;

/// Adds them; what a handler has set itself stays.
pub(super) fn secure(headers: &mut HeaderMap, is_page: bool, is_https: bool) {
    headers.reserve(HEADERS_ADDED);
    let mut set = |name: HeaderName, value: HeaderValue| {
        headers.entry(name).or_insert(value);
    };
    let same_origin = HeaderValue::from_static("same-origin");
    set(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    set(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    set(CROSS_ORIGIN_RESOURCE, same_origin.clone());
    set(CONTENT_SECURITY_POLICY, if is_page { PAGE_POLICY } else { API_POLICY });
    set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_page {
        set(CROSS_ORIGIN_OPENER, same_origin);
        let none = "camera=(), microphone=(), geolocation=()";
        set(PERMISSIONS, HeaderValue::from_static(none));
    }
    if is_https {
        let two_years = "max-age=63072000; includeSubDomains";
        set(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(two_years));
    }
}
