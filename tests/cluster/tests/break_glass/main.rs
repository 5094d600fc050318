//! Break-glass: one organization, for some minutes, on record in its own log.

#[path = "../common/mod.rs"]
mod common;
mod ends;

use std::io::Read;
use std::sync::OnceLock;

use common::*;
use postgres::Client;

const COUNT: &str = "SELECT count(*) FROM ticket";

/// A world with the role `support`, whom row security holds and who may break the glass.
fn world(database: &str) -> World {
    static ROLE_MADE: OnceLock<()> = OnceLock::new();
    let world = World::new(database);
    ROLE_MADE.get_or_init(|| run(&mut world.superuser(), "CREATE ROLE support LOGIN"));
    let grants = "GRANT EXECUTE ON FUNCTION orgscope.break_glass TO support;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ticket, comment TO support";
    run(&mut world.superuser(), grants);
    world
}

fn open(client: &mut Client, org: &str, more: &str) {
    one(client, &format!("SELECT orgscope.break_glass('{org}', 'case 4711'{more}) > now()"));
}

/// What was recorded, in order.
fn record(world: &World) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        "SELECT operation, left(organization_id::text, 1), event_count, role_name, reason, statement, detail - 'expires_at' - 'expired_at', txid IS NULL
         FROM orgscope.audit_log WHERE action = 'break_glass' ORDER BY at, id",
    )
}

fn operations(world: &World) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        "SELECT operation, left(organization_id::text, 1), event_count, detail ->> 'why'
         FROM orgscope.audit_log WHERE action = 'break_glass' ORDER BY at, id",
    )
}

