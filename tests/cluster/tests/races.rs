//! Two sessions change what is scoped, or what scoped tables are called, at the same time.

mod common;

use std::time::Duration;

use common::*;
use postgres::Client;

const SCOPED: &str = "SELECT schema_name, table_name, protected FROM orgscope.scoped_tables ORDER BY 1, 2";

/// Runs `sql` while the transaction of `first` is open, which is then committed: as soon as the statement waits, or is done.
/// Returns its SQLSTATE.
fn beside(world: &World, first: &mut Client, mut second: Client, sql: &str) -> String {
    let pid = one(&mut second, "SELECT pg_backend_pid()");
    let mut watcher = world.superuser();
    let sql = sql.to_owned();
    let other = std::thread::spawn(move || state(&mut second, &sql));
    let waits = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
    while !other.is_finished() && one(&mut watcher, &waits) == "0" {
        std::thread::sleep(Duration::from_millis(5));
    }
    run(first, "COMMIT");
    other.join().unwrap()
}

fn with_schema(database: &str) -> World {
    let world = World::without_tables(database);
    run(
        &mut world.superuser(),
        "GRANT CREATE ON DATABASE $d TO owner; CREATE SCHEMA s AUTHORIZATION owner; GRANT USAGE ON SCHEMA s TO app, dba;
         ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA s GRANT ALL ON TABLES TO app, dba"
            .replace("$d", database)
            .as_str(),
    );
    run(&mut world.owner(), "CREATE TABLE s.note (id int PRIMARY KEY, organization_id uuid)");
    world
}

/// Every pair in both orders: the first is open when the second comes.
fn in_both_orders(name: &str, pair: [&str; 2], prepare: &str, check: impl Fn(&World, &str, usize)) {
    for first in [0, 1] {
        let world = with_schema(&format!("{name}_{first}"));
        run(&mut world.owner(), prepare);
        let mut open = world.owner();
        run(&mut open, &format!("BEGIN; {}", pair[first]));
        let state = beside(&world, &mut open, world.owner(), pair[1 - first]);
        check(&world, &state, first);
    }
}

#[test]
fn a_schema_is_renamed_beside_enable() {
    let pair = ["SELECT orgscope.enable_org_scoping('s.note')", "ALTER SCHEMA s RENAME TO s2"];
    in_both_orders("races_enable", pair, "SELECT 1", |world, state, first| {
        let mut owner = world.owner();
        if state == "00000" {
            assert_eq!(rows(&mut owner, SCOPED), ["s2|note|t"], "{first}");
            refused(&mut owner, "OS006", "ALTER TABLE s2.note DISABLE ROW LEVEL SECURITY");
        } else {
            // The plan's steps name the schema.
            assert_eq!((state, first), ("3F000", 1));
            assert_eq!(rows(&mut owner, SCOPED), [""; 0]);
        }
    });
}

const WITH_HISTORY: &str =
    "CREATE TABLE s.p (id int PRIMARY KEY, organization_id uuid NOT NULL) PARTITION BY RANGE (id);
    CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES FROM (0) TO (10);
    SELECT orgscope.enable_org_scoping('s.p', options => '{\"primary_key\": \"keep\"}');
    SELECT orgscope.enable_change_history('s.p')";

#[test]
fn a_schema_is_renamed_beside_a_table_in_it() {
    let pair = ["ALTER TABLE s.p RENAME TO q", "ALTER SCHEMA s RENAME TO s2"];
    in_both_orders("races_rename", pair, WITH_HISTORY, |world, state, first| {
        assert_eq!(state, "00000", "{first}");
        let mut owner = world.owner();
        assert_eq!(rows(&mut owner, SCOPED), ["s2|p1|t", "s2|q|t"], "{first}");
        run(&mut owner, "CREATE TABLE s2.p2 PARTITION OF s2.q FOR VALUES FROM (10) TO (20)");
        let mut app = world.app();
        rows_under(&mut app, A, "INSERT INTO s2.q VALUES (1)");
        rows_under(&mut app, B, "INSERT INTO s2.q VALUES (11)");
        assert_eq!(rows_under(&mut app, A, "TABLE s2.p2"), [""; 0]);
        assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM orgscope.change_log"), "2");
    });
}

