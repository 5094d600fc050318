//! What sessions share, whatever the organization: above all those of one role, and those that are one connection of a pool.

use super::*;
use orgscope_cluster::{Options, PRELOAD};
use postgres::fallible_iterator::FallibleIterator;
use std::time::Duration;

const SECRET: &str = "SELECT 'secret of B'";
/// Statements of other sessions of the role.
const SEEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%secret of%' AND usename = current_user AND pid <> pg_backend_pid()";

/// Where a superuser can close it: what closes it, and for whom.
#[test]
fn pg_stat_activity_shows_the_statements_of_the_same_role() {
    let world = World::new("leaks_activity");
    let (mut a, mut b) = (world.app(), world.app());
    rows_under(&mut b, B, SECRET);
    run(&mut b, SECRET);
    assert_eq!(one(&mut a, SEEN), "1");
    run(&mut world.superuser(), "CREATE ROLE quiet LOGIN IN ROLE app; ALTER ROLE quiet SET track_activities = off");
    let (mut a, mut b) = (world.connect("quiet"), world.connect("quiet"));
    run(&mut b, SECRET);
    assert_eq!(one(&mut a, SEEN), "0");
    refused(&mut b, "42501", "SET track_activities = on");
}

#[test]
fn pg_stat_statements_keeps_the_texts_of_the_same_role() {
    let preload = std::env::var(PRELOAD).unwrap_or_else(|_| "orgscope".into());
    let libraries =
        if preload.contains("pg_stat_statements") { preload } else { format!("pg_stat_statements,{preload}") };
    let world = World::in_own_cluster(&Options::default().preload(&libraries));
    run(&mut world.superuser(), "CREATE EXTENSION pg_stat_statements; CREATE ROLE quiet LOGIN IN ROLE app");
    let kept = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%secret of B%'";
    run(&mut world.app(), "DO $$ BEGIN PERFORM 'secret of B'; END $$");
    assert_eq!(one(&mut world.app(), kept), "1", "literals of utility statements are not made parameters");
    run(
        &mut world.superuser(),
        "SELECT pg_stat_statements_reset(); ALTER ROLE quiet SET pg_stat_statements.track = none",
    );
    run(&mut world.connect("quiet"), "DO $$ BEGIN PERFORM 'secret of B'; END $$");
    assert_eq!(one(&mut world.superuser(), &kept.replace(" WHERE", " WHERE query NOT LIKE 'SELECT%' AND")), "0");
    let revoke =
        "REVOKE ALL ON pg_stat_statements FROM PUBLIC; REVOKE EXECUTE ON FUNCTION pg_stat_statements FROM PUBLIC";
    run(&mut world.superuser(), revoke);
    refused(&mut world.app(), "42501", kept);
    refused(&mut world.app(), "42501", "SELECT * FROM pg_stat_statements(true)");
}

#[test]
fn a_sequence_counts_for_all_organizations() {
    let world = World::new("leaks_sequence");
    let mut app = world.app();
    let id = "INSERT INTO comment (ticket_id, body) VALUES ((SELECT min(id) FROM ticket), 'x') RETURNING id";
    let first: i32 = rows_under(&mut app, A, id)[0].parse().unwrap();
    rows_under(&mut app, B, id);
    let next: i32 = rows_under(&mut app, A, id)[0].parse().unwrap();
    assert_eq!(next, first + 2, "one was taken by somebody else");
    refused(&mut app, "42501", "SELECT setval('comment_id_seq', 1)");
    assert_eq!(one(&mut app, "SELECT pg_sequence_last_value('comment_id_seq')"), next.to_string());
}

#[test]
fn notifications_reach_whoever_listens() {
    let world = World::new("leaks_notify");
    let mut a = world.app();
    run(&mut a, "LISTEN orders");
    rows_under(&mut world.app(), B, "NOTIFY orders, 'secret of B'");
    let mut notifications = a.notifications();
    let got = notifications.timeout_iter(Duration::from_secs(30)).next().unwrap().unwrap();
    assert_eq!(got.payload(), "secret of B");
}

