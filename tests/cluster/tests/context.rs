//! Every way a context can come, and every way it ends, in each lifetime.

mod common;

use common::*;

const COUNT: &str = "SELECT count(*) FROM ticket";

fn set_false(org: &str) -> String {
    format!("SELECT set_config('orgscope.current_org', '{org}', false)")
}

fn current(client: &mut postgres::Client) -> String {
    one(client, "SELECT COALESCE(orgscope.current_org()::text, 'none')")
}

/// A role of its own, with the lifetime that a superuser gave it.
fn role(world: &World, name: &str, lifetime: &str) {
    run(
        &mut world.superuser(),
        &format!(
            "CREATE ROLE {name} LOGIN IN ROLE app; ALTER ROLE {name} SET orgscope.context_lifetime = '{lifetime}'"
        ),
    );
}

#[test]
fn plain_set_is_refused_unless_the_lifetime_is_session() {
    let world = World::new("plain_set");
    for (lifetime, expected) in [("transaction", "OS003"), ("connection", "OS003"), ("session", "00000")] {
        role(&world, &format!("plain_{lifetime}"), lifetime);
        let mut client = world.connect(&format!("plain_{lifetime}"));
        for set in
            ["SET orgscope.current_org = ", "SET SESSION orgscope.current_org TO ", "set ORGSCOPE.Current_Org = "]
        {
            assert_eq!(state(&mut client, &format!("{set}'{A}'")), expected, "{lifetime}: {set}");
        }
        let plain = format!("DO $$ BEGIN EXECUTE 'SET orgscope.current_org = ''{A}''' ; END $$");
        assert_eq!(state(&mut client, &plain), expected, "{lifetime}: inside DO");
        let expected_count = if lifetime == "session" { "2" } else { "none" };
        let after = if lifetime == "session" { one(&mut client, COUNT) } else { current(&mut client) };
        assert_eq!(after, expected_count, "{lifetime}");
        for end in
            ["SET orgscope.current_org = ''", "SET orgscope.current_org TO DEFAULT", "RESET orgscope.current_org"]
        {
            run(&mut client, end);
            assert_eq!(current(&mut client), "none");
        }
    }
    let error = refused(&mut world.app(), "OS003", &format!("SET orgscope.current_org = '{A}'"));
    assert!(error.hint().is_some_and(|hint| hint.contains("SET LOCAL")));
    assert!(error.detail().is_some());
}

#[test]
fn local_settings_end_with_their_transaction_in_every_lifetime() {
    let world = World::new("local_set");
    for lifetime in ["transaction", "connection", "session"] {
        role(&world, &format!("local_{lifetime}"), lifetime);
        let mut client = world.connect(&format!("local_{lifetime}"));
        for set in [
            format!("SET LOCAL orgscope.current_org = '{A}'"),
            format!("SELECT set_config('orgscope.current_org', '{A}', true)"),
            format!("SELECT orgscope.set_current_org('{A}')"),
        ] {
            for end in ["COMMIT", "ROLLBACK"] {
                run(&mut client, "BEGIN");
                run(&mut client, &set);
                assert_eq!(one(&mut client, COUNT), "2", "{lifetime}: {set}");
                run(&mut client, end);
                refused(&mut client, "OS001", COUNT);
            }
            run(&mut client, &format!("BEGIN; {set}; COMMIT AND CHAIN"));
            refused(&mut client, "OS001", COUNT);
            run(&mut client, "ROLLBACK");
        }
        run(&mut client, &format!("SET LOCAL orgscope.current_org = '{A}'"));
        refused(&mut client, "OS001", COUNT);
    }
}

