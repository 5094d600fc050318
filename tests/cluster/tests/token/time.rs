//! A token that expires, or holds no more for another reason, while its transaction goes on.

use super::*;
use std::thread::sleep;
use std::time::Duration;

/// Sets a token that expires within two seconds, and waits for that after `used`.
fn expire(client: &mut postgres::Client, used: &str) {
    let key = &keys()[3];
    begin_with(client, &key.sign(&with(A, json!({"exp": now() + 2}))));
    if !used.is_empty() {
        run(client, used);
    }
    sleep(Duration::from_millis(2100));
}

#[track_caller]
fn refused_as_expired(client: &mut postgres::Client, sql: &str) {
    assert_eq!(refused(client, "OS003", sql).message(), "organization token has expired", "{sql}");
}

#[test]
fn a_token_ends_in_the_middle_of_a_transaction() {
    let world = server();
    let mut client = world.connect("signed");
    run(&mut client, "PREPARE p AS SELECT count(*) FROM ticket; SET plan_cache_mode = force_generic_plan");
    run(&mut client, &format!("BEGIN; SET LOCAL orgscope.token = '{}'; EXECUTE p; COMMIT", token(A)));
    for used in ["", COUNT, "EXECUTE p", "SAVEPOINT s"] {
        for statement in [
            COUNT,
            "EXECUTE p",
            "INSERT INTO ticket VALUES (99, 'x')",
            "DELETE FROM ticket",
            "SELECT orgscope.require_org()",
        ] {
            expire(&mut client, used);
            refused_as_expired(&mut client, statement);
            run(&mut client, if used == "SAVEPOINT s" { "ROLLBACK TO s" } else { "ROLLBACK" });
            if used == "SAVEPOINT s" {
                refused_as_expired(&mut client, statement);
                run(&mut client, "ROLLBACK");
            }
        }
        if !used.is_empty() {
            break;
        }
    }
    // A new one of the same organization goes on; none is needed to commit.
    expire(&mut client, COUNT);
    assert_eq!(one(&mut client, "SELECT coalesce(orgscope.current_org()::text, 'none')"), "none");
    run(&mut client, &format!("SELECT orgscope.set_org_token('{}')", token(A)));
    assert_eq!(one(&mut client, COUNT), "2");
    run(&mut client, "COMMIT");
}

