//! What is shown of a token and of the keys: nothing. And how keys are changed.

use super::*;
use std::thread::sleep;
use std::time::Duration;

const LOUD: [&str; 6] = [
    "log_statement = 'all'",
    "log_min_duration_statement = 0",
    "log_min_messages = debug1",
    "log_parameter_max_length_on_error = -1",
    "log_error_verbosity = verbose",
    "debug_print_parse = off",
];

#[test]
fn a_token_cannot_be_read_back() {
    let world = server();
    let mut client = world.connect("signed");
    let token = token(A);
    begin_with(&mut client, &token);
    let middle = token.split('.').nth(1).unwrap().to_owned();
    for query in [
        "SHOW orgscope.token",
        "SELECT current_setting('orgscope.token')",
        "SHOW ALL",
        "SELECT * FROM pg_settings",
        "SELECT * FROM pg_settings WHERE name = 'orgscope.token'",
    ] {
        let shown = rows(&mut client, query).join("\n");
        assert!(!shown.contains(&middle) && !shown.contains("alice ") && !shown.contains(&format!("{A} ")), "{query}");
    }
    assert_eq!(one(&mut client, "SHOW orgscope.token"), "***");
    assert_eq!(
        state(
            &mut client,
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET orgscope.token FROM CURRENT AS 'SELECT 1'"
        ),
        "OS003"
    );
    run(&mut client, "ROLLBACK");
    assert_eq!(one(&mut client, "SHOW orgscope.token"), "");
    let keys = rows(&mut client, "SELECT setting FROM pg_settings WHERE name = 'orgscope.jwks'");
    assert!(keys.is_empty(), "{keys:?}");
}

/// Nor members of the roles that read every other setting.
#[test]
fn only_a_superuser_reads_the_keys() {
    let world = World::in_own_cluster(&options());
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE ROLE reader LOGIN IN ROLE pg_read_all_settings; CREATE ROLE monitor LOGIN IN ROLE pg_monitor",
    );
    let key = keys()[3].jwk();
    let secret = key["k"].as_str().unwrap();
    assert!(one(&mut admin, "SHOW orgscope.jwks").contains(secret));
    assert!(one(&mut admin, "SELECT current_setting('orgscope.jwks')").contains(secret));
    for user in ["reader", "monitor"] {
        let mut client = world.connect(user);
        assert!(!one(&mut client, "SHOW config_file").is_empty(), "{user} reads other settings");
        assert_eq!(one(&mut client, "SHOW orgscope.jwks"), "***", "{user}");
        assert_eq!(one(&mut client, "SELECT current_setting('orgscope.jwks')"), "***", "{user}");
        for sql in ["SHOW ALL", "SELECT s::text FROM pg_settings s", "EXPLAIN (SETTINGS) SELECT 1"] {
            let shown = rows(&mut client, sql).join("\n");
            assert!(!shown.contains(secret), "{user}: {sql}");
        }
        refused(&mut client, "42501", "SELECT * FROM pg_file_settings");
        refused(&mut client, "42501", "SELECT pg_read_file('postgresql.conf')");
    }
    refused(&mut world.app(), "42501", "SHOW orgscope.jwks");
    // Who reads is the current role.
    run(&mut admin, "SET ROLE monitor");
    assert_eq!(one(&mut admin, "SHOW orgscope.jwks"), "***");
}

#[test]
fn other_sessions_of_the_role_see_no_token() {
    let world = server();
    let (mut client, mut other) = (world.connect("signed"), world.connect("signed"));
    let token = token(A);
    let pid = one(&mut client, "SELECT pg_backend_pid()");
    for set in [
        "BEGIN; SET LOCAL orgscope.token = '{}'",
        "SET LOCAL orgscope.token = '{}'",
        "SELECT set_config('orgscope.token', '{}', true)",
        "SELECT orgscope.set_org_token('{}')",
    ] {
        let _ = client.batch_execute(&set.replace("{}", &token));
        let shown = one(&mut other, &format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}"));
        assert!(shown.contains("***"), "{shown}");
        assert!(!shown.contains(&token), "{shown}");
        let _ = client.batch_execute("ROLLBACK");
    }
}

#[test]
fn other_sessions_see_no_token_of_what_has_failed() {
    let world = server();
    let (mut client, mut other) = (world.connect("signed"), world.connect("signed"));
    let token = token(A);
    let pid = one(&mut client, "SELECT pg_backend_pid()");
    for (before, failing) in [
        ("", "SELECT orgscope.set_org_token('{}') FROM nowhere"),
        ("", "SELECT orgscope.set_org_token('{}') FROM"),
        ("BEGIN; SELECT 1/0", "SET LOCAL orgscope.token = '{}'"),
    ] {
        let _ = client.batch_execute(before);
        assert!(client.batch_execute(&failing.replace("{}", &token)).is_err());
        let shown = one(&mut other, &format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}"));
        assert!(shown.contains("***") && !shown.contains(&token), "{shown}");
        let _ = client.batch_execute("ROLLBACK");
    }
}

