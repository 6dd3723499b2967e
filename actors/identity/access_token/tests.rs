use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;

const URL: &str = "https://app.example.test";

struct Fixture {
    keys: KeyRing,
    tokens: AccessTokens,
    now: Timestamp,
    about: (UserId, SessionId, TenantId),
}

impl Fixture {
    fn new(secret: Option<&str>) -> Self {
        let keys = KeyRing::open(tempfile::tempdir().unwrap().path()).unwrap();
        let secret = secret.map(SecretString::from);
        let tokens = AccessTokens::new(&keys, secret.as_ref(), URL).unwrap();
        let about = (UserId::from_bits(1), SessionId::from_bits(2), TenantId::from_bits(3));
        Self { keys, tokens, now: "2026-11-23T09:00:00Z".parse().unwrap(), about }
    }

    fn issue(&self) -> String {
        let token = self.tokens.issue(&self.keys, self.about, self.now).unwrap();
        token.expose_secret().to_owned()
    }

    fn claims(&self) -> Value {
        let token = self.issue();
        let text = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()).unwrap()
    }

    /// Signs claims with the right key and the right header.
    fn signed(&self, claims: &Value) -> String {
        self.tokens.sign(claims).unwrap()
    }

    fn accepts(&self, token: &str) -> bool {
        self.tokens.verify(token, self.now).is_some()
    }
}

fn part(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

#[test]
fn an_issued_token_says_who_for_a_day() {
    for secret in [None, Some("0123456789abcdef0123456789abcdef")] {
        let world = Fixture::new(secret);
        let token = world.issue();

        let verified = world.tokens.verify(&token, world.now).unwrap();

        assert_eq!((verified.user, verified.session, verified.tenant), world.about);
        assert!(world.tokens.verify(&token, world.now.plus_s(LIFETIME_S)).is_some());
        let over = world.now.plus_s(LIFETIME_S + LEEWAY_S.unsigned_abs());
        assert!(world.tokens.verify(&token, over).is_none());
    }
}

#[test]
fn a_token_holds_nothing_personal() {
    let claims = Fixture::new(None).claims();
    let names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();

    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "sid", "sub", "tid"]);
}

#[test]
fn no_header_but_our_own_is_looked_at() {
    let world = Fixture::new(None);
    let token = world.issue();
    let (_, rest) = token.split_once('.').unwrap();
    let kid = world.tokens.public.as_ref().unwrap().kid.clone();
    let headers = [
        json!({"alg": "none", "typ": "at+jwt"}),
        json!({"alg": "nOnE", "typ": "at+jwt", "kid": kid}),
        json!({"typ": "at+jwt", "kid": kid}),
        json!({"alg": ["EdDSA"], "typ": "at+jwt", "kid": kid}),
        json!({"alg": 1, "kid": kid}),
        json!({"alg": "RS256", "typ": "at+jwt", "kid": kid}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}),
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "../../../../dev/null"}),
        json!({"alg": "EdDSA", "typ": "at+jwt"}),
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid, "jku": "https://evil.test/jwks"}),
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid, "crit": ["b64"], "b64": false}),
    ];
    for header in headers {
        assert!(!world.accepts(&format!("{}.{rest}", part(&header))), "{header}");
    }
    assert!(world.accepts(&token));
}

#[test]
fn the_public_key_signs_nothing() {
    let world = Fixture::new(None);
    let public = world.tokens.public.clone().unwrap();
    let claims = world.claims();
    let x = BASE64URL_NOPAD.encode(&public.bytes);
    for secret in [public.bytes.clone(), x.into_bytes(), world.tokens.jwks().to_string().into()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.typ = Some(KIND.to_owned());
            header.kid = Some(public.kid.clone());
            let key = EncodingKey::from_secret(&secret);
            let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
            assert!(!world.accepts(&token));
            // The same signature under our own header.
            let (_, rest) = token.split_once('.').unwrap();
            assert!(!world.accepts(&format!("{}{rest}", world.tokens.header_text)));
        }
    }
}

#[test]
fn a_token_of_another_installation_is_refused() {
    let (world, other) = (Fixture::new(None), Fixture::new(None));

    let (_, rest) = {
        let token = other.issue();
        let (head, rest) = token.split_once('.').unwrap();
        (head.to_owned(), rest.to_owned())
    };

    assert!(!world.accepts(&other.issue()));
    assert!(!world.accepts(&format!("{}{rest}", world.tokens.header_text)));
}

#[test]
fn claims_of_the_wrong_kind_are_refused_even_if_signed() {
    let world = Fixture::new(None);
    assert!(world.accepts(&world.signed(&world.claims())));
    let wrong = [
        ("exp", json!("9999999999")),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!(-1)),
        ("exp", json!(9_223_372_036_854_775_808_u64)),
        ("exp", json!(i64::MAX)),
        ("exp", Value::Null),
        ("iss", json!("https://evil.test")),
        ("aud", json!("https://evil.test")),
        ("aud", json!([URL, "https://evil.test"])),
        ("sub", json!("tnt_00000000000000000000000003")),
        ("sid", json!("")),
        ("tid", json!(3)),
        ("role", json!("owner")),
    ];
    for (name, value) in wrong {
        let mut claims = world.claims();
        claims[name] = value;
        assert!(!world.accepts(&world.signed(&claims)), "{claims}");
    }
    for name in ["iss", "aud", "sub", "exp", "iat", "jti", "sid", "tid"] {
        let mut claims = world.claims();
        claims.as_object_mut().unwrap().remove(name);
        assert!(!world.accepts(&world.signed(&claims)), "{claims}");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let world = Fixture::new(None);
    let token = world.issue();
    let spellings = [
        format!("{token}="),
        format!("{token}."),
        format!(" {token}"),
        format!("{token}\n"),
        token.to_uppercase(),
        token.replace('.', ".."),
        format!("{token}.a.b"),
        String::new(),
        "..".to_owned(),
        format!("{}{}", world.tokens.header_text, "a".repeat(MAX_BYTES)),
    ];
    for spelling in spellings {
        assert!(!world.accepts(&spelling), "{spelling:?}");
    }
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        assert!(!world.accepts(&String::from_utf8(bytes).unwrap()), "changed at {place}");
    }
}

#[test]
fn the_key_set_shows_the_public_half_alone() {
    let world = Fixture::new(None);
    let keys = world.tokens.jwks();
    let names: Vec<_> = keys["keys"][0].as_object().unwrap().keys().map(String::as_str).collect();

    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
    let secret = Fixture::new(Some("0123456789abcdef0123456789abcdef"));
    assert_eq!(secret.tokens.jwks(), json!({ "keys": [] }));
}

#[test]
fn a_short_secret_is_refused() {
    let keys = KeyRing::open(tempfile::tempdir().unwrap().path()).unwrap();
    let secret = SecretString::from("short");

    assert!(matches!(AccessTokens::new(&keys, Some(&secret), URL), Err(KeyError::WeakSecret)));
}
