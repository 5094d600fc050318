//! Statistics and plans: made of all rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// The number of rows that the planner expects.
#[track_caller]
fn estimate(client: &mut Client, condition: &str) -> u32 {
    let plan = rows_under(client, A, &format!("EXPLAIN SELECT * FROM paper WHERE {condition}")).join("\n");
    let (_, rows) = plan.split_once(" rows=").unwrap_or_else(|| panic!("{plan}"));
    rows.split(' ').next().unwrap().parse().unwrap()
}

const COMMON_VALUES: &str = "SELECT array_to_string(most_common_vals::text::text[], ',') FROM pg_stats WHERE tablename = 'paper' AND attname = 'title'";

#[test]
fn pg_stats_is_hidden_where_row_security_holds_the_reader() {
    let world = by_hand("leaks_pg_stats");
    run(&mut world.superuser(), "ANALYZE paper");
    assert_eq!(rows(&mut world.app(), COMMON_VALUES), ["secret"]);
    run(&mut world.owner(), SCOPE);
    run(&mut world.superuser(), "CREATE STATISTICS s (mcv) ON title, pages FROM paper; ANALYZE paper");
    for user in ["app", "owner"] {
        let mut client = world.connect(user);
        for view in ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"] {
            let count = format!("SELECT count(*) FROM {view} WHERE tablename = 'paper'");
            assert_eq!(one(&mut client, &count), "0", "{user}: {view}");
        }
        for catalog in ["pg_statistic", "pg_statistic_ext_data"] {
            refused(&mut client, "42501", &format!("SELECT * FROM {catalog}"));
        }
    }
    assert_eq!(rows(&mut world.dba(), COMMON_VALUES), ["secret"], "a role that sees all rows sees their statistics");
}

/// The one way around: a copy of the rows has statistics of its own. So it is refused, or asked for by name.
#[test]
fn a_materialized_view_has_statistics_of_its_own() {
    let world = papers("leaks_matview");
    run(
        &mut world.superuser(),
        "CREATE MATERIALIZED VIEW copy AS SELECT title FROM paper; GRANT SELECT ON copy TO app; ANALYZE copy",
    );
    let values = "SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'copy'";
    assert_eq!(rows(&mut world.app(), values), ["{secret}"]);
    let repaired =
        "SELECT orgscope.disable_org_scoping('public.paper'); SELECT orgscope.enable_org_scoping('public.paper')";
    refused(&mut world.superuser(), "OS005", repaired);
}

/// Statistics of an index expression belong to the index, which has no row security: its owner reads them.
#[test]
fn the_owner_reads_statistics_of_index_expressions() {
    let world = papers("leaks_index");
    run(&mut world.owner(), "CREATE INDEX upper_title ON paper (upper(title))");
    run(&mut world.superuser(), "ANALYZE paper");
    let values = "SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'upper_title'";
    assert_eq!(rows(&mut world.app(), values), [""; 0]);
    assert_eq!(rows(&mut world.owner(), values), ["{SECRET}"]);
}

/// An estimator that calls a function of the role's own would hand it the most common values.
#[test]
fn an_operator_of_the_roles_own_is_not_asked_about_statistics() {
    let world = by_hand("leaks_operator");
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app; ANALYZE paper");
    let mut app = world.app();
    run(
        &mut app,
        "CREATE FUNCTION tell(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
         $$ BEGIN RAISE 'seen: %', $1; END $$;
         CREATE OPERATOR <<< (FUNCTION = tell, LEFTARG = text, RIGHTARG = text, RESTRICT = scalarltsel)",
    );
    let sql = "EXPLAIN SELECT * FROM paper WHERE title <<< 'x'";
    assert!(text(&failure(&mut app, sql)).contains("seen: "));
    run(&mut world.owner(), SCOPE);
    run(&mut world.superuser(), "ANALYZE paper");
    assert!(under(&mut app, A, sql).is_ok());
}

/// The planner looks at the statistics of all organizations: of how many rows another one has, and whether it has a value.
#[test]
fn estimates_tell_of_all_rows() {
    let world = papers("leaks_estimates");
    let mut app = world.app();
    assert_eq!(estimate(&mut app, &format!("organization_id = '{B}'")), 500);
    assert_eq!((estimate(&mut app, "title = 'secret'"), estimate(&mut app, "title = 'unheard of'")), (3, 1));
    // What the table's owner can do: no statistics of a column, no telling; and no good plans for conditions on it.
    let world = World::new("leaks_no_estimates");
    run(&mut world.owner(), &format!("{PAPERS}; ALTER TABLE paper ALTER title SET STATISTICS 0; {SCOPE}"));
    run(&mut world.superuser(), "ANALYZE paper");
    let mut app = world.app();
    assert_eq!(estimate(&mut app, "title = 'secret'"), estimate(&mut app, "title = 'unheard of'"));
}

