//! An organization that is unknown or suspended is refused on first use, whichever way the context came in; suspending one
//! holds in every open connection at its next statement.

mod common;

use common::*;
use orgscope_cluster::Options;
use postgres::Client;

const COUNT: &str = "SELECT count(*) FROM ticket";
const UNKNOWN: &str = "dddddddd-0000-7000-8000-000000000004";

fn suspend(world: &World, org: &str) {
    run(&mut world.superuser(), &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{org}'"));
}

fn resume(world: &World, org: &str) {
    run(&mut world.superuser(), &format!("UPDATE orgscope.organization SET is_active = true WHERE id = '{org}'"));
}

/// Refused inside an open transaction, which goes on.
#[track_caller]
fn refused_within(client: &mut Client, sql: &str) {
    run(client, "SAVEPOINT within");
    refused(client, "OS004", sql);
    run(client, "ROLLBACK TO within");
}

#[test]
fn every_way_in_is_looked_at() {
    let world = World::new("ways_in");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE ROLE ways_connection LOGIN IN ROLE app; CREATE ROLE ways_session LOGIN IN ROLE app;
         ALTER ROLE ways_connection IN DATABASE ways_in SET orgscope.context_lifetime = 'connection';
         ALTER ROLE ways_session IN DATABASE ways_in SET orgscope.context_lifetime = 'session'",
    );
    suspend(&world, B);
    for org in [B, UNKNOWN] {
        let mut app = world.app();
        let local = format!("SELECT set_config('orgscope.current_org', '{org}', true)");
        let lasting = format!("SELECT set_config('orgscope.current_org', '{org}', false)");
        for set in [format!("SET LOCAL orgscope.current_org = '{org}'"), local, lasting] {
            for sql in [COUNT, "INSERT INTO ticket VALUES (90, 'x')", "SELECT orgscope.require_org()"] {
                run(&mut app, &format!("BEGIN; {set}"));
                refused(&mut app, "OS004", sql);
                run(&mut app, "ROLLBACK");
            }
        }
        run(
            &mut admin,
            &format!(
                "CREATE OR REPLACE FUNCTION of_it() RETURNS bigint LANGUAGE sql SET orgscope.current_org = '{org}'
                 AS 'SELECT count(*) FROM ticket'"
            ),
        );
        refused(&mut app, "OS004", "SELECT of_it()");
        refused(&mut app, "OS004", &format!("SELECT orgscope.set_current_org('{org}')"));
        let mut connection = world.connect_with("ways_connection", &format!("-c orgscope.current_org={org}")).unwrap();
        refused(&mut connection, "OS004", COUNT);
        run(&mut admin, &format!("ALTER ROLE ways_connection IN DATABASE ways_in SET orgscope.current_org = '{org}'"));
        refused(&mut world.connect("ways_connection"), "OS004", COUNT);
        let mut session = world.connect("ways_session");
        run(&mut session, &format!("SET orgscope.current_org = '{org}'"));
        refused(&mut session, "OS004", COUNT);
        refused(&mut session, "OS004", COUNT);
        refused(&mut admin, "OS004", &format!("SELECT orgscope.break_glass('{org}', 'why')"));
        // For its writes no role is above it; its reads are not those of a context.
        refused_under(&mut world.dba(), org, "OS004", "UPDATE ticket SET title = 'x'");
        assert_eq!(rows_under(&mut world.dba(), org, COUNT), ["5"]);
        // What has no context needs none.
        assert_eq!(one(&mut world.dba(), COUNT), "5");
    }
    assert_eq!(rows_under(&mut world.app(), A, COUNT), ["2"]);
}

