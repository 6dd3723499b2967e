//! The request's id: ours inside, the client's own where it sent a sane one.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tenantry_actors::clock::SharedClock;
use tenantry_actors::ids::RequestId;

/// The header, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids of clients are ignored.
const CLIENT_ID_CHARS_MAX: usize = 64;

/// The ids of one request.
#[derive(Clone, Debug)]
pub struct RequestIds {
    /// Ours: what the journal and the audit log carry.
    pub own: RequestId,
    /// What the client is told: its own id if it sent one, else ours.
    pub shown: HeaderValue,
}

impl RequestIds {
    /// Names a request.
    pub(super) fn of(headers: &HeaderMap, clock: &SharedClock) -> Self {
        let own = RequestId::generate(clock.as_ref());
        let sent = headers.get(X_REQUEST_ID).filter(|value| is_sane(value.as_bytes()));
        let shown = sent.cloned().unwrap_or_else(|| {
            // Shared from the start: it is copied on its way.
            HeaderValue::from_maybe_shared(Bytes::from_owner(own.encode()))
                .unwrap_or_else(|_| HeaderValue::from_static("req"))
        });
        Self { own, shown }
    }

    /// The id that the client is told, as text.
    pub fn text(&self) -> &str {
        self.shown.to_str().unwrap_or_default()
    }
}

/// Ids go into logs and answers: nothing but plain characters.
fn is_sane(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=CLIENT_ID_CHARS_MAX).contains(&id.len()) && id.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_and_short_ids_are_taken_over() {
        assert!(is_sane(b"checkout-7f.3_A"));
        for bad in [&b""[..], b"a b", b"a\"b", b"{}", b"\x1b[31m", &[b'a'; 65]] {
            assert!(!is_sane(bad), "{bad:?}");
        }
    }
}
