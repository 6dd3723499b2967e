//! Where a change with the cookie came from: this site's own pages, or it is refused.

use http::header::{HeaderMap, HeaderName, ORIGIN};
use tenantry_actors::ids::SessionId;
use tenantry_actors::privacy::keys::KeyRing;

use crate::problem::{Problem, ProblemKind};

/// What browsers say about the request's source; pages cannot forge it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Keeps these digests apart from all others.
const TOKEN_DOMAIN: &str = "csrf";

/// Knows this site's origin.
#[derive(Clone, Debug)]
pub struct SameOrigin {
    origin: String,
}

impl SameOrigin {
    /// The origin of a public URL.
    pub fn of(public_url: &str) -> Self {
        let after_scheme = public_url.find("://").map_or(0, |at| at + 3);
        let end =
            public_url[after_scheme..].find('/').map_or(public_url.len(), |at| after_scheme + at);
        Self { origin: public_url[..end].to_lowercase() }
    }

    /// Refuses what another site sent. Every current browser sends one of the two headers with
    /// a POST; what sends neither is a program, which has no cookies but those it put there.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let is_ours = match (headers.get(SEC_FETCH_SITE), headers.get(ORIGIN)) {
            (Some(site), _) => site == "same-origin",
            (None, Some(origin)) => origin.as_bytes().eq_ignore_ascii_case(self.origin.as_bytes()),
            (None, None) => true,
        };
        if is_ours { Ok(()) } else { Err(Problem::new(ProblemKind::CrossSite)) }
    }
}

/// The token in every form: only a page that the session's own browser loaded knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrfToken(String);

impl CsrfToken {
    /// The token of a session: the same for its whole life, also when its cookie rotates.
    pub fn of(keys: &KeyRing, session: SessionId) -> Self {
        Self(keys.digest(TOKEN_DOMAIN, &session.bits().to_le_bytes()))
    }

    /// The text for a form's hidden field.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares with what a form sent, in a time that tells nothing.
    pub fn check(&self, sent: &str) -> Result<(), Problem> {
        let is_equal = tenantry_actors::privacy::keys::equal(self.0.as_bytes(), sent.as_bytes());
        if is_equal { Ok(()) } else { Err(Problem::new(ProblemKind::CrossSite)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(HeaderName, &str)]) -> bool {
        let headers = pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect();
        SameOrigin::of("https://app.example/base/").check(&headers).is_ok()
    }

    #[test]
    fn only_this_site_s_own_pages_may_change_anything() {
        assert!(check(&[(SEC_FETCH_SITE, "same-origin")]));
        assert!(check(&[(ORIGIN, "https://app.example")]));
        for site in ["cross-site", "same-site", "none", "x"] {
            assert!(!check(&[(SEC_FETCH_SITE, site)]), "{site}");
            assert!(!check(&[(SEC_FETCH_SITE, site), (ORIGIN, "https://app.example")]), "{site}");
        }
        for origin in ["null", "https://app.example.evil.test", "http://app.example", "https://app"]
        {
            assert!(!check(&[(ORIGIN, origin)]), "{origin}");
        }
    }
}