#[test]
fn explain_analyze_counts_the_rows_it_has_left_out() {
    let world = papers("leaks_explain");
    let mut app = world.app();
    let explain = "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT * FROM paper";
    let plan = rows_under(&mut app, A, explain).join("\n");
    assert!(plan.contains("Rows Removed by Filter: 500"), "{plan}");
}

/// Catalogs and functions that know no row security: how many rows, how big, how busy.
#[test]
fn sizes_and_counters_are_of_all_rows() {
    let world = papers("leaks_sizes");
    let mut app = world.app();
    assert_eq!(one(&mut app, "SELECT reltuples FROM pg_class WHERE relname = 'paper'"), "503");
    assert_ne!(one(&mut app, "SELECT pg_relation_size('paper')"), "0");
    // The counters come a moment after the transaction.
    assert_eq!(one(&mut app, "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'paper'"), "1");
    let mut b = world.app();
    rows_under(&mut b, B, "UPDATE ticket SET title = 'moved' WHERE id = 11");
    rows_under(&mut b, A, "UPDATE ticket SET title = 'moved' WHERE id = 1");
    assert_eq!(rows_under(&mut app, A, "SELECT ctid FROM ticket WHERE id = 1"), ["(0,7)"], "five rows, one moved");
    // Where B's row was, and where it has moved to.
    assert_eq!(rows_under(&mut app, A, "SELECT currtid2('ticket', '(0,3)')"), ["(0,6)"]);
}

/// In whatever way it is asked for. Roles that see all rows see their plans.
#[test]
fn explain_can_be_taken_from_roles_under_row_security() {
    let world = papers("leaks_denied");
    let mut app = world.app();
    run(&mut app, "PREPARE asked AS SELECT * FROM paper");
    let ways = [
        "EXPLAIN SELECT * FROM paper",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN EXECUTE asked",
        "DO $$ BEGIN EXECUTE 'EXPLAIN SELECT * FROM paper'; END $$",
    ];
    for sql in ways {
        assert!(under(&mut app, A, sql).is_ok(), "{sql}");
    }
    run(&mut world.superuser(), "ALTER DATABASE leaks_denied SET orgscope.explain = 'deny'");
    for user in ["app", "owner"] {
        let mut client = world.connect(user);
        run(&mut client, "PREPARE asked AS SELECT * FROM paper");
        ways.iter().for_each(|sql| refused_under(&mut client, A, "42501", sql));
        refused(&mut client, "42501", "SET orgscope.explain = 'allow'");
        assert_eq!(rows_under(&mut client, A, "SELECT count(*) FROM paper"), ["3"]);
    }
    run(&mut world.dba(), "EXPLAIN SELECT * FROM paper");
    run(&mut world.superuser(), "EXPLAIN SELECT * FROM paper");
}

/// Any role may have each of its plans printed, and read what is printed.
#[test]
fn printed_plans_can_be_taken_too() {
    let world = papers("leaks_printed");
    let print = "SET client_min_messages = log; SET debug_print_plan = on";
    let asked = "SELECT count(*) FROM paper WHERE title = 'secret'";
    for (deny, user, printed) in
        [(false, "app", true), (true, "app", false), (true, "owner", false), (true, "dba", true)]
    {
        if deny {
            run(&mut world.superuser(), "ALTER DATABASE leaks_printed SET orgscope.explain = 'deny'");
        }
        for local in [false, true] {
            let said = Arc::new(AtomicBool::new(false));
            let (heard, mut config) = (said.clone(), world.cluster().client_config(user, world.name()));
            config.notice_callback(move |notice| {
                heard.fetch_or(notice.detail().is_some_and(|text| text.contains("plan_rows")), Ordering::Relaxed);
            });
            let mut client = config.connect(postgres::NoTls).unwrap();
            begin(&mut client, A);
            run(&mut client, &if local { print.replace("SET ", "SET LOCAL ") } else { print.to_owned() });
            run(&mut client, &format!("DO $$ BEGIN PERFORM ({asked}); END $$"));
            run(&mut client, asked);
            run(&mut client, "COMMIT");
            assert_eq!(said.load(Ordering::Relaxed), printed, "{user} {deny}");
        }
    }
    // The server's log is not the client's.
    let mut app = world.app();
    run(&mut app, "SET debug_print_plan = on");
    rows_under(&mut app, A, asked);
    assert_eq!(one(&mut app, "SHOW debug_print_plan"), "on");
}

/// A role that is granted columns has no right to the system columns.
#[test]
fn granted_columns_leave_out_the_system_columns() {
    let world = papers("leaks_columns");
    run(&mut world.owner(), "REVOKE ALL ON paper FROM app; GRANT SELECT (id, title) ON paper TO app");
    let mut app = world.app();
    assert_eq!(rows_under(&mut app, A, "SELECT count(id) FROM paper"), ["3"]);
    for column in ["ctid", "xmin", "tableoid"] {
        refused_under(&mut app, A, "42501", &format!("SELECT {column} FROM paper"));
    }
}
