//! Ways around row security that no executor sees: locks, locking reads, what is read and written at once.

mod common;

use common::*;

/// What a statement adds: `operation|table|mode or role asked|events`.
fn added(world: &World, user: &str, sql: &str) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let last = one(&mut admin, "SELECT COALESCE(max(id), 0) FROM orgscope.audit_log");
    let mut client = world.connect(user);
    for sql in sql.split("; ") {
        run(&mut client, sql);
    }
    drop(client);
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        &format!(
            "SELECT role_name, operation, table_name, concat_ws(' ', detail ->> 'mode', 'as ' || (detail ->> 'checked_as')), event_count
             FROM orgscope.audit_log WHERE action = 'bypass_read' AND event_count > 0 AND id > {last} ORDER BY id"
        ),
    )
}

#[test]
fn locks_are_on_record() {
    let world = World::new("unseen_locks");
    run(
        &mut world.superuser(),
        "CREATE VIEW tickets AS SELECT id FROM ticket WHERE id IN (SELECT ticket_id FROM comment);
         CREATE VIEW over_tickets AS SELECT * FROM tickets;
         CREATE VIEW own_tickets WITH (security_invoker) AS SELECT * FROM ticket;
         GRANT ALL ON tickets, over_tickets, own_tickets TO app, dba;
         CREATE TABLE plain (id int); GRANT ALL ON plain TO dba",
    );
    run(
        &mut world.owner(),
        "CREATE TABLE part (id int, organization_id uuid) PARTITION BY LIST (organization_id);
         SELECT orgscope.enable_org_scoping('part'); CREATE TABLE part_rest PARTITION OF part DEFAULT; GRANT ALL ON part TO dba",
    );
    let (share, all) = ("ACCESS SHARE", "ACCESS EXCLUSIVE");
    for (user, sql, expected) in [
        ("dba", "BEGIN; LOCK ticket IN ACCESS SHARE MODE; ROLLBACK", vec![format!("dba|LOCK|public.ticket|{share}|1")]),
        (
            "postgres",
            "BEGIN READ ONLY; LOCK TABLE ONLY ticket, comment IN ACCESS SHARE MODE; COMMIT",
            vec![format!("postgres|LOCK|public.ticket|{share}|1"), format!("postgres|LOCK|public.comment|{share}|1")],
        ),
        ("dba", "BEGIN; LOCK part; COMMIT", vec![format!("dba|LOCK|public.part|{all}|1")]),
        ("dba", "BEGIN; LOCK own_tickets; COMMIT", vec![format!("dba|LOCK|public.ticket|{all}|1")]),
        (
            "app",
            "BEGIN; LOCK over_tickets; COMMIT",
            vec![
                format!("app|LOCK|public.ticket|{all} as postgres|1"),
                format!("app|LOCK|public.comment|{all} as postgres|1"),
            ],
        ),
        ("dba", "BEGIN; LOCK plain; COMMIT", vec![]),
        ("app", "BEGIN; LOCK ticket; COMMIT", vec![]),
        ("app", "BEGIN; LOCK own_tickets; COMMIT", vec![]),
        ("postgres", "SET orgscope.audit_reads = off; BEGIN; LOCK ticket; COMMIT", vec![]),
    ] {
        let mut added = added(&world, user, sql);
        added.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(added, expected, "{user}: {sql}");
    }
    // What was committed while it waited is seen behind it, and its transaction may still be given a characteristic.
    let (mut dba, mut admin) = (world.dba(), world.superuser());
    run(&mut dba, "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK tickets IN ROW SHARE MODE");
    run(&mut admin, "INSERT INTO ticket VALUES (77, 'late', 'aaaaaaaa-0000-7000-8000-000000000001')");
    assert_eq!(one(&mut dba, "SELECT count(*) FROM ticket WHERE id = 77"), "1");
    run(&mut dba, "COMMIT; BEGIN");
    run(&mut dba, "LOCK ticket IN ROW SHARE MODE");
    run(&mut dba, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    run(&mut dba, "COMMIT");
}

#[test]
fn what_is_denied_is_denied_to_locks_and_truncate() {
    let world = World::new("unseen_deny");
    let mut admin = world.superuser();
    run(&mut admin, "SET orgscope.bypass = deny");
    for sql in ["LOCK ticket", "TRUNCATE comment", "TRUNCATE ticket CASCADE", "SELECT * FROM ticket FOR UPDATE"] {
        refused(&mut admin, "OS007", &format!("BEGIN; {sql}"));
        run(&mut admin, "ROLLBACK");
    }
    run(&mut admin, "BEGIN; LOCK orgscope.organization; COMMIT");
    run(&mut admin, "SET orgscope.bypass = audit; BEGIN; LOCK ticket; TRUNCATE comment; COMMIT");
}

/// A locking read and what a write returns are reads: with `audit_durability = sync` their rows come after their record.
#[test]
fn rows_that_are_locked_or_returned_are_read() {
    let world = World::new("unseen_returned");
    let reading = "dba|SELECT|public.ticket||1";
    assert_eq!(added(&world, "dba", "SELECT * FROM ticket FOR UPDATE"), [reading]);
    assert_eq!(added(&world, "dba", "SELECT * FROM ticket FOR SHARE"), [reading]);
    assert_eq!(added(&world, "dba", "BEGIN; DELETE FROM ticket RETURNING *; ROLLBACK"), [""; 0], "a write alone");
    let mut admin = world.superuser();
    run(&mut admin, "ALTER ROLE dba IN DATABASE unseen_returned SET orgscope.audit_durability = sync");
    let mut dba = world.dba();
    let at_once = "SELECT COALESCE(sum(event_count), 0) FROM orgscope.audit_log WHERE action = 'bypass_read' AND operation = 'SELECT'";
    for (n, sql) in
        ["UPDATE ticket SET title = 'x' RETURNING *", "DELETE FROM comment WHERE id = 4711"].iter().enumerate()
    {
        let before: usize = one(&mut admin, at_once).parse().unwrap();
        run(&mut dba, &format!("BEGIN; {sql}"));
        assert_eq!(one(&mut admin, at_once), (before + 1).to_string(), "{n} {sql}");
        run(&mut dba, "ROLLBACK");
    }
}

/// Large values stand in a table of their own, which a superuser can name.
#[test]
fn a_table_of_large_values_is_read_as_what_it_belongs_to() {
    let world = World::new("unseen_toast");
    let mut admin = world.superuser();
    run(
        &mut admin,
        &format!(
            "ALTER TABLE ticket ALTER title SET STORAGE EXTERNAL;
             INSERT INTO ticket VALUES (30, repeat('x', 5000), '{A}')"
        ),
    );
    let toast = one(&mut admin, "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'ticket'::regclass");
    let read = format!("SELECT * FROM {toast}");
    assert_eq!(added(&world, "postgres", &read), ["postgres|SELECT|public.ticket||1"]);
    run(&mut admin, "SET orgscope.bypass = deny");
    refused(&mut admin, "OS007", &read);
}

/// A superuser can write into the registry as into any table. The guards say what is scoped, too.
#[test]
fn a_changed_registry_changes_nothing() {
    let world = World::new("unseen_registry");
    let read = "postgres|SELECT|public.ticket||1";
    for change in
        ["DELETE FROM orgscope.scoped_table", "UPDATE orgscope.scoped_table SET table_name = 'x' || table_name"]
    {
        let sql = format!("BEGIN; {change}; SELECT * FROM ticket; ROLLBACK");
        assert_eq!(added(&world, "postgres", &sql), [read], "{change}");
        let record = "SELECT table_name, operation, detail ->> 'rolled_back' FROM orgscope.audit_log WHERE action = 'ddl' ORDER BY id DESC LIMIT 1";
        let operation = &change[..6];
        assert_eq!(rows(&mut world.superuser(), record), [format!("orgscope.scoped_table|{operation}|true")]);
    }
    run(&mut world.superuser(), "DELETE FROM orgscope.scoped_table WHERE table_name = 'ticket'");
    assert_eq!(added(&world, "postgres", "SELECT * FROM ticket"), [read]);
    assert_eq!(
        added(&world, "postgres", "ALTER INDEX orgscope.scoped_table_pkey RENAME TO x; SELECT * FROM comment").len(),
        1
    );
}

#[test]
fn a_renamed_schema_is_seen_by_sessions_that_know_its_tables() {
    let world = World::new("unseen_renamed");
    run(
        &mut world.superuser(),
        "CREATE SCHEMA one; CREATE TABLE one.t (id int, organization_id uuid); SELECT orgscope.enable_org_scoping('one.t')",
    );
    let found = added(&world, "postgres", "SELECT * FROM one.t; ALTER SCHEMA one RENAME TO two; SELECT * FROM two.t");
    assert_eq!(found, ["postgres|SELECT|one.t||1", "postgres|SELECT|two.t||1"]);
}

/// EXCLUDED is what the statement has brought itself.
#[test]
fn on_conflict_reads_nothing() {
    let world = World::new("unseen_excluded");
    let upsert = format!(
        "INSERT INTO ticket VALUES (1, 'again', '{A}') ON CONFLICT (id) DO UPDATE SET title = excluded.title WHERE excluded.id > 0"
    );
    assert_eq!(added(&world, "dba", &upsert), [""; 0]);
    let from_itself = "INSERT INTO comment (ticket_id, body, organization_id) SELECT ticket_id, body, organization_id FROM comment WHERE id = 1";
    assert_eq!(added(&world, "dba", from_itself), ["dba|SELECT|public.comment||1"]);
}

/// `row_count`, and what else is said of a write: `row_count|detail`.
fn written(world: &World) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let sql = "SELECT operation, row_count, detail FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY id";
    rows(&mut admin, sql)
}

