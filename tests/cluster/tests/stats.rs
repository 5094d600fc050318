//! What `orgscope.stats` tells whoever watches a server: numbers, to a role that sees nothing else.

mod common;

use common::*;
use orgscope_cluster::Options;
use std::time::Duration;

const BY_ACTION: &str = "SELECT bypass_read, bypass_write, denied, privilege, lifecycle, other FROM orgscope.stats";

/// A member of pg_monitor and nothing else.
fn monitor(world: &World) -> postgres::Client {
    let role = "CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher";
    run(&mut world.superuser(), role);
    world.cluster().connect("watcher", world.name()).unwrap()
}

#[test]
fn events_are_counted_by_action_whichever_way_they_go_on_record() {
    let world = World::in_own_cluster(&Options::default());
    let mut watcher = monitor(&world);
    let numbers = |watcher: &mut postgres::Client| -> Vec<i64> {
        one(watcher, BY_ACTION).split('|').map(|n| n.parse().unwrap()).collect()
    };
    let before = numbers(&mut watcher);
    let mut dba = world.dba();
    run(&mut dba, "SELECT * FROM ticket; SELECT * FROM ticket");
    // Of two organizations; taken back to a savepoint; taken back.
    run(&mut dba, "UPDATE ticket SET title = 'x'");
    run(&mut dba, "BEGIN; SAVEPOINT s; UPDATE ticket SET title = 'y' WHERE id = 1; ROLLBACK TO s; COMMIT");
    run(&mut dba, "BEGIN; UPDATE ticket SET title = 'y' WHERE id = 1; ROLLBACK");
    refused(&mut world.app(), "OS001", "SELECT * FROM ticket");
    run(&mut world.superuser(), "ALTER ROLE app BYPASSRLS");
    run(&mut world.superuser(), &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{C}'"));
    let after = numbers(&mut watcher);
    let more: Vec<i64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert_eq!(more, [2, 4, 1, 1, 1, 0], "{before:?} {after:?}");
    let organizations = "SELECT organizations_active, organizations_suspended FROM orgscope.stats";
    assert_eq!(one(&mut watcher, organizations), "2|1");
    refused(&mut watcher, "42501", "SELECT * FROM orgscope.audit_writer");
    assert_eq!(one(&mut watcher, "SELECT count(*) FROM orgscope.organization"), "0");
    assert_eq!(one(&mut watcher, "SELECT count(*) FROM orgscope.audit_log"), "0");
    world.cluster().restart().unwrap();
    let mut watcher = world.cluster().connect("watcher", world.name()).unwrap();
    assert_eq!(numbers(&mut watcher)[1..], after[1..], "the numbers outlive the server");
}

#[test]
fn what_waits_has_an_age() {
    let world = World::in_own_cluster(&Options::default());
    let mut watcher = monitor(&world);
    run(&mut world.dba(), "UPDATE ticket SET title = 'x'; SELECT * FROM ticket");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit(); SELECT orgscope.seal_audit()");
    let quiet =
        "SELECT oldest_waiting_seconds IS NULL, last_batch_at IS NOT NULL, last_seal_at > now() - interval '1 minute',
                        unsealed_since IS NULL FROM orgscope.stats";
    assert_eq!(one(&mut watcher, quiet), "t|t|t|t");
    // Nobody can write or seal while the log is locked.
    run(&mut admin, "BEGIN; LOCK orgscope.audit_seal IN SHARE MODE; LOCK orgscope.audit_writer IN SHARE MODE");
    run(&mut world.dba(), "UPDATE ticket SET title = 'y'; SELECT * FROM ticket");
    std::thread::sleep(Duration::from_millis(1200));
    let busy = "SELECT oldest_waiting_seconds > 1, places_used > 0, unsealed_since < now() - interval '1 second' FROM orgscope.stats";
    assert_eq!(one(&mut watcher, busy), "t|t|t");
    run(&mut admin, "COMMIT");
}

#[test]
fn without_the_library_there_is_no_queue_to_watch() {
    let world = World::in_own_cluster(&Options::without_preload());
    let stats = "SELECT count(*), count(events_queued), count(organizations_active) FROM orgscope.stats";
    assert_eq!(one(&mut monitor(&world), stats), "1|0|1");
}
