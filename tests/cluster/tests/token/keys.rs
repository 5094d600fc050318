//! An issuer of tokens: its keys, and what it signs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use hmac::{Hmac, Mac};
use rsa::signature::SignatureEncoding;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub enum Secret {
    Ed(ed25519_dalek::SigningKey),
    Ec(p256::ecdsa::SigningKey),
    Rsa(Box<rsa::RsaPrivateKey>),
    Hmac(Vec<u8>),
}

pub struct Key {
    pub id: &'static str,
    pub secret: Secret,
}

impl Key {
    pub fn algorithm(&self) -> &'static str {
        match self.secret {
            Secret::Ed(_) => "EdDSA",
            Secret::Ec(_) => "ES256",
            Secret::Rsa(_) => "RS256",
            Secret::Hmac(_) => "HS256",
        }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.secret {
            Secret::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.verifying_key().as_bytes())}),
            Secret::Ec(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                json!({"kty": "EC", "crv": "P-256", "x": b64(point.x().unwrap()), "y": b64(point.y().unwrap())})
            }
            Secret::Rsa(key) => {
                json!({"kty": "RSA", "n": b64(&key.n().to_bytes_be()), "e": b64(&key.e().to_bytes_be())})
            }
            Secret::Hmac(secret) => json!({"kty": "oct", "k": b64(secret)}),
        };
        jwk["kid"] = self.id.into();
        jwk
    }

    /// A token whose header is what it should be.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.id}), claims)
    }

    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()));
        let signature = match &self.secret {
            Secret::Ed(key) => key.sign(signed.as_bytes()).to_vec(),
            Secret::Ec(key) => {
                let signature: p256::ecdsa::Signature = key.sign(signed.as_bytes());
                signature.to_vec()
            }
            Secret::Rsa(key) => {
                rsa::pkcs1v15::SigningKey::<Sha256>::new((**key).clone()).sign(signed.as_bytes()).to_vec()
            }
            Secret::Hmac(secret) => hmac(secret, &signed),
        };
        format!("{signed}.{}", b64(&signature))
    }
}

pub fn hmac(secret: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// One key of each kind.
pub fn keys() -> &'static [Key; 4] {
    static KEYS: OnceLock<[Key; 4]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut random = rand::thread_rng();
        let rsa = rsa::RsaPrivateKey::new(&mut random, 2048).unwrap();
        [
            Key { id: "ed", secret: Secret::Ed(ed25519_dalek::SigningKey::from_bytes(&rand::random())) },
            Key { id: "ec", secret: Secret::Ec(p256::ecdsa::SigningKey::random(&mut random)) },
            Key { id: "rsa", secret: Secret::Rsa(Box::new(rsa)) },
            Key { id: "hmac", secret: Secret::Hmac(rand::random::<[u8; 32]>().to_vec()) },
        ]
    })
}

pub fn jwks(keys: &[Key]) -> String {
    json!({"keys": keys.iter().map(Key::jwk).collect::<Vec<_>>()}).to_string()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that are in order, for five minutes.
pub fn claims(org: &str) -> Value {
    json!({"organization_id": org, "exp": now() + 300, "iat": now(), "sub": "alice"})
}

/// The same with others, where null takes one away.
pub fn with(org: &str, others: Value) -> Value {
    let mut claims = claims(org);
    for (name, value) in others.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A token of the first key.
pub fn token(org: &str) -> String {
    keys()[0].sign(&claims(org))
}
