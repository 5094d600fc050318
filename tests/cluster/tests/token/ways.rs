//! Where a token must open the context, nothing else does. Each attack is first seen to succeed against a policy written by
//! hand, on a setting that every role may set.

use super::*;

pub const HAND: &str = "
    CREATE TABLE hand (id int, organization_id uuid);
    INSERT INTO hand SELECT id, organization_id FROM ticket;
    ALTER TABLE hand ENABLE ROW LEVEL SECURITY;
    CREATE POLICY hand ON hand USING (organization_id = NULLIF(current_setting('app.org', true), '')::uuid);
    GRANT SELECT ON hand TO app;
    CREATE FUNCTION turn(name text, org text) RETURNS text LANGUAGE sql SECURITY DEFINER
        AS 'SELECT set_config(name, org, true)';";

/// Of organization B, of which no row may be seen.
fn hand_sees_b(client: &mut postgres::Client) -> bool {
    one(client, &format!("SELECT count(*) FROM hand WHERE organization_id = '{B}'")) == "3"
}

#[test]
fn what_turns_a_hand_written_policy_is_refused() {
    let world = server();
    let attacks = [
        "SET LOCAL {name} = '{org}'",
        "SELECT set_config('{name}', '{org}', true)",
        "SELECT set_config('{name}', '{org}', false)",
        "SELECT 1 WHERE set_config('{name}', '{org}', true) <> ''",
        "SELECT turn('{name}', '{org}')",
        "SAVEPOINT s; SET LOCAL {name} = '{org}'; RELEASE s",
        "DO $$ BEGIN PERFORM set_config('{name}', '{org}', true); END $$",
        "DO $$ BEGIN EXECUTE 'SET LOCAL {name} = ''{org}'''; END $$",
        "COMMIT; BEGIN; SET LOCAL {name} = '{org}'",
        "ROLLBACK; BEGIN; SELECT set_config('{name}', '{org}', true)",
    ];
    for attack in attacks {
        let mut client = world.connect("signed");
        let with = |name: &str, org: &str| attack.replace("{name}", name).replace("{org}", org);
        begin_with(&mut client, &token(A));
        run(&mut client, &with("app.org", B));
        assert!(hand_sees_b(&mut client), "{attack}");
        run(&mut client, "ROLLBACK");
        for used in [false, true] {
            // The token's own organization as well: what is not signed counts for nothing.
            for org in [A, B] {
                begin_with(&mut client, &token(A));
                if used {
                    assert_eq!(one(&mut client, COUNT), "2");
                }
                let error = refused(&mut client, "OS003", &with("orgscope.current_org", org));
                assert_eq!(error.message(), "only a signed token can set the organization", "{attack}");
                run(&mut client, "ROLLBACK");
            }
        }
        refused(&mut client, "OS001", COUNT);
    }
    let mut client = world.connect("signed");
    refused(&mut client, "OS003", &format!("SELECT orgscope.set_current_org('{B}')"));
}

