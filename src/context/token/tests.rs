//! No text that somebody sends makes the verifier panic, and none is accepted that was not signed.

use super::claims::{Claims, Rules, judge, path_of};
use super::fault::Fault;
use super::jwks::{self, Key};
use super::verify::{self, Verified};
use crate::fuzz::{Known, changed, changes, corpus, many, replay};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

const ORG: &str = "aaaaaaaa-0000-7000-8000-000000000001";
const NOW: i64 = 1_800_000_000;
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn rules() -> Rules {
    Rules { organization: "organization_id".into(), max_lifetime: 3600, leeway: 5, ..Rules::default() }
}

fn set() -> Value {
    json!({"keys": [
        {"kty": "oct", "kid": "h", "k": b64(SECRET)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"},
    ]})
}

fn keys() -> Vec<Key> {
    jwks::parse(&set().to_string()).unwrap()
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token(claims: &Value) -> String {
    sign(&json!({"alg": "HS256", "kid": "h"}).to_string(), &claims.to_string())
}

fn sign(header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

fn good() -> Value {
    json!({"organization_id": ORG, "exp": NOW + 60, "iat": NOW, "sub": "alice", "jti": "1"})
}

fn verified(token: &str) -> Result<Verified, Fault> {
    verify::verify(token, &keys(), true, &rules(), NOW)
}

fn claims_of(others: Value) -> Result<Claims, Fault> {
    let mut claims = good();
    others.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
    judge(claims.as_object().unwrap(), &rules(), NOW)
}

#[test]
fn a_token_says_what_was_signed() {
    let found = verified(&token(&good())).unwrap().claims;
    assert_eq!((found.actor.as_str(), found.expires, found.id.is_some()), ("alice", NOW + 60, true));
    assert_eq!(verify::verify(&token(&good()), &keys(), false, &rules(), NOW), Err(Fault::SecretReadable));
    assert_eq!(verify::verify(&token(&good()), &[], true, &rules(), NOW), Err(Fault::NoKeys));
    assert_eq!(verified(&sign(" {\"alg\": \"HS256\"}", "{}")), Err(Fault::Malformed));
    assert_eq!(verified(&sign("{\"alg\": \"HS256\"}", "[]")), Err(Fault::Malformed));
}

#[test]
fn times_are_judged_to_the_second() {
    for (exp, expected) in [
        (json!(NOW), Some(Fault::Expired)),
        (json!(NOW as f64 + 0.9), Some(Fault::Expired)),
        (json!(NOW + 1), None),
        (json!(NOW + 3600), None),
        (json!(NOW + 3601), Some(Fault::TooFar)),
    ] {
        assert_eq!(claims_of(json!({"exp": exp, "iat": NOW})).err(), expected, "{exp}");
    }
    assert_eq!(claims_of(json!({"iat": NOW + 5})).err(), None);
    assert_eq!(claims_of(json!({"nbf": NOW + 6})).err(), Some(Fault::NotYet));
}

#[test]
fn the_same_id_of_two_issuers_is_two() {
    let id = |iss: &str, jti: &str| claims_of(json!({"iss": iss, "jti": jti})).unwrap().id;
    assert_ne!(id("a", "bc"), id("ab", "c"));
    assert_eq!(id("a", "b"), id("a", "b"));
}

#[test]
fn paths_of_claims() {
    let steps = |path: &str| path_of(path).map(|steps| steps.join("|"));
    for (path, expected) in [
        ("organization_id", Some("organization_id")),
        ("app_metadata.org.id", Some("app_metadata|org|id")),
        ("/https:~1~1acme.example~1org/0", Some("https://acme.example/org|0")),
        ("/a~0b", Some("a~b")),
        ("", None),
        ("a..b", None),
        (".a", None),
        ("/", None),
        ("/a~", None),
        ("/a~2", None),
    ] {
        assert_eq!(steps(path).as_deref(), expected, "{path}");
    }
}

#[test]
fn weak_private_and_broken_keys_are_mistakes_and_other_keys_are_left_out() {
    assert_eq!(keys().len(), 2);
    assert!(jwks::parse("").unwrap().is_empty() && jwks::parse("{\"keys\": []}").unwrap().is_empty());
    let said = |key: Value| match jwks::parse(&json!({ "keys": [key] }).to_string()) {
        Ok(_) => "accepted".into(),
        Err(detail) => detail,
    };
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    let with = |name: &str, value: Value| {
        let mut key = ed.clone();
        key[name] = value;
        key
    };
    let other = "None of its keys is for verifying EdDSA, ES256, RS256 or HS256.";
    for (key, expected) in [
        (ed.clone(), "accepted"),
        (with("alg", json!("EdDSA")), "accepted"),
        (with("key_ops", json!(["verify"])), "accepted"),
        (with("use", json!("sig")), "accepted"),
        (with("alg", json!("HS256")), other),
        (with("use", json!("enc")), other),
        (with("key_ops", json!(["sign"])), other),
        (with("crv", json!("X25519")), other),
        (with("d", json!(x)), "Key 1 is a private key, which nobody but the issuer may have."),
        (with("x", json!("AAAA")), "Key 1 has a part of the wrong length."),
        (with("x", json!("+")), "Key 1 has a part that is not base64url."),
        (with("x", json!(7)), "Key 1 has a member that is not text."),
        (json!({"kty": "oct", "k": "AAAA"}), "Key 1 is shorter than the 32 bytes that HS256 needs."),
        (json!({"kty": "RSA", "n": x, "e": "AQAB"}), "Key 1 has not the 2048 to 4096 bits that RS256 needs."),
        (json!({"kty": "RSA"}), "Key 1 lacks a part of the key."),
        (json!(7), "Key 1 is not a JSON object."),
        (json!({}), "Key 1 has no \"kty\"."),
    ] {
        assert_eq!(said(key.clone()), expected, "{key}");
    }
    let twice = json!({"keys": [with("kid", json!("a")), with("kid", json!("a"))]});
    assert_eq!(jwks::parse(&twice.to_string()).err().unwrap(), "Key 2 has the \"kid\" of another key.");
}

/// Under the neutral point of the curve, a signature of zeros is right for every message.
#[test]
fn a_key_for_which_everybody_can_sign_is_a_mistake() {
    let mut point = [0; 32];
    point[0] = 1;
    let signature = b64(&[point, [0; 32]].concat());
    let key = jsonwebtoken::DecodingKey::from_ed_der(&point);
    assert!(jsonwebtoken::crypto::verify(&signature, b"anything", &key, Algorithm::EdDSA).unwrap());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": b64(&point)}]});
    assert_eq!(
        jwks::parse(&set.to_string()).err().as_deref(),
        Some("Key 1 is one of the few for which everybody can sign.")
    );
}

/// JSON of any shape, with the names that mean something.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("exp".to_owned()),
        Just("organization_id".to_owned()),
        Just("aud".to_owned()),
        Just("keys".to_owned()),
        Just("kty".to_owned()),
        Just("k".to_owned()),
        Just("x".to_owned()),
        Just("n".to_owned()),
        Just("e".to_owned()),
        Just("crv".to_owned()),
        Just("kid".to_owned()),
        Just("alg".to_owned()),
        "[a-z]{1,3}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(ORG)),
        Just(json!("oct")),
        Just(json!("RSA")),
        Just(json!("OKP")),
        Just(json!("Ed25519")),
        "[A-Za-z0-9_-]{0,50}".prop_map(Value::from),
        ".{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

thread_local! {
    static KEYS: Vec<Key> = keys();
    static TOKENS: Vec<Known> = corpus("tokens.jsonl");
    static KEY_SETS: Vec<Known> = corpus("key_sets.jsonl");
}

fn accepts(token: &str) -> bool {
    KEYS.with(|keys| verify::verify(token, keys, true, &rules(), NOW)).is_ok()
}

const ACCEPTED: &str = "accepted";

#[test]
fn known_texts_are_what_they_were() {
    replay("tokens.jsonl", |token| match verified(token) {
        Ok(_) => ACCEPTED.into(),
        Err(fault) => format!("{fault:?}"),
    });
    replay("key_sets.jsonl", |set| match jwks::parse(set) {
        Ok(keys) => format!("{} keys", keys.len()),
        Err(detail) => detail,
    });
    replay("claim_paths.jsonl", |path| path_of(path).map_or("refused".into(), |steps| steps.join(" > ")));
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn no_text_is_a_token(text in ".{0,200}") {
        prop_assert!(!accepts(&text));
    }

    #[test]
    fn nothing_in_the_form_of_a_token_is_one(header in any_json(), payload in any_json(), signature in any::<[u8; 32]>()) {
        let parts = [header.to_string(), payload.to_string()].map(|part| b64(part.as_bytes()));
        let token = format!("{}.{}.{}", parts[0], parts[1], b64(&signature));
        prop_assert!(!accepts(&token));
    }

    #[test]
    fn a_change_of_a_known_token_makes_it_wrong(which in any::<Index>(), changes in changes()) {
        let token = TOKENS.with(|known| changed(&which.get(known).text, &changes));
        let known = || TOKENS.with(|known| known.iter().any(|k| k.text == token && k.expected == ACCEPTED));
        prop_assert!(!accepts(&token) || known(), "{}", token);
    }

    #[test]
    fn a_change_of_a_known_key_set_is_taken_or_refused(which in any::<Index>(), changes in changes()) {
        let text = KEY_SETS.with(|known| changed(&which.get(known).text, &changes));
        if let Ok(keys) = jwks::parse(&text) {
            prop_assert!(keys.iter().all(|k| k.algorithm != Algorithm::HS256 || text.contains("oct")));
        }
    }

    /// Whoever can sign can say anything; it is judged, and does not end the backend.
    #[test]
    fn any_claims_that_were_signed_are_judged(claims in any_json(), exp in any::<f64>(), keep in any::<bool>()) {
        let mut claims = claims;
        if let (true, Some(object)) = (keep, claims.as_object_mut()) {
            object.insert("organization_id".into(), json!(ORG));
            object.insert("exp".into(), json!(exp));
        }
        if let Some(object) = claims.as_object()
            && let Ok(found) = judge(object, &rules(), NOW)
        {
            prop_assert!(found.expires > NOW && found.expires <= NOW + 3600);
        }
    }

    #[test]
    fn a_key_set_is_taken_or_refused(set in any_json(), wrap in any::<bool>()) {
        let text = if wrap { json!({"keys": [set]}) } else { set }.to_string();
        if let Ok(keys) = jwks::parse(&text) {
            prop_assert!(keys.iter().all(|k| k.algorithm != Algorithm::RS256));
        }
    }

    #[test]
    fn any_text_is_a_key_set_or_not(text in ".{0,200}") {
        prop_assert!(jwks::parse(&text).map_or(true, |keys| keys.is_empty()));
    }

    #[test]
    fn any_text_is_a_path_or_not(text in "[a~/.01]{0,20}|.{0,40}") {
        if let Some(steps) = path_of(&text) {
            prop_assert!(!steps.is_empty() && steps.iter().all(|step| !step.is_empty()));
        }
    }
}
