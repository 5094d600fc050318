//! The audit writer writes, whoever holds what it would like to have; and what it cannot write waits for it.

mod common;

use common::*;
use orgscope_cluster::Options;
use postgres::Client;
use std::time::{Duration, Instant};

const READS: &str = "SELECT role_name, sum(event_count) FROM orgscope.audit_log WHERE action = 'bypass_read' AND event_count > 0 GROUP BY 1 ORDER BY 1";
const UNSEALED: &str = "SELECT sum(unsealed) FROM orgscope.verify_audit(NULL)";

#[track_caller]
fn eventually(client: &mut Client, sql: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while one(client, sql) != expected {
        assert!(Instant::now() < deadline, "{}, expected {expected}\n{sql}", one(client, sql));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Another database has the only place of a writer.
#[test]
fn what_waits_for_a_place_is_not_written_and_not_lost() {
    let world = World::in_own_cluster(&Options::default().line("max_worker_processes = 3"));
    let (busy, gone) = (world.beside("busy"), world.beside("gone"));
    let scoped = "CREATE EXTENSION orgscope; CREATE TABLE of_beside (organization_id uuid); SELECT orgscope.enable_org_scoping('public.of_beside')";
    for beside in [&busy, &gone] {
        run(&mut beside.superuser(), scoped);
        run(&mut beside.superuser(), "SELECT orgscope.flush_audit()");
    }
    let mut admin = world.superuser();
    // Writers leave when they have nothing to do.
    eventually(&mut admin, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'orgscope audit writer'", "0");
    let mut lock = busy.superuser();
    run(&mut lock, "BEGIN; LOCK orgscope.audit_log IN SHARE MODE");
    run(&mut busy.superuser(), "SELECT * FROM of_beside");
    eventually(&mut admin, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'orgscope audit writer'", "1");

    run(&mut gone.superuser(), "SELECT * FROM of_beside");
    run(&mut admin, "DROP DATABASE gone");
    let began = Instant::now();
    let mut sync = world.superuser();
    run(&mut sync, "SET orgscope.audit_durability = sync; SET orgscope.audit_timeout = '900ms'");
    let mut refusals = 0;
    while began.elapsed() < Duration::from_secs(14) {
        refused(&mut sync, "OS007", &format!("SELECT {refusals} FROM ticket"));
        refusals += 1;
    }
    // Nobody can write for a database that is gone.
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let logged: Vec<_> = log.lines().filter(|line| line.contains("orgscope audit: {")).collect();
    assert!(logged.len() == 1 && logged[0].contains("public.of_beside"), "{logged:?}");

    run(&mut lock, "COMMIT");
    run(&mut admin, "SELECT orgscope.flush_audit()");
    assert_eq!(rows(&mut admin, READS), [format!("postgres|{refusals}")]);
    run(&mut sync, "SET orgscope.audit_timeout = '10s'; SELECT * FROM ticket");
    assert_eq!(rows(&mut admin, READS), [format!("postgres|{}", refusals + 1)]);
    assert_eq!(one(&mut admin, "SELECT events_logged FROM orgscope.stats"), "1");
}

#[test]
fn who_seals_in_an_open_transaction_keeps_nobody_from_being_on_record() {
    let world = World::new("writer_seals");
    let (mut sealer, mut admin) = (world.superuser(), world.superuser());
    run(&mut world.dba(), "UPDATE ticket SET title = 'x'");
    run(&mut sealer, "BEGIN; SELECT orgscope.seal_audit()");
    run(&mut world.dba(), "UPDATE ticket SET title = 'y'");
    std::thread::sleep(Duration::from_millis(2500));
    run(&mut admin, "SET orgscope.audit_durability = sync; SET orgscope.audit_timeout = '3s'; SELECT * FROM ticket");
    assert_eq!(rows(&mut admin, READS), ["postgres|1"]);
    assert_ne!(one(&mut admin, UNSEALED), "0");
    run(&mut sealer, "COMMIT");
    eventually(&mut admin, UNSEALED, "0");
}

#[test]
fn settings_of_a_database_or_role_are_not_the_writers() {
    let world = World::new("writer_settings");
    let mut admin = world.superuser();
    for setting in [
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "default_transaction_isolation = serializable",
        "session_replication_role = replica",
        "row_security = off",
        "search_path = nowhere",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
    ] {
        run(&mut admin, &format!("ALTER DATABASE writer_settings SET {setting}"));
    }
    // The writer that is there now goes first.
    let writers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'orgscope audit writer' AND datname = current_database()";
    run(&mut admin, "SET orgscope.audit_reads = off");
    eventually(&mut admin, writers, "0");
    run(
        &mut admin,
        "SET orgscope.audit_reads = on; SET orgscope.audit_durability = sync; SET orgscope.audit_timeout = '3s'",
    );
    run(&mut admin, "SELECT * FROM ticket");
    assert_eq!(rows(&mut admin, READS), ["postgres|1"]);
    eventually(&mut admin, UNSEALED, "0");
}
