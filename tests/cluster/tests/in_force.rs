//! Which context is in force where a statement does not simply run in its transaction. Cached plans, savepoints, exception
//! blocks, deferred triggers and held cursors are in change.rs, parallel workers in parallel.rs, seals in seal.rs.

mod common;

use common::*;

const COUNT: &str = "SELECT count(*) FROM ticket";

/// A cursor is a statement that goes on. Where the organization is asked for once, at its beginning, it stays that one; where
/// each row is compared it is the one of the FETCH. Only `free` lets it become another.
#[test]
fn a_cursor_that_outlives_a_free_change_of_context() {
    let world = World::new("free_cursors");
    run(&mut world.superuser(), "ALTER ROLE app IN DATABASE free_cursors SET orgscope.context_change = 'free'");
    let mut app = world.app();
    let declare =
        |kind: &str, order: &str| format!("DECLARE c CURSOR {kind} FOR SELECT id FROM ticket {order}; FETCH 1 FROM c");
    let to_b = format!("SET LOCAL orgscope.current_org = '{B}'");
    let by_index = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off";
    let by_row =
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off";
    for (plan, order, rest) in
        [(by_index, "", vec!["2"]), (by_row, "ORDER BY id", vec!["2"]), (by_row, "", vec!["11", "12", "13"])]
    {
        begin(&mut app, A);
        run(&mut app, &format!("{plan}; {}; {to_b}", declare("", order)));
        assert_eq!(rows(&mut app, "FETCH ALL FROM c"), rest, "{plan} {order}");
        assert_eq!(one(&mut app, COUNT), "3");
        run(&mut app, "COMMIT");
    }
    // What is held is read when its transaction commits, from its beginning, under the last context of that.
    for (order, rest) in [("ORDER BY id", vec!["2"]), ("", vec!["12", "13"])] {
        begin(&mut app, A);
        run(&mut app, &format!("{by_row}; {}; {to_b}; COMMIT", declare("WITH HOLD", order)));
        begin(&mut app, C);
        assert_eq!(rows(&mut app, "FETCH ALL FROM c"), rest, "{order}");
        run(&mut app, "COMMIT; CLOSE c");
    }
    // By default it ends there.
    let mut once = world.connect_with("dba", "").unwrap();
    begin(&mut once, A);
    run(&mut once, "SELECT orgscope.require_org(); DECLARE c CURSOR FOR SELECT id FROM ticket; FETCH 1 FROM c");
    refused(&mut once, "OS003", &to_b);
}

/// PostgreSQL checks its constraints as the tables' owner, and our triggers ask for the context at the end.
#[test]
fn deferred_constraints_are_checked_whatever_the_context_is_by_then() {
    let world = World::without_tables("deferred_constraints");
    run(
        &mut world.owner(),
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED,
                             code int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         SELECT orgscope.enable_org_scoping('parent'); SELECT orgscope.enable_org_scoping('child');
         GRANT SELECT, INSERT, UPDATE, DELETE ON parent, child TO app",
    );
    let mut app = world.app();
    rows_under(&mut app, B, "INSERT INTO parent VALUES (2)");
    for clear in ["SELECT 1", "SELECT orgscope.clear_current_org()", "RESET ALL"] {
        begin(&mut app, A);
        run(&mut app, "INSERT INTO child VALUES (1, 1, 7), (2, 1, 8); INSERT INTO parent VALUES (1)");
        run(&mut app, &format!("{clear}; COMMIT"));
        assert_eq!(rows_under(&mut app, A, "DELETE FROM child RETURNING id"), ["1", "2"], "{clear}");
        rows_under(&mut app, A, "DELETE FROM parent");
        // The parent of another organization is none, and the other's key does not collide.
        begin(&mut app, A);
        run(&mut app, &format!("INSERT INTO child VALUES (1, 2, 7); {clear}"));
        assert_eq!(state(&mut app, "COMMIT"), "23503", "{clear}");
        begin(&mut app, A);
        run(&mut app, &format!("INSERT INTO child VALUES (1, NULL, 7), (2, NULL, 7); {clear}"));
        assert_eq!(state(&mut app, "COMMIT"), "23505", "{clear}");
    }
}

/// A connection that a statement opens is one of its own.
#[test]
fn another_session_has_no_context_of_this_one() {
    let world = World::new("other_sessions");
    let mut admin = world.superuser();
    run(&mut admin, "CREATE EXTENSION dblink; GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO app");
    let mut app = world.app();
    let target = format!("host=127.0.0.1 port={} user=app dbname=other_sessions", world.cluster().port());
    begin(&mut app, A);
    run(&mut app, &format!("SELECT dblink_connect_u('{target}')"));
    let remote = |sql: &str| format!("SELECT * FROM dblink('{}') AS r(n text)", sql.replace('\'', "''"));
    assert_eq!(one(&mut app, &remote("SELECT orgscope.current_org()::text")), "-");
    run(&mut app, "SAVEPOINT s");
    refused(&mut app, "OS001", &remote("SELECT count(*)::text FROM ticket"));
    run(&mut app, "ROLLBACK TO s");
    let of_b = format!("SELECT dblink_exec('BEGIN'); SELECT dblink_exec('SET LOCAL orgscope.current_org = ''{B}''')");
    run(&mut app, &of_b);
    assert_eq!(one(&mut app, &remote("SELECT count(*)::text FROM ticket")), "3");
    assert_eq!(one(&mut app, COUNT), "2", "nor does this one have the other's");
    run(&mut app, "SELECT dblink_exec('COMMIT'); COMMIT");
}

/// Workers that PostgreSQL starts by itself read and compute what a table's owner has written into its definition.
#[test]
fn a_background_worker_has_no_context() {
    let options = orgscope_cluster::Options::default().line("autovacuum_naptime = 1s");
    let world = World::in_own_cluster(&options);
    run(
        &mut world.owner(),
        "CREATE TABLE seen (org uuid, kind text);
         CREATE FUNCTION look(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             IF current_setting('application_name') = '' THEN
                 RAISE LOG 'analyzed under %', coalesce(orgscope.current_org()::text, 'no context');
             END IF;
             RETURN $1; END $$;
         CREATE INDEX look ON ticket (look(id));
         ALTER TABLE ticket SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0)",
    );
    rows_under(&mut world.app(), A, "INSERT INTO ticket SELECT i, 'x' FROM generate_series(100, 200) i");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
        if let Some((_, under)) = log.split_once("analyzed under ") {
            assert!(under.starts_with("no context"), "{under}");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "nothing was analyzed\n{log}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
