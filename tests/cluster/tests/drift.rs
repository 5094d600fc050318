//! DDL that would weaken a scoped table: refused to everybody but a superuser, who is put on record; judged by what it
//! leaves behind.

mod common;

use common::*;

/// What the table's owner may try, and what of it would be missing.
const WEAKENING: [(&str, &str); 31] = [
    ("ALTER TABLE ticket DISABLE ROW LEVEL SECURITY", "row security"),
    ("ALTER TABLE ticket NO FORCE ROW LEVEL SECURITY", "row security for its owner"),
    ("DROP POLICY orgscope_floor ON ticket", "policy orgscope_floor"),
    ("DROP POLICY orgscope_base ON ticket", "policy orgscope_base"),
    ("ALTER POLICY orgscope_floor ON ticket USING (true)", "policy orgscope_floor"),
    ("ALTER POLICY orgscope_floor ON ticket WITH CHECK (true)", "policy orgscope_floor"),
    ("ALTER POLICY orgscope_floor ON ticket TO app", "policy orgscope_floor"),
    ("ALTER POLICY orgscope_floor ON ticket RENAME TO cellar", "policy orgscope_floor"),
    ("ALTER TABLE ticket DISABLE TRIGGER orgscope_truncate", "trigger orgscope_truncate"),
    ("ALTER TABLE ticket DISABLE TRIGGER USER", "trigger \"~orgscope_guard\""),
    ("ALTER TABLE ticket ENABLE TRIGGER orgscope_record", "trigger orgscope_record"),
    ("ALTER TABLE ticket ENABLE REPLICA TRIGGER orgscope_record", "trigger orgscope_record"),
    ("DROP TRIGGER \"~orgscope_guard\" ON ticket", "trigger \"~orgscope_guard\""),
    ("ALTER TRIGGER orgscope_last_word ON ticket RENAME TO a", "trigger orgscope_last_word"),
    (
        "CREATE OR REPLACE TRIGGER orgscope_truncate BEFORE TRUNCATE ON ticket EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "trigger orgscope_truncate",
    ),
    (
        "CREATE OR REPLACE TRIGGER \"~orgscope_guard\" BEFORE INSERT ON ticket FOR EACH ROW EXECUTE FUNCTION orgscope.guard('organization_id')",
        "trigger \"~orgscope_guard\"",
    ),
    ("ALTER TABLE ticket DROP COLUMN organization_id CASCADE", "its organization column"),
    (
        "DROP POLICY orgscope_floor ON ticket; DROP POLICY orgscope_base ON ticket; ALTER TABLE ticket ALTER organization_id TYPE text",
        "policy orgscope_floor",
    ),
    ("ALTER TABLE ticket ALTER organization_id DROP NOT NULL", "NOT NULL on its organization column"),
    ("ALTER TABLE ticket ALTER organization_id DROP DEFAULT", "default of its organization column"),
    ("ALTER TABLE ticket ALTER organization_id SET DEFAULT gen_random_uuid()", "default of its organization column"),
    ("ALTER TABLE ticket DROP CONSTRAINT ticket_organization_id_fkey", "foreign key to orgscope.organization"),
    ("DROP INDEX comment_organization_id_idx", "index that leads"),
    ("ALTER TABLE ticket OWNER TO dba", "an owner that row security holds"),
    ("REASSIGN OWNED BY owner TO dba", "an owner that row security holds"),
    ("CREATE RULE r AS ON INSERT TO ticket DO ALSO NOTHING", "rule \"r\""),
    ("CREATE RULE r AS ON DELETE TO ticket DO INSTEAD NOTHING", "rule \"r\""),
    ("ALTER TABLE ticket ADD note text, DISABLE ROW LEVEL SECURITY", "row security"),
    (
        "DO $$ BEGIN EXECUTE 'ALTER TABLE ' || 'ticket NO FORCE ROW LEVEL SECURITY'; END $$",
        "row security for its owner",
    ),
    (
        "ALTER TABLE ticket RENAME organization_id TO org; ALTER TABLE ticket ADD organization_id uuid; ALTER TABLE ticket ALTER org DROP NOT NULL",
        "NOT NULL on its organization column",
    ),
    ("ALTER TABLE ticket RENAME TO t; ALTER TABLE t DISABLE ROW LEVEL SECURITY", "row security"),
];

