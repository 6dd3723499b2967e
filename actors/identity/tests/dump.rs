use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::database::Backend;

/// Shortest text that could be a secret: a code has eight characters.
const SHORTEST: usize = 8;

#[tokio::test]
async fn the_files_hold_no_usable_secret_and_nothing_personal() {
    let world = Fixture::start().await;
    let (token, code) = world.mailed("very.personal@example.test").await;
    let login = world.log_in(ADA).await;
    let next = world.refresh(&cookie(&login)).await.unwrap();
    let who = world.principal(&next).await;
    let key = world.identity.rotate_default_key(&who, &world.client()).await.unwrap();
    let made =
        world.identity.create_tenants("secret-project", 1, None, None).await.unwrap().remove(0);

    let bytes = every_byte(&world).await;

    let personal = ["very.personal", ADA, "secret-project", "Netscape", "192.0.2.7"];
    let plain_code = code.replace('-', "");
    let secrets = [
        token.as_str(),
        code.as_str(),
        plain_code.as_str(),
        next.access_token.expose_secret(),
        key.api_key.expose_secret(),
        made.1.expose_secret(),
    ];
    let cookies = [cookie(&login), cookie(&next)];
    for text in personal.into_iter().chain(secrets).chain(cookies.iter().map(String::as_str)) {
        assert!(!contains(&bytes, text), "the files hold {text:?}");
    }
    let words = words(&bytes);
    assert!(words.len() > 20, "the dump was read");
    for word in &words {
        assert!(world.verify_token(word).await.is_err(), "{word:?} is a token");
        assert!(world.identity.authenticate(word).await.is_err(), "{word:?} is a bearer");
        assert!(world.identity.page_session(word).await.is_err(), "{word:?} is a cookie");
    }
    assert!(world.verify_token(&token).await.is_ok());
}

/// Reads the database with its log, and the key store; not the master key.
async fn every_byte(world: &Fixture) -> Vec<u8> {
    let mut bytes = match world.db.backend() {
        Backend::Sqlite => Vec::new(),
        Backend::Postgres => world.db.dump().await.into_bytes(),
    };
    for entry in fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            bytes.extend(fs::read(path).unwrap());
        }
    }
    bytes.extend(fs::read(world.folder.path().join("keys/keystore")).unwrap());
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Takes every run of characters of which credentials are made.
fn words(bytes: &[u8]) -> BTreeSet<String> {
    bytes
        .split(|byte| !(byte.is_ascii_alphanumeric() || b"-_.".contains(byte)))
        .filter(|word| word.len() >= SHORTEST)
        .map(|word| String::from_utf8(word.to_vec()).unwrap())
        .collect()
}
