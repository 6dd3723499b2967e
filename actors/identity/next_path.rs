//! Where a login may lead: a path of this site, or the front page.

/// Longest path that is kept, in bytes.
const MAX_BYTES: usize = 512;
/// Characters of a path and query besides letters and digits. No backslash, no colon: some readers
/// of addresses see another host behind them.
const SIGNS: &[u8] = b"/-._~?&=%+,@!";

/// Returns `next` if it can only be a path of this site, else `/`.
pub(super) fn sanitise(next: Option<&str>) -> String {
    next.filter(|path| is_local(path)).unwrap_or("/").to_owned()
}

fn is_local(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= MAX_BYTES
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || SIGNS.contains(&byte))
        && !path.contains("//")
        && !path.split(['/', '?']).any(|part| part == ".." || part == ".")
        && path.split('%').skip(1).all(is_harmless_escape)
}

/// Refuses escapes of control characters, slashes, backslashes, dots and percent signs: a second
/// decoding somewhere would bring back what the checks above refuse.
fn is_harmless_escape(after_percent: &str) -> bool {
    let code = after_percent.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    code.is_some_and(|byte| byte >= 0x20 && byte != 0x7f && !b"/\\.%:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_of_this_site_is_kept() {
        for path in ["/", "/create", "/jobs/job_01h?tab=steps&x=a%20b", "/a-b_c.d~e"] {
            assert_eq!(sanitise(Some(path)), path);
        }
    }

    #[test]
    fn anything_else_leads_to_the_front_page() {
        let long = format!("/{}", "a".repeat(4096));
        for next in [
            "//evil.test",
            "/\\evil.test",
            "https:evil.test",
            "https://evil.test",
            "/%09/evil.test",
            "/%2f/evil.test",
            "/%5cevil.test",
            "/%2e%2e//evil",
            "javascript:alert(1)",
            "/..//evil.test",
            "/../x",
            "https://ok@evil.test",
            "%00",
            "/%00",
            "/%",
            "/%+1",
            "/a\r\nSet-Cookie: x",
            "create",
            "",
            "/ü",
            long.as_str(),
        ] {
            assert_eq!(sanitise(Some(next)), "/", "{next:?}");
        }
        assert_eq!(sanitise(None), "/");
    }

    proptest! {
        #[test]
        fn the_result_is_one_slash_and_plain_characters(next in "\\PC{0,60}|/[ -~]{0,60}") {
            let path = sanitise(Some(&next));
            prop_assert!(path.starts_with('/') && !path.starts_with("//"));
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
        }
    }
}
