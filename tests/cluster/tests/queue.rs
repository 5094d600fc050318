//! Who reads around row security, and what orgscope refuses, is on record whatever becomes of the transaction.

mod common;

use common::*;
use orgscope_cluster::Options;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const READS: &str = "SELECT role_name, table_name, operation, event_count FROM orgscope.audit_log WHERE action = 'bypass_read' AND event_count > 0 ORDER BY id";

/// What is on record of everybody's reads.
fn reads(world: &World) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(&mut admin, READS)
}

#[test]
fn reads_outside_row_security_are_on_record() {
    let world = World::new("queue_reads");
    let mut dba = world.dba();
    run(&mut dba, "SELECT count(*) FROM ticket");
    run(&mut dba, "BEGIN; SELECT * FROM comment; ROLLBACK");
    let mut copied = String::new();
    run(&mut dba, "BEGIN READ ONLY");
    dba.copy_out("COPY ticket TO STDOUT").unwrap().read_to_string(&mut copied).unwrap();
    run(&mut dba, "COMMIT");
    assert_eq!(copied.lines().count(), 5);
    // Neither planning nor a table of the catalogs is an access; a normal role's is covered.
    run(&mut dba, "EXPLAIN SELECT * FROM ticket; SELECT count(*) FROM pg_class");
    run(&mut world.app(), &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; SELECT * FROM ticket; COMMIT"));
    assert_eq!(
        reads(&world),
        ["dba|public.ticket|SELECT|1", "dba|public.comment|SELECT|1", "dba|public.ticket|SELECT|1"]
    );
}

/// Reads as `dba`, each in a connection of its own, and what is on record of them.
fn seen(world: &World, reads_of: &str) -> Vec<String> {
    let before = reads(world).len();
    run(&mut world.dba(), reads_of);
    reads(world).split_off(before)
}

#[test]
fn whatever_way_a_read_takes() {
    let world = World::new("queue_ways");
    run(
        &mut world.superuser(),
        "CREATE VIEW all_tickets AS SELECT * FROM ticket;
         CREATE FUNCTION titles() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT title FROM ticket';
         CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM ticket;
         GRANT SELECT ON all_tickets TO app",
    );
    assert_eq!(reads(&world), ["postgres|public.ticket|SELECT|1"], "the materialized view was filled");
    let mut app = world.app();
    assert_eq!(one(&mut app, "SELECT count(*) FROM all_tickets"), "5");
    assert_eq!(rows(&mut app, "SELECT titles()").len(), 5);
    let mut admin = world.superuser();
    run(&mut admin, "REFRESH MATERIALIZED VIEW report");
    run(&mut admin, "CREATE TABLE copied AS SELECT * FROM ticket");
    let record = reads(&world);
    let (app_read, admin_read) = ("app|public.ticket|SELECT|1", "postgres|public.ticket|SELECT|1");
    assert_eq!(record[1..], [app_read, admin_read, admin_read, admin_read]);
    let behind = "SELECT login_name, role_name, detail ->> 'checked_as' FROM orgscope.audit_log WHERE action = 'bypass_read' AND login_name = 'app' ORDER BY id";
    assert_eq!(rows(&mut world.superuser(), behind), ["app|app|postgres", "app|postgres|-"]);
    for (what, sql, expected) in [
        ("cursor", "BEGIN; DECLARE c CURSOR FOR SELECT * FROM ticket; FETCH 1 FROM c; FETCH 1 FROM c; COMMIT", 1),
        ("prepared", "PREPARE p AS SELECT * FROM ticket; EXECUTE p; EXECUTE p", 2),
        ("in a function", "DO $$ BEGIN PERFORM count(*) FROM ticket; END $$", 1),
        ("sub-select", "SELECT (SELECT count(*) FROM ticket) FROM generate_series(1, 3)", 1),
        ("row_security = off", "SET row_security = off; SELECT * FROM ticket", 1),
        ("EXPLAIN ANALYZE", "EXPLAIN ANALYZE SELECT * FROM ticket", 1),
        ("after a failed EXPLAIN", "EXPLAIN SELECT * FROM ticket", 0),
        ("caught", "DO $$ BEGIN PERFORM id / 0 FROM ticket; EXCEPTION WHEN division_by_zero THEN NULL; END $$", 1),
    ] {
        let found = seen(&world, sql);
        let events: u32 = found.iter().map(|row| row.rsplit('|').next().unwrap().parse::<u32>().unwrap()).sum();
        assert_eq!(events, expected, "{what}: {found:#?}");
    }
    let mut replica = world.superuser();
    run(&mut replica, "SET session_replication_role = replica; SELECT * FROM comment");
    assert_eq!(reads(&world).last().unwrap(), "postgres|public.comment|SELECT|1");
    run(&mut world.superuser(), "SET orgscope.audit_reads = off; SELECT * FROM comment");
    let before = reads(&world).len();
    assert_eq!(reads(&world).len(), before);
}

/// Of all statements with the same text, whether their numbers came in time to join their records or not.
fn rows_read(world: &World, client: &mut postgres::Client, sql: &str) -> String {
    for part in sql.split("; ") {
        let _ = query(client, part);
    }
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let total =
        "SELECT sum(event_count), sum(row_count) FROM orgscope.audit_log WHERE action = 'bypass_read' AND id > ";
    let last = "(SELECT COALESCE(max(id), 0) FROM orgscope.audit_log WHERE action = 'mark')";
    let found = rows(&mut admin, &format!("{total}{last}")).remove(0);
    run(&mut admin, "INSERT INTO orgscope.audit_log (action) VALUES ('mark')");
    found
}

#[test]
fn a_read_is_on_record_with_the_rows_it_returned() {
    let world = World::new("queue_rows");
    run(
        &mut world.superuser(),
        "CREATE FUNCTION nested() RETURNS bigint LANGUAGE plpgsql AS
             'DECLARE n int = 0; r record; BEGIN FOR r IN SELECT * FROM ticket LOOP n = n + 1; END LOOP; RETURN n; END';
         CREATE FUNCTION again(n int) RETURNS bigint LANGUAGE plpgsql AS
             'DECLARE t int = 0; r record; BEGIN FOR r IN SELECT id FROM ticket LOOP
                  IF n > 0 AND t = 0 THEN t = again(n - 1); END IF; t = t + 1; END LOOP; RETURN t; END'",
    );
    for sync in [false, true] {
        let mut dba = world.superuser();
        run(&mut dba, &format!("SET orgscope.audit_durability = {}", if sync { "sync" } else { "async" }));
        for (sql, expected) in [
            ("SELECT * FROM ticket", "1|5"),
            ("SELECT * FROM ticket WHERE id < 0", "1|-"),
            ("SELECT count(*) FROM ticket", "1|1"),
            ("SELECT * FROM ticket t JOIN comment c ON c.ticket_id = t.id", "2|10"),
            (
                "BEGIN; DECLARE c CURSOR FOR SELECT * FROM ticket; FETCH 2 FROM c; FETCH 1 FROM c; CLOSE c; COMMIT",
                "1|3",
            ),
            ("BEGIN; DECLARE c CURSOR FOR SELECT * FROM ticket; FETCH 2 FROM c; ROLLBACK", "1|2"),
            ("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM ticket; COMMIT; CLOSE c", "1|5"),
            ("PREPARE p AS SELECT * FROM ticket; EXECUTE p; EXECUTE p; DEALLOCATE p", "2|10"),
            ("SELECT nested()", "1|5"),
            ("SELECT again(2)", "3|15"),
            ("CREATE TEMP TABLE copied AS SELECT * FROM ticket; DROP TABLE copied", "1|5"),
            ("SELECT 1 / (id - 2) FROM ticket", "1|-"),
            ("BEGIN; SAVEPOINT s; SELECT id / 0 FROM ticket; ROLLBACK TO s; SELECT * FROM comment; COMMIT", "2|5"),
        ] {
            assert_eq!(rows_read(&world, &mut dba, sql), expected, "{sql}");
        }
    }
    let mut dba = world.dba();
    for sql in ["COPY ticket TO STDOUT", "COPY (SELECT * FROM ticket) TO STDOUT"] {
        dba.copy_out(sql).unwrap().read_to_string(&mut String::new()).unwrap();
        assert_eq!(rows_read(&world, &mut dba, "SELECT 1"), "1|5", "{sql}");
    }
}

#[test]
fn refusals_are_on_record() {
    let world = World::new("queue_denied");
    let mut app = world.app();
    for _ in 0..3 {
        refused(&mut app, "OS001", "SELECT * FROM ticket");
    }
    refused_under(&mut app, A, "OS002", &format!("INSERT INTO ticket VALUES (99, 'x', '{B}')"));
    run(&mut app, "DO $$ BEGIN PERFORM * FROM comment; EXCEPTION WHEN SQLSTATE 'OS001' THEN NULL; END $$");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    assert_eq!(
        rows(
            &mut admin,
            "SELECT role_name, table_name, sqlstate, sum(event_count), organization_id FROM orgscope.audit_log
             WHERE action = 'denied' GROUP BY 1, 2, 3, 5 ORDER BY sqlstate, table_name NULLS FIRST"
        ),
        ["app|-|OS001|4|-".to_owned(), format!("app|public.ticket|OS002|1|{A}")]
    );
}

#[test]
fn writes_that_are_rolled_back_are_on_record() {
    let world = World::new("queue_writes");
    let mut dba = world.dba();
    run(&mut dba, "BEGIN; UPDATE ticket SET title = 'x'; SAVEPOINT s; DELETE FROM comment; ROLLBACK TO s; ROLLBACK");
    query(&mut dba, "UPDATE ticket SET title = (1 / (id - 1))::text").unwrap_err();
    run(&mut dba, "UPDATE ticket SET title = 'y' WHERE id = 4711");
    run(&mut dba, "UPDATE ticket SET title = 'z' WHERE id = 1");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let mut record = rows(
        &mut admin,
        "SELECT operation, table_name, right(organization_id::text, 1), row_count, event_count, detail ->> 'rolled_back'
         FROM orgscope.audit_log WHERE action = 'bypass_write' AND role_name = 'dba'",
    );
    record.sort();
    assert_eq!(
        record,
        [
            "DELETE|public.comment|1|2|1|true",
            "DELETE|public.comment|2|3|1|true",
            "UPDATE|public.ticket|-|-|1|true",
            "UPDATE|public.ticket|-|0|1|-",
            "UPDATE|public.ticket|1|1|1|-",
            "UPDATE|public.ticket|1|2|1|true",
            "UPDATE|public.ticket|2|3|1|true",
        ]
    );
}

#[test]
fn access_outside_row_security_can_be_denied() {
    let world = World::new("queue_deny");
    let mut admin = world.superuser();
    run(&mut admin, "ALTER ROLE dba IN DATABASE queue_deny SET orgscope.bypass = deny");
    let mut dba = world.dba();
    for sql in ["SELECT * FROM ticket", "UPDATE ticket SET title = 'x'", "DELETE FROM comment", "COPY ticket TO STDOUT"]
    {
        refused(&mut dba, "OS007", sql);
    }
    refused(&mut dba, "42501", "SET orgscope.bypass = audit");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM ticket"), "5");
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let denied = "SELECT sum(event_count) FROM orgscope.audit_log WHERE action = 'denied' AND sqlstate = 'OS007'";
    assert_eq!(one(&mut admin, denied), "4");
    run(&mut admin, "SET orgscope.bypass = deny");
    refused(&mut admin, "OS007", "SELECT * FROM ticket");
    run(&mut admin, "SET orgscope.bypass = audit; SELECT * FROM ticket");
}

#[test]
fn a_synchronous_read_is_on_record_before_its_rows() {
    let world = World::new("queue_sync");
    let mut dba = world.superuser();
    run(&mut dba, "SET orgscope.audit_durability = sync");
    run(&mut dba, "SELECT * FROM ticket");
    let at_once = "SELECT sum(event_count) FROM orgscope.audit_log WHERE action = 'bypass_read'";
    assert_eq!(one(&mut dba, at_once), "1");
    // Nobody can write it: the read is refused.
    let mut other = world.superuser();
    run(&mut other, "BEGIN; LOCK orgscope.audit_log");
    run(&mut dba, "SET orgscope.audit_timeout = '300ms'");
    refused(&mut dba, "OS007", "SELECT * FROM ticket");
    run(&mut other, "COMMIT");
    run(&mut dba, "SELECT * FROM ticket");
    assert_eq!(reads(&world).len(), 3);
}

/// Killed in the middle of a load, a writer loses nothing: what clients have read is on record, and nothing twice.
#[test]
fn a_killed_writer_loses_nothing_and_writes_nothing_twice() {
    let world = World::in_own_cluster(&Options::default().line("restart_after_crash = on"));
    let stop = AtomicBool::new(false);
    let (read, unsure) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn({
                    let (world, stop) = (&world, &stop);
                    move || read_until(world, n, stop)
                })
            })
            .collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            if let Some(pid) = writer(&world) {
                world.cluster().kill9(pid).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(700));
        stop.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .map(|r| r.join().unwrap())
            .fold((0, 0), |sum, (read, unsure)| (sum.0 + read, sum.1 + unsure))
    });
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let recorded: u64 = one(
        &mut admin,
        "SELECT (SELECT sum(event_count) FROM orgscope.audit_log WHERE action = 'bypass_read' AND role_name = 'dba')
              + (SELECT events_logged FROM orgscope.stats)",
    )
    .parse()
    .unwrap();
    assert!(unsure > 0, "nothing was killed");
    assert!(
        (read..=read + unsure).contains(&recorded),
        "{recorded} on record of {read} reads and {unsure} unsure ones"
    );
    let (queued, written): (u64, u64) = {
        let row = one(&mut admin, "SELECT events_queued || ' ' || events_written FROM orgscope.stats");
        let (queued, written) = row.split_once(' ').unwrap();
        (queued.parse().unwrap(), written.parse().unwrap())
    };
    assert_eq!(queued, written);
}