#[test]
fn set_config_for_the_session_lasts_as_long_as_the_lifetime_says() {
    let world = World::new("set_config_false");
    for lifetime in ["transaction", "connection"] {
        role(&world, &format!("config_{lifetime}"), lifetime);
        let mut client = world.connect(&format!("config_{lifetime}"));
        run(&mut client, &set_false(A));
        refused(&mut client, "OS001", COUNT);
        for end in ["COMMIT", "ROLLBACK"] {
            run(&mut client, "BEGIN");
            run(&mut client, &set_false(A));
            assert_eq!(one(&mut client, COUNT), "2");
            run(&mut client, "SAVEPOINT s; RELEASE s");
            assert_eq!(one(&mut client, COUNT), "2");
            run(&mut client, end);
            assert_eq!(current(&mut client), "none", "{lifetime}, {end}");
            assert_eq!(one(&mut client, "SHOW orgscope.current_org"), "", "no stale text either");
        }
        // A value hidden under a local one must not come back either.
        run(&mut client, &format!("BEGIN; {}; SET LOCAL orgscope.current_org = '{A}'; COMMIT", set_false(A)));
        assert_eq!(current(&mut client), "none");
        run(&mut client, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; {}; COMMIT AND CHAIN", set_false(A)));
        assert_eq!(current(&mut client), "none");
        run(&mut client, "COMMIT");
        refused(&mut client, "OS003", &format!("SELECT orgscope.set_current_org('{A}', false)"));
    }
    role(&world, "config_session", "session");
    let mut client = world.connect("config_session");
    run(&mut client, &format!("BEGIN; {}; ROLLBACK", set_false(A)));
    assert_eq!(current(&mut client), "none", "a rolled-back SET is undone");
    for set in [set_false(A), format!("SELECT orgscope.set_current_org('{A}', false)")] {
        run(&mut client, &set);
        assert_eq!(one(&mut client, COUNT), "2");
        run(&mut client, &format!("BEGIN; SET LOCAL orgscope.current_org = '{B}'; COMMIT"));
        assert_eq!(one(&mut client, COUNT), "2");
        run(&mut client, "DISCARD ALL");
        assert_eq!(current(&mut client), "none");
    }
}

#[test]
fn values_of_the_connection_count_unless_the_lifetime_is_transaction() {
    let world = World::new("connection_values");
    for (lifetime, count) in [("transaction", None), ("connection", Some("2")), ("session", Some("2"))] {
        let user = format!("from_{lifetime}");
        role(&world, &user, lifetime);
        let options = format!("-c orgscope.current_org={A}");
        check_connection(&mut world.connect_with(&user, &options).unwrap(), count);

        // A library's setting lets any role do this to its own later connections.
        let alter = format!("ALTER ROLE {user} SET orgscope.current_org = '{A}'");
        run(&mut world.connect(&user), &alter);
        check_connection(&mut world.connect(&user), count);
        let mut admin = world.superuser();
        run(&mut admin, &format!("ALTER ROLE {user} RESET orgscope.current_org"));

        run(&mut admin, &format!("ALTER DATABASE connection_values SET orgscope.current_org = '{A}'"));
        check_connection(&mut world.connect(&user), count);
        run(&mut admin, "ALTER DATABASE connection_values RESET orgscope.current_org");
        refused(&mut world.connect(&user), "OS001", COUNT);
    }
}

/// `count` is what the connection's value lets see, None when it does not count.
fn check_connection(client: &mut postgres::Client, count: Option<&str>) {
    let check = |client: &mut postgres::Client| match count {
        Some(count) => assert_eq!(one(client, COUNT), count),
        None => {
            let error = refused(client, "OS001", COUNT);
            assert!(error.detail().is_some_and(|d| d.contains("came with the connection")));
        }
    };
    check(client);
    assert_eq!(rows_under(client, B, COUNT), ["3"]);
    check(client);
    run(client, &format!("BEGIN; {}; COMMIT", set_false(A)));
    for reset in ["RESET orgscope.current_org", "RESET ALL", "DISCARD ALL", "SET orgscope.current_org TO DEFAULT"] {
        run(client, reset);
        // RESET ALL keeps the lifetime: that came with the connection too.
        check(client);
    }
    run(client, "BEGIN; SELECT orgscope.clear_current_org()");
    refused(client, "OS001", COUNT);
    run(client, "ROLLBACK");
    check(client);
}

#[test]
fn reset_and_discard_end_a_context() {
    let world = World::new("reset");
    let mut app = world.app();
    for reset in [
        "RESET orgscope.current_org",
        "RESET ALL",
        "SET LOCAL orgscope.current_org TO DEFAULT",
        "SET LOCAL orgscope.current_org = ''",
        "SELECT orgscope.clear_current_org()",
    ] {
        begin(&mut app, A);
        assert_eq!(one(&mut app, COUNT), "2");
        run(&mut app, reset);
        refused(&mut app, "OS001", COUNT);
        run(&mut app, "ROLLBACK");
    }
    run(&mut app, "DISCARD ALL");
    refused(&mut app, "OS001", COUNT);
}

#[test]
fn a_functions_set_clause_holds_inside_the_function() {
    let world = World::new("set_clause");
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app");
    let mut app = world.app();
    for (name, org) in [("of_a", A), ("of_b", B)] {
        run(
            &mut app,
            &format!(
                "CREATE FUNCTION {name}() RETURNS bigint LANGUAGE sql SET orgscope.current_org = '{org}' AS '{COUNT}'"
            ),
        );
    }
    assert_eq!(one(&mut app, "SELECT of_a()"), "2");
    refused(&mut app, "OS001", COUNT);
    assert_eq!(one(&mut app, "SELECT of_b()"), "3");

    // The function first, then another organization; and the other way round; and both functions in one statement.
    run(&mut app, "BEGIN; SELECT of_a()");
    refused(&mut app, "OS003", &format!("SET LOCAL orgscope.current_org = '{B}'"));
    run(&mut app, "ROLLBACK");
    refused_under(&mut app, B, "OS003", &format!("{COUNT}; SELECT of_a()"));
    refused(&mut app, "OS003", "SELECT of_a(), of_b()");
    refused_under(&mut app, B, "OS003", &format!("SELECT of_a(); {COUNT}"));
    assert_eq!(rows_under(&mut app, A, &format!("SELECT of_a(); {COUNT}")), ["2"]);
}

#[test]
fn prepare_transaction_ends_a_context() {
    let world = World::in_own_cluster(&orgscope_cluster::Options::default().line("max_prepared_transactions = 5"));
    let mut app = world.app();
    for (name, set) in [("p1", format!("SET LOCAL orgscope.current_org = '{A}'")), ("p2", set_false(A))] {
        let id = if name == "p1" { 101 } else { 102 };
        run(
            &mut app,
            &format!("BEGIN; {set}; INSERT INTO ticket VALUES ({id}, 'prepared'); PREPARE TRANSACTION '{name}'"),
        );
        refused(&mut app, "OS001", COUNT);
        begin(&mut app, B);
        assert_eq!(one(&mut app, COUNT), "3");
        run(&mut app, "COMMIT");
        run(&mut app, &format!("COMMIT PREPARED '{name}'"));
        assert_eq!(rows_under(&mut app, A, &format!("SELECT title FROM ticket WHERE id = {id}")), ["prepared"]);
    }
    // A bypassing write and its record are prepared together.
    let mut dba = world.dba();
    run(&mut dba, "BEGIN; UPDATE ticket SET title = 'x' WHERE id = 1; PREPARE TRANSACTION 'p3'");
    run(&mut dba, "UPDATE ticket SET title = 'y' WHERE id BETWEEN 11 AND 13");
    run(&mut dba, "COMMIT PREPARED 'p3'");
    let record = "SELECT row_count, detail FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY row_count, detail NULLS FIRST";
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    assert_eq!(rows(&mut admin, record), ["1|-", r#"1|{"prepared": true}"#, "3|-"]);
}

#[test]
fn bad_values_are_refused_when_set() {
    let world = World::new("bad_values");
    let mut app = world.app();
    for bad in ["x", "1", "aaaaaaaa-0000-7000-8000-00000000000", "00000000-0000-0000-0000-000000000000", " ", "null"] {
        for set in [
            format!("SET LOCAL orgscope.current_org = '{bad}'"),
            format!("SELECT set_config('orgscope.current_org', '{bad}', true)"),
            format!("SELECT set_config('orgscope.current_org', '{bad}', false)"),
            format!("ALTER ROLE app SET orgscope.current_org = '{bad}'"),
            format!(
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET orgscope.current_org = '{bad}' AS 'SELECT 1'"
            ),
        ] {
            run(&mut app, "BEGIN");
            let error = refused(&mut app, "22P02", &set);
            assert!(error.detail().is_some() && error.hint().is_some(), "{set}");
            run(&mut app, "ROLLBACK");
        }
    }
    let error = world.connect_with("app", "-c orgscope.current_org=bad").err().unwrap();
    assert_eq!(code(&error), "22P02");
    refused_under(&mut app, A, "22P02", "SELECT orgscope.set_current_org('x')");
    refused_under(&mut app, A, "22004", "SELECT orgscope.set_current_org(NULL)");
    refused(&mut app, "OS004", "SELECT orgscope.set_current_org('dddddddd-0000-7000-8000-000000000004')");
    run(&mut world.superuser(), &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{C}'"));
    refused(&mut app, "OS004", &format!("SELECT orgscope.set_current_org('{C}')"));
    refused(&mut app, "OS001", &format!("BEGIN; SET LOCAL orgscope.current_org = ''; {COUNT}"));
    // Never a default organization for the whole server.
    refused(&mut world.superuser(), "55P02", &format!("ALTER SYSTEM SET orgscope.current_org = '{A}'"));
}

#[test]
fn require_context_says_which_statements_fail() {
    let world = World::new("require_context");
    let insert = format!("INSERT INTO ticket VALUES (50, 'x', '{A}')");
    for (value, read, write, insert_state) in
        [("all", "OS001", "OS001", "OS001"), ("writes", "00000", "OS001", "OS001"), ("off", "00000", "00000", "OS001")]
    {
        run(
            &mut world.superuser(),
            &format!("ALTER DATABASE require_context SET orgscope.require_context = '{value}'"),
        );
        for user in ["app", "owner"] {
            let mut client = world.connect(user);
            assert_eq!(state(&mut client, COUNT), read, "{value}: read as {user}");
            if read == "00000" {
                assert_eq!(one(&mut client, COUNT), "0");
            }
            for sql in ["UPDATE ticket SET title = 'x'", "DELETE FROM ticket"] {
                assert_eq!(state(&mut client, sql), write, "{value}: {sql} as {user}");
            }
            assert_eq!(state(&mut client, &insert), insert_state, "{value}: {insert} as {user}");
            assert_eq!(state(&mut client, "INSERT INTO ticket VALUES (51)"), insert_state);
        }
        assert_eq!(all_tickets(&world).len(), 5);
        refused(&mut world.app(), "42501", &format!("SET orgscope.require_context = '{value}'"));
    }
}

#[test]
fn asking_takes_no_transaction_id() {
    let world = World::new("no_xid");
    let mut app = world.app();
    begin(&mut app, A);
    let xid = "SELECT concat(orgscope.require_org() IS NULL, pg_current_xact_id_if_assigned())";
    assert_eq!(one(&mut app, xid), "f");
}
