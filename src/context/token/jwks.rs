//! Keys: a JSON Web Key Set (RFC 7517). Each key verifies one algorithm.
//!
//! A set is taken or refused as a whole. A key that is for something else, as identity providers publish them beside the
//! others, is left out; one that is for signatures but weak, broken or private is a mistake that somebody must see.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

const LONGEST: usize = 65536;
const MOST_KEYS: usize = 64;

pub struct Key {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    /// Tells it from every other key.
    pub mark: u64,
}

impl Key {
    pub fn is_secret(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }
}

/// The keys that verify tokens; none of an empty text. What is wrong, as a DETAIL that shows no key.
pub fn parse(text: &str) -> Result<Vec<Key>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > LONGEST {
        return Err(format!("It has more than {LONGEST} bytes."));
    }
    // The error of a syntax is a place in the text; that of a type could be a value.
    let set: Value = serde_json::from_str(text)
        .map_err(|e| format!("It is not JSON: something is wrong in line {} at column {}.", e.line(), e.column()))?;
    let Some(Value::Array(list)) = set.get("keys") else {
        return Err("It must be a JSON object with an array \"keys\".".into());
    };
    if list.len() > MOST_KEYS {
        return Err(format!("It has more than {MOST_KEYS} keys."));
    }
    let mut keys: Vec<Key> = Vec::new();
    for (i, value) in list.iter().enumerate() {
        let key = key(value).map_err(|what| format!("Key {} {what}.", i + 1))?;
        if let Some(key) = key {
            if keys.iter().any(|k| k.id == key.id && k.id.is_some()) {
                return Err(format!("Key {} has the \"kid\" of another key.", i + 1));
            }
            keys.push(key);
        }
    }
    if keys.is_empty() && !list.is_empty() {
        return Err("None of its keys is for verifying EdDSA, ES256, RS256 or HS256.".into());
    }
    Ok(keys)
}

/// None for a key that is for something else.
fn key(value: &Value) -> Result<Option<Key>, &'static str> {
    let Value::Object(jwk) = value else { return Err("is not a JSON object") };
    let kind = text(jwk, "kty")?.ok_or("has no \"kty\"")?;
    let id = text(jwk, "kid")?.map(str::to_owned);
    if text(jwk, "use")?.is_some_and(|u| u != "sig") || !may_verify(jwk)? {
        return Ok(None);
    }
    let Some(algorithm) = algorithm(jwk, kind)? else { return Ok(None) };
    if kind != "oct" && jwk.contains_key("d") {
        return Err("is a private key, which nobody but the issuer may have");
    }
    let (key, material) = match algorithm {
        Algorithm::RS256 => rsa(jwk)?,
        Algorithm::ES256 => {
            let point = [vec![4], bytes(jwk, "x", 32)?, bytes(jwk, "y", 32)?].concat();
            p256::PublicKey::from_sec1_bytes(&point).map_err(|_| "is not a point on its curve")?;
            (DecodingKey::from_ec_der(&point), point)
        }
        Algorithm::EdDSA => {
            let point = bytes(jwk, "x", 32)?;
            let key = ed25519_dalek::VerifyingKey::try_from(point.as_slice());
            if key.map_err(|_| "is not a point on its curve")?.is_weak() {
                return Err("is one of the few for which everybody can sign");
            }
            (DecodingKey::from_ed_der(&point), point)
        }
        _ => {
            let secret = base64(jwk, "k")?;
            if secret.len() < 32 {
                return Err("is shorter than the 32 bytes that HS256 needs");
            }
            (DecodingKey::from_secret(&secret), secret)
        }
    };
    let mark = mark(&id, algorithm, &material);
    Ok(Some(Key { id, algorithm, key, mark }))
}

/// By the type of the key; its "alg" can only leave it out.
fn algorithm(jwk: &Map<String, Value>, kind: &str) -> Result<Option<Algorithm>, &'static str> {
    let curve = text(jwk, "crv")?;
    let (algorithm, name) = match (kind, curve) {
        ("RSA", _) => (Algorithm::RS256, "RS256"),
        ("EC", Some("P-256")) => (Algorithm::ES256, "ES256"),
        ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, "EdDSA"),
        ("oct", _) => (Algorithm::HS256, "HS256"),
        _ => return Ok(None),
    };
    Ok(text(jwk, "alg")?.is_none_or(|alg| alg == name).then_some(algorithm))
}

fn may_verify(jwk: &Map<String, Value>) -> Result<bool, &'static str> {
    match jwk.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations.iter().any(|o| o == "verify")),
        Some(_) => Err("has \"key_ops\" that are not an array"),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<(DecodingKey, Vec<u8>), &'static str> {
    let (n, e) = (base64(jwk, "n")?, base64(jwk, "e")?);
    let bits = n.iter().position(|b| *b != 0).map_or(0, |i| (n.len() - i) * 8 - n[i].leading_zeros() as usize);
    if !(2048..=4096).contains(&bits) {
        return Err("has not the 2048 to 4096 bits that RS256 needs");
    }
    let exponent = e.iter().fold(0u64, |sum, b| sum.wrapping_mul(256) + u64::from(*b));
    if e.len() > 4 || exponent < 3 || exponent % 2 == 0 || n.last().is_some_and(|last| last % 2 == 0) {
        return Err("is not an RSA key");
    }
    Ok((DecodingKey::from_rsa_raw_components(&n, &e), [n, e].concat()))
}

fn mark(id: &Option<String>, algorithm: Algorithm, material: &[u8]) -> u64 {
    let name = format!("{algorithm:?} {id:?} ");
    short(&Sha256::new().chain_update(name).chain_update(material).finalize())
}

/// The first bytes of a hash.
pub fn short(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("has a member that is not text"),
    }
}

fn base64(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, &'static str> {
    let text = text(jwk, name)?.ok_or("lacks a part of the key")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "has a part that is not base64url")
}

fn bytes(jwk: &Map<String, Value>, name: &'static str, length: usize) -> Result<Vec<u8>, &'static str> {
    let bytes = base64(jwk, name)?;
    if bytes.len() == length { Ok(bytes) } else { Err("has a part of the wrong length") }
}
