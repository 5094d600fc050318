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