#[test]
fn a_schema_is_renamed_beside_drop_and_disable() {
    for end in ["DROP TABLE s.note", "SELECT orgscope.disable_org_scoping('s.note'); DROP TABLE s.note"] {
        let name = if end.starts_with("DROP") { "races_drop" } else { "races_disable" };
        let pair = [end, "ALTER SCHEMA s RENAME TO s2"];
        in_both_orders(name, pair, "SELECT orgscope.enable_org_scoping('s.note')", |world, state, first| {
            let mut owner = world.owner();
            assert!(state == "00000" || first == 1 && state == "3F000", "{state}");
            if state == "3F000" {
                assert_eq!(rows(&mut owner, SCOPED), ["s2|note|t"]);
            } else {
                assert_eq!(rows(&mut world.superuser(), "SELECT table_name FROM orgscope.scoped_table"), [""; 0]);
            }
        });
    }
}

#[test]
fn history_is_enabled_beside_a_rename() {
    let pair = ["SELECT orgscope.enable_change_history('s.note')", "ALTER SCHEMA s RENAME TO s2"];
    in_both_orders("races_history", pair, "SELECT orgscope.enable_org_scoping('s.note')", |world, state, first| {
        let expected = if state == "00000" { "1" } else { "0" };
        assert!(state == "00000" || first == 1 && state == "3F000", "{state}");
        rows_under(&mut world.app(), A, "INSERT INTO s2.note VALUES (1)");
        assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM orgscope.change_log"), expected, "{first}");
        assert_eq!(rows(&mut world.owner(), SCOPED), ["s2|note|t"]);
    });
}

#[test]
fn a_table_is_one_of_scoped_shared_and_exempt() {
    let calls = [
        "SELECT orgscope.enable_org_scoping('s.note')",
        "SELECT orgscope.share_table('s.note')",
        "SELECT orgscope.exempt_table('s.note', 'why')",
    ];
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        in_both_orders(&format!("races_kinds_{i}{j}"), [calls[i], calls[j]], "SELECT 1", |world, state, first| {
            assert_eq!(state, "OS005", "{} {first}", calls[if first == 0 { j } else { i }]);
            let kinds =
                "SELECT (SELECT count(*) FROM orgscope.scoped_table) + (SELECT count(*) FROM orgscope.unscoped_table)";
            assert_eq!(one(&mut world.superuser(), kinds), "1");
        });
    }
}

#[test]
fn an_exemption_goes_with_its_table() {
    let exempt = "SELECT orgscope.exempt_table('s.note', 'why')";
    const ENTRIES: &str = "SELECT table_name FROM orgscope.unscoped_table";
    in_both_orders("races_exempt_drop", [exempt, "DROP TABLE s.note"], "SELECT 1", |world, state, first| {
        assert_eq!(state != "00000", first == 1, "{state}");
        assert_eq!(rows(&mut world.superuser(), ENTRIES), [""; 0]);
    });
    let pair = [exempt, "ALTER TABLE s.note RENAME TO remark"];
    in_both_orders("races_exempt_rename", pair, "SELECT 1", |world, state, _| {
        assert_eq!(state, "00000");
        assert_eq!(rows(&mut world.superuser(), ENTRIES), ["remark"]);
    });
}

#[test]
fn the_extension_is_not_dropped_beside_enable() {
    for (i, drop) in ["DROP EXTENSION orgscope CASCADE", "DROP SCHEMA orgscope CASCADE"].iter().enumerate() {
        let world = with_schema(&format!("races_extension_{i}"));
        let mut owner = world.owner();
        run(
            &mut owner,
            "CREATE POLICY own ON s.note USING (true); BEGIN; SELECT orgscope.enable_org_scoping('s.note')",
        );
        assert_eq!(beside(&world, &mut owner, world.superuser(), drop), "OS006");
        assert_eq!(rows(&mut owner, SCOPED), ["s|note|t"]);
    }
}

