//! What gives a role or a session the means to step around row security is on record.

mod common;

use common::*;
use orgscope_cluster::Options;

/// A world of its own: roles and ALTER SYSTEM are the whole cluster's.
fn world() -> World {
    let world = World::in_own_cluster(&Options::default().line("max_prepared_transactions = 2"));
    run(
        &mut world.superuser(),
        "CREATE ROLE deputy IN ROLE dba; CREATE ROLE second LOGIN; CREATE ROLE harmless; GRANT dba TO second",
    );
    world
}

fn record(world: &World) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        "SELECT action, operation, detail, role_name, event_count, txid IS NULL FROM orgscope.audit_log
         WHERE action IN ('privilege', 'setting') ORDER BY id",
    )
}

/// What a statement adds, `action|operation|detail|role`.
fn added(world: &World, user: &str, sql: &str) -> Vec<String> {
    let before = record(world).len();
    let mut client = world.connect(user);
    for sql in sql.split("; ") {
        run(&mut client, sql);
    }
    let added = record(world).split_off(before);
    // A command's record is its transaction's; what a session does to itself waits for none.
    let by_itself = |row: &str| row.starts_with("privilege|SET ROLE|") || row.starts_with("setting|SET|");
    let end = |row: &str| if by_itself(row) { "|1|t" } else { "|1|f" };
    added.into_iter().map(|row| row.strip_suffix(end(&row)).map_or(row.clone(), str::to_owned)).collect()
}