#[test]
fn other_sessions_see_no_token_of_a_parallel_worker() {
    let world = server();
    let (mut client, mut other) = (world.connect("signed"), world.connect("signed"));
    let token = token(A);
    force_parallel(&mut client, "on");
    let pid = one(&mut client, "SELECT pg_backend_pid()");
    let works = std::thread::spawn(move || {
        let sql =
            format!("BEGIN; SET LOCAL orgscope.token = '{token}'; SELECT count(*), pg_sleep(2) FROM ticket; COMMIT");
        run(&mut client, &sql);
        token
    });
    sleep(Duration::from_millis(1000));
    let shown =
        rows(&mut other, &format!("SELECT query FROM pg_stat_activity WHERE leader_pid = {pid} AND pid <> {pid}"));
    let token = works.join().unwrap();
    assert!(!shown.is_empty(), "no worker");
    assert!(shown.iter().all(|query| query.contains("***") && !query.contains(&token)), "{shown:?}");
}

#[test]
fn break_glass_stays_open_to_whom_it_was_granted() {
    let world = server();
    run(
        &mut world.superuser(),
        "CREATE ROLE helper LOGIN IN ROLE app; ALTER ROLE helper SET orgscope.context_source = 'token';
         GRANT EXECUTE ON FUNCTION orgscope.break_glass TO helper",
    );
    let mut client = world.connect("helper");
    run(&mut client, &format!("SELECT orgscope.break_glass('{A}', 'case 4711', 5)"));
    assert_eq!(one(&mut client, COUNT), "2");
    let error = refused(&mut client, "OS003", &format!("SET LOCAL orgscope.token = '{}'", token(B)));
    assert_eq!(error.message(), "cannot set another organization while break-glass is open");
    refused(&mut client, "OS003", &format!("SET LOCAL orgscope.current_org = '{B}'"));
    begin_with(&mut client, &token(A));
    assert_eq!(one(&mut client, COUNT), "2");
    run(&mut client, "COMMIT");
    assert_eq!(one(&mut client, COUNT), "2");
    run(&mut client, "SELECT orgscope.end_break_glass()");
    refused(&mut client, "OS001", COUNT);
}

#[test]
fn who_acts_is_the_tokens_to_say() {
    let world = server();
    let mut client = world.connect("signed");
    run(&mut client, "BEGIN; SET LOCAL orgscope.actor = 'mallory'");
    run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", token(A)));
    assert_eq!(one(&mut client, "SHOW orgscope.actor"), "alice");
    for set in ["SET LOCAL orgscope.actor = 'bob'", "SELECT set_config('orgscope.actor', 'bob', false)"] {
        run(&mut client, "SAVEPOINT s");
        let error = refused(&mut client, "OS003", set);
        assert_eq!(error.message(), "cannot change the actor of an organization token");
        run(&mut client, "ROLLBACK TO s");
    }
    run(&mut client, "SET LOCAL orgscope.actor = 'alice'; RESET orgscope.actor");
    assert_eq!(one(&mut client, "SHOW orgscope.actor"), "alice");
    let foreign = "INSERT INTO ticket (id, organization_id) VALUES (77, 'bbbbbbbb-0000-7000-8000-000000000002')";
    refused(&mut client, "OS002", foreign);
    run(&mut client, "ROLLBACK");
    run(&mut world.superuser(), "SELECT orgscope.flush_audit()");
    let actors = rows(&mut world.superuser(), "SELECT DISTINCT actor FROM orgscope.audit_log WHERE sqlstate = 'OS002'");
    assert_eq!(actors, ["alice"]);
}