/// Reads that have succeeded, and those of which the client knows nothing.
fn read_until(world: &World, n: u32, stop: &AtomicBool) -> (u64, u64) {
    let (mut read, mut unsure) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = world.cluster().connect("dba", world.name()) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        for i in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match client.simple_query(&format!("SELECT count(*) FROM ticket -- {n} {}", i % 50)) {
                Ok(_) => read += 1,
                Err(_) => {
                    unsure += 1;
                    break;
                }
            }
        }
    }
    (read, unsure)
}

fn writer(world: &World) -> Option<i32> {
    let mut admin = world.cluster().connect("postgres", "postgres").ok()?;
    let row = admin
        .query_opt("SELECT pid FROM pg_stat_activity WHERE backend_type = 'orgscope audit writer'", &[])
        .ok()??;
    Some(row.get(0))
}

#[test]
fn what_finds_no_room_goes_to_the_servers_log_and_is_counted() {
    let world = World::in_own_cluster(&Options::default().line("orgscope.audit_queue = 16"));
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    // Nobody can write while the log is locked, and the queue fills up.
    run(&mut admin, "BEGIN; LOCK orgscope.audit_log");
    let mut dba = world.dba();
    for i in 0..40 {
        run(&mut dba, &format!("SELECT {i} FROM ticket"));
    }
    let mut sync = world.connect_with("postgres", "-c orgscope.audit_durability=sync").unwrap();
    let error = refused(&mut sync, "OS007", "SELECT * FROM comment");
    assert_eq!(error.message(), "read of scoped table \"comment\" cannot be put on record");
    let why = "orgscope.audit_durability is sync, and the audit queue has no room or is not there.";
    assert_eq!(error.detail(), Some(why));
    let help = "See in the server's log why the audit writer does not write, raise orgscope.audit_queue, or add orgscope to shared_preload_libraries.";
    assert_eq!(error.hint(), Some(help));
    run(&mut admin, "COMMIT; SELECT orgscope.flush_audit()");
    let recorded: usize =
        one(&mut admin, "SELECT sum(event_count) FROM orgscope.audit_log WHERE action = 'bypass_read'")
            .parse()
            .unwrap();
    let logged: usize = one(&mut admin, "SELECT events_logged FROM orgscope.stats").parse().unwrap();
    // The one that was refused, its refusal, and the setting of its session are on record as well.
    assert!(logged > 0 && recorded + logged == 43, "{recorded} recorded, {logged} logged");
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("orgscope audit: {")).collect();
    assert_eq!(lines.len(), logged);
    let json = &lines[0][lines[0].find('{').unwrap()..];
    assert!(json.contains("\"action\":\"bypass_read\"") && json.contains("\"role_name\":\"dba\""), "{json}");
}