#[test]
fn the_owner_is_refused_and_told_what_would_be_missing() {
    let world = World::new("drift_owner");
    let before = dump(&world);
    run(&mut world.superuser(), "GRANT dba TO owner; GRANT CREATE ON SCHEMA public TO dba");
    let mut owner = world.owner();
    for (sql, missing) in WEAKENING {
        let error = refused(&mut owner, "OS006", sql);
        assert!(error.detail().unwrap().contains(missing), "{sql}: {}", error.detail().unwrap());
        assert!(error.hint().unwrap().contains("orgscope.disable_org_scoping('public."), "{sql}");
    }
    run(&mut world.superuser(), "REVOKE dba FROM owner; REVOKE CREATE ON SCHEMA public FROM dba");
    assert_same(&before, &dump(&world), "nothing has changed");
    assert_eq!(
        one(
            &mut world.superuser(),
            "SELECT count(*) FROM orgscope.audit_log WHERE action = 'ddl' AND detail ? 'missing'"
        ),
        "0"
    );
}

#[test]
fn what_takes_nothing_away_is_nobodys_business() {
    let world = World::new("drift_harmless");
    let mut owner = world.owner();
    for sql in [
        "ALTER TABLE ticket ADD note text, ADD CHECK (id > 0)",
        "ALTER TABLE ticket ALTER title TYPE varchar(200), ALTER title SET DEFAULT ''",
        "CREATE POLICY everything ON ticket USING (true) WITH CHECK (true)",
        "DROP POLICY everything ON ticket",
        "CREATE INDEX by_title ON ticket (title)",
        "DROP INDEX by_title",
        "CREATE TRIGGER own BEFORE UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE ticket DISABLE TRIGGER own",
        "DROP TRIGGER own ON ticket",
        "ALTER TABLE ticket RENAME title TO heading",
        "ALTER TABLE ticket RENAME TO issue",
        "CREATE INDEX another ON issue (organization_id, id); DROP INDEX ticket_organization_id_idx",
        "GRANT SELECT ON issue TO PUBLIC",
        "ALTER TABLE issue DROP COLUMN heading",
        "CREATE UNIQUE INDEX unique_in_all ON issue (id, note)",
        "DROP INDEX unique_in_all",
    ] {
        run(&mut owner, sql);
    }
    assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('issue')"), [""; 0]);
    let mut admin = world.superuser();
    run(
        &mut admin,
        "ALTER TABLE issue ADD more text; ALTER TABLE issue OWNER TO app; ALTER TABLE issue OWNER TO owner",
    );
    assert_eq!(
        one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE action = 'ddl' AND detail ? 'missing'"),
        "0"
    );
}