#[test]
fn neither_log_nor_audit_row_has_a_token_or_a_key() {
    let loud = LOUD.iter().fold(options(), |options, line| options.line(line));
    let world = World::in_own_cluster(&loud);
    let mut client = world.app();
    let (good, far) = (token(A), keys()[0].sign(&with(A, json!({"exp": now() + 9000}))));
    let cut = &good[..good.len() - 3];
    for token in [&good, &far, cut] {
        for set in [
            "SET LOCAL orgscope.token = '{}'",
            "SET orgscope.token = '{}'",
            "SELECT set_config('orgscope.token', '{}', true)",
            "SELECT orgscope.set_org_token('{}')",
            "ALTER ROLE app SET orgscope.token = '{}'",
            "DO $$ BEGIN PERFORM orgscope.set_org_token('{}'); END $$",
            "BEGIN; SET LOCAL orgscope.token = '{}'; SELECT * FROM ticket; SELECT 1/0",
            "SELECT orgscope.set_org_token('{}'), 1/0",
            "SELECT 'Bearer {}'::int",
        ] {
            let _ = client.batch_execute(&set.replace("{}", token));
            let _ = client.batch_execute("ROLLBACK");
        }
        let _ = client.query("SELECT orgscope.set_org_token($1)", &[&token]);
        let _ = client.query("SELECT set_config('orgscope.token', $1, true), 1 / (length($1) - length($1))", &[&token]);
    }
    let secret = jwks(&keys()[3..]);
    let mut dba = world.superuser();
    run(&mut dba, &format!("ALTER SYSTEM SET orgscope.jwks = '{secret}'"));
    let activity = "SELECT query FROM pg_stat_activity WHERE query LIKE '%not shown%' AND pid <> pg_backend_pid()";
    assert_eq!(rows(&mut world.superuser(), activity), ["(not shown: it names orgscope.jwks)"]);
    refused(&mut dba, "22023", &format!("ALTER SYSTEM SET orgscope.jwks = '{}'", &secret[1..]));
    run(&mut dba, &format!("SELECT * FROM ticket /* {good} */"));
    run(&mut dba, "SELECT pg_reload_conf()");
    sleep(Duration::from_millis(500));
    run(&mut dba, "SELECT orgscope.flush_audit()");
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let audit = rows(&mut dba, "SELECT l::text FROM orgscope.audit_log l").join("\n");
    assert!(log.contains("orgscope.jwks") || log.contains("not shown"), "the log is quiet");
    assert!(audit.contains("***") && audit.contains("ALTER SYSTEM"), "{audit}");
    let key = keys()[3].jwk();
    for token in [&good, &far] {
        let parts: Vec<_> = token.split('.').collect();
        for (what, text) in [("log", &log), ("audit", &audit)] {
            let line = text.lines().find(|line| line.contains(parts[1]) || line.contains(parts[2]));
            assert_eq!(line, None, "the {what} shows a token");
            let line = text.lines().find(|line| line.contains(key["k"].as_str().unwrap()));
            assert_eq!(line, None, "the {what} shows a key");
        }
    }
}

#[test]
fn refused_tokens_leave_nothing_in_memory() {
    let mut client = server().connect("signed");
    let pid = one(&mut client, "SELECT pg_backend_pid()");
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for (length, times) in [(4_000_000, 30), (8000, 5_000)] {
        let refuse = |client: &mut postgres::Client, times: u32| {
            run(
                client,
                &format!(
                    "DO $$ DECLARE t text = repeat('x', {length}); BEGIN FOR i IN 1..{times} LOOP
                         BEGIN PERFORM orgscope.set_org_token(t); EXCEPTION WHEN SQLSTATE 'OS003' THEN END;
                     END LOOP; END $$"
                ),
            );
        };
        refuse(&mut client, 3);
        let before = resident();
        refuse(&mut client, times);
        let grown = resident().saturating_sub(before);
        assert!(grown < 20_000, "{length}: {grown} kB more");
    }
}

#[test]
fn keys_come_and_go_at_a_reload() {
    let world = World::in_own_cluster(&options());
    let mut client = world.app();
    let mut dba = world.superuser();
    let mut reload = |keys: &str| {
        run(&mut dba, &format!("ALTER SYSTEM SET orgscope.jwks = '{keys}'"));
        run(&mut dba, "SELECT pg_reload_conf()");
        sleep(Duration::from_millis(300));
    };
    let old = Key { id: "old", secret: Secret::Ed(ed25519_dalek::SigningKey::from_bytes(&[7; 32])) };
    let new = Key { id: "new", secret: Secret::Ed(ed25519_dalek::SigningKey::from_bytes(&[8; 32])) };
    let (of_old, of_new) = (old.sign(&claims(A)), new.sign(&claims(A)));
    let tries = |client: &mut postgres::Client| {
        [&of_old, &of_new].map(|token| message(client, &format!("SET LOCAL orgscope.token = '{token}'")))
    };
    let unknown = "organization token is signed with an unknown key";
    reload(&jwks(std::slice::from_ref(&old)));
    assert_eq!(tries(&mut client), ["accepted", unknown]);
    let both = [old, new];
    reload(&jwks(&both));
    assert_eq!(tries(&mut client), ["accepted", "accepted"]);
    let nameless = keys()[0].sign_as(&json!({"alg": "EdDSA"}), &claims(A));
    let ambiguous = "organization token does not say which key has signed it";
    assert_eq!(message(&mut client, &format!("SET LOCAL orgscope.token = '{nameless}'")), ambiguous);
    // In force while its key is there, and not longer.
    begin_with(&mut client, &of_old);
    assert_eq!(one(&mut client, COUNT), "2");
    reload(&jwks(&both[1..]));
    assert_eq!(message(&mut client, COUNT), "organization token holds no more");
    run(&mut client, "ROLLBACK");
    assert_eq!(tries(&mut client), [unknown, "accepted"]);
    begin_with(&mut client, &of_new);
    reload(&jwks(&both));
    assert_eq!(one(&mut client, COUNT), "2");
    run(&mut client, "COMMIT");
    reload("");
    assert_eq!(tries(&mut client), ["no key to verify organization tokens"; 2]);
}
