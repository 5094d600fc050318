//! An issuer of tokens, as an identity provider or the application's own login is one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use uuid::Uuid;

const LIFETIME: Duration = Duration::from_secs(300);

/// Its key is made anew each time.
pub struct Issuer([Uuid; 2]);

impl Issuer {
    pub fn new() -> Self {
        Self([Uuid::new_v4(), Uuid::new_v4()])
    }

    /// For `orgscope.jwks`.
    pub fn keys(&self) -> String {
        json!({"keys": [{"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(self.secret())}]}).to_string()
    }

    pub fn token(&self, organization: &str, subject: &str) -> Result<String> {
        let expires = (SystemTime::now() + LIFETIME).duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({"organization_id": organization, "sub": subject, "exp": expires});
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(&self.secret()))?)
    }

    fn secret(&self) -> Vec<u8> {
        self.0.map(Uuid::into_bytes).concat()
    }
}
