//! Tokens that may be used once.

use super::*;

fn once(id: &str) -> String {
    keys()[0].sign(&with(A, json!({"jti": id})))
}

#[test]
fn a_token_with_an_id_is_good_for_one_transaction_in_the_whole_server() {
    let world = server();
    let (mut first, mut second) = (world.connect("signed"), world.connect("signed"));
    for end in ["COMMIT", "ROLLBACK"] {
        let token = once(end);
        begin_with(&mut first, &token);
        assert_eq!(one(&mut first, COUNT), "2");
        // Again in the same transaction, also after a savepoint has taken it back.
        run(&mut first, &format!("SAVEPOINT s; SELECT orgscope.set_org_token('{token}'); ROLLBACK TO s"));
        run(&mut first, &format!("SET LOCAL orgscope.token = ''; SET LOCAL orgscope.token = '{token}'"));
        assert_eq!(one(&mut first, COUNT), "2");
        let set = format!("SET LOCAL orgscope.token = '{token}'");
        let error = refused(&mut second, "OS003", &set);
        assert_eq!(error.message(), "organization token was used before");
        run(&mut first, end);
        for client in [&mut first, &mut second] {
            refused(client, "OS003", &set);
        }
    }
    // The id is the issuer's.
    let other = keys()[0].sign(&with(A, json!({"jti": "COMMIT", "iss": "https://other.example"})));
    begin_with(&mut first, &other);
    run(&mut first, "COMMIT");
    // What is refused for another reason is not used up.
    let bound = keys()[0].sign(&with(A, json!({"jti": "bound", "db_role": "app"})));
    refused(&mut first, "OS003", &format!("SET LOCAL orgscope.token = '{bound}'"));
    begin_with(&mut world.app(), &bound);
}

#[test]
fn used_tokens_are_remembered_over_crash_and_restart_and_a_full_table_takes_none() {
    let world = World::in_own_cluster(&options().line("orgscope.token_ids = 16"));
    let set = |id: &str| format!("SET LOCAL orgscope.token = '{}'", once(id));
    let tokens: Vec<_> = (0..16).map(|i| set(&i.to_string())).collect();
    for token in &tokens {
        run(&mut world.app(), token);
    }
    let error = refused(&mut world.app(), "OS003", &set("17"));
    assert_eq!(error.message(), "no room to remember that an organization token was used");
    let why = "As many tokens with the claim \"jti\" as orgscope.token_ids says are in use and have not expired.";
    assert_eq!(error.detail(), Some(why));
    let help = "Have tokens issued for a shorter time, or raise orgscope.token_ids and restart the server.";
    assert_eq!(error.hint(), Some(help));
    // One without an id needs no room.
    run(&mut world.app(), &format!("SET LOCAL orgscope.token = '{}'", token(A)));
    world.cluster().crash_and_recover().unwrap();
    refused(&mut world.app(), "OS003", &tokens[3]);
    world.cluster().restart().unwrap();
    assert_eq!(refused(&mut world.app(), "OS003", &tokens[5]).message(), "organization token was used before");
}

#[test]
fn without_preloading_there_is_no_single_use_and_no_secret_key() {
    let world = World::in_own_cluster(&Options::without_preload().line(&format!("orgscope.jwks = '{}'", jwks(keys()))));
    run(&mut world.superuser(), "ALTER ROLE app SET orgscope.context_source = 'token'");
    // Loaded in the middle of a transaction by its first function: what was set in it counts, what was set before does not.
    let mut app = world.app();
    run(&mut app, &format!("BEGIN; SET LOCAL orgscope.token = '{}'", token(A)));
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "COMMIT");
    refused(&mut app, "OS001", COUNT);
    for setting in ["current_org", "token"] {
        let mut app = world.app();
        let value = if setting == "token" { token(A) } else { B.into() };
        run(&mut app, &format!("SET orgscope.{setting} = '{value}'; SET orgscope.context_source = 'setting'"));
        let found = state(&mut app, COUNT);
        assert!(["OS001", "OS003"].contains(&found.as_str()), "{setting}: {found}");
        let mut app = world.app();
        run(&mut app, &format!("BEGIN; SET LOCAL orgscope.current_org = '{B}'"));
        assert_ne!(state(&mut app, COUNT), "00000");
    }
    // An earlier transaction's, which nobody has looked at, counts for nothing, and the client is told.
    let mut psql = world.cluster().command("psql");
    psql.args([
        "-X",
        "-A",
        "-t",
        "-U",
        "app",
        "-d",
        world.name(),
        "-c",
        &format!("SET orgscope.token = '{}'", token(A)),
    ]);
    let output = psql.args(["-c", "SELECT 'none: ' || (orgscope.current_org() IS NULL)"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    for text in [
        "WARNING:  organization token was set before orgscope was loaded",
        "DETAIL:  It was set in an earlier transaction, and nobody has looked at it.",
        "HINT:  Set it with SET LOCAL in this transaction; add orgscope to shared_preload_libraries.",
    ] {
        assert!(told.contains(text), "{told}");
    }
    assert!(String::from_utf8_lossy(&output.stdout).contains("none: true"), "{output:?}");
    let mut app = world.app();
    run(&mut app, "SELECT orgscope.current_org()");
    let secret = keys()[3].sign(&claims(A));
    for (token, expected) in [
        (
            once("x"),
            [
                "cannot tell whether an organization token was used before",
                "A token with the claim \"jti\" is good for one transaction in the whole server, which is known in shared memory only.",
                "Add orgscope to shared_preload_libraries, or have tokens issued without \"jti\".",
            ],
        ),
        (
            secret,
            [
                "symmetric keys need the library to be preloaded",
                "Before the library is loaded every role can read orgscope.jwks.",
                "Add orgscope to shared_preload_libraries, or have tokens signed with EdDSA, ES256 or RS256.",
            ],
        ),
    ] {
        let error = refused(&mut app, "OS003", &format!("SET LOCAL orgscope.token = '{token}'"));
        assert_eq!([error.message(), error.detail().unwrap(), error.hint().unwrap()], expected);
    }
}
