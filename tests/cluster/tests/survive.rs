//! What scoped tables outlive: dump and restore, DROP, restart, a killed backend, a missing library, replication.

mod common;

use std::time::{Duration, Instant};

use common::*;
use orgscope_cluster::Options;

/// Everything that must be the same after a restore.
const PICTURE: [&str; 8] = [
    "SELECT * FROM ticket ORDER BY id",
    "SELECT * FROM comment ORDER BY id",
    "SELECT * FROM orgscope.scoped_table ORDER BY schema_name, table_name",
    "SELECT * FROM orgscope.scoped_tables ORDER BY schema_name, table_name",
    // Reading and restoring are on record as well, later.
    "SELECT * FROM orgscope.audit_log WHERE action = 'bypass_write' AND row_count IS NOT NULL ORDER BY id",
    "SELECT * FROM orgscope.organization ORDER BY id",
    "SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'public' ORDER BY 1, 2",
    "SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text IN ('ticket', 'comment') ORDER BY tgrelid::regclass::text, 2",
];

fn picture(client: &mut postgres::Client) -> Vec<Vec<String>> {
    PICTURE.iter().map(|sql| rows(client, sql)).collect()
}

#[track_caller]
fn assert_same_picture(client: &mut postgres::Client, before: &[Vec<String>]) {
    for ((sql, now), before) in PICTURE.iter().zip(picture(client)).zip(before) {
        assert_eq!(&now, before, "{sql}");
    }
}

