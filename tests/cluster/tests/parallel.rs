//! Parallel workers repeat their leader's context.

mod common;

use common::*;

const SETUP: &str = "
    CREATE TABLE event (id int PRIMARY KEY, n int NOT NULL, organization_id uuid);
    INSERT INTO event SELECT i, i % 7, CASE WHEN i % 3 = 0 THEN 'aaaaaaaa-0000-7000-8000-000000000001'::uuid
                                            ELSE 'bbbbbbbb-0000-7000-8000-000000000002' END
        FROM generate_series(1, 30000) i;
    SELECT orgscope.enable_org_scoping('public.event', options => '{\"index\": \"none\"}');
    GRANT SELECT ON event TO app, dba";

const PARALLEL: &str = "
    SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
    SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0";

fn launched(plan: &[String]) -> u32 {
    plan.iter()
        .filter_map(|line| line.split_once("Workers Launched: "))
        .filter_map(|(_, n)| n.trim().parse::<u32>().ok())
        .sum()
}

#[test]
fn workers_return_exactly_the_organizations_rows() {
    let world = World::without_tables("parallel");
    run(&mut world.owner(), SETUP);
    run(&mut world.superuser(), "ANALYZE event");
    for force in ["off", "on"] {
        let mut app = world.app();
        run(&mut app, PARALLEL);
        force_parallel(&mut app, force);
        for _ in 0..3 {
            for (org, count) in [(A, 10000), (B, 20000), (C, 0)] {
                let plan = rows_under(&mut app, org, "EXPLAIN (ANALYZE, COSTS OFF) SELECT n FROM event");
                assert!(launched(&plan) > 0, "no worker: {plan:#?}");
                let found = rows_under(&mut app, org, "SELECT id FROM event");
                assert_eq!(found.len(), count);
                let ours = |id: &String| (id.parse::<u32>().unwrap() % 3 == 0) == (org == A);
                assert!(found.iter().all(ours), "a foreign row under {org}");
                let total = rows_under(&mut app, org, "SELECT count(*), count(DISTINCT organization_id) FROM event");
                assert_eq!(total, [format!("{count}|{}", u8::from(count > 0))]);
            }
            refused(&mut app, "OS001", "SELECT count(*) FROM event");
        }
    }
}

#[test]
fn the_leaders_context_survives_its_workers() {
    let world = World::without_tables("parallel_leader");
    run(&mut world.owner(), SETUP);
    let mut app = world.app();
    run(&mut app, PARALLEL);
    for set in ["SET LOCAL orgscope.current_org = '{}'", "SELECT set_config('orgscope.current_org', '{}', false)"] {
        run(&mut app, "BEGIN");
        run(&mut app, &set.replace("{}", A));
        for _ in 0..3 {
            assert_eq!(one(&mut app, "SELECT count(*) FROM event"), "10000");
        }
        refused(&mut app, "OS003", &format!("SET LOCAL orgscope.current_org = '{B}'"));
        run(&mut app, "ROLLBACK");
    }
    // An organization that came with the connection reaches the workers too.
    run(
        &mut world.superuser(),
        "ALTER ROLE app IN DATABASE parallel_leader SET orgscope.context_lifetime = 'connection'",
    );
    let mut app = world.connect_with("app", &format!("-c orgscope.current_org={B}")).unwrap();
    run(&mut app, PARALLEL);
    assert_eq!(one(&mut app, "SELECT count(*) FROM event"), "20000");
    assert_eq!(rows_under(&mut app, A, "SELECT count(*) FROM event"), ["10000"]);
    assert_eq!(one(&mut app, "SELECT count(*) FROM event"), "20000");
}

#[test]
fn a_parallel_query_of_both_kinds_of_role() {
    let world = World::without_tables("parallel_roles");
    run(&mut world.owner(), SETUP);
    let mut dba = world.dba();
    run(&mut dba, PARALLEL);
    assert_eq!(one(&mut dba, "SELECT count(*) FROM event"), "30000", "BYPASSRLS reads everything");
    run(&mut dba, "SET ROLE dba");
    let mut admin = world.superuser();
    run(&mut admin, PARALLEL);
    run(&mut admin, "SET ROLE app");
    assert_eq!(rows_under(&mut admin, A, "SELECT count(*) FROM event"), ["10000"]);
    refused(&mut admin, "OS001", "SELECT count(*) FROM event");
}

/// A worker knows neither its leader's seal nor what its transaction has used: it keeps what it was given.
#[test]
fn a_functions_set_clause_turns_no_worker() {
    let world = World::new("parallel_set");
    let peek = |name: &str, org: &str| {
        format!(
            "CREATE FUNCTION {name}() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE SET orgscope.current_org = '{org}'
             AS 'SELECT count(*)::text FROM public.ticket'"
        )
    };
    for (name, org) in [("peek_a", A), ("peek_b", B), ("peek_nobody", "")] {
        run(&mut world.superuser(), &peek(name, org));
    }
    let mut app = world.app();
    for force in ["off", "on"] {
        force_parallel(&mut app, force);
        for first in ["SELECT orgscope.seal_context()", "SELECT count(*) FROM ticket"] {
            begin(&mut app, A);
            run(&mut app, first);
            refused(&mut app, "OS003", "SELECT peek_b()");
            run(&mut app, "ROLLBACK");
        }
        assert_eq!(rows_under(&mut app, A, "SELECT peek_a()"), ["2"]);
    }
    refused_under(&mut app, A, "OS003", "SELECT peek_nobody()");
}

/// What workers have used their leader has used.
#[test]
fn a_transaction_keeps_to_the_organization_of_its_workers() {
    let world = World::without_tables("parallel_once");
    run(&mut world.owner(), SETUP);
    run(
        &mut world.superuser(),
        "ANALYZE event; CREATE FUNCTION events() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS
             $$ BEGIN RETURN (SELECT count(*) FROM event); END $$",
    );
    let mut app = world.app();
    run(&mut app, PARALLEL);
    force_parallel(&mut app, "on");
    run(
        &mut app,
        "SET parallel_leader_participation = off; SET plan_cache_mode = force_generic_plan;
         PREPARE direct AS SELECT count(*) FROM event; PREPARE within AS SELECT events()",
    );
    for (query, count) in [("EXECUTE direct", "10000"), ("EXECUTE within", "10000")] {
        // Planned in another transaction: planning may ask for the context in the leader.
        assert_eq!(rows_under(&mut app, A, query), [count]);
        begin(&mut app, A);
        assert_eq!(one(&mut app, query), count);
        refused(&mut app, "OS003", &format!("SET LOCAL orgscope.current_org = '{B}'"));
        run(&mut app, "ROLLBACK");
        refused(&mut app, "OS001", query);
        assert_eq!(rows_under(&mut app, B, query), ["20000"]);
        // Explained only it has used nothing, and what another query does is not a use.
        let unused = format!("EXPLAIN {query}; SELECT count(*) FROM pg_class; SET LOCAL orgscope.current_org = '{B}'");
        rows_under(&mut app, A, &format!("{unused}; {query}"));
    }
}
