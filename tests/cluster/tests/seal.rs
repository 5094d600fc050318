//! A sealed context stays what it is, whatever SQL does to it: to the end of the transaction, or until somebody brings the
//! key.

mod common;

use common::*;
use orgscope_cluster::Options;
use postgres::Client;
use std::time::{Duration, Instant};

const COUNT: &str = "SELECT count(*) FROM ticket";
const KEY: &str = "a key of the pool, 0123456789";
const ORG: &str = "SELECT orgscope.current_org()";

/// What the pool does with a connection that it hands out.
fn check_out(client: &mut Client, org: &str) {
    let parameters: [&(dyn postgres::types::ToSql + Sync); 2] = [&org, &KEY];
    let sql = "SELECT orgscope.seal_context($2), o FROM set_config('orgscope.current_org', $1, true) o";
    client.query(sql, &parameters).unwrap_or_else(|e| panic!("{}", describe(&e)));
}

fn unseal(client: &mut Client, key: &str) -> Result<bool, String> {
    let row = client.query_one("SELECT orgscope.unseal_context($1)", &[&key]).map_err(|e| code(&e))?;
    Ok(row.get(0))
}

fn set_config_to(org: &str) -> String {
    format!("SELECT set_config('orgscope.current_org', '{org}', true)")
}