#[test]
fn an_open_transaction_sees_it_at_its_next_statement() {
    let world = World::new("open_transactions");
    run(
        &mut world.superuser(),
        "CREATE FUNCTION tickets() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM ticket); END $$",
    );
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let mut app = world.app();
        run(&mut app, "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM ticket");
        run(&mut app, &format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL orgscope.current_org = '{A}'"));
        let statements = [COUNT, "EXECUTE p", "SELECT tickets()"];
        for sql in statements {
            assert_eq!(one(&mut app, sql), "2");
        }
        suspend(&world, A);
        for sql in statements {
            refused_within(&mut app, sql);
        }
        refused_within(&mut app, "UPDATE ticket SET title = 'x'");
        resume(&world, A);
        for sql in statements {
            assert_eq!(one(&mut app, sql), "2", "{isolation}");
        }
        run(&mut app, "COMMIT");
    }
    // What is not about availability is not looked up again, and says nothing.
    let mut app = world.app();
    begin(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(
        &mut world.superuser(),
        &format!("UPDATE orgscope.organization SET settings = '{{\"a\": 1}}' WHERE id = '{A}'"),
    );
    assert_eq!(one(&mut app, COUNT), "2");
}

#[test]
fn a_cursor_is_refused_its_next_fetch() {
    let world = World::new("suspended_cursors");
    let mut app = world.app();
    for scan in
        ["SET LOCAL enable_seqscan = off", "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off"]
    {
        begin(&mut app, A);
        run(&mut app, scan);
        run(&mut app, "DECLARE c CURSOR FOR SELECT id FROM ticket ORDER BY id + 0; FETCH 1 FROM c");
        suspend(&world, A);
        refused(&mut app, "OS004", "FETCH 1 FROM c");
        resume(&world, A);
        run(&mut app, "ROLLBACK");
    }
    // One that is held has its rows already, and belongs to no transaction.
    begin(&mut app, A);
    run(&mut app, "DECLARE held CURSOR WITH HOLD FOR SELECT id FROM ticket ORDER BY id; COMMIT");
    suspend(&world, A);
    assert_eq!(rows(&mut app, "FETCH ALL FROM held"), ["1", "2"]);
}

/// Neither comes by the statement FETCH.
#[test]
fn a_portal_is_refused_what_is_left_of_it() {
    let world = World::new("suspended_portals");
    let mut app = world.app();
    run(
        &mut app,
        "SET enable_seqscan = off; SET enable_bitmapscan = off;
         CREATE FUNCTION pg_temp.open() RETURNS void LANGUAGE plpgsql AS
             $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT id FROM ticket ORDER BY id; END $$;
         CREATE FUNCTION pg_temp.next() RETURNS int LANGUAGE plpgsql AS
             $$ DECLARE c refcursor := 'c'; n int; BEGIN FETCH c INTO n; RETURN n; END $$",
    );
    let next = "SELECT pg_temp.next()";
    begin(&mut app, A);
    run(&mut app, "SELECT pg_temp.open()");
    assert_eq!(one(&mut app, next), "1");
    suspend(&world, A);
    refused(&mut app, "OS004", next);
    run(&mut app, "ROLLBACK");
    resume(&world, A);

    let mut transaction = app.transaction().unwrap();
    transaction.batch_execute(&format!("SET LOCAL orgscope.current_org = '{A}'")).unwrap();
    let portal = transaction.bind("SELECT id FROM ticket ORDER BY id", &[]).unwrap();
    assert_eq!(transaction.query_portal(&portal, 1).unwrap()[0].get::<_, i32>(0), 1);
    suspend(&world, A);
    assert_eq!(code(&transaction.query_portal(&portal, 1).unwrap_err()), "OS004");
    drop(transaction);
    resume(&world, A);
}

#[test]
fn parallel_workers_see_it_too() {
    // Of its own: other tests' workers would take the places.
    let world = World::in_own_cluster(&Options::default());
    let mut app = world.app();
    run(
        &mut app,
        "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0",
    );
    force_parallel(&mut app, "on");
    begin(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    let plan = rows(&mut app, "EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM ticket");
    assert!(plan.iter().any(|line| line.contains("Workers Launched: ") && !line.ends_with(" 0")), "{plan:#?}");
    suspend(&world, A);
    refused_within(&mut app, COUNT);
    resume(&world, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "COMMIT");
    // In a worker alone: the leader has nothing to use.
    let mut admin = world.superuser();
    force_parallel(&mut admin, "on");
    begin(&mut admin, UNKNOWN);
    refused(&mut admin, "OS004", "SELECT orgscope.require_org() FROM pg_class");
    run(&mut admin, "ROLLBACK");
    // An organization of the leader's own transaction.
    run(
        &mut admin,
        &format!(
            "BEGIN; INSERT INTO orgscope.organization (id, name, slug) VALUES ('{UNKNOWN}', 'New', 'new');
             SET LOCAL orgscope.current_org = '{UNKNOWN}'"
        ),
    );
    assert_eq!(one(&mut admin, "SELECT count(orgscope.require_org()) > 0 FROM pg_class"), "t");
    run(&mut admin, "ROLLBACK");
}

#[test]
fn only_what_is_committed_counts() {
    let world = World::new("suspended_rolled_back");
    let mut admin = world.superuser();
    let suspension = format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'");
    let mut app = world.app();
    begin(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, &format!("BEGIN; {suspension}"));
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, "ROLLBACK");
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, &format!("BEGIN; SAVEPOINT s; {suspension}; ROLLBACK TO s; COMMIT"));
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "COMMIT");
    // The transaction itself sees what it has done, until it takes it back.
    begin(&mut admin, A);
    run(&mut admin, "INSERT INTO ticket VALUES (3, 'x'); SAVEPOINT s");
    run(&mut admin, &suspension);
    refused_within(&mut admin, "INSERT INTO ticket VALUES (4, 'x')");
    run(&mut admin, "ROLLBACK TO s; INSERT INTO ticket VALUES (4, 'x')");
    run(&mut admin, "ROLLBACK");
    assert_eq!(rows_under(&mut admin, A, "INSERT INTO ticket VALUES (5, 'x') RETURNING id"), ["5"]);
}