#[test]
fn what_a_connection_begins_with_counts_for_nothing() {
    let world = server();
    let mut dba = world.superuser();
    for lifetime in ["transaction", "connection", "session"] {
        let role = format!("poisoned_{lifetime}");
        run(
            &mut dba,
            &format!(
                "CREATE ROLE {role} LOGIN IN ROLE app; ALTER ROLE {role} SET orgscope.context_lifetime = '{lifetime}';
                 ALTER ROLE {role} SET orgscope.context_source = 'token'"
            ),
        );
        // The startup packet.
        let mut client = world.connect_with(&role, &format!("-c orgscope.current_org={B} -c app.org={B}")).unwrap();
        assert!(hand_sees_b(&mut client));
        refused(&mut client, "OS003", COUNT);
        assert_eq!(one(&mut client, "SELECT coalesce(orgscope.current_org()::text, 'none')"), "none");
        for reset in ["RESET orgscope.current_org", "RESET ALL", "DISCARD ALL", "SET orgscope.current_org TO DEFAULT"] {
            run(&mut client, reset);
            refused(&mut client, "OS003", COUNT);
            begin_with(&mut client, &token(A));
            if reset != "DISCARD ALL" {
                run(&mut client, reset);
                refused(&mut client, "OS003", COUNT);
            }
            run(&mut client, "ROLLBACK");
        }
        begin_with(&mut client, &token(A));
        assert_eq!(one(&mut client, COUNT), "2");
        run(&mut client, "COMMIT");
        // The role's own defaults, which a poisoned connection of a pool would begin with.
        for set in [
            format!("ALTER ROLE {role} SET orgscope.current_org = '{B}'"),
            format!("ALTER ROLE {role} IN DATABASE test SET orgscope.current_org = '{B}'"),
            format!(
                "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql SET orgscope.current_org = '{B}' AS 'SELECT count(*) FROM ticket'"
            ),
            format!("ALTER ROLE {role} SET orgscope.token = '{}'", token(A)),
            format!(
                "CREATE FUNCTION pg_temp.g() RETURNS int LANGUAGE sql SET orgscope.token = '{}' AS 'SELECT 1'",
                token(A)
            ),
        ] {
            refused(&mut client, "OS003", &set);
        }
        // Made by somebody who may.
        run(&mut dba, &format!("ALTER ROLE {role} SET orgscope.current_org = '{B}'"));
        run(
            &mut dba,
            &format!(
                "CREATE FUNCTION turned_{lifetime}() RETURNS bigint LANGUAGE sql SET orgscope.current_org = '{B}' AS 'SELECT count(*) FROM ticket'"
            ),
        );
        run(&mut dba, &format!("ALTER ROLE {role} SET app.org = '{B}'"));
        let mut client = world.connect(&role);
        assert!(hand_sees_b(&mut client));
        refused(&mut client, "OS003", COUNT);
        begin_with(&mut client, &token(A));
        refused(&mut client, "OS003", &format!("SELECT turned_{lifetime}()"));
        run(&mut client, "ROLLBACK");
    }
}

#[test]
fn a_role_in_token_mode_cannot_leave_it() {
    let world = server();
    let mut client = world.connect("signed");
    for leave in [
        "SET orgscope.context_source = 'setting'",
        "SET LOCAL orgscope.context_source = 'setting'",
        "SELECT set_config('orgscope.context_source', 'setting', false)",
        "ALTER ROLE signed SET orgscope.context_source = 'setting'",
        "RESET orgscope.context_source",
        "ALTER ROLE signed RESET orgscope.context_source",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET orgscope.context_source = 'setting' AS 'SELECT 1'",
        "SET orgscope.jwks = ''",
        "SHOW orgscope.jwks",
    ] {
        let expected = if leave.starts_with("SET orgscope.jwks") { "55P02" } else { "42501" };
        assert_eq!(state(&mut client, leave), expected, "{leave}");
    }
    assert!(world.connect_with("signed", "-c orgscope.context_source=setting").is_err());
    for stays in ["RESET ALL", "DISCARD ALL", "SET ROLE app"] {
        run(&mut client, stays);
        refused(&mut client, "OS003", &format!("SET LOCAL orgscope.current_org = '{A}'"));
    }
}

#[test]
fn a_transaction_that_has_used_one_organization_cannot_turn_by_another_token() {
    let mut client = server().connect("signed");
    for end in ["", "SAVEPOINT s;", "SET LOCAL orgscope.current_org = '';", "SELECT orgscope.clear_current_org();"] {
        begin_with(&mut client, &token(A));
        assert_eq!(one(&mut client, COUNT), "2");
        let error = refused(&mut client, "OS003", &format!("{end} SET LOCAL orgscope.token = '{}'", token(B)));
        assert_eq!(error.message(), "cannot change the organization within a transaction");
        run(&mut client, "ROLLBACK");
    }
    begin_with(&mut client, &token(A));
    run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", token(B)));
    assert_eq!(one(&mut client, COUNT), "3");
    run(&mut client, "COMMIT");
}

