//! Access tokens: signed JSON Web Tokens that say which session speaks for which tenant.
//!
//! A token's header must be, byte for byte, one that this server writes. So no algorithm, key name
//! or extension that a client puts there is ever interpreted. What a token says is not enough
//! either: the session's standing is looked up and cached (`credentials`).

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{SessionId, TenantId, UserId};
use crate::privacy::keys::{KeyError, KeyRing, PublicKey};

/// How long a token lives, in seconds.
pub(super) const LIFETIME_S: u64 = 24 * 60 * 60;
/// How far the clocks of two nodes may differ, in seconds.
const LEEWAY_S: i64 = 5;
/// Longest token that is looked at, in bytes; ours have about 600.
const MAX_BYTES: usize = 2048;
/// Shortest secret for HS256, in bytes: as long as its digest.
const MIN_SECRET_BYTES: usize = 32;
/// The generation of the signing key in use.
const GENERATION: u32 = 1;
/// The kind of token (RFC 9068).
const KIND: &str = "at+jwt";

/// Issues and verifies access tokens.
pub(super) struct AccessTokens {
    header: Header,
    // The header as it stands in every token, with the dot that ends it.
    header_text: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    issuer: String,
    public: Option<PublicKey>,
}

/// What a valid token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) tenant: TenantId,
    pub(super) expires_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    exp: i64,
    iat: i64,
    jti: String,
    sid: SessionId,
    tid: TenantId,
}

impl AccessTokens {
    /// Signs with the secret if there is one, else with the key ring's Ed25519 key.
    pub(super) fn new(
        keys: &KeyRing,
        secret: Option<&SecretString>,
        public_url: &str,
    ) -> Result<Self, KeyError> {
        let (algorithm, signing, verifying, public) = if let Some(secret) = secret {
            let secret = secret.expose_secret().as_bytes();
            if secret.len() < MIN_SECRET_BYTES {
                return Err(KeyError::WeakSecret);
            }
            let signing = EncodingKey::from_secret(secret);
            (Algorithm::HS256, signing, DecodingKey::from_secret(secret), None)
        } else {
            let key = keys.signing_key("token", GENERATION)?;
            let public = key.public();
            let signing = EncodingKey::from_ed_der(&key.to_pkcs8()?);
            let verifying = DecodingKey::from_ed_der(&public.bytes);
            (Algorithm::EdDSA, signing, verifying, Some(public))
        };
        let mut header = Header::new(algorithm);
        header.typ = Some(KIND.to_owned());
        header.kid = public.as_ref().map(|public| public.kid.clone());
        let mut validation = Validation::new(algorithm);
        // The library reads the machine's clock; times are checked below against ours.
        validation.validate_exp = false;
        validation.set_issuer(&[public_url]);
        validation.set_audience(&[public_url]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        let mut tokens = Self {
            header,
            header_text: String::new(),
            signing,
            verifying,
            validation,
            issuer: public_url.to_owned(),
            public,
        };
        tokens.header_text = tokens.learn_header()?;
        Ok(tokens)
    }

    /// Issues a token.
    pub(super) fn issue(
        &self,
        keys: &KeyRing,
        (user, session, tenant): (UserId, SessionId, TenantId),
        now: Timestamp,
    ) -> Result<SecretString, KeyError> {
        let id = keys.random::<16>()?;
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: user,
            exp: seconds(now.plus_s(LIFETIME_S)),
            iat: seconds(now),
            jti: data_encoding::BASE64URL_NOPAD.encode(&id),
            sid: session,
            tid: tenant,
        };
        self.sign(&claims).map(SecretString::from)
    }

    /// Verifies a token's form, signature and time.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Option<Verified> {
        if token.len() > MAX_BYTES || !token.starts_with(&self.header_text) {
            return None;
        }
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).ok()?.claims;
        let micros = claims.exp.checked_add(LEEWAY_S)?.checked_mul(1_000_000)?;
        let expires_at = Timestamp::from_micros(micros);
        (now < expires_at).then_some(Verified {
            user: claims.sub,
            session: claims.sid,
            tenant: claims.tid,
            expires_at,
        })
    }

    /// Returns the public keys as a JSON Web Key Set; there is none for a shared secret.
    pub(super) fn jwks(&self) -> serde_json::Value {
        let key = |public: &PublicKey| {
            serde_json::json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": public.kid,
                "x": data_encoding::BASE64URL_NOPAD.encode(&public.bytes),
            })
        };
        serde_json::json!({ "keys": self.public.iter().map(key).collect::<Vec<_>>() })
    }

    fn learn_header(&self) -> Result<String, KeyError> {
        let token = Zeroizing::new(self.sign(&serde_json::json!({}))?);
        Ok(token.split_inclusive('.').next().unwrap_or_default().to_owned())
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        // Serialising plain claims cannot fail, so what fails is the signing key.
        jsonwebtoken::encode(&self.header, claims, &self.signing).map_err(|_| KeyError::Random)
    }
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens").field("algorithm", &self.header.alg).finish_non_exhaustive()
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests;