#[test]
fn who_is_let_outside_row_security() {
    let world = world();
    let admin = "postgres";
    let by = |operation: &str, detail: &str| vec![format!("privilege|{operation}|{detail}|postgres")];
    for (sql, operation, detail) in [
        ("ALTER ROLE harmless BYPASSRLS", "ALTER ROLE", r#"{"role": "harmless", "bypassrls": true}"#),
        ("ALTER ROLE harmless SUPERUSER NOBYPASSRLS", "ALTER ROLE", r#"{"role": "harmless", "superuser": true}"#),
        ("CREATE ROLE r1 SUPERUSER", "CREATE ROLE", r#"{"role": "r1", "superuser": true}"#),
        ("CREATE USER r2 BYPASSRLS PASSWORD 'secret'", "CREATE ROLE", r#"{"role": "r2", "bypassrls": true}"#),
        ("CREATE ROLE r3 IN ROLE deputy", "CREATE ROLE", r#"{"role": "r3"}"#),
        ("CREATE ROLE r4 IN ROLE dba ROLE app", "CREATE ROLE", r#"{"role": "r4"}"#),
        ("ALTER GROUP deputy ADD USER app", "ALTER ROLE", r#"{"role": "deputy"}"#),
        ("GRANT dba TO app, owner", "GRANT", r#"{"to": ["app", "owner"], "granted": ["dba"]}"#),
        ("GRANT deputy TO app", "GRANT", r#"{"to": ["app"], "granted": ["deputy"]}"#),
        ("GRANT r3, pg_monitor TO app", "GRANT", r#"{"to": ["app"], "granted": ["r3"]}"#),
        ("BEGIN; GRANT dba TO app; COMMIT", "GRANT", r#"{"to": ["app"], "granted": ["dba"]}"#),
        ("GRANT pg_read_server_files TO app", "GRANT", r#"{"to": ["app"], "granted": ["pg_read_server_files"]}"#),
        ("GRANT pg_write_server_files TO app", "GRANT", r#"{"to": ["app"], "granted": ["pg_write_server_files"]}"#),
        ("CREATE ROLE r5 IN ROLE pg_execute_server_program", "CREATE ROLE", r#"{"role": "r5"}"#),
        (
            "GRANT SET, ALTER SYSTEM ON PARAMETER OrgScope.bypass, work_mem, session_replication_role TO app",
            "GRANT",
            r#"{"to": ["app"], "settings": ["orgscope.bypass", "session_replication_role"], "privileges": ["set", "alter system"]}"#,
        ),
        (
            "GRANT ALL ON PARAMETER row_security TO PUBLIC",
            "GRANT",
            r#"{"to": ["public"], "settings": ["row_security"], "privileges": ["all"]}"#,
        ),
        ("DO 'BEGIN ALTER ROLE r1 BYPASSRLS;END'", "ALTER ROLE", r#"{"role": "r1", "bypassrls": true}"#),
    ] {
        assert_eq!(added(&world, admin, sql), by(operation, detail), "{sql}");
    }
    for sql in [
        "ALTER ROLE harmless NOSUPERUSER",
        "ALTER GROUP deputy DROP USER app",
        "GRANT SET ON PARAMETER work_mem TO app",
        "GRANT SELECT ON ticket TO app",
        "REVOKE ALL ON PARAMETER orgscope.bypass FROM app",
        "CREATE ROLE r7 LOGIN",
        "GRANT harmless TO owner",
        "GRANT pg_read_all_data TO app",
        "REVOKE dba FROM app",
        "ALTER ROLE r7 RENAME TO r8",
        "DROP ROLE r8",
    ] {
        assert_eq!(added(&world, admin, sql), [""; 0], "{sql}");
    }
    let secrets = "SELECT count(*) FROM orgscope.audit_log WHERE statement ILIKE '%password%'";
    assert_eq!(one(&mut world.superuser(), secrets), "0");
    // No tenant reads it.
    let log = "SELECT count(*) FROM orgscope.audit_log WHERE action = 'privilege'";
    assert_eq!(rows_under(&mut world.app(), A, log), ["0"]);
}

#[test]
fn a_session_that_turns_to_such_a_role() {
    let world = world();
    let note = r#"privilege|SET ROLE|{"role": "dba"}|dba"#;
    run(
        &mut world.superuser(),
        "CREATE FUNCTION as_dba() RETURNS bigint LANGUAGE sql SET role = 'dba' AS 'SELECT count(*) FROM ticket'",
    );
    for sql in [
        "SET ROLE dba",
        "BEGIN; SET LOCAL ROLE dba; COMMIT",
        "SELECT set_config('role', 'dba', false)",
        "BEGIN; SELECT set_config('role', 'dba', true); SELECT count(*) FROM ticket; COMMIT",
        "SELECT as_dba()",
    ] {
        assert_eq!(added(&world, "second", sql), [note], "{sql}");
    }
    run(&mut world.superuser(), "ALTER ROLE second SET role = 'dba'");
    assert_eq!(added(&world, "second", "SELECT 1"), [note]);
    run(&mut world.superuser(), "ALTER ROLE second RESET role");
    for user in ["dba", "postgres"] {
        assert_eq!(added(&world, user, "SET ROLE dba"), [""; 0], "{user} is outside row security itself");
    }
    assert_eq!(added(&world, "postgres", "SET ROLE app; RESET ROLE"), [""; 0]);
    refused(&mut world.app(), "42501", "SET ROLE dba");
    // A characteristic of the transaction may be set behind it.
    run(
        &mut world.connect("second"),
        "BEGIN; SET LOCAL ROLE dba; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; COMMIT",
    );
}

#[test]
fn settings() {
    let world = world();
    for (sql, operation, detail) in [
        (
            "ALTER SYSTEM SET orgscope.drift = 'audit'",
            "ALTER SYSTEM",
            r#"{"name": "orgscope.drift", "role": null, "value": "audit", "database": null}"#,
        ),
        (
            "ALTER SYSTEM RESET orgscope.drift",
            "ALTER SYSTEM",
            r#"{"name": "orgscope.drift", "role": null, "value": null, "database": null}"#,
        ),
        ("ALTER SYSTEM RESET ALL", "ALTER SYSTEM", r#"{"name": "all", "role": null, "value": null, "database": null}"#),
        (
            "ALTER SYSTEM SET session_replication_role = 'origin'",
            "ALTER SYSTEM",
            r#"{"name": "session_replication_role", "role": null, "value": "origin", "database": null}"#,
        ),
        (
            "ALTER ROLE app IN DATABASE test SET OrgScope.require_context = 'off'",
            "ALTER ROLE",
            r#"{"name": "orgscope.require_context", "role": "app", "value": "off", "database": "test"}"#,
        ),
        (
            "ALTER ROLE ALL SET row_security = off",
            "ALTER ROLE",
            r#"{"name": "row_security", "role": null, "value": "off", "database": null}"#,
        ),
        (
            "ALTER DATABASE test RESET ALL",
            "ALTER DATABASE",
            r#"{"name": "all", "role": null, "value": null, "database": "test"}"#,
        ),
        (
            "SET session_replication_role = replica",
            "SET",
            r#"{"name": "session_replication_role", "value": "replica"}"#,
        ),
        (
            "BEGIN; SET LOCAL session_replication_role = replica; COMMIT",
            "SET",
            r#"{"name": "session_replication_role", "value": "replica"}"#,
        ),
        (
            "SELECT set_config('session_replication_role', 'replica', false)",
            "SET",
            r#"{"name": "session_replication_role", "value": "replica"}"#,
        ),
        ("SET orgscope.bypass = deny", "SET", r#"{"name": "orgscope.bypass", "value": "deny"}"#),
        ("SET orgscope.audit_reads = off", "SET", r#"{"name": "orgscope.audit_reads", "value": "off"}"#),
        (
            "BEGIN; SET LOCAL orgscope.audit_reads = off; ROLLBACK",
            "SET",
            r#"{"name": "orgscope.audit_reads", "value": "off"}"#,
        ),
        ("SET orgscope.audit_durability = sync", "SET", r#"{"name": "orgscope.audit_durability", "value": "sync"}"#),
        ("SET orgscope.require_context = 'off'", "SET", r#"{"name": "orgscope.require_context", "value": "off"}"#),
        (
            "SELECT set_config('orgscope.context_change', 'free', false)",
            "SET",
            r#"{"name": "orgscope.context_change", "value": "free"}"#,
        ),
    ] {
        assert_eq!(added(&world, "postgres", sql), [format!("setting|{operation}|{detail}|postgres")], "{sql}");
    }
    for sql in [
        "SET work_mem = '1MB'; SET LOCAL orgscope.actor = 'x'; RESET ALL; DISCARD ALL",
        "ALTER SYSTEM SET work_mem = '4MB'",
        "ALTER ROLE app SET work_mem = '4MB'",
        "SET session_replication_role = origin",
        "SELECT pg_reload_conf(); SELECT pg_sleep(0.2); SELECT 1",
    ] {
        assert_eq!(added(&world, "postgres", sql), [""; 0], "{sql}");
    }
    assert_eq!(
        added(&world, "app", &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; SELECT 1; COMMIT")),
        [""; 0]
    );
    // In the startup packet.
    let before = record(&world).len();
    run(&mut world.connect_with("postgres", "-c orgscope.audit_reads=off").unwrap(), "SELECT * FROM ticket");
    assert_eq!(
        record(&world)[before..],
        [r#"setting|SET|{"name": "orgscope.audit_reads", "value": "off"}|postgres|1|t"#]
    );
    // Any role may do this for itself: it poisons a pool.
    let poison = added(&world, "app", &format!("ALTER ROLE app SET orgscope.current_org = '{B}'"));
    assert_eq!(poison.len(), 1, "{poison:?}");
    run(&mut world.superuser(), "ALTER ROLE app RESET ALL");
}

/// Of everything that this session's transactions took back, or could not write.
#[test]
fn what_rolls_back_or_cannot_write_is_on_record() {
    let world = world();
    let mut second = world.connect("second");
    let set_role = r#"privilege|SET ROLE|{"role": "dba"}|dba|1|t"#;
    for sql in ["BEGIN; SET LOCAL ROLE dba; ROLLBACK", "BEGIN READ ONLY; SET LOCAL ROLE dba; COMMIT"] {
        let before = record(&world).len();
        run(&mut second, sql);
        assert_eq!(record(&world)[before..], [set_role], "{sql}");
    }
    // While the transaction is open.
    let before = record(&world).len();
    run(&mut second, "BEGIN; SET LOCAL ROLE dba");
    assert_eq!(record(&world).len(), before + 1);
    drop(second);

    let mut admin = world.superuser();
    let altered = |detail: &str| format!(r#"privilege|ALTER ROLE|{{{detail}"role": "harmless", "bypassrls": true"#);
    for (sql, rolled_back) in [
        ("BEGIN; ALTER ROLE harmless BYPASSRLS; ROLLBACK", true),
        ("BEGIN; SAVEPOINT s; ALTER ROLE harmless BYPASSRLS; ROLLBACK TO s; COMMIT", true),
        ("BEGIN; SAVEPOINT s; ALTER ROLE harmless BYPASSRLS; RELEASE s; COMMIT", false),
        (
            "DO $$ BEGIN ALTER ROLE harmless BYPASSRLS; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
            true,
        ),
    ] {
        let before = record(&world).len();
        run(&mut admin, sql);
        let added = record(&world).split_off(before);
        let end = if rolled_back { r#", "rolled_back": true}|postgres|1|"# } else { "}|postgres|1|f" };
        assert!(added.len() == 1 && added[0].starts_with(&format!("{}{end}", altered(""))), "{sql}: {added:?}");
    }
    run(&mut admin, "SET default_transaction_read_only = on");
    run(&mut admin, "ALTER SYSTEM RESET orgscope.drift");
    run(&mut admin, "RESET default_transaction_read_only");
    assert!(record(&world).last().unwrap().starts_with("setting|ALTER SYSTEM|"), "{:?}", record(&world));
    // A session that is ended in the middle.
    let mut other = world.superuser();
    run(&mut other, "BEGIN; ALTER ROLE harmless SUPERUSER");
    let pid = one(&mut other, "SELECT pg_backend_pid()");
    run(&mut admin, &format!("SELECT pg_terminate_backend({pid}, 10000)"));
    let last = record(&world).pop().unwrap();
    assert!(last.contains(r#""superuser": true, "rolled_back": true"#), "{last}");
    // A command that fails has no effect, and no record.
    let before = record(&world).len();
    refused(&mut world.app(), "42501", "ALTER ROLE app SUPERUSER");
    refused(&mut world.app(), "42501", "GRANT dba TO app");
    assert_eq!(record(&world).len(), before);
    // A prepared transaction's own record must not depend on its end.
    run(&mut admin, "BEGIN; ALTER ROLE harmless BYPASSRLS; PREPARE TRANSACTION 'x'");
    assert!(record(&world).last().unwrap().contains("harmless"));
    run(&mut admin, "ROLLBACK PREPARED 'x'");
}

#[test]
fn the_extension_leaves_a_line_in_the_server_log() {
    let world = World::in_own_cluster(&Options::default());
    let other = world.beside("other");
    run(&mut other.superuser(), "CREATE EXTENSION orgscope; DROP EXTENSION orgscope");
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let line = log.lines().find(|line| line.contains("the extension is about to be dropped")).unwrap();
    let (_, json) = line.split_once("orgscope audit: ").unwrap();
    let event: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((&event["action"], &event["operation"]), (&"lifecycle".into(), &"DROP EXTENSION".into()), "{line}");
    assert_eq!((&event["login_name"], &event["event_count"]), (&"postgres".into(), &1.into()), "{line}");
    // Without it nothing is noted, and nothing fails.
    run(&mut other.superuser(), "SET session_replication_role = replica; CREATE ROLE r BYPASSRLS; DROP ROLE r");
    refused(&mut world.superuser(), "OS006", "DROP EXTENSION orgscope CASCADE");
}

#[test]
fn an_organization_reads_what_happened_to_it() {
    let world = World::new("lifecycle");
    let mut admin = world.superuser();
    run(&mut admin, &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'"));
    run(&mut admin, "BEGIN; DELETE FROM orgscope.organization WHERE slug = 'initech'; ROLLBACK");
    run(&mut admin, "INSERT INTO orgscope.organization (name, slug) VALUES ('Hooli', 'hooli')");
    let log = "SELECT operation, role_name FROM orgscope.audit_log WHERE action = 'lifecycle' ORDER BY id";
    let seen = rows_under(&mut world.app(), A, log);
    assert_eq!(seen[seen.len() - 1..], ["UPDATE|postgres"]);
    let others = rows_under(&mut world.app(), C, log);
    assert!(!others.iter().any(|row| row.starts_with("DELETE") || row.starts_with("UPDATE")), "{others:?}");
    assert_eq!(
        one(
            &mut admin,
            "SELECT count(*) FROM orgscope.audit_log l JOIN orgscope.organization o ON o.id = l.organization_id WHERE o.slug = 'hooli'"
        ),
        "1"
    );
    run(&mut admin, "TRUNCATE orgscope.organization CASCADE");
    let last =
        "SELECT operation, organization_id FROM orgscope.audit_log WHERE action = 'lifecycle' ORDER BY id DESC LIMIT 1";
    assert_eq!(rows(&mut admin, last), ["TRUNCATE|-"]);
}