#[test]
fn one_organization_over_several_transactions() {
    let world = world("glass");
    let mut support = world.connect("support");
    refused(&mut support, "OS001", COUNT);
    open(&mut support, B, "");
    assert_eq!(one(&mut support, COUNT), "3");
    run(&mut support, "BEGIN");
    assert_eq!(rows(&mut support, "SELECT DISTINCT organization_id FROM ticket"), [B]);
    assert_eq!(one(&mut support, "SELECT name FROM orgscope.current_organization()"), "Globex");
    assert_eq!(one(&mut support, "SELECT current_setting('orgscope.current_org')"), B);
    run(&mut support, "COMMIT");
    assert_eq!(one(&mut support, "SELECT orgscope.end_break_glass()"), "t");
    refused(&mut support, "OS001", COUNT);
    assert_eq!(one(&mut support, "SELECT orgscope.end_break_glass()"), "f");
    let use_of = |sql: &str| format!("USE|b|1|support|case 4711|{sql}|-|f");
    assert_eq!(
        record(&world),
        [
            format!("OPEN|b|1|support|case 4711|-|{}|f", r#"{"minutes": 60, "writable": false}"#),
            use_of(COUNT),
            use_of("SELECT DISTINCT organization_id FROM ticket"),
            use_of("SELECT name FROM orgscope.current_organization()"),
            format!("CLOSE|b|1|support|case 4711|-|{}|f", r#"{"why": "closed"}"#),
        ]
    );
    // The organization reads it, and nobody else's.
    let log = "SELECT count(*) FROM orgscope.audit_log WHERE action = 'break_glass'";
    assert_eq!(rows_under(&mut world.app(), B, log), ["5"]);
    assert_eq!(rows_under(&mut world.app(), A, log), ["0"]);
}

#[test]
fn who_may_and_what_is_asked() {
    let world = world("glass_may");
    let call = format!("SELECT orgscope.break_glass('{A}', 'why')");
    for user in ["app", "owner", "dba"] {
        refused(&mut world.connect(user), "42501", &call);
    }
    let mut support = world.connect("support");
    for (arguments, sqlstate) in [
        ("NULL, 'why'".into(), "22004"),
        (format!("'{A}', NULL"), "22023"),
        (format!("'{A}', ' \t'"), "22023"),
        (format!("'{A}', U&'\\200B\\00A0\\2060-'"), "22023"),
        (format!("'{A}', 'why', 0"), "22023"),
        (format!("'{A}', 'why', 1441"), "22023"),
        (format!("'{A}', 'why', NULL"), "22023"),
        ("'dddddddd-0000-7000-8000-000000000004', 'why'".into(), "OS004"),
    ] {
        refused(&mut support, sqlstate, &format!("SELECT orgscope.break_glass({arguments})"));
        refused(&mut support, "OS001", COUNT);
    }
    run(&mut world.superuser(), &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'"));
    refused(&mut support, "OS004", &call);
    // What cannot be put on record is not opened.
    refused(&mut support, "25006", &format!("BEGIN READ ONLY; SELECT orgscope.break_glass('{B}', 'why')"));
    run(&mut support, "ROLLBACK");
    refused(&mut support, "OS001", COUNT);
    assert_eq!(record(&world), [""; 0]);
}

#[test]
fn an_opening_that_is_not_on_record_does_not_happen() {
    let world = world("glass_rollback");
    let mut support = world.connect("support");
    run(&mut support, "BEGIN");
    open(&mut support, A, "");
    refused(&mut support, "OS001", COUNT);
    run(&mut support, "ROLLBACK");
    refused(&mut support, "OS001", COUNT);

    run(&mut support, "BEGIN; SAVEPOINT s");
    open(&mut support, A, "");
    run(&mut support, "ROLLBACK TO s; COMMIT");
    refused(&mut support, "OS001", COUNT);

    run(&mut support, "BEGIN; SAVEPOINT s");
    open(&mut support, A, "");
    refused(&mut support, "OS003", &format!("SELECT orgscope.break_glass('{B}', 'why')"));
    run(&mut support, "ROLLBACK");

    // A transaction that fails at its very end.
    let late = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$late$$; END';
        CREATE TABLE doomed (id int); GRANT INSERT ON doomed TO support;
        CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON doomed INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()";
    run(&mut world.superuser(), late);
    run(&mut support, "BEGIN; INSERT INTO doomed VALUES (1)");
    open(&mut support, A, "");
    refused(&mut support, "P0001", "COMMIT");
    refused(&mut support, "OS001", COUNT);
    let rolled_back = record(&world);
    let marked = |row: &String| row.starts_with("OPEN|a|") && row.contains(r#""rolled_back": true"#);
    assert!(!rolled_back.is_empty() && rolled_back.iter().all(marked), "{rolled_back:?}");

    run(&mut support, "BEGIN; SAVEPOINT s; SAVEPOINT t");
    open(&mut support, A, "");
    run(&mut support, "RELEASE t; RELEASE s; COMMIT");
    assert_eq!(one(&mut support, COUNT), "2");
    assert_eq!(operations(&world).split_off(rolled_back.len()), ["OPEN|a|1|-", "USE|a|1|-"]);
}

#[test]
fn read_only_unless_asked() {
    let world = world("glass_writes");
    let mut support = world.connect("support");
    open(&mut support, A, "");
    for sql in [
        "INSERT INTO ticket VALUES (3, 'x')",
        "UPDATE ticket SET title = 'x'",
        "UPDATE ticket SET title = 'x' WHERE false",
        "DELETE FROM ticket",
        "MERGE INTO ticket t USING (SELECT 1 AS id) n ON t.id = n.id WHEN MATCHED THEN DELETE",
        "WITH x AS (DELETE FROM comment RETURNING 1) SELECT count(*) FROM x",
        &format!("SET LOCAL orgscope.current_org = '{A}'; UPDATE ticket SET title = 'x'"),
        &format!("SELECT orgscope.set_current_org('{A}'); UPDATE ticket SET title = 'x'"),
    ] {
        let error = refused(&mut support, "OS003", sql);
        assert!(error.table().is_some(), "{sql}");
    }
    assert_eq!(one(&mut support, COUNT), "2");
    run(&mut support, "SELECT orgscope.end_break_glass()");
    open(&mut support, A, ", writable => true");
    run(&mut support, "UPDATE ticket SET title = 'x' WHERE id IN (1, 11)");
    refused(&mut support, "OS002", &format!("INSERT INTO ticket VALUES (50, 'x', '{B}')"));
    assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM ticket WHERE title = 'x'"), "1");
    // An ordinary context writes as ever.
    rows_under(&mut world.app(), A, "UPDATE ticket SET title = 'y'");
}

#[test]
fn no_other_organization_while_it_is_open() {
    let world = world("glass_one");
    let mut support = world.connect("support");
    open(&mut support, A, "");
    for set in [
        format!("SET LOCAL orgscope.current_org = '{B}'"),
        format!("SELECT set_config('orgscope.current_org', '{B}', true)"),
        format!("SELECT set_config('orgscope.current_org', '{B}', false)"),
        format!("SELECT orgscope.set_current_org('{B}')"),
        format!("SELECT orgscope.clear_current_org(); SET LOCAL orgscope.current_org = '{B}'"),
        format!("SELECT orgscope.end_break_glass(); SET LOCAL orgscope.current_org = '{B}'"),
        format!("SELECT orgscope.break_glass('{B}', 'why')"),
        format!("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET orgscope.current_org = '{B}' AS 'SELECT 1'"),
    ] {
        run(&mut support, "BEGIN");
        refused(&mut support, "OS003", &set);
        run(&mut support, "ROLLBACK");
        assert_eq!(one(&mut support, COUNT), "2", "{set}");
    }
    run(&mut support, "SELECT orgscope.end_break_glass()");
    assert_eq!(rows_under(&mut support, B, COUNT), ["3"]);
    refused(&mut support, "OS001", COUNT);
}

#[test]
fn another_role_of_the_session_has_no_context() {
    let world = world("glass_role");
    run(&mut world.superuser(), "GRANT app TO support");
    let mut support = world.connect("support");
    open(&mut support, A, "");
    let error = refused(&mut support, "OS001", &format!("BEGIN; SET LOCAL ROLE app; {COUNT}"));
    assert_eq!(error.detail(), Some("The break-glass of this session was opened under another role."));
    run(&mut support, "ROLLBACK");
    assert_eq!(one(&mut support, COUNT), "2");
    // A definer function is not another role of the session.
    run(
        &mut world.owner(),
        "CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM ticket'",
    );
    assert_eq!(one(&mut support, "SELECT counted()"), "2");
}

#[test]
fn a_use_that_rolls_back_or_cannot_be_written_is_on_record() {
    let world = world("glass_later");
    let mut support = world.connect("support");
    open(&mut support, A, "");
    for _ in 0..2 {
        run(&mut support, &format!("BEGIN; {COUNT}"));
        run(&mut support, "ROLLBACK");
    }
    run(&mut support, "BEGIN READ ONLY");
    run(&mut support, "SELECT title FROM ticket");
    run(&mut support, "COMMIT");
    run(&mut support, &format!("BEGIN; SAVEPOINT s; {COUNT}; ROLLBACK TO s; COMMIT"));
    refused(&mut support, "22012", "SELECT 1 / (id - id) FROM ticket");
    // A plan that was made before, and statements that use nothing of it.
    run(&mut support, "PREPARE p AS SELECT count(*) FROM ticket; EXPLAIN SELECT count(*) FROM ticket");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let uses = rows(
        &mut admin,
        "SELECT left(organization_id::text, 1), sum(event_count), role_name, login_name, reason, statement, detail
         FROM orgscope.audit_log WHERE operation = 'USE' GROUP BY 1, 3, 4, 5, 6, 7 ORDER BY min(at)",
    );
    let back = r#"|{"rolled_back": true}"#;
    assert_eq!(
        uses,
        [
            format!("a|2|support|support|case 4711|BEGIN; {COUNT}{back}"),
            "a|1|support|support|case 4711|SELECT title FROM ticket|-".into(),
            format!("a|1|support|support|case 4711|BEGIN; SAVEPOINT s; {COUNT}; ROLLBACK TO s; COMMIT{back}"),
            format!("a|1|support|support|case 4711|SELECT 1 / (id - id) FROM ticket{back}"),
        ]
    );
    run(&mut support, "BEGIN; SELECT orgscope.end_break_glass()");
    run(&mut support, "SET TRANSACTION READ ONLY");
    run(&mut support, "COMMIT");
    refused(&mut support, "OS001", COUNT);
    assert_eq!(operations(&world).last().unwrap(), "CLOSE|a|1|closed");
    // One that is not opened after all.
    run(&mut support, "BEGIN");
    open(&mut support, B, "");
    run(&mut support, "ROLLBACK");
    assert!(record(&world).last().unwrap().contains(r#""rolled_back": true"#), "{:?}", record(&world));
}

#[test]
fn uses_are_counted_once_for_each_statement() {
    let world = world("glass_uses");
    let mut support = world.connect("support");
    open(&mut support, A, "");
    run(&mut support, "BEGIN");
    for _ in 0..3 {
        run(&mut support, COUNT);
    }
    run(&mut support, "DO $$ BEGIN FOR i IN 1..5 LOOP PERFORM count(*) FROM ticket; END LOOP; END $$");
    let mut copied = String::new();
    support.copy_out("COPY ticket TO STDOUT").unwrap().read_to_string(&mut copied).unwrap();
    assert_eq!(copied.lines().count(), 2);
    run(&mut support, "SELECT 1");
    run(&mut support, "COMMIT");
    for _ in 0..2 {
        // Parse, bind and execute have a time each.
        assert_eq!(support.query_one("SELECT count(*) FROM ticket", &[]).unwrap().get::<_, i64>(0), 2);
    }
    let uses: Vec<String> = operations(&world).split_off(1);
    assert_eq!(uses, ["USE|a|3|-", "USE|a|1|-", "USE|a|1|-", "USE|a|1|-", "USE|a|1|-"]);
}

#[test]
fn a_prepared_transaction_opens_nothing() {
    let options = orgscope_cluster::Options::default().line("max_prepared_transactions = 2");
    let world = World::in_own_cluster(&options);
    let mut admin = world.superuser();
    run(&mut admin, "BEGIN");
    open(&mut admin, A, "");
    refused(&mut admin, "0A000", "PREPARE TRANSACTION 'x'");
    refused(&mut world.app(), "OS001", COUNT);
    assert_eq!(operations(&world), ["OPEN|a|1|-"], "rolled back");
    open(&mut admin, A, "");
    run(&mut admin, "BEGIN; SELECT orgscope.end_break_glass(); PREPARE TRANSACTION 'x'");
    run(&mut admin, "ROLLBACK PREPARED 'x'");
    assert_eq!(operations(&world)[1..], ["OPEN|a|1|-", "CLOSE|a|1|closed"]);
}

#[test]
fn workers_have_it() {
    let world = world("glass_workers");
    let mut support = world.connect("support");
    force_parallel(&mut support, "on");
    open(&mut support, A, "");
    for _ in 0..2 {
        assert_eq!(one(&mut support, "SELECT count(*) FROM ticket"), "2");
    }
    run(&mut support, "SELECT orgscope.end_break_glass()");
    refused(&mut support, "OS001", COUNT);
}
