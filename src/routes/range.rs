//! The `Range`, `If-Range` and `If-None-Match` headers of a download.

use http::HeaderMap;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use tenantry_actors::storage::ByteRange;

/// The range that is wanted of a file with that tag. What is malformed, in other units or in
/// several pieces asks for the whole, as the standard allows.
pub(super) fn wanted(headers: &HeaderMap, etag: &str) -> Option<ByteRange> {
    let condition = headers.get(IF_RANGE).map(|value| value.as_bytes() == etag.as_bytes());
    if condition == Some(false) {
        return None;
    }
    parse(headers.get(RANGE)?.to_str().ok()?)
}

fn parse(text: &str) -> Option<ByteRange> {
    let (unit, spec) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => number(last).map(ByteRange::Last),
        (first, "") => number(first).map(ByteRange::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::Inclusive(first, last))
        }
    }
}

/// Whether the client has this very file already.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_of_bytes_is_read() {
        assert_eq!(parse("bytes=0-99"), Some(ByteRange::Inclusive(0, 99)));
        assert_eq!(parse("bytes=100-"), Some(ByteRange::From(100)));
        assert_eq!(parse("bytes=-100"), Some(ByteRange::Last(100)));
    }

    #[test]
    fn anything_else_asks_for_the_whole() {
        for bad in ["", "bytes", "bytes=", "bytes=-", "bytes=9-1", "bytes=0-1,3-4", "items=0-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("bytes=+1-2"), None);
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        let headers = HeaderMap::from_iter([
            (RANGE, "bytes=0-1".parse().unwrap()),
            (IF_RANGE, "\"old\"".parse().unwrap()),
        ]);

        assert_eq!(wanted(&headers, "\"new\""), None);
        assert_eq!(wanted(&headers, "\"old\""), Some(ByteRange::Inclusive(0, 1)));
    }

    #[test]
    fn a_known_tag_is_found_in_a_list() {
        let tags = HeaderMap::from_iter([(IF_NONE_MATCH, "\"a\", W/\"b\"".parse().unwrap())]);

        assert!(is_known(&tags, "\"b\""));
        assert!(!is_known(&tags, "\"c\""));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_ignored(text in "[ -~]{0,40}") {
            let _ = parse(&text);
        }
    }
}