fn restore(world: &World, name: &str, script: &str) {
    let path = world.cluster().scratch_directory(name).unwrap().join("dump.sql");
    std::fs::write(&path, script).unwrap();
    output(world.cluster().command("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, "-f"]).arg(path));
}

#[test]
fn dump_and_restore_bring_everything_back() {
    let world = World::new("dumped");
    let mut admin = world.superuser();
    run(&mut admin, "UPDATE ticket SET title = title || '!'");
    let before = picture(&mut admin);
    for (name, options) in [
        ("restored", &[][..]),
        ("restored_inserts", &["--column-inserts"]),
        ("restored_clean", &["--clean", "--if-exists"]),
    ] {
        let script = output(world.cluster().command("pg_dump").args(["-d", "dumped"]).args(options));
        world.cluster().create_database(name).unwrap();
        restore(&world, name, &script);
        let connect = |user: &str| world.cluster().connect(user, name).unwrap();
        let mut restored = connect("postgres");
        assert_same_picture(&mut restored, &before);

        let mut app = connect("app");
        assert_eq!(rows_under(&mut app, A, "SELECT id FROM ticket ORDER BY id"), ["1", "2"]);
        refused(&mut app, "OS001", "SELECT * FROM ticket");
        refused_under(&mut app, A, "OS002", &format!("INSERT INTO ticket VALUES (50, 'x', '{B}')"));
        for table in ["ticket", "comment"] {
            let plan = format!(
                "SELECT sql FROM orgscope.plan_org_scoping('public.{table}', options => '{{\"on_delete\": \"cascade\"}}') WHERE kind <> 'note'"
            );
            assert_eq!(rows(&mut restored, &plan), [""; 0]);
            assert_eq!(
                rows(&mut restored, &format!("SELECT sql FROM orgscope.repair_org_scoping('public.{table}')")),
                [""; 0]
            );
        }
        let recorded: i64 = one(&mut restored, "SELECT max(id) FROM orgscope.audit_log").parse().unwrap();
        run(&mut restored, "UPDATE ticket SET title = 'x' WHERE id = 1");
        let later = format!("SELECT table_name FROM orgscope.audit_log WHERE id > {recorded} AND row_count = 1");
        assert_eq!(rows(&mut restored, &later), ["public.ticket"], "ids go on");
        refused(&mut restored, "OS006", "DROP EXTENSION orgscope CASCADE");
        let undone = rows(&mut restored, "SELECT sql FROM orgscope.disable_org_scoping('public.ticket')");
        assert!(!undone.is_empty());
    }
}

/// In sections: pg_dump knows no dependency of a foreign key on an extension's data, so a parallel restore in one go may
/// add the key before the organizations are there.
#[test]
fn the_custom_format_restores_in_parallel_by_sections() {
    let world = World::new("custom_format");
    let before = picture(&mut world.superuser());
    let file = world.cluster().scratch_directory("custom").unwrap().join("dump");
    output(world.cluster().command("pg_dump").args(["-d", "custom_format", "-Fc", "-f"]).arg(&file));
    world.cluster().create_database("custom_restored").unwrap();
    for section in ["--section=pre-data", "--section=data", "--section=post-data"] {
        let mut pg_restore = world.cluster().command("pg_restore");
        output(pg_restore.args(["-d", "custom_restored", "-e", "-j2", section]).arg(&file));
    }
    assert_same_picture(&mut world.cluster().connect("postgres", "custom_restored").unwrap(), &before);
}

#[test]
fn a_database_made_from_a_template_is_scoped_too() {
    let world = World::new("original");
    let before = picture(&mut world.superuser());
    run(&mut world.cluster().connect("postgres", "postgres").unwrap(), "CREATE DATABASE a_copy TEMPLATE original");
    assert_same_picture(&mut world.cluster().connect("postgres", "a_copy").unwrap(), &before);
    refused(&mut world.cluster().connect("app", "a_copy").unwrap(), "OS001", "SELECT * FROM ticket");
}

#[test]
fn data_only_restores_are_on_record() {
    let world = World::new("data_only");
    let mut admin = world.superuser();
    let script = output(world.cluster().command("pg_dump").args([
        "-d",
        "data_only",
        "--data-only",
        "-t",
        "ticket",
        "-t",
        "comment",
    ]));
    let before = all_tickets(&world);
    run(&mut admin, "DELETE FROM comment; DELETE FROM ticket");
    let counted = one(&mut admin, "SELECT COALESCE(max(id), 0) FROM orgscope.audit_log");
    restore(&world, "data_only", &script);
    assert_eq!(all_tickets(&world), before);
    let record = format!(
        "SELECT table_name, operation, sum(row_count) FROM orgscope.audit_log WHERE id > {counted} AND action = 'bypass_write' GROUP BY 1, 2 ORDER BY 1"
    );
    assert_eq!(rows(&mut admin, &record), ["public.comment|INSERT|5", "public.ticket|INSERT|5"]);
}

/// The statement with these words that the documentation recommends.
fn documented(words: &str) -> &'static str {
    let blocks =
        include_str!("../../../docs/scoping.md").split("```sql\n").skip(1).filter_map(|b| b.split("\n```").next());
    let lines = include_str!("../../../README.md").split('`');
    blocks.chain(lines).find(|sql| sql.contains(words)).unwrap()
}

/// Of every kind: partitions, change history, a shared table.
const MORE: &str = "
    CREATE TABLE event (id int, at date, organization_id uuid, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE country (code text PRIMARY KEY);
    GRANT SELECT, INSERT ON event, country TO app;
    INSERT INTO event VALUES (1, '2025-05-05', 'aaaaaaaa-0000-7000-8000-000000000001');
    SELECT orgscope.enable_org_scoping('event');
    SELECT orgscope.share_table('country');
    SELECT orgscope.enable_change_history('ticket');
    SELECT orgscope.enable_change_history('event')";

fn whole_dump(world: &World) -> std::path::PathBuf {
    run(&mut world.owner(), MORE);
    let file = world.cluster().scratch_directory(&format!("whole_{}", world.name())).unwrap().join("dump");
    output(world.cluster().command("pg_dump").args(["-Fc", "-d", world.name(), "-f"]).arg(&file));
    file
}

const KNOWN: &str =
    "SELECT target::text FROM orgscope.scoped_tables UNION ALL SELECT target || ' history' FROM orgscope.history_tables
    UNION ALL SELECT target || ' ' || kind FROM orgscope.unscoped_tables ORDER BY 1";
const ALL: [&str; 8] = [
    "comment",
    "country shared",
    "event",
    "event history",
    "event_2025",
    "event_2025 history",
    "ticket",
    "ticket history",
];

#[test]
fn one_schema_is_restored_with_the_registry() {
    let world = World::new("one_schema");
    let file = whole_dump(&world);
    let mut admin = world.beside("one_schema_restored").superuser();
    run(&mut admin, "CREATE EXTENSION orgscope");
    let steps: [&[&str]; 3] = [
        &["-n", "public", "--section=pre-data"],
        &["-a", "-n", "orgscope", "-t", "organization", "-t", "scoped_table", "-t", "unscoped_table"],
        &["-n", "public", "--section=data", "--section=post-data"],
    ];
    for step in steps {
        output(world.cluster().command("pg_restore").args(["-e", "-d", "one_schema_restored"]).args(step).arg(&file));
    }
    assert_eq!(rows(&mut admin, KNOWN), ALL);
    assert_eq!(rows(&mut admin, documented("AS target\nFROM pg_trigger")), [""; 0]);
    assert_eq!(rows(&mut admin, documented("s.target, r.*")), [""; 0]);
    let mut owner = world.cluster().connect("owner", "one_schema_restored").unwrap();
    refused(&mut owner, "OS006", "ALTER TABLE ticket NO FORCE ROW LEVEL SECURITY");
    run(&mut admin, "UPDATE ticket SET title = 'x' WHERE id = 1");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.change_log"), "1");
}

/// Without the registry the tables are held by what they have, and nobody knows of them.
#[test]
fn a_schema_without_the_registry_is_found_and_known_again() {
    let world = World::new("schema_only");
    whole_dump(&world);
    let find = documented("AS target\nFROM pg_trigger");
    assert_eq!(rows(&mut world.superuser(), find), [""; 0]);
    let dump = |options: &[&str]| output(world.cluster().command("pg_dump").args(["-d", "schema_only"]).args(options));
    let registry = ["-a", "-t", "orgscope.scoped_table", "-t", "orgscope.unscoped_table"];
    for (name, parts) in [
        ("known_by_dump", &[&["-s", "--section=pre-data"][..], &registry, &["-s", "--section=post-data"]][..]),
        ("known_by_calls", &[&["-s"]]),
    ] {
        let mut admin = world.beside(name).superuser();
        let script: Vec<String> = parts.iter().map(|options| dump(options)).collect();
        restore(&world, name, &script.concat());
        let connect = |user: &str| world.cluster().connect(user, name).unwrap();
        let mut owner = connect("owner");
        refused(&mut connect("app"), "OS001", "SELECT * FROM ticket");
        if name == "known_by_calls" {
            assert_eq!(rows(&mut admin, KNOWN), [""; 0]);
            assert_eq!(sorted(rows(&mut admin, find)), ["comment", "country", "event", "event_2025", "ticket"]);
            run(&mut owner, "BEGIN; ALTER TABLE ticket NO FORCE ROW LEVEL SECURITY; ROLLBACK");
            run(
                &mut owner,
                "CREATE TABLE event_2026 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
            );
            assert!(rows(&mut admin, find).contains(&"event_2026".into()));
            run(
                &mut owner,
                "SELECT orgscope.enable_org_scoping(t, options => '{\"on_delete\": \"cascade\"}')
                 FROM (VALUES ('ticket'::regclass), ('comment'), ('event')) v (t);
                 SELECT orgscope.share_table('country');
                 SELECT orgscope.enable_change_history(t) FROM (VALUES ('ticket'::regclass), ('event')) v (t)",
            );
            let protected = "SELECT protected FROM orgscope.scoped_tables WHERE target = 'event_2026'::regclass";
            assert_eq!(one(&mut admin, protected), "t");
            run(&mut admin, "DROP TABLE event_2026");
        }
        assert_eq!(rows(&mut admin, KNOWN), ALL, "{name}");
        assert_eq!(rows(&mut admin, find), [""; 0], "{name}");
        for table in ["ticket", "comment", "event", "event_2025"] {
            refused(&mut owner, "OS006", &format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"));
        }
        refused(&mut owner, "OS006", "DROP TRIGGER orgscope_shared ON country");
    }
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

/// Without policies and triggers, which `new_tables` makes up for.
#[test]
fn one_table_is_restored_scoped_or_not_at_all() {
    let world = World::new("one_table");
    let file = world.cluster().scratch_directory("one_table").unwrap().join("dump");
    output(world.cluster().command("pg_dump").args(["-Fc", "-d", "one_table", "-f"]).arg(&file));
    let before = all_tickets(&world);
    let mut admin = world.superuser();
    let restored = |mode: &str| {
        let mut restore = world.cluster().command("pg_restore");
        restore.env("PGOPTIONS", format!("-c orgscope.new_tables={mode}"));
        restore.args(["-e", "-d", "one_table", "-t", "ticket"]).arg(&file).output().unwrap().status.success()
    };
    for mode in ["ignore", "scope"] {
        run(&mut admin, "DROP TABLE ticket CASCADE");
        assert!(restored(mode));
        let mut app = world.app();
        if mode == "ignore" {
            assert_eq!(one(&mut app, "SELECT count(*) FROM ticket"), "5", "of all organizations");
        } else {
            refused(&mut app, "OS001", "SELECT * FROM ticket");
        }
    }
    assert_eq!(all_tickets(&world), before);
    assert_eq!(rows_under(&mut world.app(), A, "SELECT id FROM ticket ORDER BY id"), ["1", "2"]);
    assert_eq!(rows(&mut admin, documented("s.target, r.*")), [""; 0]);
    run(&mut admin, "DROP TABLE ticket CASCADE");
    assert!(!restored("reject"));
    assert_eq!(one(&mut admin, "SELECT to_regclass('ticket')"), "-");
}

#[test]
fn triggers_fire_always_again_after_a_load_without_them() {
    let world = World::new("loaded");
    let file = whole_dump(&world);
    let mut admin = world.beside("loaded_again").superuser();
    for step in [&["-e", "-s"][..], &["-e", "-a", "--disable-triggers"]] {
        output(world.cluster().command("pg_restore").args(["-d", "loaded_again"]).args(step).arg(&file));
    }
    // Also those that the next month's partitions get, if the writer is at it.
    let triggers = "SELECT t.tgrelid::regclass, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE p.pronamespace = 'orgscope'::regnamespace AND t.tgrelid::regclass::text !~ '_20[0-9][0-9]_[01][0-9]$' ORDER BY t.tgrelid::regclass::text, 2";
    let fresh = rows(&mut world.superuser(), triggers);
    let ordinary = |rows: &[String]| rows.iter().filter(|t| t.ends_with("|O")).count();
    assert_eq!(ordinary(&fresh), 4);
    assert!(ordinary(&rows(&mut admin, triggers)) > 30);
    run(&mut admin, documented("ENABLE ALWAYS TRIGGER"));
    run(&mut admin, documented("s.target, r.*"));
    assert_eq!(rows(&mut admin, triggers), fresh);
    let left = "SELECT t.tgrelid::regclass FROM pg_trigger t WHERE t.tgfoid = 'orgscope.audit_immutable'::regproc AND t.tgenabled <> 'A'";
    assert_eq!(rows(&mut admin, left), [""; 0]);
    assert_eq!(rows(&mut admin, documented("s.target, r.*")), [""; 0]);
}

#[test]
fn the_extension_cannot_be_dropped_from_under_scoped_tables() {
    let world = World::new("drops");
    run(&mut world.superuser(), "CREATE SCHEMA other; CREATE EXTENSION pgcrypto SCHEMA other");
    let mut admin = world.superuser();
    for drop in [
        "DROP EXTENSION orgscope CASCADE",
        "DROP EXTENSION IF EXISTS pgcrypto, orgscope CASCADE",
        "DROP SCHEMA orgscope CASCADE",
        "DROP SCHEMA IF EXISTS other, orgscope CASCADE",
        "DROP OWNED BY postgres CASCADE",
        "DROP OWNED BY CURRENT_USER CASCADE",
        "DROP OWNED BY app, postgres CASCADE",
        "DO $$ BEGIN DROP EXTENSION orgscope CASCADE; END $$",
    ] {
        let error = refused(&mut admin, "OS006", drop);
        assert!(error.hint().is_some_and(|hint| hint.contains("disable_org_scoping")), "{drop}");
    }
    refused(&mut world.owner(), "OS006", "DROP EXTENSION orgscope CASCADE");
    run(&mut admin, "DROP OWNED BY app");
    run(&mut admin, "DROP EXTENSION pgcrypto; DROP SCHEMA other");
    run(&mut admin, "SELECT orgscope.disable_org_scoping('public.ticket'); DROP TABLE comment");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.scoped_table"), "0");
    run(&mut admin, "DROP EXTENSION orgscope");
    assert_eq!(all_tickets(&world).len(), 5);
}

/// Functions in PL/pgSQL would take the extension along, past the check.
#[test]
fn nor_with_the_procedural_language() {
    let world = World::new("indirect_drops");
    let mut admin = world.superuser();
    run(&mut admin, "DROP EXTENSION plpgsql CASCADE");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "2");
    refused(&mut world.app(), "OS001", "SELECT * FROM ticket");
}

#[test]
fn a_renamed_table_is_still_scoped() {
    let world = World::new("renamed");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE SCHEMA archive; ALTER TABLE ticket RENAME TO old_ticket; ALTER TABLE comment SET SCHEMA archive",
    );
    refused(&mut admin, "OS006", "DROP EXTENSION orgscope CASCADE");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "2");
    refused(&mut world.app(), "OS001", "SELECT * FROM old_ticket");
    run(&mut admin, "SELECT orgscope.disable_org_scoping('old_ticket')");
}

#[test]
fn a_restart_and_a_killed_backend() {
    // Synchronous: the cluster's default would lose the tables with the server's memory.
    let world = World::in_own_cluster(&Options::default().line("synchronous_commit = on"));
    let mut victim = world.dba();
    run(&mut victim, "BEGIN; UPDATE ticket SET title = 'lost'");
    let pid = one(&mut victim, "SELECT pg_backend_pid()").parse().unwrap();
    world.cluster().kill9(pid).unwrap();
    // The postmaster notices a moment later, and starts all over: the second time that it says it is ready.
    let deadline = Instant::now() + Duration::from_secs(30);
    let ready = |log: String| log.matches("ready to accept connections").count() == 2;
    while !ready(std::fs::read_to_string(world.cluster().log_path()).unwrap()) {
        assert!(Instant::now() < deadline, "the server did not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        one(&mut world.superuser(), "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_write'"),
        "0"
    );
    assert!(!all_tickets(&world).iter().any(|t| t.contains("lost")));

    run(&mut world.dba(), "UPDATE ticket SET title = 'kept' WHERE id = 1");
    world.cluster().restart().unwrap();
    assert_eq!(
        one(&mut world.superuser(), "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_write'"),
        "1"
    );
    assert_eq!(rows_under(&mut world.app(), A, "SELECT title FROM ticket ORDER BY id"), ["kept", "a2"]);
    refused(&mut world.app(), "OS001", "SELECT * FROM ticket");
}