/// They belong to the role, and know no organization. Without the functions the role makes none.
#[test]
fn large_objects_belong_to_the_role() {
    let world = World::new("leaks_large_objects");
    let mut app = world.app();
    let id = rows_under(&mut app, B, "SELECT lo_from_bytea(0, 'secret of B')").remove(0);
    assert_eq!(rows_under(&mut app, A, &format!("SELECT convert_from(lo_get({id}), 'UTF8')")), ["secret of B"]);
    run(
        &mut world.superuser(),
        "REVOKE EXECUTE ON FUNCTION lo_from_bytea, lo_create, lo_creat, lo_open, lo_put, lo_get(oid), lo_get(oid, bigint, int) FROM PUBLIC",
    );
    refused_under(&mut app, B, "42501", "SELECT lo_from_bytea(0, 'x')");
    refused_under(&mut app, A, "42501", &format!("SELECT lo_get({id})"));
}

#[test]
fn locks_are_seen_and_felt_by_all() {
    let world = World::new("leaks_locks");
    let (mut a, mut b) = (world.app(), world.app());
    begin(&mut b, B);
    run(&mut b, "SELECT pg_advisory_xact_lock(4711); UPDATE ticket SET title = 'locked' WHERE id = 11");
    assert_eq!(rows_under(&mut a, A, "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"), ["4711"]);
    assert_eq!(rows_under(&mut a, A, "SELECT pg_try_advisory_xact_lock(4711)"), ["f"]);
    let per_organization = "SELECT pg_try_advisory_xact_lock(hashtextextended(orgscope.current_org()::text, 4711))";
    assert_eq!(rows_under(&mut a, A, per_organization), ["t"]);
    let writers = "SELECT count(*) FROM pg_locks WHERE relation = 'ticket'::regclass AND mode = 'RowExclusiveLock'";
    assert_eq!(rows_under(&mut a, A, writers), ["1"]);
    run(&mut b, "ROLLBACK");
}

#[test]
fn names_of_prepared_transactions_are_seen_by_all() {
    let world = World::in_own_cluster(&Options::default().line("max_prepared_transactions = 2"));
    let mut b = world.app();
    begin(&mut b, B);
    run(&mut b, "UPDATE ticket SET title = 'later'; PREPARE TRANSACTION 'order 4711 of B'");
    assert_eq!(rows_under(&mut world.app(), A, "SELECT gid FROM pg_prepared_xacts"), ["order 4711 of B"]);
    run(&mut b, "ROLLBACK PREPARED 'order 4711 of B'");
}

/// What one client of a pooled connection leaves for the next: copies of rows, and texts. Not the context.
#[test]
fn what_is_left_on_a_connection_is_there_until_it_is_discarded() {
    let world = World::new("leaks_left_behind");
    let mut pooled = world.app();
    begin(&mut pooled, B);
    run(
        &mut pooled,
        "CREATE TEMPORARY TABLE copy AS SELECT title FROM ticket ORDER BY id;
         DECLARE held CURSOR WITH HOLD FOR SELECT title FROM ticket ORDER BY id;
         PREPARE asked AS SELECT title, 'secret of B' FROM ticket ORDER BY id;
         COMMIT",
    );
    let left = [
        ("SELECT title FROM copy LIMIT 1", "b11"),
        ("FETCH held", "b11"),
        ("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%secret of B%'", "1"),
    ];
    for (sql, found) in left {
        assert_eq!(rows_under(&mut pooled, A, sql), [found], "{sql}");
    }
    assert_eq!(
        rows_under(&mut pooled, A, "EXECUTE asked"),
        ["a1|secret of B", "a2|secret of B"],
        "no rows, but a text"
    );
    refused(&mut pooled, "OS001", "EXECUTE asked");
    run(&mut pooled, "DISCARD ALL");
    for (sql, sqlstate) in [("SELECT title FROM copy", "42P01"), ("FETCH held", "34000"), ("EXECUTE asked", "26000")] {
        refused_under(&mut pooled, A, sqlstate, sql);
    }
}
