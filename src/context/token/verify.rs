//! Whether a token is genuine: its form, its key, its signature. The key decides which algorithm, and the header must agree.

use super::claims::{self, Claims, Rules};
use super::fault::Fault;
use super::jwks::Key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

pub const LONGEST: usize = 8192;

#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub claims: Claims,
    /// The mark of its key.
    pub key: u64,
}

/// `now` in seconds since 1970. Keys that everybody could read verify nothing unless `secrets` may be used.
pub fn verify(token: &str, keys: &[Key], secrets: bool, rules: &Rules, now: i64) -> Result<Verified, Fault> {
    if token.len() > LONGEST {
        return Err(Fault::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Malformed);
    };
    let key = choose(&json(header)?, keys)?;
    if key.is_secret() && !secrets {
        return Err(Fault::SecretReadable);
    }
    let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
    if !matches!(jsonwebtoken::crypto::verify(signature, signed, &key.key, key.algorithm), Ok(true)) {
        return Err(Fault::Signature);
    }
    Ok(Verified { claims: claims::judge(&json(payload)?, rules, now)?, key: key.mark })
}

fn choose<'a>(header: &Map<String, Value>, keys: &'a [Key]) -> Result<&'a Key, Fault> {
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Fault::Critical);
    }
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("EdDSA") => Algorithm::EdDSA,
        Some("ES256") => Algorithm::ES256,
        Some("RS256") => Algorithm::RS256,
        Some("HS256") => Algorithm::HS256,
        Some(_) => return Err(Fault::Algorithm),
        None => return Err(Fault::Malformed),
    };
    if keys.is_empty() {
        return Err(Fault::NoKeys);
    }
    match header.get("kid") {
        Some(Value::String(id)) => {
            let key = keys.iter().find(|k| k.id.as_ref() == Some(id)).ok_or(Fault::UnknownKey)?;
            if key.algorithm == algorithm { Ok(key) } else { Err(Fault::KeyAlgorithm) }
        }
        Some(_) => Err(Fault::Malformed),
        None => {
            let mut fitting = keys.iter().filter(|k| k.algorithm == algorithm);
            match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                (Some(_), Some(_)) => Err(Fault::AmbiguousKey),
                (None, _) => Err(Fault::KeyAlgorithm),
            }
        }
    }
}

fn json(part: &str) -> Result<Map<String, Value>, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)?;
    // What begins otherwise would not be known as a token where it must not be shown.
    if bytes.first() != Some(&b'{') {
        return Err(Fault::Malformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| Fault::Malformed)
}