#[test]
fn a_superuser_is_put_on_record_once_for_what_was_taken() {
    let world = World::new("drift_superuser");
    let mut admin = world.superuser();
    let record = "SELECT operation, table_name, actor, reason, role_name, detail FROM orgscope.audit_log WHERE action = 'ddl' AND detail ? 'missing' ORDER BY id";
    run(&mut admin, "BEGIN; ALTER TABLE ticket DISABLE ROW LEVEL SECURITY; ROLLBACK");
    run(&mut admin, "SELECT orgscope.flush_audit()");
    assert_eq!(
        rows(&mut admin, record),
        [r#"ALTER TABLE|public.ticket|-|-|postgres|{"missing": ["row security"], "rolled_back": true}"#]
    );
    let record = &record.replace("detail ? 'missing'", "NOT detail ? 'rolled_back'");
    run(&mut admin, "SET orgscope.actor = 'kim'; SET orgscope.reason = 'incident 7'");
    run(&mut admin, "ALTER TABLE ticket DISABLE ROW LEVEL SECURITY");
    run(&mut admin, "DROP POLICY orgscope_floor ON ticket");
    run(&mut admin, "ALTER TABLE ticket ADD note text; ALTER TABLE ticket ENABLE ROW LEVEL SECURITY");
    assert_eq!(
        rows(&mut admin, record),
        [
            "ALTER TABLE|public.ticket|kim|incident 7|postgres|{\"missing\": [\"row security\"]}",
            "DROP POLICY|public.ticket|kim|incident 7|postgres|{\"missing\": [\"policy orgscope_floor\"]}",
        ]
    );
    let statement = "SELECT DISTINCT statement FROM orgscope.audit_log WHERE operation = 'DROP POLICY'";
    assert_eq!(one(&mut admin, statement), "DROP POLICY orgscope_floor ON ticket");

    // The owner is not held responsible for what is missing already, and can put it back.
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE ticket ADD another text");
    assert_eq!(
        rows(&mut owner, "SELECT kind FROM orgscope.repair_org_scoping('ticket')"),
        ["policy"],
        "repair puts back and lists it"
    );
    refused(&mut owner, "OS006", "DROP POLICY orgscope_floor ON ticket");
}

#[test]
fn drift_audit_lets_everybody_through_on_record() {
    let world = World::new("drift_audit");
    let mut owner = world.owner();
    refused(&mut owner, "42501", "SET orgscope.drift = 'audit'");
    run(&mut world.superuser(), "ALTER ROLE owner IN DATABASE drift_audit SET orgscope.drift = 'audit'");
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE ticket NO FORCE ROW LEVEL SECURITY; DROP INDEX comment_organization_id_idx");
    let record =
        "SELECT role_name, operation, detail ->> 'missing' FROM orgscope.audit_log WHERE action = 'ddl' ORDER BY id";
    assert_eq!(
        rows(&mut world.superuser(), record),
        [
            "owner|ALTER TABLE|[\"row security for its owner\"]",
            "owner|DROP INDEX|[\"index that leads with its organization column\"]"
        ]
    );
}

#[test]
fn drop_owned_and_a_dropped_key_elsewhere() {
    let world = World::new("drift_cascades");
    let mut admin = world.superuser();
    let mut owner = world.owner();
    // Objects on a scoped table that belong to another role go with the role's objects.
    run(&mut admin, "CREATE ROLE drift_helper; CREATE SCHEMA helper AUTHORIZATION drift_helper");
    run(&mut admin, "DROP OWNED BY drift_helper; DROP ROLE drift_helper");
    run(&mut owner, "DROP TABLE comment; DROP TABLE ticket");
    let left = "SELECT (SELECT count(*) FROM orgscope.scoped_table) + (SELECT count(*) FROM orgscope.table_state)";
    assert_eq!(one(&mut admin, left), "0");
    assert_eq!(
        one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE action = 'ddl' AND detail ? 'missing'"),
        "0"
    );
}

#[test]
fn the_session_cannot_switch_the_check_off() {
    let world = World::new("drift_replica");
    let mut admin = world.superuser();
    run(&mut admin, "SET session_replication_role = replica; ALTER TABLE ticket DISABLE ROW LEVEL SECURITY");
    assert_eq!(
        one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE action = 'ddl' AND detail ? 'missing'"),
        "1"
    );
}

/// The parts of a table come back one by one after its entry in the registry, as its owner's commands. Rules and keys
/// across organizations that the table had come along.
#[test]
fn a_restore_is_no_drift_and_ends_under_watch() {
    let world = World::new("drift_dumped");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE RULE nothing AS ON DELETE TO comment WHERE OLD.id < 0 DO INSTEAD NOTHING;
         CREATE UNIQUE INDEX in_all ON ticket (title); CREATE POLICY own ON ticket USING (true);
         CREATE TABLE country (code text PRIMARY KEY); SELECT orgscope.share_table('country');
         CREATE TABLE setting (id int PRIMARY KEY); SELECT orgscope.exempt_table('setting', 'one installation');
         ALTER TABLE country OWNER TO owner; ALTER TABLE setting OWNER TO owner",
    );
    let recorded = "SELECT id, operation, table_name, detail FROM orgscope.audit_log WHERE action = 'ddl' ORDER BY id";
    let before = rows(&mut admin, recorded);
    let unscoped = "SELECT * FROM orgscope.unscoped_tables ORDER BY table_name";
    let declared = rows(&mut admin, unscoped);
    assert_eq!(before.len(), 3, "the rule, the index and the policy");
    let file = world.cluster().scratch_directory("drift_dump").unwrap().join("dump");
    output(world.cluster().command("pg_dump").args(["-d", "drift_dumped", "-Fc", "-f"]).arg(&file));
    for (database, user) in [("drift_restored", "postgres"), ("drift_restored_by_owner", "owner")] {
        world.cluster().create_database(database).unwrap();
        for (section, user) in [("pre-data", "postgres"), ("data", "postgres"), ("post-data", user)] {
            let mut restore = world.cluster().command("pg_restore");
            restore.args(["-d", database, "-U", user, "-e", "--section", section]).arg(&file);
            output(&mut restore);
        }
        let mut restored = world.cluster().connect("postgres", database).unwrap();
        assert_eq!(rows(&mut restored, recorded), before, "{database}");
        assert_eq!(one(&mut restored, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "2");
        assert_eq!(rows(&mut restored, unscoped), declared);
        assert_eq!(one(&mut restored, "SELECT count(*) FROM orgscope.table_state WHERE settled"), "3");
        let mut owner = world.cluster().connect("owner", database).unwrap();
        refused(&mut owner, "OS006", "DROP POLICY orgscope_floor ON ticket");
        refused(&mut owner, "OS006", "CREATE RULE another AS ON UPDATE TO comment DO ALSO NOTHING");
        run(&mut owner, "ALTER TABLE ticket RENAME organization_id TO org");
        run(&mut restored, "ALTER TABLE setting RENAME TO preference; ALTER TABLE country RENAME TO land");
        let names = "SELECT target, kind FROM orgscope.unscoped_tables ORDER BY table_name";
        assert_eq!(rows(&mut restored, names), ["land|shared", "preference|exempt"]);
        assert_eq!(one(&mut restored, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "2");
    }
}

/// A trigger made on the parent of partitions is theirs as well, at first without what is said of it later.
#[test]
fn nor_is_one_of_a_partitioned_table() {
    let world = World::without_tables("drift_parts");
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE event (id int, year int, organization_id uuid) PARTITION BY RANGE (year);
             CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM (2024) TO (2025);
             CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM (2025) TO (2026);
             INSERT INTO event VALUES (1, 2024, '{A}'), (2, 2025, '{B}');
             SELECT orgscope.enable_org_scoping('public.event')"
        ),
    );
    let triggers = "SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
                    WHERE tgrelid IN (SELECT relid FROM pg_partition_tree('event')) AND NOT tgisinternal ORDER BY 1, 2";
    let before = rows(&mut world.superuser(), triggers);
    let directory = world.cluster().scratch_directory("drift_parts").unwrap();
    let (file, list) = (directory.join("dump"), directory.join("list"));
    output(world.cluster().command("pg_dump").args(["-d", "drift_parts", "-Fc", "-f"]).arg(&file));
    let entries = output(world.cluster().command("pg_restore").arg("-l").arg(&file));
    let (mut triggers_last, rest): (Vec<_>, Vec<_>) = entries.lines().partition(|entry| entry.contains(" TRIGGER "));
    triggers_last.splice(0..0, rest);
    for (database, user, list_of) in [
        ("drift_parts_restored", "postgres", &*entries),
        ("drift_parts_by_owner", "owner", &*entries),
        ("drift_parts_in_another_order", "owner", &triggers_last.join("\n")),
    ] {
        world.cluster().create_database(database).unwrap();
        let mut restored = world.cluster().connect("postgres", database).unwrap();
        run(&mut restored, "CREATE EXTENSION orgscope; GRANT CREATE ON SCHEMA public TO owner");
        std::fs::write(&list, list_of).unwrap();
        for (user, arguments) in [("postgres", ["-a", "-n", "orgscope"]), (user, ["--no-owner", "-n", "public"])] {
            let mut restore = world.cluster().command("pg_restore");
            output(restore.args(["-d", database, "-U", user, "-e"]).args(arguments).arg("-L").arg(&list).arg(&file));
        }
        let recorded = "SELECT operation, table_name, detail FROM orgscope.audit_log WHERE detail ? 'missing'";
        assert_eq!(rows(&mut restored, recorded), [""; 0], "{database}");
        assert_eq!(rows(&mut restored, triggers), before);
        assert_eq!(one(&mut restored, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "3");
        assert_eq!(one(&mut restored, "SELECT count(*) FROM orgscope.table_state WHERE settled"), "3");
        run(&mut restored, "ALTER TABLE event OWNER TO owner; ALTER TABLE event_2024 OWNER TO owner");
        let mut owner = world.cluster().connect("owner", database).unwrap();
        for table in ["event", "event_2024"] {
            for command in ["DISABLE TRIGGER USER", "ENABLE TRIGGER orgscope_last_word", "NO FORCE ROW LEVEL SECURITY"]
            {
                refused(&mut owner, "OS006", &format!("ALTER TABLE {table} {command}"));
            }
        }
    }
}

/// A policy that says the wrong thing does not open the table: the library adds the floor by itself.
#[test]
fn the_floor_stays_without_its_policy() {
    let world = World::new("drift_floor");
    let (mut admin, mut app) = (world.superuser(), world.app());
    run(&mut admin, "CREATE POLICY everything ON ticket USING (true) WITH CHECK (true)");
    let explain = "EXPLAIN (COSTS off) SELECT * FROM ticket WHERE title = 'x'";
    let plan = rows_under(&mut app, A, explain);
    for sql in [
        "ALTER POLICY orgscope_base ON ticket USING (true) WITH CHECK (true)",
        "ALTER POLICY orgscope_floor ON ticket USING (true) WITH CHECK (true)",
        "ALTER POLICY orgscope_floor ON ticket TO dba",
        "DROP POLICY orgscope_floor ON ticket",
    ] {
        run(&mut admin, sql);
        assert_eq!(rows_under(&mut app, A, "SELECT id FROM ticket ORDER BY id"), ["1", "2"], "{sql}");
        assert_eq!(rows_under(&mut app, A, "UPDATE ticket SET title = '' RETURNING id").len(), 2, "{sql}");
        refused(&mut app, "OS001", "SELECT * FROM ticket");
    }
    assert_eq!(rows_under(&mut app, A, explain), plan, "with the policy it is planned once");
    // A trigger of that name on somebody's own table has no effect.
    run(
        &mut world.owner(),
        "CREATE TABLE own (a text); ALTER TABLE own ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON own USING (true);
         GRANT SELECT ON own TO app; INSERT INTO own VALUES ('x');
         CREATE TRIGGER \"~orgscope_guard\" BEFORE UPDATE ON own FOR EACH ROW EXECUTE FUNCTION orgscope.guard('a')",
    );
    assert_eq!(rows(&mut app, "SELECT * FROM own"), ["x"]);
}

/// A backfill runs code of its author's while the extension is at work.
#[test]
fn code_that_runs_meanwhile_is_judged() {
    let world = World::new("drift_meanwhile");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE bait (id int); INSERT INTO bait VALUES (1);
         CREATE FUNCTION evil(sql text) RETURNS uuid LANGUAGE plpgsql AS
         $$ BEGIN EXECUTE sql; RETURN 'aaaaaaaa-0000-7000-8000-000000000001'; END $$",
    );
    refused(
        &mut owner,
        "OS006",
        "SELECT orgscope.enable_org_scoping('bait', options => '{\"backfill\": \"public.evil(''ALTER TABLE public.ticket NO FORCE ROW LEVEL SECURITY'')\"}')",
    );
    refused(
        &mut owner,
        "OS006",
        "SELECT orgscope.enable_org_scoping('bait', options => '{\"backfill\": \"public.evil(''CREATE TABLE IF NOT EXISTS public.x (); ALTER TABLE public.comment DISABLE ROW LEVEL SECURITY'')\"}')",
    );
    // An error in the middle leaves nothing switched off.
    run(
        &mut owner,
        "DO $$ BEGIN PERFORM orgscope.enable_org_scoping('bait', options => '{\"backfill\": \"1/0\"}');
         EXCEPTION WHEN OTHERS THEN NULL; END $$",
    );
    run(&mut owner, "DELETE FROM bait; SELECT orgscope.enable_org_scoping('bait')");
    refused(&mut owner, "OS006", "ALTER TABLE bait DISABLE ROW LEVEL SECURITY");
}