/// Everything that changes a setting. Those that need to be alone in their transaction, then the others.
fn changes() -> ([&'static str; 2], Vec<String>) {
    let mut inside =
        vec!["RESET orgscope.current_org".into(), "RESET ALL".into(), "SELECT orgscope.clear_current_org()".into()];
    inside.push("SET orgscope.current_org TO DEFAULT".into());
    inside.push("SET LOCAL orgscope.current_org = ''".into());
    inside.push("SELECT set_config('orgscope.current_org', '', true)".into());
    inside.push("SELECT of_b()".into());
    for way in ["SET LOCAL orgscope.current_org = '{}'", "SELECT orgscope.set_current_org('{}')"] {
        inside.push(way.replace("{}", B));
    }
    inside.push(set_config_to(B));
    inside.push(set_config_to(B).replace("true", "false"));
    (["DISCARD ALL", "SET orgscope.current_org = ''"], inside)
}

fn world(name: &str) -> World {
    let world = World::new(name);
    run(
        &mut world.superuser(),
        &format!(
            "CREATE FUNCTION of_b() RETURNS bigint LANGUAGE sql SET orgscope.current_org = '{B}'
             AS 'SELECT count(*) FROM ticket'"
        ),
    );
    world
}

/// Without the seal the same statements change the context: that is what it is for.
#[test]
fn unsealed_contexts_change() {
    let world = world("unsealed");
    run(&mut world.superuser(), "ALTER ROLE app IN DATABASE unsealed SET orgscope.context_change = 'free'");
    let mut app = world.app();
    for change in changes().1 {
        begin(&mut app, A);
        assert_eq!(one(&mut app, COUNT), "2");
        assert_eq!(state(&mut app, &change), "00000", "{change}");
        assert!(change.contains("of_b") || one(&mut app, ORG) != A, "{change}");
        run(&mut app, "ROLLBACK");
    }
    run(
        &mut app,
        &format!(
            "BEGIN; SET LOCAL orgscope.current_org = '{A}'; COMMIT; BEGIN; SET LOCAL orgscope.current_org = '{B}'"
        ),
    );
    assert_eq!(one(&mut app, COUNT), "3");
}

#[test]
fn a_seal_without_a_key_holds_to_the_end_of_its_transaction() {
    let world = world("sealed_transaction");
    run(&mut world.superuser(), "ALTER ROLE app IN DATABASE sealed_transaction SET orgscope.context_change = 'free'");
    let mut app = world.app();
    refused(&mut app, "OS001", "SELECT orgscope.seal_context()");
    for change in changes().1 {
        begin(&mut app, A);
        run(&mut app, "SELECT orgscope.seal_context(); SELECT orgscope.seal_context(); SAVEPOINT s");
        refused(&mut app, "OS003", &change);
        run(&mut app, "ROLLBACK TO s");
        assert_eq!(one(&mut app, ORG), A, "{change}");
        assert_eq!(one(&mut app, COUNT), "2");
        run(&mut app, &format!("SET LOCAL orgscope.current_org = '{A}'"));
        run(&mut app, "COMMIT");
        refused(&mut app, "OS001", COUNT);
    }
    for end in ["COMMIT", "ROLLBACK"] {
        run(&mut app, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; SELECT orgscope.seal_context(); {end}"));
        assert_eq!(rows_under(&mut app, B, COUNT), ["3"]);
    }
    // It takes no key, and no key opens it.
    begin(&mut app, A);
    run(&mut app, "SELECT orgscope.seal_context(); SAVEPOINT s");
    refused(&mut app, "OS003", &format!("SELECT orgscope.seal_context('{KEY}')"));
    run(&mut app, "ROLLBACK TO s");
    refused(&mut app, "OS003", &format!("SELECT orgscope.unseal_context('{KEY}')"));
    run(&mut app, "ROLLBACK");
}

/// Ways that run no check of ours: they have no effect on what is in force, and the setting follows again.
#[test]
fn what_cannot_be_refused_has_no_effect() {
    // Of its own: other tests' workers would take the places.
    let world = World::in_own_cluster(&Options::default());
    let mut app = world.app();
    run(
        &mut app,
        "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0",
    );
    let look = |app: &mut Client| {
        assert_eq!(one(app, COUNT), "2");
        assert_eq!(one(app, "SELECT current_setting('orgscope.current_org')"), A);
        force_parallel(app, "on");
        assert_eq!(one(app, COUNT), "2");
        let plan = rows(app, "EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM ticket");
        assert!(plan.iter().any(|line| line.contains("Workers Launched: ") && !line.ends_with(" 0")), "{plan:#?}");
        assert_eq!(one(app, "SELECT current_setting('orgscope.current_org')"), A);
        force_parallel(app, "off");
    };
    // set_config with NULL is RESET.
    begin(&mut app, A);
    run(&mut app, "SELECT orgscope.seal_context(); SELECT set_config('orgscope.current_org', NULL, false)");
    look(&mut app);
    let both = "SELECT set_config('orgscope.current_org', NULL, true), count(*) FROM ticket";
    assert_eq!(one(&mut app, both), "|2");
    look(&mut app);
    run(&mut app, "COMMIT");
    // A savepoint from before the context, and from before the seal.
    run(
        &mut app,
        &format!("BEGIN; SAVEPOINT s; SET LOCAL orgscope.current_org = '{A}'; SELECT orgscope.seal_context()"),
    );
    run(&mut app, "ROLLBACK TO s");
    look(&mut app);
    run(&mut app, "COMMIT");
    refused(&mut app, "OS001", COUNT);
    // The end of a function's SET clause, and of an exception block.
    run(
        &mut world.superuser(),
        &format!(
            "CREATE FUNCTION seals() RETURNS void LANGUAGE sql SET orgscope.current_org = '{A}' AS 'SELECT orgscope.seal_context()';
             CREATE FUNCTION fails() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM set_config('orgscope.current_org', '{A}', true), orgscope.seal_context();
                 RAISE division_by_zero;
             EXCEPTION WHEN division_by_zero THEN END $$"
        ),
    );
    for function in ["seals()", "fails()"] {
        run(&mut app, &format!("BEGIN; SELECT {function}"));
        if one(&mut app, ORG) == A {
            look(&mut app);
        }
        run(&mut app, "COMMIT");
    }
}

#[test]
fn a_seal_with_a_key_holds_over_transactions() {
    let world = world("sealed_session");
    let mut app = world.app();
    check_out(&mut app, A);
    let (alone, inside) = changes();
    for change in alone.into_iter().map(String::from).chain(inside) {
        refused(&mut app, "OS003", &change);
        assert_eq!(one(&mut app, COUNT), "2", "{change}");
        refused(&mut app, "OS003", &format!("BEGIN; {change}"));
        run(&mut app, "ROLLBACK");
        assert_eq!(one(&mut app, COUNT), "2", "{change}");
    }
    for end in ["COMMIT", "ROLLBACK", "PREPARE TRANSACTION 'x'"] {
        run(&mut app, "BEGIN");
        assert_eq!(one(&mut app, COUNT), "2");
        // PostgreSQL is not configured for prepared transactions, which is a rollback.
        let _ = app.batch_execute(end);
        assert_eq!(one(&mut app, "SELECT current_setting('orgscope.current_org')"), A);
    }
    run(&mut app, "BEGIN; SAVEPOINT s; SELECT set_config('orgscope.current_org', NULL, false); ROLLBACK TO s; COMMIT");
    run(&mut app, "SELECT set_config('orgscope.current_org', NULL, false)");
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "INSERT INTO ticket VALUES (3, 'x')");
    refused(&mut app, "OS002", &format!("INSERT INTO ticket VALUES (4, 'x', '{B}')"));
    // Other ways to be somebody else.
    run(&mut app, "SELECT orgscope.seal_context()");
    assert_eq!(unseal(&mut app, KEY), Ok(true));
    refused(&mut app, "OS001", COUNT);
    assert_eq!(unseal(&mut app, KEY), Ok(false));
    check_out(&mut app, B);
    assert_eq!(one(&mut app, COUNT), "3");
    assert_eq!(unseal(&mut app, KEY), Ok(true));
    run(&mut app, "DISCARD ALL");
    run(&mut app, "RESET ALL");
    assert_eq!(rows_under(&mut app, A, COUNT), ["3"]);
}

/// It is there against SQL that nobody has meant to send, and ROLLBACK is such SQL as well.
#[test]
fn no_rollback_undoes_a_seal_or_its_end() {
    let world = world("sealed_rollback");
    let mut app = world.app();
    run(&mut app, "BEGIN");
    check_out(&mut app, A);
    run(&mut app, "ROLLBACK");
    assert_eq!(one(&mut app, COUNT), "2");
    refused(&mut app, "OS003", &set_config_to(B));
    run(&mut app, "BEGIN");
    assert_eq!(unseal(&mut app, KEY), Ok(true));
    run(&mut app, "ROLLBACK");
    refused(&mut app, "OS001", COUNT);
    assert_eq!(rows_under(&mut app, B, COUNT), ["3"]);
}

#[test]
fn roles_change_under_a_seal() {
    let world = world("sealed_roles");
    let mut admin = world.superuser();
    check_out(&mut admin, A);
    run(&mut admin, "SET ROLE app");
    assert_eq!(one(&mut admin, COUNT), "2");
    run(&mut admin, "RESET ROLE; SET SESSION AUTHORIZATION app");
    assert_eq!(one(&mut admin, COUNT), "2");
    refused(&mut admin, "OS003", "DISCARD ALL");
    run(&mut admin, "RESET SESSION AUTHORIZATION");
    // Nor does break-glass.
    refused(&mut admin, "OS003", &format!("SELECT orgscope.break_glass('{B}', 'why')"));
    assert_eq!(unseal(&mut admin, KEY), Ok(true));
    run(&mut admin, &format!("SELECT orgscope.break_glass('{B}', 'why')"));
    refused(&mut admin, "OS003", "SELECT orgscope.seal_context()");
    run(&mut admin, "SELECT orgscope.end_break_glass()");
    // Asked for, and not yet open.
    begin(&mut admin, A);
    run(&mut admin, &format!("SELECT orgscope.break_glass('{B}', 'why')"));
    refused(&mut admin, "OS003", &format!("SELECT orgscope.seal_context('{KEY}')"));
}

#[test]
fn a_wrong_key_takes_time_and_is_on_record() {
    let world = world("wrong_key");
    let mut app = world.app();
    check_out(&mut app, A);
    let (mut last, wrong) = (Duration::ZERO, "certainly not the key of the pool");
    for _ in 0..3 {
        let started = Instant::now();
        assert_eq!(unseal(&mut app, wrong), Err("OS003".into()));
        let taken = started.elapsed();
        assert!(taken > last && taken >= Duration::from_millis(100), "{taken:?} after {last:?}");
        last = taken;
    }
    // Another key to seal with tells no more than one to unseal with.
    let started = Instant::now();
    refused(&mut app, "OS003", &format!("SELECT orgscope.seal_context('{wrong}')"));
    assert!(started.elapsed() > last);
    // Who does not wait for the end is on record too, and no further key is looked at before it.
    run(&mut app, "SET statement_timeout = '50ms'");
    for _ in 0..5 {
        refused(&mut app, "57014", &format!("SELECT orgscope.unseal_context('{wrong}')"));
    }
    run(&mut app, "BEGIN; SET LOCAL statement_timeout = 0");
    refused(&mut app, "OS003", &format!("SELECT orgscope.unseal_context('{wrong}')"));
    run(&mut app, "ROLLBACK; SET statement_timeout = 0");
    let started = Instant::now();
    check_out(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    assert_eq!(unseal(&mut app, KEY), Ok(true));
    assert!(started.elapsed() < Duration::from_millis(100), "the right key costs nothing");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let recorded =
        "SELECT sum(event_count), bool_and(organization_id IS NOT NULL), min(role_name) FROM orgscope.audit_log
        WHERE action = 'denied' AND detail ->> 'message' = 'key does not open the seal of the context'";
    assert_eq!(rows(&mut admin, recorded), ["6|t|app"]);
}

/// A statement that holds a key as text is kept nowhere by us.
#[test]
fn no_key_is_kept() {
    let world = World::in_own_cluster(&Options::default());
    let mut dba = world.dba();
    let (key, wrong) = ("0123456789-right-key", "0123456789-wrong-key");
    run(
        &mut world.superuser(),
        "CREATE FUNCTION bring(text) RETURNS bigint LANGUAGE sql AS 'SELECT orgscope.seal_context($1); SELECT count(*) FROM ticket';
         ALTER FUNCTION bring VOLATILE",
    );
    run(
        &mut dba,
        &format!(
            "BEGIN; SET LOCAL orgscope.current_org = '{A}'; SELECT orgscope.seal_context('{key}'); SELECT * FROM ticket; COMMIT"
        ),
    );
    run(&mut dba, &format!("SELECT orgscope . \"seal_context\"  ( '{key}' ) FROM ticket"));
    run(&mut dba, &format!("SELECT bring('{key}')"));
    for sql in ["unseal_context('{}')", "seal_context('{}')", "UNSEAL_CONTEXT('{}')", "unseal_context('{}'::varchar)"] {
        refused(&mut dba, "OS003", &format!("SELECT orgscope.{}", sql.replace("{}", wrong)));
    }
    refused(&mut dba, "OS003", "SELECT orgscope.unseal_context('0123456789-')");
    run(&mut dba, &format!("SELECT count(*) FROM ticket; SELECT orgscope.unseal_context('{key}')"));
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let held = "SELECT count(*) FROM orgscope.audit_log l WHERE l::text LIKE '%0123456789-%'";
    assert_eq!(one(&mut admin, held), "0");
    let hidden =
        "SELECT count(*) > 3 FROM orgscope.audit_log WHERE statement = '(not kept: it holds the key of a seal)'";
    assert_eq!(one(&mut admin, hidden), "t");
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    assert!(log.contains("key does not open the seal") && !log.contains("0123456789-"), "{log}");
    // A parameter is not part of the text, which is then worth keeping.
    run(&mut dba, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'"));
    dba.query("SELECT orgscope.seal_context($1), count(*) FROM ticket", &[&key]).unwrap();
    run(&mut dba, "COMMIT");
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let kept = "SELECT count(*) FROM orgscope.audit_log WHERE statement LIKE '%seal_context($1)%'";
    assert_eq!(one(&mut admin, kept), "1");
}

#[test]
fn any_key_but_none_is_a_key() {
    let world = World::new("keys_of_seals");
    let mut app = world.app();
    begin(&mut app, A);
    run(&mut app, "SAVEPOINT s");
    for (state, argument) in [("22004", "NULL"), ("22023", "''")] {
        refused(&mut app, state, &format!("SELECT orgscope.seal_context({argument})"));
        run(&mut app, "ROLLBACK TO s");
    }
    refused(&mut app, "22004", "SELECT orgscope.unseal_context(NULL)");
    run(&mut app, "ROLLBACK TO s");
    assert_eq!(one(&mut app, "SELECT orgscope.unseal_context('')"), "f");
    run(&mut app, "SELECT orgscope.seal_context('ü'); SELECT orgscope.seal_context('ü'); COMMIT");
    // However short, another key is a wrong one: it costs its time and is on record.
    let begun = Instant::now();
    for key in ["", "u", "short"] {
        assert_eq!(unseal(&mut app, key), Err("OS003".into()), "{key}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(700));
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let wrong = "SELECT sum(event_count) FROM orgscope.audit_log WHERE sqlstate = 'OS003' AND detail ->> 'message' ~ '^key does not'";
    assert_eq!(one(&mut admin, wrong), "3");
    assert_eq!(unseal(&mut app, "ü"), Ok(true));
}

#[test]
fn a_suspension_holds_under_a_seal() {
    let world = world("sealed_suspended");
    let mut app = world.app();
    check_out(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut world.superuser(), &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'"));
    refused(&mut app, "OS004", COUNT);
    assert_eq!(unseal(&mut app, KEY), Ok(true));
}

/// A lifetime that lets the connection's organization count again when the seal is gone.
#[test]
fn an_organization_of_the_connection_is_sealed_and_comes_back() {
    let world = world("sealed_connection");
    let role = "CREATE ROLE sealed_connection LOGIN IN ROLE app;
        ALTER ROLE sealed_connection IN DATABASE sealed_connection SET orgscope.context_lifetime = 'connection'";
    run(&mut world.superuser(), role);
    let mut client = world.connect_with("sealed_connection", &format!("-c orgscope.current_org={A}")).unwrap();
    run(&mut client, &format!("SELECT orgscope.seal_context('{KEY}')"));
    refused(&mut client, "OS003", &set_config_to(B));
    refused(&mut client, "OS003", "RESET ALL");
    assert_eq!(one(&mut client, COUNT), "2");
    assert_eq!(unseal(&mut client, KEY), Ok(true));
    assert_eq!(one(&mut client, COUNT), "2");
    assert_eq!(rows_under(&mut client, B, COUNT), ["3"]);
}