#[test]
fn events_outlive_the_server_and_the_extension_may_go() {
    let world = World::in_own_cluster(&Options::default());
    let mut admin = world.superuser();
    run(&mut admin, "BEGIN; LOCK orgscope.audit_log");
    run(&mut world.dba(), "SELECT * FROM ticket");
    drop(admin);
    world.cluster().crash_and_recover().unwrap();
    assert_eq!(reads(&world), ["dba|public.ticket|SELECT|1"]);
    // A database is dropped although its writer was there a moment ago.
    let beside = world.beside("beside");
    run(
        &mut beside.superuser(),
        "CREATE EXTENSION orgscope; CREATE TABLE t (organization_id uuid); SELECT orgscope.enable_org_scoping('public.t')",
    );
    run(&mut beside.superuser(), "SELECT * FROM t");
    run(&mut world.superuser(), "DROP DATABASE beside");
    // What is queued for a database without the extension goes to the server's log.
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    run(
        &mut admin,
        "SELECT orgscope.disable_org_scoping(t::regclass) FROM unnest(ARRAY['public.comment', 'public.ticket']) t; DROP EXTENSION orgscope",
    );
    run(&mut admin, "CREATE EXTENSION orgscope");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_read'"), "0");
}

/// A rule or a trigger that makes nothing of audit rows, made where no event trigger fires.
#[test]
fn what_takes_audit_rows_away_is_found() {
    let world = World::in_own_cluster(&Options::default());
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RETURN CASE WHEN NEW.action LIKE 'bypass%' THEN NULL ELSE NEW END; END $$;
         CREATE TRIGGER swallow BEFORE INSERT ON orgscope.audit_log FOR EACH ROW EXECUTE FUNCTION swallow()",
    );
    let made = one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE operation = 'CREATE TRIGGER'");
    assert_eq!(made, "1", "one that lets its own record pass is on record");
    let mut dba = world.dba();
    let refusal = refused(&mut dba, "OS008", "UPDATE ticket SET title = 'x' WHERE id = 1");
    assert_eq!(refusal.message(), "audit rows were not written");
    run(&mut dba, "SELECT id FROM ticket");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(one(&mut admin, "SELECT places_used > 0 FROM orgscope.stats"), "t", "what was read still waits");
    run(&mut admin, "DROP TRIGGER swallow ON orgscope.audit_log");
    assert_eq!(reads(&world), ["dba|public.ticket|SELECT|1"]);
    // What a superuser does to orgscope's own objects is in the server's log too.
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let lines = log.lines().filter(|l| l.contains("orgscope audit: {") && l.contains("swallow on orgscope.audit_log"));
    assert_eq!(lines.count(), 2, "made and dropped");
}