#[test]
fn a_renamed_column_keeps_the_protection() {
    let world = World::new("drift_column");
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE ticket RENAME organization_id TO \"Org 'x'\"");
    assert_eq!(
        rows(&mut owner, "SELECT table_name, column_name, protected FROM orgscope.scoped_tables ORDER BY 1"),
        ["comment|organization_id|t", "ticket|Org 'x'|t"]
    );
    assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('ticket')"), [""; 0]);
    let mut app = world.app();
    assert_eq!(rows_under(&mut app, A, "INSERT INTO ticket (id) VALUES (90) RETURNING \"Org 'x'\""), [A]);
    refused_under(&mut app, A, "OS002", &format!("INSERT INTO ticket VALUES (91, '', '{B}')"));
    refused(&mut app, "OS001", "SELECT * FROM ticket");
    run(&mut owner, "ALTER TABLE ticket RENAME \"Org 'x'\" TO organization_id");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "2");
    run(&mut owner, "SELECT orgscope.disable_org_scoping('ticket')");
}

#[test]
fn orgscopes_own_objects_are_watched() {
    let world = World::new("drift_ours");
    let mut admin = world.superuser();
    let record = "SELECT operation, detail FROM orgscope.audit_log WHERE action = 'ddl' ORDER BY id";
    for sql in [
        "ALTER TABLE orgscope.audit_log DISABLE TRIGGER audit_immutable",
        "CREATE OR REPLACE FUNCTION orgscope.has_feature(feature text, org uuid DEFAULT NULL) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "ALTER EVENT TRIGGER orgscope_keep_scoping DISABLE",
        "ALTER EVENT TRIGGER orgscope_keep_scoping ENABLE ALWAYS",
        "ALTER EVENT TRIGGER orgscope_keep_scoping RENAME TO other",
        "DROP POLICY own_audit_log ON orgscope.audit_log",
    ] {
        run(&mut admin, sql);
    }
    assert_eq!(
        rows(&mut admin, record),
        [
            "ALTER TABLE|{\"objects\": [\"orgscope.audit_log\"]}",
            "CREATE FUNCTION|{\"objects\": [\"orgscope.has_feature(pg_catalog.text,pg_catalog.uuid)\"]}",
            "ALTER EVENT TRIGGER|{\"objects\": [\"orgscope_keep_scoping\"]}",
            "ALTER EVENT TRIGGER|{\"objects\": [\"orgscope_keep_scoping\"]}",
            "ALTER EVENT TRIGGER RENAME|{\"objects\": [\"orgscope_keep_scoping\"]}",
            "DROP POLICY|{\"objects\": [\"own_audit_log on orgscope.audit_log\"]}",
        ]
    );
}
