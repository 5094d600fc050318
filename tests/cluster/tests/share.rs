//! Tables that are deliberately not scoped: shared and exempt ones.

mod common;

use common::*;

const COUNTRIES: &str = "CREATE TABLE country (code text PRIMARY KEY, name text);
     INSERT INTO country VALUES ('AT', 'Austria'), ('CH', 'Switzerland');
     GRANT ALL ON country TO app, dba";

fn world(name: &str) -> World {
    let world = World::new(name);
    run(&mut world.owner(), COUNTRIES);
    world
}

const WRITES: [&str; 6] = [
    "INSERT INTO country VALUES ('DE', 'Germany')",
    "INSERT INTO country VALUES ('AT', 'x') ON CONFLICT (code) DO UPDATE SET name = 'x'",
    "UPDATE country SET name = 'x'",
    "DELETE FROM country",
    "TRUNCATE country",
    "WITH w AS (DELETE FROM country RETURNING *) SELECT count(*) FROM w",
];

#[test]
fn all_read_and_no_organization_writes() {
    let world = world("shared");
    let mut owner = world.owner();
    let before = dump(&world);
    let steps = "SELECT kind, sql FROM orgscope.share_table('country')";
    assert_eq!(rows(&mut owner, steps).len(), 4);
    assert_eq!(rows(&mut owner, steps), [""; 0], "a second time nothing is left to do");
    assert_eq!(
        rows(&mut owner, "SELECT target, kind, reason, declared_by FROM orgscope.unscoped_tables"),
        ["country|shared|-|owner"]
    );
    let mut app = world.app();
    assert_eq!(rows(&mut app, "SELECT count(*) FROM country"), ["2"], "without a context");
    assert_eq!(rows_under(&mut app, B, "SELECT count(*) FROM country"), ["2"]);
    for sql in WRITES {
        refused_under(&mut app, A, "OS002", sql);
        refused(&mut app, "OS002", sql);
        refused(&mut owner, "OS002", sql);
    }
    run(&mut world.superuser(), "SET session_replication_role = replica; INSERT INTO country VALUES ('FR', 'France')");
    run(
        &mut world.dba(),
        "INSERT INTO country VALUES ('DE', 'Germany'); DELETE FROM country WHERE code IN ('FR', 'DE')",
    );
    assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.disable_org_scoping('country')").len(), 2);
    assert_same(&before, &dump(&world), "as it was");
    run(&mut app, "BEGIN; UPDATE country SET name = 'x'; ROLLBACK");
    run(&mut owner, "SELECT orgscope.share_table('country'); SELECT orgscope.unshare_table('country')");
    assert_same(&before, &dump(&world), "as it was");
}

/// A scoped table's key to a shared table is checked, and a tenant's cascade does not write it.
#[test]
fn foreign_keys_and_shared_tables() {
    let world = world("shared_keys");
    let mut owner = world.owner();
    run(&mut owner, "SELECT orgscope.share_table('country'); ALTER TABLE ticket ADD country text REFERENCES country");
    let mut app = world.app();
    rows_under(&mut app, A, "UPDATE ticket SET country = 'AT' WHERE id = 1");
    refused_under(&mut app, A, "23503", "UPDATE ticket SET country = 'XX' WHERE id = 1");
    run(
        &mut owner,
        "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2); GRANT ALL ON parent TO app;
         CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1), (2);
         SELECT orgscope.share_table('child')",
    );
    refused(&mut app, "OS002", "DELETE FROM parent WHERE id = 1");
    run(&mut world.superuser(), "DELETE FROM parent WHERE id = 1");
}

#[test]
fn a_shared_table_does_not_lose_its_guards() {
    let world = world("shared_drift");
    let mut owner = world.owner();
    run(&mut owner, "SELECT orgscope.share_table('country')");
    for sql in [
        "ALTER TABLE country DISABLE TRIGGER orgscope_shared",
        "ALTER TABLE country DISABLE TRIGGER ALL",
        "DROP TRIGGER orgscope_shared_truncate ON country",
        "ALTER TRIGGER orgscope_shared ON country RENAME TO x",
    ] {
        // DISABLE TRIGGER ALL is a superuser's where a foreign key has triggers; here there is none.
        refused(&mut owner, "OS006", sql);
    }
    run(&mut owner, "ALTER TABLE country RENAME TO land");
    refused(&mut owner, "OS006", "DROP TRIGGER orgscope_shared ON land");
    assert_eq!(rows(&mut owner, "SELECT target FROM orgscope.unscoped_tables"), ["land"]);
    run(&mut owner, "DROP TABLE land");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.unscoped_tables"), "0");
}

/// A child's rows are read with the table's own: an organization that may write the child would write for all.
#[test]
fn a_shared_table_has_no_children() {
    let world = world("shared_children");
    let mut owner = world.owner();
    run(&mut owner, "SELECT orgscope.share_table('country'); CREATE TABLE fit (LIKE country)");
    for sql in ["CREATE TABLE province () INHERITS (country)", "ALTER TABLE fit INHERIT country"] {
        refused(&mut owner, "OS006", sql);
    }
    let mut admin = world.superuser();
    run(&mut admin, "ALTER TABLE fit INHERIT country");
    let record = "SELECT operation, table_name, detail FROM orgscope.audit_log WHERE action = 'ddl'";
    let missing = "{\"missing\": [\"rows that are its own only, because of child table \\\"fit\\\"\"]}";
    assert_eq!(rows(&mut admin, record), [format!("ALTER TABLE|public.country|{missing}")]);
}

#[test]
fn one_of_the_three() {
    let world = world("shared_or_not");
    let mut owner = world.owner();
    refused(&mut owner, "OS005", "SELECT orgscope.share_table('ticket')");
    refused(&mut owner, "OS005", "SELECT orgscope.exempt_table('ticket', 'because')");
    refused(&mut owner, "OS005", "SELECT orgscope.exempt_table('country', ' ')");
    refused(&mut owner, "OS005", "SELECT orgscope.unexempt_table('country')");
    refused(&mut owner, "OS005", "SELECT orgscope.unshare_table('ticket')");
    refused(&mut world.app(), "42501", "SELECT orgscope.share_table('country')");
    refused(&mut world.app(), "42501", "SELECT orgscope.exempt_table('country', 'mine now')");
    run(&mut owner, "SELECT orgscope.exempt_table('country', 'one for the whole installation')");
    refused(&mut owner, "OS005", "SELECT orgscope.enable_org_scoping('country')");
    refused(&mut owner, "OS005", "SELECT orgscope.plan_org_scoping('country')");
    refused(&mut owner, "OS005", "SELECT orgscope.share_table('country')");
    run(&mut owner, "ALTER TABLE country RENAME TO land");
    assert_eq!(
        rows(&mut owner, "SELECT target, kind, reason, declared_by FROM orgscope.unscoped_tables"),
        ["land|exempt|one for the whole installation|owner"]
    );
    run(&mut owner, "SELECT orgscope.unexempt_table('land'); SELECT orgscope.share_table('land')");
    refused(&mut owner, "OS005", "SELECT orgscope.enable_org_scoping('land')");
    refused(&mut owner, "OS005", "SELECT orgscope.exempt_table('land', 'because')");
    run(
        &mut owner,
        "SELECT orgscope.unshare_table('land'); SELECT orgscope.enable_org_scoping('land', options => '{\"backfill\": \"aaaaaaaa-0000-7000-8000-000000000001\"}')",
    );
}