/// "Every table of the schema": also one that comes while the call waits.
#[test]
fn a_table_comes_while_its_schema_is_scoped() {
    let world = with_schema("races_schema");
    let mut owner = world.owner();
    run(&mut owner, "BEGIN; LOCK TABLE s.note; CREATE TABLE s.more (id int PRIMARY KEY, organization_id uuid)");
    let enable = "SELECT orgscope.enable_org_scoping_schema('s')";
    assert_eq!(beside(&world, &mut owner, world.owner(), enable), "00000");
    assert_eq!(rows(&mut owner, SCOPED), ["s|more|t", "s|note|t"]);
}

/// A session goes on with what it has planned.
#[test]
fn history_follows_an_inheritance_tree_that_is_taken_apart() {
    let world = with_schema("races_tree");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE s.r (id int PRIMARY KEY, organization_id uuid); CREATE TABLE s.m (PRIMARY KEY (id)) INHERITS (s.r);
         CREATE TABLE s.l (PRIMARY KEY (id)) INHERITS (s.m);
         SELECT orgscope.enable_org_scoping('s.r'); SELECT orgscope.enable_change_history('s.r')",
    );
    let mut app = world.app();
    rows_under(&mut app, A, "INSERT INTO s.l VALUES (1)");
    run(&mut owner, "ALTER TABLE s.m NO INHERIT s.r");
    rows_under(&mut app, A, "INSERT INTO s.l VALUES (2)");
    run(&mut owner, "ALTER TABLE s.m INHERIT s.r");
    rows_under(&mut app, A, "INSERT INTO s.l VALUES (3)");
    let logged = "SELECT table_name FROM orgscope.change_log ORDER BY id";
    assert_eq!(rows(&mut world.superuser(), logged), ["s.r", "s.m", "s.r"]);
}

/// What is remembered of a table is remembered under the name that it has then.
#[test]
fn a_schema_is_renamed_beside_repair() {
    let world = with_schema("races_repair");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    run(&mut owner, "SELECT orgscope.enable_org_scoping('s.note')");
    run(&mut owner, "BEGIN; ALTER SCHEMA s RENAME TO s2");
    // It finds nothing to do, or the name gone.
    let state = beside(&world, &mut owner, world.owner(), "SELECT orgscope.repair_org_scoping('s.note')");
    assert!(["00000", "3F000", "42P01"].contains(&&*state), "{state}");
    run(&mut owner, "BEGIN; ALTER SCHEMA s2 RENAME TO s3");
    let drop = "ALTER TABLE s2.note NO FORCE ROW LEVEL SECURITY";
    assert_eq!(beside(&world, &mut owner, world.superuser(), drop), "00000");
    let names = "SELECT schema_name, table_name FROM orgscope.table_state";
    assert_eq!(rows(&mut admin, names), ["s3|note"]);
    run(&mut admin, "DROP TABLE s3.note");
    let dropped = "SELECT count(*) FROM orgscope.audit_log WHERE action = 'ddl' AND operation = 'DROP TABLE'";
    assert_eq!(one(&mut admin, dropped), "1");
}

/// A name that somebody else takes at once.
#[test]
fn the_registry_follows_the_table_and_not_its_name() {
    let world = with_schema("races_name_taken");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    run(&mut owner, "CREATE TABLE s.loose (id int)");
    run(
        &mut admin,
        "SELECT orgscope.enable_org_scoping('s.note'); SELECT orgscope.exempt_table('s.loose', 'why');
         CREATE FUNCTION same_name() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             CREATE VIEW s.note AS SELECT 1;
         END $$;
         CREATE FUNCTION same_name_too() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             CREATE VIEW s.loose AS SELECT 1;
         END $$;
         CREATE EVENT TRIGGER a ON ddl_command_end WHEN tag IN ('ALTER TABLE') EXECUTE FUNCTION same_name();
         CREATE EVENT TRIGGER b ON ddl_command_end WHEN tag IN ('ALTER TABLE') EXECUTE FUNCTION same_name_too()",
    );
    run(&mut admin, "ALTER EVENT TRIGGER a DISABLE; ALTER TABLE s.loose RENAME TO loose_2");
    run(&mut admin, "ALTER EVENT TRIGGER b DISABLE; DROP VIEW s.loose; CREATE TABLE s.loose (id int)");
    run(&mut admin, "ALTER EVENT TRIGGER a ENABLE; ALTER TABLE s.note RENAME TO note_2; ALTER EVENT TRIGGER a DISABLE");
    assert_eq!(rows(&mut admin, SCOPED), ["s|note_2|t"]);
    assert_eq!(rows(&mut admin, "SELECT table_name FROM orgscope.unscoped_tables"), ["loose_2"]);
    refused(&mut owner, "OS006", "ALTER TABLE s.note_2 DISABLE ROW LEVEL SECURITY");
}

