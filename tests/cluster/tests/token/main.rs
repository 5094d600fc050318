//! Signed tokens: what verifies, what does not, and that nothing else opens a context where a token must.

#[path = "../common/mod.rs"]
mod common;
mod keys;
mod once;
mod secret;
mod time;
mod ways;

use common::*;
use keys::*;
use orgscope_cluster::Options;
use serde_json::{Value, json};
use std::sync::OnceLock;

pub const COUNT: &str = "SELECT count(*) FROM ticket";

pub fn options() -> Options {
    Options::default().line(&format!("orgscope.jwks = '{}'", jwks(keys())))
}

/// The server of most of these tests, with one key of each kind.
pub fn server() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let world = World::in_own_cluster(&options());
        let signed = "CREATE ROLE signed LOGIN IN ROLE app; ALTER ROLE signed SET orgscope.context_source = 'token'";
        run(&mut world.superuser(), signed);
        run(&mut world.superuser(), ways::HAND);
        world
    })
}

/// Sets the token in a new transaction.
#[track_caller]
pub fn begin_with(client: &mut postgres::Client, token: &str) {
    run(client, &format!("BEGIN; SET LOCAL orgscope.token = '{token}'"));
}

pub fn message(client: &mut postgres::Client, sql: &str) -> String {
    client.batch_execute(sql).err().map_or("accepted".into(), |e| e.as_db_error().unwrap().message().to_owned())
}

#[test]
fn every_algorithm_opens_the_organization_that_was_signed_and_only_that() {
    let world = server();
    for role in ["app", "signed"] {
        let mut client = world.connect(role);
        for key in keys() {
            for set in [
                "SET LOCAL orgscope.token = '{}'",
                "SELECT set_config('orgscope.token', '{}', true)",
                "SELECT set_config('orgscope.token', '{}', false)",
                "SELECT orgscope.set_org_token('{}')",
            ] {
                for (org, rows) in [(A, "2"), (B, "3"), (C, "0")] {
                    run(&mut client, "BEGIN");
                    run(&mut client, &set.replace("{}", &key.sign(&claims(org))));
                    assert_eq!(one(&mut client, COUNT), rows, "{role}, {}, {set}", key.id);
                    assert_eq!(one(&mut client, "SELECT orgscope.current_org()"), org);
                    run(&mut client, "COMMIT");
                    refused(&mut client, "OS001", COUNT);
                }
            }
        }
    }
    let mut client = world.connect("signed");
    let unknown = keys()[0].sign(&claims("dddddddd-0000-7000-8000-000000000004"));
    refused(&mut client, "OS004", &format!("SELECT orgscope.set_org_token('{unknown}')"));
    refused(&mut client, "22004", "SELECT orgscope.set_org_token(NULL)");
    refused(&mut client, "OS003", "SELECT orgscope.set_org_token('')");
}

#[test]
fn a_header_cannot_choose_how_it_is_verified() {
    let world = server();
    let mut client = world.connect("signed");
    let [ed, _, rsa, hmac_key] = keys();
    let none = |alg: &str| {
        let header = b64(json!({"alg": alg, "kid": "rsa"}).to_string().as_bytes());
        format!("{header}.{}.", b64(claims(A).to_string().as_bytes()))
    };
    // The public key, in every form that somebody has, as the secret of an HMAC.
    let confused = |secret: &[u8], kid: Option<&str>| {
        let mut header = json!({"alg": "HS256"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let signed = format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims(A).to_string().as_bytes()));
        let signature = b64(&hmac(secret, &signed));
        format!("{signed}.{signature}")
    };
    let public = rsa.jwk();
    let n = public["n"].as_str().unwrap();
    let mut attacks = vec![none("none"), none("None"), none("NONE"), none("")];
    for secret in [n.as_bytes(), public.to_string().as_bytes(), b"", &[0; 32]] {
        attacks.extend([confused(secret, Some("rsa")), confused(secret, Some("hmac")), confused(secret, None)]);
    }
    attacks.push(ed.sign_as(&json!({"alg": "RS256", "kid": "rsa"}), &claims(A)));
    attacks.push(ed.sign_as(&json!({"alg": "EdDSA", "kid": "ec"}), &claims(A)));
    attacks.push(ed.sign_as(&json!({"alg": "EdDSA", "kid": "other"}), &claims(A)));
    attacks.push(ed.sign_as(&json!({"alg": "HS512", "kid": "hmac"}), &claims(A)));
    attacks.push(hmac_key.sign_as(&json!({"alg": "HS256", "kid": "hmac", "crit": ["exp"]}), &claims(A)));
    attacks.push(hmac_key.sign_as(&json!({"alg": "HS256", "kid": "hmac", "b64": false}), &claims(A)));
    attacks.push(hmac_key.sign_as(&json!({"alg": "HS256", "kid": 7}), &claims(A)));
    // The issuer's own key within the token.
    let own = json!({"alg": "EdDSA", "kid": "mine", "jwk": ed.jwk()});
    attacks.push(ed.sign_as(&own, &claims(A)));
    for attack in attacks {
        run(&mut client, "BEGIN");
        refused(&mut client, "OS003", &format!("SET LOCAL orgscope.token = '{attack}'"));
        run(&mut client, "ROLLBACK");
    }
    // Without "kid" the only key of the algorithm is meant.
    for key in keys() {
        begin_with(&mut client, &key.sign_as(&json!({"alg": key.algorithm()}), &claims(A)));
        run(&mut client, "COMMIT");
    }
}

