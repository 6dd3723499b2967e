//! The two secrets of a login mail: the link's token and the code to type.

use data_encoding::BASE64URL_NOPAD;
use secrecy::zeroize::Zeroizing;

use crate::privacy::keys::{KeyError, KeyRing};

/// Length of the link's token, in bytes.
const TOKEN_BYTES: usize = 32;
/// Characters of a code without its hyphen: 40 bits.
const CODE_CHARS: usize = 8;
/// Crockford's base32: no letter that could be read as a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Makes the token that travels in the link's fragment.
pub(super) fn new_token(keys: &KeyRing) -> Result<Zeroizing<String>, KeyError> {
    let bytes = Zeroizing::new(keys.random::<TOKEN_BYTES>()?);
    Ok(Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice())))
}

/// Makes a code, `XXXX-XXXX`.
pub(super) fn new_code(keys: &KeyRing) -> Result<Zeroizing<String>, KeyError> {
    let bytes = Zeroizing::new(keys.random::<CODE_CHARS>()?);
    // 256 is a multiple of 32, so every character is as likely as any other.
    let chars = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let plain = Zeroizing::new(chars.collect::<String>());
    let (left, right) = plain.split_at(CODE_CHARS / 2);
    Ok(Zeroizing::new(format!("{left}-{right}")))
}

/// Brings a typed code into its one form, or tells that it cannot be one.
///
/// Case, spaces and hyphens do not matter, and the letters that Crockford leaves out are read as
/// the digits that they look like.
pub(super) fn read_code(typed: &str) -> Option<Zeroizing<String>> {
    let mut code = Zeroizing::new(String::with_capacity(CODE_CHARS));
    for letter in typed.chars().filter(|letter| !matches!(letter, '-' | ' ' | '\t')) {
        let letter = match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        if code.len() == CODE_CHARS || !ALPHABET.iter().any(|known| char::from(*known) == letter) {
            return None;
        }
        code.push(letter);
    }
    (code.len() == CODE_CHARS).then_some(code)
}

/// Returns what is stored of a code: 40 bits need a key that the database does not hold.
pub(super) fn code_digest(keys: &KeyRing, link_id: &str, code: &str) -> String {
    let mut text = Zeroizing::new(String::with_capacity(link_id.len() + 1 + code.len()));
    text.push_str(link_id);
    text.push('/');
    text.push_str(code);
    keys.digest("login-code", text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_however_it_is_typed() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyRing::open(folder.path()).unwrap();
        let code = new_code(&keys).unwrap();

        assert_eq!((code.len(), code.as_bytes()[4]), (9, b'-'));
        let plain = code.replace('-', "");
        for typed in [code.to_lowercase(), plain.clone(), format!(" {} ", &*code)] {
            assert_eq!(read_code(&typed).unwrap().as_str(), plain);
        }
        assert_eq!(read_code("oil0-0000").unwrap().as_str(), "01100000");
    }

    #[test]
    fn what_cannot_be_a_code_is_not_read() {
        for typed in ["", "ABCD", "ABCD-EFGU", "ABCD-EFGHJ", "ÄBCD-EFGH", "ABCD_EFGH"] {
            assert!(read_code(typed).is_none(), "{typed}");
        }
    }
}