#[test]
fn what_was_set_before_does_not_come_back_when_the_token_expires() {
    let mut client = server().app();
    run(&mut client, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'"));
    let key = &keys()[3];
    run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", key.sign(&with(A, json!({"exp": now() + 2})))));
    sleep(Duration::from_millis(2100));
    refused_as_expired(&mut client, COUNT);
    run(&mut client, "ROLLBACK");
}

#[test]
fn a_cursor_and_a_loop_stop_when_the_token_expires() {
    let world = server();
    let mut client = world.connect("signed");
    for scan in ["on", "off"] {
        run(&mut client, &format!("SET enable_seqscan = {scan}"));
        expire(&mut client, "DECLARE c CURSOR FOR SELECT id FROM ticket; FETCH 1 FROM c");
        refused_as_expired(&mut client, "FETCH 1 FROM c");
        run(&mut client, "ROLLBACK");
        // Also when another statement was the first to find out.
        expire(&mut client, "DECLARE c CURSOR FOR SELECT id FROM ticket; FETCH 1 FROM c");
        run(&mut client, "SELECT 1");
        refused_as_expired(&mut client, "FETCH 1 FROM c");
        run(&mut client, "ROLLBACK");
        // Renewed in time it goes on.
        expire(&mut client, "DECLARE c CURSOR FOR SELECT id FROM ticket; FETCH 1 FROM c");
        run(&mut client, &format!("SET LOCAL orgscope.token = '{}'", token(A)));
        assert_eq!(one(&mut client, "FETCH 1 FROM c"), "2");
        run(&mut client, "ROLLBACK");
    }
    for body in [
        "LOOP PERFORM count(*) FROM ticket; PERFORM pg_sleep(0.1); END LOOP",
        "FOR r IN SELECT t.id FROM ticket t, generate_series(1, 1000) LOOP PERFORM pg_sleep(0.01); END LOOP",
    ] {
        expire_at_once(&mut client);
        let started = std::time::Instant::now();
        refused_as_expired(&mut client, &format!("DO $$ DECLARE r record; BEGIN {body}; END $$"));
        assert!(started.elapsed() < Duration::from_secs(8), "{body}");
        run(&mut client, "ROLLBACK");
    }
}

/// Whatever ended the context: the organization was asked for once, when the cursor began.
#[test]
fn a_cursor_does_not_read_on_without_its_token() {
    let world = server();
    let mut client = world.connect("signed");
    run(&mut client, "SET enable_seqscan = off; SET enable_bitmapscan = off");
    const OPEN: &str = "DECLARE c CURSOR FOR SELECT id FROM ticket WHERE organization_id IS NOT NULL; FETCH 1 FROM c";
    for end in [
        "SET LOCAL orgscope.token = ''",
        "SET LOCAL orgscope.current_org = ''",
        "RESET orgscope.token",
        "SELECT orgscope.clear_current_org()",
    ] {
        expire(&mut client, &format!("{OPEN}; {end}"));
        let state = state(&mut client, "FETCH 1 FROM c");
        assert!(["OS001", "OS003"].contains(&state.as_str()), "{end}: {state}");
        run(&mut client, "ROLLBACK");
    }
    // Given back by a savepoint it has expired all the same.
    expire(&mut client, &format!("{OPEN}; SAVEPOINT s; SET LOCAL orgscope.token = ''; ROLLBACK TO s"));
    refused_as_expired(&mut client, "FETCH 1 FROM c");
    run(&mut client, "ROLLBACK");
    // With another of the organization it goes on, and the next transaction is free.
    begin_with(&mut client, &token(A));
    run(&mut client, &format!("{OPEN}; SET LOCAL orgscope.token = ''; SET LOCAL orgscope.token = '{}'", token(A)));
    assert_eq!(one(&mut client, "FETCH 1 FROM c"), "2");
    run(&mut client, "COMMIT");
    refused(&mut client, "OS001", COUNT);
}

#[test]
fn a_function_that_runs_in_parallel_stops_when_the_token_expires() {
    let world = server();
    run(
        &mut world.superuser(),
        "CREATE FUNCTION read_on() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS $$
             DECLARE n bigint; BEGIN
                 FOR i IN 1..60 LOOP PERFORM pg_sleep(0.1); SELECT count(*) INTO n FROM ticket; END LOOP;
                 RETURN n;
             END $$;
         CREATE FUNCTION fetch_on() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS $$
             DECLARE n bigint = 0; r record; BEGIN
                 FOR r IN SELECT t.id FROM ticket t, generate_series(1, 300) LOOP PERFORM pg_sleep(0.01); n = n + 1; END LOOP;
                 RETURN n;
             END $$;
         CREATE FUNCTION compute_on() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS $$
             DECLARE n bigint; BEGIN
                 FOR i IN 1..25 LOOP PERFORM pg_sleep(0.1); SELECT count(*) INTO n FROM generate_series(1, 3); END LOOP;
                 RETURN n;
             END $$;
         CREATE TABLE number AS SELECT i FROM generate_series(1, 2) i; GRANT SELECT ON number TO app; ANALYZE number",
    );
    let mut client = world.connect("signed");
    force_parallel(&mut client, "on");
    run(&mut client, "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0");
    // In a worker alone, in workers and the leader, and in the leader when there are no workers.
    for (settings, query) in [
        ("SET max_parallel_workers_per_gather = 2", "SELECT {}"),
        ("SET parallel_leader_participation = off", "SELECT max({} + i * 0) FROM number"),
        ("SET parallel_leader_participation = on; SET max_parallel_workers = 0", "SELECT max({} + i * 0) FROM number"),
    ] {
        run(&mut client, settings);
        for function in ["read_on()", "fetch_on()"] {
            let query = query.replace("{}", function);
            expire_at_once(&mut client);
            let started = std::time::Instant::now();
            refused_as_expired(&mut client, &query);
            assert!(started.elapsed() < Duration::from_secs(4), "{settings}: {query}");
            run(&mut client, "ROLLBACK");
        }
    }
    run(&mut client, "SET max_parallel_workers = 8");
    // What reads no table of an organization runs to its end, as it does elsewhere.
    expire_at_once(&mut client);
    assert_eq!(one(&mut client, "SELECT compute_on()"), "3");
    run(&mut client, "ROLLBACK");
}

fn expire_at_once(client: &mut postgres::Client) {
    begin_with(client, &keys()[3].sign(&with(A, json!({"exp": now() + 2}))));
}

#[test]
fn a_token_bound_to_a_role_ends_with_the_role() {
    let world = server();
    run(
        &mut world.superuser(),
        "CREATE ROLE pool LOGIN IN ROLE app, signed; ALTER ROLE pool SET orgscope.context_source = 'token'",
    );
    let mut client = world.connect("pool");
    let bound = keys()[0].sign(&with(A, json!({"db_role": "signed"})));
    refused(&mut client, "OS003", &format!("SET LOCAL orgscope.token = '{bound}'"));
    run(&mut client, &format!("BEGIN; SET ROLE signed; SET LOCAL orgscope.token = '{bound}'"));
    assert_eq!(one(&mut client, COUNT), "2");
    run(&mut client, "SET ROLE app");
    let error = refused(&mut client, "OS003", COUNT);
    assert_eq!(error.message(), "organization token is for another role");
    run(&mut client, "ROLLBACK");
}

#[test]
fn parallel_workers_have_their_leaders_token() {
    let world = server();
    run(
        &mut world.superuser(),
        "CREATE TABLE event (id int PRIMARY KEY, organization_id uuid);
         INSERT INTO event SELECT i, CASE WHEN i % 3 = 0 THEN 'aaaaaaaa-0000-7000-8000-000000000001'::uuid
                                          ELSE 'bbbbbbbb-0000-7000-8000-000000000002' END FROM generate_series(1, 30000) i;
         SELECT orgscope.enable_org_scoping('public.event', options => '{\"index\": \"none\"}');
         GRANT SELECT ON event TO app; ANALYZE event",
    );
    let mut client = world.connect("signed");
    run(
        &mut client,
        "SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off",
    );
    let once = keys()[0].sign(&with(A, json!({"jti": "parallel"})));
    for (token, count) in [(once, "10000"), (token(B), "20000")] {
        begin_with(&mut client, &token);
        let plan = rows(&mut client, "EXPLAIN (ANALYZE, COSTS OFF) SELECT id FROM event");
        assert!(plan.iter().any(|line| line.contains("Workers Launched: ") && !line.contains(": 0")), "{plan:#?}");
        for _ in 0..3 {
            assert_eq!(one(&mut client, "SELECT count(*) FROM event"), count);
        }
        run(&mut client, "COMMIT");
    }
    // Out of force in the leader, out of force in workers.
    for end in [
        "SET LOCAL orgscope.current_org = ''",
        "SELECT set_config('orgscope.current_org', '', true)",
        "RESET orgscope.token",
    ] {
        begin_with(&mut client, &token(A));
        run(&mut client, end);
        refused(&mut client, "OS001", "SELECT count(*) FROM event");
        run(&mut client, "ROLLBACK");
    }
    expire(&mut client, "SELECT count(*) FROM event");
    refused_as_expired(&mut client, "SELECT count(*) FROM event");
    run(&mut client, "ROLLBACK");
    let mut app = world.app();
    run(
        &mut app,
        "SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    );
    begin_with(&mut app, &token(A));
    run(&mut app, &format!("SET LOCAL orgscope.current_org = '{B}'"));
    assert_eq!(one(&mut app, "SELECT count(*) FROM event"), "20000");
}

#[test]
fn a_worker_s_text_of_a_token_is_none_by_hand() {
    let mut client = server().connect("signed");
    for text in
        [format!("{A} 900000000000000000 0 false "), format!("{A} 900000000000000000 0 true alice"), "***".into()]
    {
        for set in ["SET LOCAL orgscope.token = '{}'", "ALTER ROLE signed SET orgscope.token = '{}'"] {
            refused(&mut client, "OS003", &set.replace("{}", &text));
        }
    }
}