/// Callers of one kind wait for each other, without a deadlock, and go by what is there when they have waited.
#[test]
fn calls_for_one_table_wait_for_each_other() {
    let world = with_schema("races_calls");
    let mut owner = world.owner();
    run(&mut owner, "SELECT orgscope.enable_org_scoping('s.note')");
    for call in ["SELECT orgscope.repair_org_scoping('s.note')", "SELECT orgscope.enable_change_history('s.note')"] {
        let clients: Vec<Client> = (0..4).map(|_| world.owner()).collect();
        let calls = clients
            .into_iter()
            .map(|mut client| std::thread::spawn(move || (0..4).map(|_| state(&mut client, call)).collect::<Vec<_>>()));
        let calls: Vec<_> = calls.collect();
        for states in calls {
            assert_eq!(states.join().unwrap(), ["00000"; 4], "{call}");
        }
    }
    run(&mut owner, "SELECT orgscope.disable_change_history('s.note')");
    for call in ["SELECT orgscope.repair_org_scoping('s.note')", "SELECT orgscope.enable_change_history('s.note')"] {
        run(&mut owner, "SELECT orgscope.enable_org_scoping('s.note')");
        run(&mut owner, "BEGIN; SELECT orgscope.disable_org_scoping('s.note')");
        assert_eq!(beside(&world, &mut owner, world.owner(), call), "OS005", "{call}");
    }
}

/// The purge has verified a row, and waits for who changes it.
#[test]
fn what_is_changed_while_it_is_purged_stays() {
    let tampering = [
        "UPDATE orgscope.audit_log SET reason = 'x' WHERE id = $id",
        "DELETE FROM orgscope.audit_log WHERE id = $id",
        "UPDATE orgscope.audit_seal SET sealed_at = now() WHERE left(chain::text, 1) = 'a'",
    ];
    let world = with_schema("races_purge");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.enable_org_scoping('s.note')");
    for (i, tamper) in tampering.iter().enumerate() {
        run(&mut admin, &format!("INSERT INTO s.note VALUES ({i}, '{A}')"));
        run(&mut admin, "SELECT orgscope.seal_audit()");
        let id = one(&mut admin, "SELECT max(id) FROM orgscope.audit_log WHERE action = 'bypass_write'");
        let mut tamperer = world.superuser();
        run(&mut tamperer, "SET session_replication_role = replica");
        run(
            &mut admin,
            "ALTER TABLE orgscope.audit_log DISABLE TRIGGER USER; ALTER TABLE orgscope.audit_seal DISABLE TRIGGER USER",
        );
        run(&mut tamperer, &format!("BEGIN; {}", tamper.replace("$id", &id)));
        let purge = "SELECT orgscope.purge_audit_log('infinity')";
        assert_eq!(beside(&world, &mut tamperer, world.superuser(), purge), "40001", "{tamper}");
        let verdict = "SELECT verdict FROM orgscope.verify_audit(NULL) WHERE left(organization_id::text, 1) = 'a'";
        assert_ne!(one(&mut admin, verdict), "ok", "{tamper}");
        run(
            &mut admin,
            "ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_immutable;
             ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_numbered;
             ALTER TABLE orgscope.audit_seal ENABLE ALWAYS TRIGGER audit_immutable",
        );
        run(&mut admin, purge);
    }
}
