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
