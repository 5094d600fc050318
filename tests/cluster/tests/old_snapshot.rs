//! In a transaction with a snapshot of its own what orgscope does goes by what is there now, as PostgreSQL's own commands
//! do by its catalogs: what others have committed since counts.

mod common;

use common::*;
use postgres::Client;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1";

const NAMES: &str = "SELECT table_name FROM orgscope.scoped_tables WHERE protected ORDER BY 1";

fn begun(mut client: Client) -> Client {
    run(&mut client, BEGIN);
    client
}

#[test]
fn the_history_that_has_begun_since_is_written() {
    let world = World::new("old_history");
    let mut app = begun(world.app());
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('ticket')");
    run(
        &mut app,
        &format!("SET LOCAL orgscope.current_org = '{A}'; UPDATE ticket SET title = 'x' WHERE id = 1; COMMIT"),
    );
    assert_eq!(one(&mut world.superuser(), "SELECT new->>'title' FROM orgscope.change_log"), "x");
}

/// What is planned in such a transaction is used in those that follow.
#[test]
fn the_history_has_the_columns_of_now() {
    let world = World::new("old_columns");
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE ticket ADD secret text; SELECT orgscope.enable_change_history('ticket')");
    let mut app = begun(world.app());
    run(
        &mut owner,
        "ALTER TABLE ticket ADD extra text DEFAULT 'seen';
         SELECT orgscope.enable_change_history('ticket', ARRAY['secret'])",
    );
    let update = "UPDATE ticket SET title = 'x', secret = 'hidden' WHERE id = 1";
    run(&mut app, &format!("SET LOCAL orgscope.current_org = '{A}'; {update}; COMMIT"));
    rows_under(&mut app, A, update);
    let images = "SELECT new->>'extra', new ? 'secret' OR old ? 'secret' FROM orgscope.change_log";
    assert_eq!(rows(&mut world.superuser(), images), ["seen|f", "seen|f"]);
}

#[test]
fn a_partition_attached_since_is_scoped_with_its_table() {
    let world = World::without_tables("old_partition");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE parted (id int, organization_id uuid) PARTITION BY RANGE (id);
         CREATE TABLE one PARTITION OF parted FOR VALUES FROM (0) TO (10)",
    );
    let mut begun = begun(world.owner());
    run(&mut owner, "CREATE TABLE two PARTITION OF parted FOR VALUES FROM (10) TO (20)");
    run(&mut begun, "SELECT orgscope.enable_org_scoping('parted'); COMMIT");
    assert_eq!(rows(&mut owner, NAMES), ["one", "parted", "two"]);
}

#[test]
fn a_policy_made_since_keeps_its_meaning() {
    let world = World::without_tables("old_policy");
    let mut owner = world.owner();
    run(&mut owner, "CREATE TABLE note (id int, organization_id uuid); GRANT ALL ON note TO app, dba");
    let mut begun = begun(world.owner());
    run(&mut owner, "CREATE POLICY only_one ON note USING (id = 1)");
    run(&mut begun, "SELECT orgscope.enable_org_scoping('note'); COMMIT");
    let mut app = world.app();
    for id in [1, 2] {
        rows_under(&mut world.dba(), A, &format!("INSERT INTO note VALUES ({id})"));
    }
    assert_eq!(rows_under(&mut app, A, "SELECT id FROM note"), ["1"]);
}

#[test]
fn the_extension_is_not_dropped_under_tables_scoped_since() {
    let world = World::without_tables("old_drop");
    let mut admin = begun(world.superuser());
    run(
        &mut world.owner(),
        "CREATE TABLE note (id int, organization_id uuid); SELECT orgscope.enable_org_scoping('note')",
    );
    refused(&mut admin, "OS006", "DROP EXTENSION orgscope CASCADE");
}