/// As a full disk would, for a while.
#[test]
fn what_the_writer_cannot_write_waits() {
    let world = World::in_own_cluster(&Options::default());
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE TABLE disk (free int);
         CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM public.disk) THEN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END IF;
             RETURN NULL; END $$;
         CREATE TRIGGER no_space BEFORE INSERT ON orgscope.audit_log FOR EACH STATEMENT EXECUTE FUNCTION no_space()",
    );
    run(&mut admin, "INSERT INTO disk VALUES (0)");
    let mut dba = world.dba();
    for _ in 0..5 {
        run(&mut dba, "SELECT id FROM ticket");
    }
    refused(&mut world.app(), "OS001", "SELECT id FROM ticket");
    // What cannot be put on record does not commit.
    refused(&mut dba, "53100", "UPDATE ticket SET title = 'x' WHERE id = 1");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(one(&mut admin, "SELECT places_used >= 2 FROM orgscope.stats"), "t");
    run(&mut admin, "DELETE FROM disk");
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let record =
        "SELECT action, operation, sum(event_count), sum(row_count), bool_and(detail ->> 'rolled_back' = 'true')
        FROM orgscope.audit_log WHERE role_name IN ('app', 'dba') GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(rows(&mut admin, record), ["bypass_read|SELECT|5|25|-", "bypass_write|UPDATE|1|1|t", "denied|-|1|-|-"]);
    assert_eq!(one(&mut admin, "SELECT events_logged FROM orgscope.stats"), "0");
}

/// Rows are sealed soon after their commit, whoever has written them, and verify.
#[test]
fn the_writer_seals_what_is_written() {
    let world = World::new("queue_seals");
    run(&mut world.dba(), "UPDATE ticket SET title = 'x'");
    run(&mut world.dba(), "SELECT * FROM ticket");
    let mut admin = world.superuser();
    run(&mut admin, "SET orgscope.audit_reads = off; SELECT orgscope.flush_audit()");
    let unsealed = "SELECT count(*) - (SELECT sum(row_count) FROM orgscope.audit_seal) FROM orgscope.audit_log";
    let sealed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        one(&mut admin, unsealed) == "0"
    });
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    assert!(sealed, "{}", log.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
    let verdicts = rows(&mut admin, "SELECT verdict, count(*) FROM orgscope.verify_audit(NULL) GROUP BY 1");
    assert_eq!(verdicts, ["ok|3"], "A's, B's and nobody's");
}
