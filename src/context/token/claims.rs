//! What a token says (RFC 7519), and what it must say here.

use super::fault::Fault;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Longest "sub", as OpenID Connect has it; the token in force carries it.
pub const LONGEST_ACTOR: usize = 255;
/// The year 9999: any time of a token can be counted as PostgreSQL counts.
const LATEST: f64 = 253_402_300_799.0;

/// What a token must say. Empty text: not set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub organization: String,
    pub audience: String,
    pub issuer: String,
    pub max_lifetime: i64,
    /// For "nbf" and "iat". "exp" has none: what holds longer than it says is not what was signed.
    pub leeway: i64,
}

/// What counts of it. Times in seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    pub organization: [u8; 16],
    pub expires: i64,
    pub actor: String,
    pub role: Option<String>,
    pub database: Option<String>,
    /// Of "iss" and "jti": the token may be used once.
    pub id: Option<[u8; 32]>,
}

pub fn judge(claims: &Map<String, Value>, rules: &Rules, now: i64) -> Result<Claims, Fault> {
    let expires = number(claims, "exp")?.ok_or(Fault::NoExpiry)?.floor() as i64;
    let issued = number(claims, "iat")?;
    let begins = number(claims, "nbf")?;
    if expires <= now {
        return Err(Fault::Expired);
    }
    if expires - now > rules.max_lifetime || issued.is_some_and(|i| expires as f64 - i > rules.max_lifetime as f64) {
        return Err(Fault::TooFar);
    }
    if [begins, issued].iter().flatten().any(|time| *time > (now + rules.leeway) as f64) {
        return Err(Fault::NotYet);
    }
    check_audience(claims, &rules.audience)?;
    let issuer = text(claims, "iss")?;
    if !rules.issuer.is_empty() && issuer != Some(&rules.issuer) {
        return Err(Fault::Issuer);
    }
    let actor = text(claims, "sub")?.unwrap_or_default();
    if actor.len() > LONGEST_ACTOR || actor.chars().any(char::is_control) {
        return Err(Fault::Claim("sub"));
    }
    Ok(Claims {
        organization: organization(claims, &rules.organization)?,
        expires,
        actor: actor.to_owned(),
        role: text(claims, "db_role")?.map(str::to_owned),
        database: text(claims, "db_name")?.map(str::to_owned),
        id: text(claims, "jti")?.map(|jti| id(issuer.unwrap_or_default(), jti)),
    })
}

/// The reader of a token that names audiences must be one of them.
fn check_audience(claims: &Map<String, Value>, ours: &str) -> Result<(), Fault> {
    let named = match claims.get("aud") {
        None => return if ours.is_empty() { Ok(()) } else { Err(Fault::Audience) },
        Some(Value::String(one)) => one == ours,
        Some(Value::Array(many)) if many.iter().all(Value::is_string) => many.iter().any(|one| one == ours),
        Some(_) => return Err(Fault::Claim("aud")),
    };
    if named && !ours.is_empty() { Ok(()) } else { Err(Fault::Audience) }
}

fn organization(claims: &Map<String, Value>, path: &str) -> Result<[u8; 16], Fault> {
    let steps = path_of(path).ok_or(Fault::Organization)?;
    let mut found: Option<&Value> = None;
    for step in &steps {
        found = match found {
            None => claims.get(step),
            Some(Value::Object(object)) => object.get(step),
            Some(Value::Array(list)) => step.parse::<usize>().ok().and_then(|i| list.get(i)),
            Some(_) => None,
        };
        if found.is_none() {
            return Err(Fault::Organization);
        }
    }
    let id = found.and_then(Value::as_str).and_then(|text| Uuid::try_parse(text).ok());
    id.filter(|id| !id.is_nil()).map(Uuid::into_bytes).ok_or(Fault::Organization)
}

/// The steps of `a.b.c`, or of a JSON pointer (RFC 6901) where the name of a claim has dots of its own: `/a/b~1c`.
pub fn path_of(path: &str) -> Option<Vec<String>> {
    const LONGEST: usize = 1024;
    if path.is_empty() || path.len() > LONGEST || path.chars().any(char::is_control) {
        return None;
    }
    match path.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(unescape).collect(),
        None => path.split('.').map(|step| (!step.is_empty()).then(|| step.to_owned())).collect(),
    }
}

fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut whole = parts.next()?.to_owned();
    for part in parts {
        whole.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        whole.push_str(&part[1..]);
    }
    (!whole.is_empty()).then_some(whole)
}

/// A time. Also with a fraction, as the RFC has it.
fn number(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, Fault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(n)) => n_in_range(n).map(Some).ok_or(Fault::Claim(name)),
        Some(_) => Err(Fault::Claim(name)),
    }
}

fn n_in_range(n: &Number) -> Option<f64> {
    n.as_f64().filter(|n| (0.0..=LATEST).contains(n))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, Fault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::Claim(name)),
    }
}

fn id(issuer: &str, jti: &str) -> [u8; 32] {
    let length = (issuer.len() as u64).to_le_bytes();
    Sha256::new().chain_update(length).chain_update(issuer).chain_update(jti).finalize().into()
}
