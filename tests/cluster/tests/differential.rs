//! The property behind all others: the application under organization A gets exactly what a superuser gets who cuts
//! every table down to A by hand. `ORGSCOPE_CASES` says how often it is tried, `ORGSCOPE_SEED` repeats a run.

mod common;
mod generate;

use common::*;
use generate::query::Query;
use generate::{Layout, Random, Table, literal, quote, value};

const TABLES: usize = 10;

/// Settings that send a query down other paths of the planner and executor.
const PATHS: [&str; 9] = [
    "RESET ALL",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off; SET enable_mergejoin = off",
    "SET enable_nestloop = off; SET enable_hashagg = off",
    "SET enable_sort = off",
    "SET enable_material = off; SET enable_memoize = off; SET enable_hashjoin = off",
    "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    "SET from_collapse_limit = 1; SET join_collapse_limit = 1",
    "SET jit = on; SET jit_above_cost = 0",
];

fn cases() -> usize {
    std::env::var("ORGSCOPE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

fn build(world: &World, r: &mut Random) -> Vec<Table> {
    let tables: Vec<_> = (0..TABLES).map(|i| Table::generate(r, i)).collect();
    let mut owner = world.owner();
    for table in &tables {
        let (name, org) = (quote(&table.name), quote(&table.org));
        run(&mut owner, &table.create(r));
        let mut key = 0;
        for organization in [A, B, C] {
            for _ in 0..r.below(40) {
                key += 1;
                run(&mut owner, &table.insert(r, key, organization));
            }
        }
        for column in table.columns.iter().filter(|_| r.chance(30)) {
            run(&mut owner, &format!("CREATE INDEX ON {name} ({})", quote(&column.name)));
        }
        if r.chance(20) {
            run(&mut owner, &format!("CREATE UNIQUE INDEX ON {name} ({}, {org})", quote(&table.key)));
        }
        for below in &table.below {
            run(&mut owner, &format!("GRANT ALL ON {} TO app, dba", quote(below)));
        }
        let options = r.pick(&["{}", r#"{"index": "none"}"#]);
        run(
            &mut owner,
            &format!(
                "GRANT ALL ON {name} TO app, dba;
            SELECT orgscope.enable_org_scoping({}::regclass, {}, '{options}')",
                literal(&name),
                literal(&table.org)
            ),
        );
    }
    run(&mut world.superuser(), "ANALYZE");
    // Members are read and written directly, too.
    let members: Vec<_> = tables.iter().flat_map(Table::members).collect();
    tables.into_iter().chain(members).collect()
}

fn sorted(mut rows: Vec<String>, ordered: bool) -> Vec<String> {
    if !ordered {
        rows.sort();
    }
    rows
}

#[test]
fn a_tenant_sees_what_a_superuser_sees_of_it() {
    let (mut r, seed) = Random::from_environment();
    let world = World::without_tables("differential");
    let tables = build(&world, &mut r);
    let (mut app, mut admin) = (world.app(), world.superuser());
    let mut with_rows = 0;
    for case in 0..cases() {
        if case % 25 == 0 {
            run(&mut app, "RESET ALL");
            if r.chance(10) {
                force_parallel(&mut app, "on");
            } else {
                run(&mut app, r.pick(&PATHS));
            }
        }
        let query = Query::generate(&mut r, &tables);
        let org = r.pick(&[A, B, C]);
        let (plain, cut_down) = (query.plain(&tables), query.cut_down(&tables, org));
        let context = format!("seed {seed}, case {case}, organization {org}\nas app: {plain}\nas postgres: {cut_down}");
        let wanted = query_or_panic(&mut admin, &cut_down, &context);
        begin(&mut app, org);
        let found = if r.chance(25) {
            run(&mut app, &format!("SET LOCAL plan_cache_mode = force_generic_plan; PREPARE q AS {plain}"));
            let found = query_or_panic(&mut app, "EXECUTE q", &context);
            run(&mut app, "DEALLOCATE q");
            found
        } else {
            query_or_panic(&mut app, &plain, &context)
        };
        run(&mut app, "COMMIT");
        with_rows += usize::from(!wanted.is_empty());
        assert_eq!(sorted(found, query.ordered), sorted(wanted, query.ordered), "{context}");
    }
    assert!(with_rows * 2 > cases(), "only {with_rows} of {} queries found a row: seed {seed}", cases());
}

/// Writes, too: what the application changes under A is what a superuser changes who adds the organization to WHERE.
#[test]
fn a_tenant_writes_what_a_superuser_writes_of_it() {
    let (mut r, seed) = Random::from_environment();
    let world = World::without_tables("differential_writes");
    let tables = build(&world, &mut r);
    let (mut app, mut admin) = (world.app(), world.superuser());
    for case in 0..cases() / 4 {
        let table = r.one(&tables);
        let (name, key, by) = (quote(&table.name), quote(&table.key), r.below(3) + 1);
        let statement = if r.chance(50) {
            format!("DELETE FROM {name} AS t WHERE {key} % {by} = 0")
        } else {
            let column = r.one(&table.columns);
            format!(
                "UPDATE {name} AS t SET {} = {} WHERE {key} % {by} = 0",
                quote(&column.name),
                value(&mut r, column.kind)
            )
        };
        let org = r.pick(&[A, B, C]);
        let context = format!("seed {seed}, case {case}, organization {org}: {statement}");
        let all = format!("SELECT t::text FROM {name} AS t ORDER BY {key}");
        run(&mut admin, "BEGIN");
        let limited = format!("{statement} AND {} = '{org}' RETURNING t.*", quote(&table.org));
        let wanted = query_or_panic(&mut admin, &limited, &context);
        let wanted_table = query_or_panic(&mut admin, &all, &context);
        run(&mut admin, "ROLLBACK");

        begin(&mut app, org);
        let found = query_or_panic(&mut app, &format!("{statement} RETURNING t.*"), &context);
        // The whole table as this transaction leaves it, foreign rows included: its superuser looks.
        run(&mut app, "COMMIT");
        assert_eq!(sorted(found, false), sorted(wanted, false), "{context}");
        assert_eq!(rows(&mut admin, &all), wanted_table, "{context}");
        if table.layout != Layout::Member {
            refill(&world, &mut r, table, org);
        }
    }
}

/// Puts rows back, so that later cases have some to meet.
fn refill(world: &World, r: &mut Random, table: &Table, org: &str) {
    let mut admin = world.superuser();
    let next = format!("SELECT COALESCE(max({}), 0) + 1 FROM {}", quote(&table.key), quote(&table.name));
    let first: usize = one(&mut admin, &next).parse().unwrap();
    for key in first..first + r.below(12) {
        run(&mut admin, &table.insert(r, key, org));
    }
}

#[track_caller]
fn query_or_panic(client: &mut postgres::Client, sql: &str, context: &str) -> Vec<String> {
    query(client, sql).unwrap_or_else(|error| panic!("{}\n{context}", describe(&error)))
}
