//! DDL on scoped tables is on record, harmless or not: one row for each command and table.

mod common;

use common::*;

fn added(world: &World, user: &str, sql: &str) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let last = one(&mut admin, "SELECT COALESCE(max(id), 0) FROM orgscope.audit_log");
    run(&mut world.connect(user), sql);
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        &format!(
            "SELECT operation, table_name, role_name, statement IS NOT NULL AND txid IS NOT NULL, detail
             FROM orgscope.audit_log WHERE action = 'ddl' AND id > {last} ORDER BY id"
        ),
    )
}

#[test]
fn every_command_is_one_row() {
    let world = World::new("commanded");
    run(
        &mut world.superuser(),
        "CREATE ROLE commanded; GRANT commanded TO owner; CREATE SCHEMA side AUTHORIZATION owner;
         GRANT CREATE ON SCHEMA public TO commanded; CREATE TABLE plain (id int); ALTER TABLE plain OWNER TO owner",
    );
    for (sql, tag, table) in [
        ("ALTER TABLE ticket ADD note text", "ALTER TABLE", "public.ticket"),
        ("ALTER TABLE ticket ADD n int DEFAULT random(), ADD CHECK (id > 0)", "ALTER TABLE", "public.ticket"),
        ("ALTER TABLE ticket ALTER note SET STORAGE EXTERNAL", "ALTER TABLE", "public.ticket"),
        ("ALTER TABLE ticket SET (fillfactor = 90)", "ALTER TABLE", "public.ticket"),
        ("ALTER TABLE ticket RENAME note TO remark", "ALTER TABLE", "public.ticket"),
        ("ALTER TABLE ticket DROP COLUMN remark", "ALTER TABLE", "public.ticket"),
        ("ALTER TABLE comment RENAME TO remark", "ALTER TABLE", "public.remark"),
        ("ALTER TABLE remark RENAME TO comment", "ALTER TABLE", "public.comment"),
        ("ALTER TABLE comment OWNER TO commanded", "ALTER TABLE", "public.comment"),
        ("ALTER TABLE comment OWNER TO owner", "ALTER TABLE", "public.comment"),
        ("ALTER TABLE comment SET SCHEMA side", "ALTER TABLE", "side.comment"),
        ("ALTER TABLE side.comment SET SCHEMA public", "ALTER TABLE", "public.comment"),
        ("CREATE POLICY mine ON ticket USING (id > 0)", "CREATE POLICY", "public.ticket"),
        ("ALTER POLICY mine ON ticket USING (id > 1)", "ALTER POLICY", "public.ticket"),
        ("ALTER POLICY mine ON ticket RENAME TO yours", "ALTER POLICY", "public.ticket"),
        ("DROP POLICY yours ON ticket", "DROP POLICY", "public.ticket"),
        (
            "CREATE TRIGGER own BEFORE UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE TRIGGER",
            "public.ticket",
        ),
        ("ALTER TABLE ticket DISABLE TRIGGER own", "ALTER TABLE", "public.ticket"),
        ("DROP TRIGGER own ON ticket", "DROP TRIGGER", "public.ticket"),
        ("CREATE INDEX upper_title ON ticket (upper(title))", "CREATE INDEX", "public.ticket"),
        ("DROP INDEX upper_title", "DROP INDEX", "public.ticket"),
        ("GRANT SELECT ON ticket TO PUBLIC", "GRANT", "public.ticket"),
        ("GRANT SELECT (id) ON plain, comment TO app", "GRANT", "public.comment"),
        ("REVOKE SELECT ON ticket FROM PUBLIC", "REVOKE", "public.ticket"),
        ("COMMENT ON TABLE ticket IS 'x'", "COMMENT", "public.ticket"),
        ("DO $$ BEGIN ALTER TABLE ticket ADD by_do int; END $$", "ALTER TABLE", "public.ticket"),
    ] {
        assert_eq!(added(&world, "owner", sql), [format!("{tag}|{table}|owner|t|-")], "{sql}");
    }
    let mut owner = world.owner();
    refused(&mut owner, "42704", "GRANT SELECT ON ticket TO nobody_knows");
    run(&mut owner, "CREATE TABLE other (id int)");
    let left = "SELECT count(*) FROM orgscope.audit_log WHERE operation = 'CREATE TABLE'";
    assert_eq!(one(&mut world.superuser(), left), "0", "a command that failed");
    let within = added(&world, "postgres", "CREATE SCHEMA more GRANT SELECT ON public.ticket TO app");
    assert_eq!(within, ["CREATE SCHEMA|public.ticket|postgres|t|-"]);
    let all = added(&world, "owner", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO dba");
    assert_eq!(all, ["GRANT|public.ticket|owner|t|-", "GRANT|public.comment|owner|t|-"]);
    for sql in [
        "ALTER TABLE plain ADD note text; GRANT SELECT ON plain TO app; DROP TABLE plain; CREATE TABLE ticket2 (LIKE ticket)",
        "GRANT USAGE ON SCHEMA side TO app",
        "SELECT orgscope.disable_org_scoping('comment'); SELECT orgscope.enable_org_scoping('comment'); SELECT orgscope.repair_org_scoping('ticket')",
    ] {
        assert_eq!(added(&world, "owner", sql), [""; 0], "{sql}");
    }
    // What is rolled back may have shown rows to a role that row security holds.
    let opened =
        "BEGIN; ALTER TABLE ticket DISABLE ROW LEVEL SECURITY; SET LOCAL ROLE app; SELECT * FROM ticket; ROLLBACK";
    assert_eq!(
        added(&world, "postgres", opened),
        [r#"ALTER TABLE|public.ticket|postgres|t|{"missing": ["row security"], "rolled_back": true}"#]
    );
    // What is taken away is one row that says so.
    let taken = added(&world, "postgres", "DROP POLICY orgscope_floor ON ticket");
    assert_eq!(taken, [r#"DROP POLICY|public.ticket|postgres|t|{"missing": ["policy orgscope_floor"]}"#]);
    assert_eq!(added(&world, "owner", "DROP TABLE comment"), ["DROP TABLE|public.comment|owner|t|-"]);
}

/// What no event trigger sees.
#[test]
fn a_catalog_that_is_changed_by_hand_is_on_record() {
    let world = World::new("commanded_by_hand");
    for (sql, operation, catalog) in [
        ("UPDATE pg_class SET relrowsecurity = relrowsecurity WHERE oid = 'ticket'::regclass", "UPDATE", "pg_class"),
        ("DELETE FROM pg_policy WHERE polrelid = 0", "DELETE", "pg_policy"),
        ("WITH gone AS (DELETE FROM pg_trigger WHERE tgrelid = 0) SELECT FROM pg_class", "DELETE", "pg_trigger"),
        ("DO $$ BEGIN UPDATE pg_authid SET rolbypassrls = true WHERE rolname = ''; END $$", "UPDATE", "pg_authid"),
    ] {
        let expected = format!("{operation}|pg_catalog.{catalog}|postgres|t|-");
        assert_eq!(added(&world, "postgres", sql), [expected], "{sql}");
    }
    let back = "BEGIN; UPDATE pg_class SET relrowsecurity = false WHERE oid = 'ticket'::regclass; SELECT FROM ticket; ROLLBACK";
    let expected = r#"UPDATE|pg_catalog.pg_class|postgres|t|{"rolled_back": true}"#;
    assert_eq!(added(&world, "postgres", back), [expected]);
    assert_eq!(added(&world, "postgres", "SELECT * FROM pg_class, pg_authid"), [""; 0]);
    assert_eq!(added(&world, "app", "SELECT * FROM pg_class"), [""; 0]);
}

#[test]
fn trees_and_what_goes_with_a_schema() {
    let world = World::without_tables("commanded_trees");
    run(
        &mut world.owner(),
        "CREATE TABLE part (id int, organization_id uuid) PARTITION BY LIST (organization_id);
         CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('aaaaaaaa-0000-7000-8000-000000000001');
         SELECT orgscope.enable_org_scoping('part')",
    );
    for (sql, tag, table) in [
        ("CREATE TABLE part_rest PARTITION OF part DEFAULT", "CREATE TABLE", "public.part"),
        ("ALTER TABLE part ADD note text", "ALTER TABLE", "public.part"),
        ("ALTER TABLE part_a ALTER note SET DEFAULT 'x'", "ALTER TABLE", "public.part_a"),
        ("ALTER TABLE part DETACH PARTITION part_rest", "ALTER TABLE", "public.part"),
        ("DROP TABLE part", "DROP TABLE", "public.part"),
    ] {
        assert_eq!(added(&world, "owner", sql), [format!("{tag}|{table}|owner|t|-")], "{sql}");
    }
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE SCHEMA side; CREATE TABLE side.item (id int, organization_id uuid); SELECT orgscope.enable_org_scoping('side.item')",
    );
    assert_eq!(added(&world, "postgres", "DROP SCHEMA side CASCADE"), ["DROP SCHEMA|side.item|postgres|t|-"]);
}

#[test]
fn scoping_that_takes_protection_away_is_one_row() {
    let world = World::new("commanded_scoping");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE reference (code text); SELECT orgscope.share_table('reference'); SELECT orgscope.unshare_table('reference');
         SELECT orgscope.exempt_table('reference', 'no rows of anybody');
         SELECT orgscope.repair_org_scoping('comment'); SELECT orgscope.disable_org_scoping('comment')",
    );
    run(&mut owner, "BEGIN; SELECT orgscope.disable_org_scoping('ticket'); ROLLBACK");
    run(&mut world.superuser(), "SELECT orgscope.flush_audit()");
    let record =
        "SELECT operation, table_name, role_name, txid IS NOT NULL, detail ->> 'rolled_back' FROM orgscope.audit_log
        WHERE action IN ('lifecycle', 'ddl') ORDER BY at, id";
    assert_eq!(
        rows(&mut world.superuser(), record),
        [
            "UNSHARE|public.reference|owner|t|-",
            "EXEMPT|public.reference|owner|t|-",
            "DISABLE|public.comment|owner|t|-",
            "DISABLE|public.ticket|owner|t|true",
        ]
    );
}
