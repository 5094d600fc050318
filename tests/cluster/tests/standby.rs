//! A streaming standby has nothing to write its audit to: its server's log has one line of JSON for each event. Promoted, it
//! has a queue and writers as any primary.

mod common;

use common::*;
use orgscope_cluster::Options;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Waits until the standby has all that the primary has done.
fn catch_up(primary: &World, standby: &World) {
    let position = one(&mut primary.superuser(), "SELECT pg_current_wal_lsn()");
    let mut admin = standby.superuser();
    let deadline = Instant::now() + Duration::from_secs(20);
    while one(&mut admin, &format!("SELECT pg_last_wal_replay_lsn() >= '{position}'")) != "t" {
        assert!(Instant::now() < deadline, "the standby does not follow");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A primary without anything that waits to be written, and its standby.
fn pair() -> (World, World) {
    let primary = World::in_own_cluster(&Options::default());
    run(&mut primary.superuser(), "SELECT orgscope.flush_audit()");
    let standby = primary.standby(&Options::default());
    catch_up(&primary, &standby);
    (primary, standby)
}

/// What the server's log has on record.
fn logged(world: &World) -> Vec<Value> {
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let records = log.lines().filter_map(|line| line.split_once("LOG:  orgscope audit: "));
    records.map(|(_, json)| serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"))).collect()
}

/// action, table, role, SQLSTATE, statement
fn brief(record: &Value) -> [&str; 5] {
    let field = |name: &str| record[name].as_str().unwrap_or("-");
    ["action", "table_name", "role_name", "sqlstate", "statement"].map(field)
}

fn stats(world: &World) -> String {
    one(
        &mut world.superuser(),
        "SELECT format('%s queued, %s written, %s logged, %s waiting', events_queued, events_written, events_logged, places_used)
         FROM orgscope.stats",
    )
}

/// Runs a statement that must leave exactly these lines.
#[track_caller]
fn leaves<R>(world: &World, expected: &[[&str; 5]], act: impl FnOnce() -> R) -> R {
    let before = logged(world).len();
    let result = act();
    let after = logged(world);
    assert_eq!(after[before..].iter().map(brief).collect::<Vec<_>>(), expected);
    result
}

/// Of the startup packet.
const SETTING: [&str; 5] = ["setting", "-", "postgres", "-", "-"];

const READ: &str = "SELECT count(*) FROM ticket";

#[test]
fn what_is_seen_on_a_standby_goes_to_its_log() {
    let (primary, standby) = pair();
    let untouched = stats(&primary);
    let (mut dba, mut app) = (standby.dba(), standby.app());
    leaves(&standby, &[["bypass_read", "public.ticket", "dba", "-", READ]], || {
        assert_eq!(one(&mut dba, READ), "5");
    });
    let record = logged(&standby).pop().unwrap();
    assert_eq!((&record["event_count"], &record["operation"]), (&Value::from(1), &Value::from("SELECT")));
    assert_eq!((&record["login_name"], &record["client_addr"]), (&Value::from("dba"), &Value::from("127.0.0.1")));
    leaves(&standby, &[["denied", "-", "app", "OS001", READ]], || refused(&mut app, "OS001", READ));
    leaves(&standby, &[SETTING, ["denied", "public.ticket", "postgres", "OS007", READ]], || {
        let mut admin = standby.connect_with("postgres", "-c orgscope.bypass=deny").unwrap();
        refused(&mut admin, "OS007", READ);
    });
    leaves(&standby, &[], || {
        assert_eq!(rows_under(&mut app, A, "SELECT id FROM ticket ORDER BY id"), ["1", "2"]);
        assert_eq!(rows_under(&mut app, B, READ), ["3"]);
        refused_under(&mut app, A, "25006", "DELETE FROM ticket");
        run(&mut dba, "SELECT orgscope.flush_audit()");
    });
    // Nothing waits, here or there.
    assert_eq!(stats(&standby), format!("0 queued, 0 written, {} logged, 0 waiting", logged(&standby).len()));
    assert_eq!(stats(&primary), untouched);
}

/// Nobody can commit an audit row here, so nobody reads under the promise that there is one.
#[test]
fn a_synchronous_read_is_refused_on_a_standby() {
    let (_primary, standby) = pair();
    let mut admin = standby.connect_with("postgres", "-c orgscope.audit_durability=sync").unwrap();
    leaves(&standby, &[["denied", "public.ticket", "postgres", "OS007", READ]], || {
        let error = refused(&mut admin, "OS007", READ);
        assert_eq!(error.message(), "read of scoped table \"ticket\" cannot be put on record");
        let why = "orgscope.audit_durability is sync, and a standby cannot write the audit log.";
        let help = "Read on the primary; or, as a superuser, SET orgscope.audit_durability = async: a standby's reads then go to the server's log.";
        assert_eq!((error.detail(), error.hint(), error.table()), (Some(why), Some(help), Some("ticket")));
    });
    leaves(&standby, &[["bypass_read", "public.ticket", "postgres", "-", READ]], || {
        run(&mut standby.superuser(), READ);
    });
}

/// What a session does for itself is on record there too, and what is on record in the primary's log is read here.
#[test]
fn administration_on_a_standby_is_logged() {
    let (primary, standby) = pair();
    run(&mut primary.superuser(), "GRANT dba TO app");
    catch_up(&primary, &standby);
    let statement = "SELECT operation FROM orgscope.audit_log WHERE action = 'privilege'";
    assert_eq!(rows(&mut standby.superuser(), statement), ["GRANT"]);
    let mut app = standby.app();
    leaves(&standby, &[["privilege", "-", "dba", "-", "SET ROLE dba; SELECT 1"]], || {
        run(&mut app, "SET ROLE dba; SELECT 1")
    });
    let system = "ALTER SYSTEM SET orgscope.audit_reads = off";
    leaves(&standby, &[["setting", "-", "postgres", "-", system]], || run(&mut standby.superuser(), system));
    let replica = "SET session_replication_role = replica";
    leaves(&standby, &[["setting", "-", "postgres", "-", replica]], || run(&mut standby.superuser(), replica));
    // It has to be on record before it holds, and cannot be.
    refused(&mut standby.superuser(), "25006", &format!("SELECT orgscope.break_glass('{A}', 'ticket 4711')"));
}

#[test]
fn a_promoted_standby_has_a_queue_and_a_writer() {
    let (primary, standby) = pair();
    let (mut before, mut context) = (standby.dba(), standby.app());
    run(&mut before, READ);
    assert_eq!(rows_under(&mut context, A, READ), ["2"]);
    standby.cluster().promote().unwrap();
    // A connection from before goes on.
    run(&mut before, "SELECT * FROM comment");
    run(&mut before, "UPDATE ticket SET title = 'x' WHERE id = 1");
    assert_eq!(rows_under(&mut context, A, "UPDATE ticket SET title = 'y' RETURNING id").len(), 2);
    let mut sync = standby.connect_with("postgres", "-c orgscope.audit_durability=sync").unwrap();
    run(&mut sync, READ);
    run(&mut sync, "SELECT orgscope.flush_audit()");
    assert_eq!(
        rows(
            &mut sync,
            "SELECT action, table_name, role_name FROM orgscope.audit_log WHERE action ~ 'bypass' AND event_count > 0 ORDER BY role_name, table_name"
        ),
        ["bypass_read|public.comment|dba", "bypass_write|public.ticket|dba", "bypass_read|public.ticket|postgres",]
    );
    assert_eq!(logged(&standby).len(), 1, "what was read before");
    assert_eq!(stats(&standby), "3 queued, 3 written, 1 logged, 0 waiting");
    run(&mut sync, "SELECT orgscope.seal_audit()");
    let verdicts = rows(&mut sync, "SELECT DISTINCT verdict FROM orgscope.verify_audit(NULL)");
    assert_eq!(verdicts, ["ok"]);
    assert_eq!(one(&mut primary.superuser(), "SELECT count(*) FROM orgscope.audit_log WHERE action ~ 'bypass'"), "0");
}

/// Replay tells nobody: what a connection has found holds to the end of its transaction.
#[test]
fn a_suspension_holds_on_a_standby_from_the_next_transaction() {
    let (primary, standby) = pair();
    let mut app = standby.app();
    begin(&mut app, A);
    assert_eq!(one(&mut app, READ), "2");
    run(&mut primary.superuser(), &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'"));
    catch_up(&primary, &standby);
    assert_eq!(one(&mut app, READ), "2");
    run(&mut app, "COMMIT");
    refused_under(&mut app, A, "OS004", READ);
    run(&mut primary.superuser(), &format!("UPDATE orgscope.organization SET is_active = true WHERE id = '{A}'"));
    catch_up(&primary, &standby);
    assert_eq!(rows_under(&mut app, A, READ), ["2"]);
}