#[test]
fn rows_that_nobody_counts_are_not_none() {
    let world = World::new("unseen_uncounted");
    let mut admin = world.superuser();
    run(&mut admin, "UPDATE ticket SET title = title WHERE id = 0");
    run(&mut admin, "ALTER TABLE ticket DISABLE TRIGGER orgscope_last_word");
    run(&mut admin, "UPDATE ticket SET title = 'x'");
    assert_eq!(written(&world), ["UPDATE|0|-", "UPDATE|-|-"]);
}

/// Whoever finishes a prepared transaction may be another session: what it has written is on record before.
#[test]
fn a_prepared_write_is_on_record_however_it_ends() {
    let world = World::in_own_cluster(&orgscope_cluster::Options::default().line("max_prepared_transactions = 2"));
    let mut admin = world.superuser();
    run(&mut admin, "BEGIN; UPDATE ticket SET title = 'x' WHERE id < 10; PREPARE TRANSACTION 'p'");
    let prepared = r#"UPDATE|2|{"prepared": true}"#;
    assert_eq!(written(&world), [prepared]);
    run(&mut world.superuser(), "ROLLBACK PREPARED 'p'");
    assert_eq!(written(&world), [prepared]);
    run(&mut admin, "BEGIN; UPDATE ticket SET title = 'x' WHERE id < 10; PREPARE TRANSACTION 'p'");
    run(&mut world.superuser(), "COMMIT PREPARED 'p'");
    let mut found = written(&world);
    found.sort();
    assert_eq!(found, ["UPDATE|2|-", prepared, prepared]);
}
