//! A mail address in the one form in which it is stored, digested and written to.
//!
//! Only plain ASCII addresses are taken, in lower case: two spellings of one mailbox are one
//! account, and look-alike letters of other scripts cannot make a second one that reads the same.
//! International domains are written in their `xn--` form.

use std::fmt;

use secrecy::zeroize::Zeroizing;
use serde::Serialize;

use crate::database::users::UserRow;
use crate::privacy::keys::{KeyError, KeyRing, Place};

/// Longest address, in bytes (RFC 5321, path without its brackets).
const MAX_BYTES: usize = 254;
/// Longest part before the `@`, in bytes.
const MAX_LOCAL_BYTES: usize = 64;
/// Longest label of a domain, in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// What the part before the `@` may hold besides letters and digits (RFC 5322, unquoted).
const LOCAL_SIGNS: &[u8] = b"!#$%&'*+-/=?^_`{|}~";

/// A well-formed, normalised mail address. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Takes what a person typed: trims and lower-cases it, or refuses it.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim_matches([' ', '\t']);
        if text.len() > MAX_BYTES || !text.is_ascii() {
            return Err(InvalidEmail);
        }
        let text = text.to_ascii_lowercase();
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        if is_local(local) && is_domain(domain) { Ok(Self(text)) } else { Err(InvalidEmail) }
    }

    /// Opens the address in a user's row.
    pub(crate) async fn of_user(keys: &KeyRing, row: &UserRow) -> Result<Self, KeyError> {
        let id = row.id.to_string();
        let place = Place { table: "users", column: "email", row: &id };
        let text = keys.user_cipher(row.id).await?.open_text(place, &row.email_sealed)?;
        // Only what `parse` gave out was ever sealed there.
        Self::parse(&Zeroizing::new(text)).map_err(|_| KeyError::Sealed)
    }

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

/// What was typed is not one plain mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a mail address")]
pub struct InvalidEmail;

fn is_local(local: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || LOCAL_SIGNS.contains(&byte))
    };
    local.len() <= MAX_LOCAL_BYTES && local.split('.').all(atom)
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.contains('.') && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_mailbox_has_one_spelling() {
        for text in ["ada@example.test", "  ADA@Example.TEST\t", "Ada@example.test"] {
            assert_eq!(EmailAddress::parse(text).unwrap().as_str(), "ada@example.test");
        }
    }

    #[test]
    fn what_could_carry_a_header_or_a_second_recipient_is_refused() {
        let long = format!("{}@example.test", "a".repeat(65));
        for text in [
            "",
            "ada",
            "@example.test",
            "ada@",
            "ada@localhost",
            "ada@@example.test",
            "ada@example.test.",
            "ada@.test",
            "ada@-x.test",
            ".ada@example.test",
            "a..b@example.test",
            "ada@example.test\r\nBcc: eve@evil.test",
            "ada@example.test\n",
            "ada\r@example.test",
            "ada@example.test,eve@evil.test",
            "ada@example.test;eve@evil.test",
            "Ada <ada@example.test>",
            "\"a\\r\\nBcc: x\"@example.test",
            "ada@example\u{2028}.test",
            "ada\u{0}@example.test",
            "ada\u{ff20}example.test",
            "\u{430}da@example.test",
            "ada@ex\u{430}mple.test",
            "=?utf-8?q?x?=@exa mple.test",
            "ada@[127.0.0.1]",
            long.as_str(),
        ] {
            assert_eq!(EmailAddress::parse(text), Err(InvalidEmail), "{text:?}");
        }
        let longest = format!("a@{}", ["x".repeat(60), "x".repeat(60)].join(".").repeat(3));
        assert!(longest.len() > MAX_BYTES);
        assert_eq!(EmailAddress::parse(&longest), Err(InvalidEmail));
    }

    #[test]
    fn debug_does_not_show_the_address() {
        let email = EmailAddress::parse("ada@example.test").unwrap();

        assert!(!format!("{email:?}").contains("ada"));
    }

    proptest! {
        #[test]
        fn an_accepted_address_is_stable_and_plain(text in "\\PC{0,40}|[ -~]{1,30}@[ -~]{1,30}") {
            if let Ok(email) = EmailAddress::parse(&text) {
                prop_assert_eq!(EmailAddress::parse(email.as_str()), Ok(email.clone()));
                prop_assert!(email.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!email.as_str().contains([',', ';', '<', '>', '"', '(', ')', ':']));
            }
        }
    }
}