/// PostgreSQL itself cannot print a constraint that is newer than the transaction.
#[test]
fn a_constraint_made_since_is_a_reason_to_begin_again() {
    let world = World::without_tables("old_constraint");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE note (id int, organization_id uuid NOT NULL) PARTITION BY LIST (id);
         CREATE TABLE plain (id int, organization_id uuid)",
    );
    let (mut first, mut second, mut third) = (begun(world.owner()), begun(world.owner()), begun(world.owner()));
    run(&mut owner, "SELECT orgscope.enable_org_scoping('note'); ALTER TABLE plain ADD PRIMARY KEY (id)");
    // This needs none of it.
    run(&mut third, "CREATE TABLE note_1 PARTITION OF note FOR VALUES IN (1); COMMIT");
    for (begun, sql, table) in [
        (&mut second, "SELECT orgscope.enable_org_scoping('plain')", "plain"),
        (&mut first, "ALTER TABLE note RENAME TO remark", "remark"),
    ] {
        let error = refused(begun, "40001", sql);
        let message = format!("could not serialize access due to a concurrent change of table \"{table}\"");
        assert_eq!(error.message(), message);
        assert_eq!(error.detail(), Some("A constraint of it is newer than this transaction's snapshot."));
        assert_eq!(error.hint(), Some("Run the transaction again."));
        run(begun, &format!("ROLLBACK; {sql}"));
    }
    assert_eq!(rows(&mut owner, NAMES), ["note_1", "plain", "remark"]);
}

#[test]
fn the_audit_is_sealed_and_purged_as_it_is() {
    let world = World::new("old_seal");
    let mut admin = world.superuser();
    let write = "UPDATE ticket SET title = 'x' WHERE id = 1";
    run(&mut admin, "SELECT orgscope.seal_audit()");
    for sql in ["SELECT orgscope.seal_audit()", "SELECT orgscope.purge_audit_log(now() + interval '1 hour')"] {
        run(&mut admin, write);
        // It sees a row that is sealed by another, before it seals.
        let mut old = begun(world.superuser());
        run(&mut admin, &format!("{write}; SELECT orgscope.seal_audit()"));
        run(&mut old, &format!("{sql}; COMMIT"));
    }
    run(&mut admin, "SELECT orgscope.seal_audit()");
    assert_eq!(rows(&mut admin, "SELECT DISTINCT verdict FROM orgscope.verify_audit(NULL)"), ["ok"]);
}

/// A purge must not wash away what was changed since its transaction began.
#[test]
fn a_purge_verifies_what_it_deletes() {
    let world = World::new("old_purge");
    let mut admin = world.superuser();
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        run(&mut admin, "UPDATE ticket SET title = 'x' WHERE id = 1");
        run(&mut admin, "SELECT orgscope.seal_audit()");
        let mut old = world.superuser();
        run(&mut old, &format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1"));
        run(
            &mut admin,
            "ALTER TABLE orgscope.audit_log DISABLE TRIGGER USER;
             UPDATE orgscope.audit_log SET reason = 'tampered'
             WHERE id = (SELECT max(id) FROM orgscope.audit_log WHERE action = 'bypass_write');
             ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_immutable;
             ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_numbered",
        );
        run(&mut old, "SELECT orgscope.purge_audit_log('infinity'); COMMIT");
        let recorded = "SELECT detail #>> '{verified,verdict}' FROM orgscope.audit_log
            WHERE operation = 'PURGE' AND left(organization_id::text, 1) = 'a' ORDER BY id DESC LIMIT 1";
        assert_eq!(one(&mut admin, recorded), "changed", "{isolation}");
    }
}

/// What others have sealed and purged since is no tampering, and what they have changed is.
#[test]
fn a_chain_is_verified_as_it_is() {
    let world = World::new("old_verify");
    let mut admin = world.superuser();
    let write = "UPDATE ticket SET title = 'x' WHERE id = 1";
    const VERDICTS: &str = "SELECT DISTINCT verdict FROM orgscope.verify_audit(NULL)";
    run(&mut admin, write);
    let mut old = begun(world.superuser());
    run(&mut admin, &format!("SELECT orgscope.seal_audit(); {write}"));
    run(&mut old, "SELECT orgscope.seal_audit()");
    assert_eq!(rows(&mut old, VERDICTS), ["ok"]);
    run(&mut old, "COMMIT");
}
