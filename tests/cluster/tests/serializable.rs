//! What orgscope reads for a statement on rows leaves no predicate lock in a SERIALIZABLE transaction: it would be taken for something
//! that the transaction has read, and fail others, or itself, with 40001.

mod common;

use common::*;
use postgres::Client;

const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";

/// The relations of the extension that the open transaction has predicate locks on.
fn locked(client: &mut Client) -> Vec<String> {
    rows(
        client,
        "SELECT DISTINCT l.locktype, c.oid::regclass FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
         WHERE l.mode = 'SIReadLock' AND l.pid = pg_backend_pid() AND c.relnamespace = 'orgscope'::regnamespace",
    )
}

#[test]
fn looking_an_organization_up_locks_nothing() {
    let world = World::new("serializable_context");
    let mut app = world.app();
    run(&mut app, &format!("{BEGIN}; SET LOCAL orgscope.current_org = '{A}'"));
    assert_eq!(one(&mut app, "SELECT count(*) FROM ticket"), "2");
    assert_eq!(locked(&mut app), [""; 0]);
    run(&mut app, "UPDATE ticket SET title = 'x' WHERE id = 1; DELETE FROM comment WHERE ticket_id = 1");
    assert_eq!(locked(&mut app), [""; 0]);
    run(&mut app, "COMMIT");
}

#[test]
fn looking_for_scoped_tables_locks_nothing() {
    for scoped in [false, true] {
        let world = World::without_tables(if scoped { "serializable_scoped" } else { "serializable_plain" });
        let mut dba = world.superuser();
        run(&mut dba, "CREATE TABLE plain (id int); CREATE TABLE other (id int, organization_id uuid)");
        if scoped {
            run(&mut dba, "SELECT orgscope.enable_org_scoping('public.other')");
        }
        // A backend of its own for each, which knows nothing yet.
        for sql in ["TABLE plain", "TABLE other", "INSERT INTO plain VALUES (1)", "LOCK TABLE other", "TRUNCATE other"]
        {
            let mut dba = world.superuser();
            run(&mut dba, BEGIN);
            run(&mut dba, sql);
            assert_eq!(locked(&mut dba), [""; 0], "{sql}, scoped: {scoped}");
            run(&mut dba, "COMMIT");
        }
    }
}

/// Its rows in the log and in the history come from no read.
#[test]
fn what_is_recorded_locks_nothing() {
    let world = World::new("serializable_records");
    run(&mut world.superuser(), "SELECT orgscope.enable_change_history('public.comment')");
    for (mut client, context) in
        [(world.app(), true), (world.dba(), true), (world.dba(), false), (world.superuser(), false)]
    {
        run(&mut client, BEGIN);
        if context {
            run(&mut client, &format!("SET LOCAL orgscope.current_org = '{A}'"));
        }
        for sql in ["TABLE comment", "UPDATE comment SET body = 'x' WHERE id = 1", "TABLE ticket"] {
            run(&mut client, sql);
            assert_eq!(locked(&mut client), [""; 0], "{sql}");
        }
        run(&mut client, "ROLLBACK");
    }
}

/// A change of an organization that has nothing to do with what others read.
#[test]
fn a_changed_organization_fails_nobody() {
    let world = World::new("serializable_change");
    let mut admin = world.superuser();
    let (mut app, mut other) = (world.app(), world.superuser());
    run(&mut admin, "CREATE TABLE noted (id int); GRANT ALL ON noted TO app");
    run(&mut app, &format!("{BEGIN}; SET LOCAL orgscope.current_org = '{A}'"));
    run(&mut other, BEGIN);
    assert_eq!(one(&mut other, "SELECT count(*) FROM noted"), "0");
    assert_eq!(one(&mut app, "SELECT count(*) FROM ticket"), "2");
    run(&mut app, "INSERT INTO noted VALUES (1)");
    run(&mut other, &format!("UPDATE orgscope.organization SET settings = '{{\"seen\": true}}' WHERE id = '{A}'"));
    run(&mut other, "COMMIT");
    run(&mut app, "COMMIT");
}