#[test]
fn what_was_changed_after_it_was_signed_is_refused() {
    let mut client = server().connect("signed");
    for key in keys() {
        let (ours, theirs) = (key.sign(&claims(A)), key.sign(&claims(B)));
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        let (ours, theirs) = (parts(&ours), parts(&theirs));
        for token in [
            format!("{}.{}.{}", ours[0], theirs[1], ours[2]),
            format!("{}.{}.{}", ours[0], ours[1], theirs[2]),
            format!("{}.{}.{}", ours[0], ours[1], &ours[2][1..]),
            format!("{}.{}.", ours[0], ours[1]),
            format!("{}.{}", ours[0], ours[1]),
            format!("{}.{}.{}.", ours[0], ours[1], ours[2]),
            format!(" {}.{}.{}", ours[0], ours[1], ours[2]),
            format!("{}.{}.{}=", ours[0], ours[1], ours[2]),
            format!("Bearer {}.{}.{}", ours[0], ours[1], ours[2]),
        ] {
            refused(&mut client, "OS003", &format!("SET LOCAL orgscope.token = '{token}'"));
        }
    }
    for text in ["x", ".", "..", "...", "e30.e30.", "ü.ü.ü"] {
        refused(&mut client, "OS003", &format!("SELECT set_config('orgscope.token', '{text}', true)"));
    }
    let long = keys()[3].sign(&with(A, json!({"x": "y".repeat(8192)})));
    refused(&mut client, "OS003", &format!("SET LOCAL orgscope.token = '{long}'"));
}

#[test]
fn every_claim_is_judged() {
    let mut client = server().connect("signed");
    let said = |client: &mut postgres::Client, others: Value| {
        let token = keys()[3].sign(&with(A, others));
        message(client, &format!("SET LOCAL orgscope.token = '{token}'"))
    };
    for (others, expected) in [
        (json!({}), "accepted"),
        (json!({"iat": null, "sub": null}), "accepted"),
        (json!({"exp": now() as f64 + 100.5}), "accepted"),
        (json!({"nbf": now()}), "accepted"),
        (json!({"db_role": "signed", "db_name": "test"}), "accepted"),
        (json!({"iss": "https://issuer.example"}), "accepted"),
        (json!({"exp": null}), "organization token has no time of expiry"),
        (json!({"exp": now()}), "organization token has expired"),
        (json!({"exp": 0}), "organization token has expired"),
        (json!({"exp": (now() + 100).to_string()}), "organization token has a malformed claim"),
        (json!({"exp": -1}), "organization token has a malformed claim"),
        (json!({"exp": 1e300}), "organization token has a malformed claim"),
        (json!({"exp": now() + 3700}), "organization token is valid for too long"),
        (json!({"iat": now() - 3500}), "organization token is valid for too long"),
        (json!({"iat": now() + 100}), "organization token is not valid yet"),
        (json!({"nbf": now() + 100}), "organization token is not valid yet"),
        (json!({"aud": "somebody"}), "organization token is for another audience"),
        (json!({"aud": ""}), "organization token is for another audience"),
        (json!({"aud": []}), "organization token is for another audience"),
        (json!({"aud": 1}), "organization token has a malformed claim"),
        (json!({"sub": 1}), "organization token has a malformed claim"),
        (json!({"sub": "a\u{0}b"}), "organization token has a malformed claim"),
        (json!({"sub": "x".repeat(256)}), "organization token has a malformed claim"),
        (json!({"db_role": "app"}), "organization token is for another role"),
        (json!({"db_role": ["signed"]}), "organization token has a malformed claim"),
        (json!({"db_name": "postgres"}), "organization token is for another database"),
        (json!({"organization_id": null}), "organization token names no organization"),
        (json!({"organization_id": [A]}), "organization token names no organization"),
        (json!({"organization_id": "acme"}), "organization token names no organization"),
        (json!({"organization_id": ""}), "organization token names no organization"),
        (
            json!({"organization_id": "00000000-0000-0000-0000-000000000000"}),
            "organization token names no organization",
        ),
    ] {
        assert_eq!(said(&mut client, others.clone()), expected, "{others}");
    }
}

#[test]
fn audience_issuer_and_the_path_of_the_organization_are_the_servers_to_configure() {
    let world = World::in_own_cluster(
        &options()
            .line("orgscope.token_audience = 'db.example'")
            .line("orgscope.token_issuer = 'https://issuer.example'")
            .line("orgscope.token_organization_claim = '/https:~1~1acme.example~1claims/organizations/0/id'"),
    );
    let mut client = world.app();
    let said = |client: &mut postgres::Client, others: Value| {
        let mut claims = with(
            B,
            json!({"organization_id": null, "aud": ["x", "db.example"], "iss": "https://issuer.example",
                "https://acme.example/claims": {"organizations": [{"id": A}]}}),
        );
        for (name, value) in others.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = keys()[1].sign(&claims);
        message(client, &format!("SELECT orgscope.set_org_token('{token}')"))
    };
    for (others, expected) in [
        (json!({}), "accepted"),
        (json!({"aud": "db.example"}), "accepted"),
        (json!({"aud": "other"}), "organization token is for another audience"),
        (json!({"aud": ["other"]}), "organization token is for another audience"),
        (json!({"iss": "https://other.example"}), "organization token is from another issuer"),
        (json!({"https://acme.example/claims": {}, "organization_id": A}), "organization token names no organization"),
    ] {
        assert_eq!(said(&mut client, others.clone()), expected, "{others}");
    }
    let mut dba = world.superuser();
    for (name, bad) in [("token_organization_claim", ""), ("token_organization_claim", "a..b"), ("jwks", "{}")] {
        assert_eq!(state(&mut dba, &format!("ALTER SYSTEM SET orgscope.{name} = '{bad}'")), "22023", "{name}");
    }
}