#[test]
fn an_organization_is_usable_in_the_transaction_that_makes_it() {
    let world = World::new("made_here");
    let mut admin = world.superuser();
    let make = format!("INSERT INTO orgscope.organization (id, name, slug) VALUES ('{UNKNOWN}', 'New', 'new')");
    let insert = "INSERT INTO ticket VALUES (70, 'first') RETURNING id";
    for set in [
        format!("SET LOCAL orgscope.current_org = '{UNKNOWN}'"),
        format!("SELECT orgscope.set_current_org('{UNKNOWN}')"),
    ] {
        run(&mut admin, &format!("BEGIN; SAVEPOINT s; {make}; {set}"));
        assert_eq!(one(&mut admin, insert), "70");
        assert_eq!(one(&mut admin, "SELECT orgscope.require_org()"), UNKNOWN);
        run(&mut admin, "ROLLBACK TO s");
        run(&mut admin, &format!("SET LOCAL orgscope.current_org = '{UNKNOWN}'"));
        refused(&mut admin, "OS004", "SELECT orgscope.require_org()");
        run(&mut admin, "ROLLBACK");
        refused_under(&mut admin, UNKNOWN, "OS004", insert);
    }
    // In one statement with what uses it, as before.
    let both = format!("WITH made AS ({make} RETURNING id) SELECT orgscope.set_current_org(id) FROM made");
    run(&mut admin, &format!("BEGIN; {both}"));
    assert_eq!(one(&mut admin, insert), "70");
    run(&mut admin, "COMMIT");
    assert_eq!(rows_under(&mut world.app(), UNKNOWN, COUNT), ["1"]);
}

#[test]
fn deleted_truncated_and_renumbered_organizations_are_unknown() {
    let world = World::new("deleted");
    let mut admin = world.superuser();
    let mut app = world.app();
    begin(&mut app, C);
    assert_eq!(one(&mut app, COUNT), "0");
    run(&mut admin, &format!("DELETE FROM orgscope.organization WHERE id = '{C}'"));
    let error = refused(&mut app, "OS004", COUNT);
    assert_eq!(error.message(), "organization does not exist");
    run(&mut app, "ROLLBACK");
    run(&mut admin, &format!("INSERT INTO orgscope.organization (id, name, slug) VALUES ('{C}', 'Again', 'again')"));
    begin(&mut app, C);
    assert_eq!(one(&mut app, COUNT), "0");
    run(&mut admin, &format!("UPDATE orgscope.organization SET id = '{UNKNOWN}' WHERE id = '{C}'"));
    refused_within(&mut app, COUNT);
    run(&mut app, "COMMIT");
    assert_eq!(rows_under(&mut app, UNKNOWN, COUNT), ["0"]);
    // CASCADE takes the scoped tables along: nothing is there to read, and nobody to write for.
    begin(&mut app, A);
    assert_eq!(one(&mut app, "SELECT orgscope.require_org()"), A);
    run(&mut admin, "TRUNCATE orgscope.organization CASCADE");
    refused_within(&mut app, "INSERT INTO ticket VALUES (1, 'x')");
    run(&mut app, "ROLLBACK");
}

/// Triggers that fire for their origin only would not see either.
#[test]
fn replicated_and_restored_changes_count() {
    let world = World::new("replica_role");
    let mut admin = world.superuser();
    let mut app = world.app();
    begin(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, "SET session_replication_role = replica");
    run(&mut admin, &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'"));
    refused_within(&mut app, COUNT);
    run(&mut admin, &format!("UPDATE orgscope.organization SET is_active = true WHERE id = '{A}'"));
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, "RESET session_replication_role");
    // As pg_restore --disable-triggers does: noticed when the triggers are there again, at the latest.
    run(&mut admin, "ALTER TABLE orgscope.organization DISABLE TRIGGER ALL");
    run(&mut admin, &format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'"));
    run(&mut admin, "ALTER TABLE orgscope.organization ENABLE TRIGGER ALL");
    refused_within(&mut app, COUNT);
}

#[test]
fn a_prepared_suspension_holds_when_it_is_committed() {
    let world = World::in_own_cluster(&Options::default().line("max_prepared_transactions = 5"));
    let mut admin = world.superuser();
    let suspend = format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{A}'");
    let mut app = world.app();
    begin(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, &format!("BEGIN; {suspend}; PREPARE TRANSACTION 'one'"));
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut world.superuser(), "ROLLBACK PREPARED 'one'");
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut admin, &format!("BEGIN; {suspend}; PREPARE TRANSACTION 'two'"));
    run(&mut world.superuser(), "COMMIT PREPARED 'two'");
    refused_within(&mut app, COUNT);
}