#[test]
fn a_context_ends_by_every_spelling_and_with_its_savepoint() {
    let mut client = server().connect("signed");
    for end in [
        "SET LOCAL orgscope.current_org = ''",
        "SELECT set_config('orgscope.current_org', '', true)",
        "RESET orgscope.current_org",
        "SELECT orgscope.clear_current_org()",
        "SET LOCAL orgscope.token = ''",
        "RESET orgscope.token",
        "RESET ALL",
    ] {
        begin_with(&mut client, &token(A));
        assert_eq!(one(&mut client, COUNT), "2");
        run(&mut client, &format!("SAVEPOINT s; {end}"));
        refused(&mut client, "OS001", COUNT);
        run(&mut client, "ROLLBACK TO s");
        assert_eq!(one(&mut client, COUNT), "2", "{end}");
        run(&mut client, end);
        run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", token(A)));
        assert_eq!(one(&mut client, COUNT), "2", "{end}");
        run(&mut client, "COMMIT");
    }
    run(&mut client, &format!("BEGIN; SAVEPOINT s; SET LOCAL orgscope.token = '{}'; ROLLBACK TO s", token(A)));
    refused(&mut client, "OS001", COUNT);
    run(&mut client, "ROLLBACK");
    let caught = format!(
        "DO $$ BEGIN PERFORM orgscope.set_org_token('{}'); RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
        token(A)
    );
    run(&mut client, &format!("BEGIN; {caught}"));
    refused(&mut client, "OS001", COUNT);
    run(&mut client, "ROLLBACK");
}

#[test]
fn the_last_of_setting_and_token_is_in_force_where_both_may_be() {
    let mut client = server().app();
    begin_with(&mut client, &token(A));
    run(&mut client, &format!("SET LOCAL orgscope.current_org = '{B}'"));
    assert_eq!(one(&mut client, COUNT), "3");
    run(&mut client, "ROLLBACK");
    begin(&mut client, B);
    run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", token(A)));
    assert_eq!(one(&mut client, COUNT), "2");
    run(&mut client, "ROLLBACK");
}

#[test]
fn a_session_keeps_a_token_only_where_the_lifetime_says_so() {
    let world = server();
    let mut dba = world.superuser();
    let plain = format!("SET orgscope.token = '{}'", token(A));
    for (lifetime, set, startup) in
        [("transaction", "OS003", "OS001"), ("connection", "OS003", "00000"), ("session", "00000", "00000")]
    {
        let role = format!("kept_{lifetime}");
        run(
            &mut dba,
            &format!(
                "CREATE ROLE {role} LOGIN IN ROLE app; ALTER ROLE {role} SET orgscope.context_lifetime = '{lifetime}';
                 ALTER ROLE {role} SET orgscope.context_source = 'token'"
            ),
        );
        let mut client = world.connect(&role);
        assert_eq!(state(&mut client, &plain), set, "{lifetime}");
        assert_eq!(state(&mut client, COUNT), if set == "OS003" { "OS001" } else { "00000" }, "{lifetime}");
        let mut client = world.connect_with(&role, &format!("-c orgscope.token={}", token(B))).unwrap();
        assert_eq!(state(&mut client, COUNT), startup, "{lifetime}");
        begin_with(&mut client, &token(A));
        assert_eq!(one(&mut client, COUNT), "2");
        run(&mut client, "COMMIT");
        assert_eq!(state(&mut client, COUNT), startup, "{lifetime}");
        run(&mut client, "DISCARD ALL");
        assert_eq!(state(&mut client, COUNT), startup, "{lifetime}");
    }
    let refused = world.connect_with("kept_session", "-c orgscope.token=eyJ.x.y").err().unwrap();
    assert_eq!(code(&refused), "OS003");
}

#[test]
fn a_seal_and_a_token_do_not_lift_each_other() {
    let world = server();
    let mut client = world.connect("signed");
    begin_with(&mut client, &token(A));
    let error = refused(&mut client, "OS003", "SELECT orgscope.seal_context()");
    assert_eq!(error.message(), "cannot seal the context of an organization token");
    run(&mut client, "ROLLBACK");
    let mut client = world.app();
    for other in [token(B), String::new()] {
        run(
            &mut client,
            &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; SELECT orgscope.seal_context(); SAVEPOINT s"),
        );
        let set = format!("SET LOCAL orgscope.token = '{other}'");
        assert_eq!(state(&mut client, &set), if other.is_empty() { "00000" } else { "OS003" });
        run(&mut client, "ROLLBACK TO s");
        run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", token(A)));
        assert_eq!(one(&mut client, COUNT), "2");
        run(&mut client, "ROLLBACK");
    }
}
