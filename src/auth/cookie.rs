//! The browser's session cookie: httpOnly, strict, and bound to this host where https allows it.

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// How the cookie is called over https: a browser then accepts it from this host alone.
const SECURE_NAME: &str = "__Host-tenantry";
/// How it is called over plain http, where browsers refuse the prefix.
const PLAIN_NAME: &str = "tenantry";

/// Reads and writes the cookie.
#[derive(Clone, Copy, Debug)]
pub struct SessionCookie {
    is_secure: bool,
}

impl SessionCookie {
    /// The cookie of a site that is reached over https, or not.
    pub fn new(is_secure: bool) -> Self {
        Self { is_secure }
    }

    /// The cookie's name.
    pub fn name(self) -> &'static str {
        if self.is_secure { SECURE_NAME } else { PLAIN_NAME }
    }

    /// The cookie's value. Two cookies of the name are somebody's attempt: none counts.
    pub fn read(self, headers: &HeaderMap) -> Option<&str> {
        let mut found = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, value)| *name == self.name() && !value.is_empty())
            .map(|(_, value)| value);
        let value = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// The header that sets the cookie.
    pub fn set(self, value: &str, max_age_s: u64) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let name = self.name();
        let text = format!(
            "{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
        );
        HeaderValue::from_str(&text).ok()
    }

    /// The header that removes the cookie.
    pub fn clear(self) -> HeaderValue {
        let text = if self.is_secure {
            "__Host-tenantry=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        } else {
            "tenantry=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
        };
        HeaderValue::from_static(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (COOKIE, value.parse().unwrap())).collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let cookie = SessionCookie::new(false);

        assert_eq!(cookie.read(&headers(&["a=1; tenantry=abc", "b=2"])), Some("abc"));
        assert_eq!(cookie.read(&headers(&["a=1; xtenantry=abc"])), None);
        assert_eq!(cookie.read(&headers(&["tenantry="])), None);
    }

    #[test]
    fn two_cookies_of_the_name_are_none() {
        let cookie = SessionCookie::new(false);

        assert_eq!(cookie.read(&headers(&["tenantry=a; tenantry=b"])), None);
        assert_eq!(cookie.read(&headers(&["tenantry=a", "tenantry=b"])), None);
    }

    #[test]
    fn over_https_the_cookie_is_bound_to_the_host() {
        let set = SessionCookie::new(true).set("abc", 60).unwrap();

        let expected = "__Host-tenantry=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(set, expected);
        assert_eq!(SessionCookie::new(true).read(&headers(&["tenantry=tossed"])), None);
    }
}