#[test]
fn break_glass_ends_where_the_organization_does() {
    let world = World::new("suspended_glass");
    let mut admin = world.superuser();
    run(&mut admin, "CREATE ROLE glass_support LOGIN IN ROLE app");
    run(&mut admin, "GRANT EXECUTE ON FUNCTION orgscope.break_glass TO glass_support");
    let mut support = world.connect("glass_support");
    run(&mut support, &format!("SELECT orgscope.break_glass('{A}', 'case 1')"));
    assert_eq!(one(&mut support, COUNT), "2");
    suspend(&world, A);
    refused(&mut support, "OS004", COUNT);
    resume(&world, A);
    assert_eq!(one(&mut support, COUNT), "2");
}

/// A suspended organization reads that it is, and what is on record about it; not its rows, nor their past.
#[test]
fn what_a_suspended_organization_still_reads() {
    let world = World::new("still_reads");
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('public.ticket')");
    rows_under(&mut world.app(), A, "UPDATE ticket SET title = 'x' WHERE id = 1");
    let past = "SELECT count(*) FROM orgscope.change_log";
    assert_eq!(rows_under(&mut world.app(), A, past), ["1"]);
    assert_eq!(one(&mut world.app(), past), "0");
    suspend(&world, A);
    refused_under(&mut world.app(), A, "OS004", past);
    let mut app = world.app();
    assert_eq!(rows_under(&mut app, A, "SELECT is_active FROM orgscope.organization"), ["f"]);
    let operations = "SELECT operation FROM orgscope.audit_log WHERE action = 'lifecycle'";
    assert_eq!(rows_under(&mut app, A, operations), ["UPDATE"]);
}

#[test]
fn observing_notes_it() {
    let world = World::without_tables("observes_suspended");
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE note (id int PRIMARY KEY, organization_id uuid); INSERT INTO note VALUES (1, '{A}');
             SELECT orgscope.enable_org_scoping('public.note', options => '{{\"mode\": \"observe\"}}');
             GRANT SELECT ON note TO app"
        ),
    );
    suspend(&world, A);
    assert_eq!(rows_under(&mut world.app(), A, "SELECT id FROM note"), ["1"]);
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let noted = "SELECT operation, sqlstate, detail ->> 'why' FROM orgscope.audit_log WHERE action = 'observed'";
    assert_eq!(rows(&mut admin, noted), ["SELECT|OS004|organization unavailable"]);
}

/// Tenants see neither other organizations nor a difference in what a failed guess costs them.
#[test]
fn the_look_up_needs_no_rights_and_no_search_path() {
    let world = World::new("look_up_rights");
    run(&mut world.superuser(), "REVOKE ALL ON orgscope.organization FROM PUBLIC");
    run(
        &mut world.superuser(),
        "CREATE SCHEMA trap; CREATE TABLE trap.organization (id uuid, is_active bool); GRANT USAGE ON SCHEMA trap TO app",
    );
    let mut app = world.app();
    run(&mut app, "SET search_path = trap, public");
    assert_eq!(rows_under(&mut app, A, COUNT), ["2"]);
    run(&mut app, "SET default_transaction_read_only = on");
    assert_eq!(rows_under(&mut app, B, COUNT), ["3"]);
    refused_under(&mut app, UNKNOWN, "OS004", COUNT);
    // Nothing is left behind that an administrator would have to wait for.
    begin(&mut app, C);
    assert_eq!(one(&mut app, COUNT), "0");
    run(&mut world.superuser(), "SET lock_timeout = '2s'; LOCK TABLE orgscope.organization");
    run(&mut app, "COMMIT");
}

/// Without preloading there is no memory that all share: each transaction looks once.
#[test]
fn without_preloading_it_holds_from_the_next_transaction() {
    let world = World::in_own_cluster(&Options::without_preload());
    let mut app = world.app();
    refused_under(&mut app, UNKNOWN, "OS004", COUNT);
    begin(&mut app, A);
    assert_eq!(one(&mut app, COUNT), "2");
    suspend(&world, A);
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "COMMIT");
    refused_under(&mut app, A, "OS004", COUNT);
    resume(&world, A);
    assert_eq!(rows_under(&mut app, A, COUNT), ["2"]);
}
