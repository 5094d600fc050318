//! Indexes for search under row security: used with `orgscope.leakproof_operators`, and no way to learn of rows that the
//! policy hides.

#[path = "../common/mod.rs"]
mod common;
mod first;
mod stack;
mod statistics;

use common::*;
use postgres::Client;

const TABLES: &str = "
    CREATE TABLE doc (id int PRIMARY KEY, code text, title text, name text COLLATE \"C\", body tsvector, attrs jsonb,
                      tags text[], codes varchar[], numbers int[], organization_id uuid);
    INSERT INTO doc
    SELECT i, 'c' || i % 10, o || i, o || i, to_tsvector('simple', o || ' w' || i % 10), jsonb_build_object('k', i % 10, 'r' || i % 10, true),
           ARRAY['t' || i % 10, o], ARRAY['t' || i % 10, o], ARRAY[i % 10], org
    FROM generate_series(1, 300) i,
         LATERAL (SELECT CASE WHEN i % 3 = 0 THEN 'secret' ELSE 'open' END AS o,
                         (CASE WHEN i % 3 = 0 THEN 'bbbbbbbb-0000-7000-8000-000000000002'
                               ELSE 'aaaaaaaa-0000-7000-8000-000000000001' END)::uuid AS org) x;
    CREATE INDEX ON doc (code text_pattern_ops);
    CREATE INDEX ON doc (name);
    CREATE INDEX ON doc USING gin (body);
    CREATE INDEX ON doc USING gin (attrs);
    CREATE INDEX ON doc USING gin (tags);
    CREATE INDEX ON doc USING gin (codes);
    CREATE INDEX ON doc USING gin (numbers);
    GRANT SELECT, INSERT, UPDATE ON doc TO app";

const SCOPE: &str = "SELECT orgscope.enable_org_scoping('public.doc')";

/// Conditions, each with an index of its own.
const CONDITIONS: [&str; 13] = [
    "code LIKE 'c7%'",
    "code LIKE 'c' || '7%'",
    "body @@ 'w7'",
    "body @@ to_tsquery('simple', 'w7 & !w8')",
    "'w7'::tsquery @@ body",
    "attrs @> '{\"k\": 7}'",
    "attrs ? 'r7'",
    "attrs ?| ARRAY['r7', 'x']",
    "attrs ?& ARRAY['r7', 'k']",
    "tags && ARRAY['t7']",
    "tags @> ARRAY['t7']",
    "codes && ARRAY['t7']::varchar[]",
    "numbers @> ARRAY[7]",
];

fn world(database: &str) -> World {
    let world = World::without_tables(database);
    run(&mut world.owner(), TABLES);
    run(&mut world.owner(), SCOPE);
    // Without the organization's index a search has its own or none, whatever they cost.
    run(&mut world.superuser(), "DROP INDEX doc_organization_id_idx; ANALYZE doc");
    world
}

/// The same table under a policy written by hand, which PostgreSQL alone holds: what the leak looks like.
fn by_hand(database: &str) -> World {
    let world = World::without_tables(database);
    run(&mut world.owner(), TABLES);
    run(
        &mut world.owner(),
        "ALTER TABLE doc ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON doc USING (organization_id = orgscope.current_org())",
    );
    run(&mut world.superuser(), "ANALYZE doc");
    world
}

/// A session that has loaded the library, as its first query does, unless it is preloaded.
fn session(world: &World) -> Client {
    let mut app = world.app();
    let _ = query(&mut app, "SELECT orgscope.require_org()");
    app
}

/// The switch of a superuser, for one role.
fn switch(world: &World, value: &str) {
    let sql = format!("ALTER ROLE app IN DATABASE {} SET orgscope.leakproof_operators = {value}", world.name());
    run(&mut world.superuser(), &sql);
}

/// Whether a condition decides what an index is asked.
fn asks_index(app: &mut Client, condition: &str) -> bool {
    begin(app, A);
    run(app, "SET LOCAL enable_seqscan = off");
    let plan = rows(app, &format!("EXPLAIN (COSTS off) SELECT id FROM doc WHERE {condition}"));
    run(app, "COMMIT");
    plan.iter().any(|line| line.contains("Index Cond:"))
}

fn ids(app: &mut Client, org: &str, condition: &str) -> Vec<String> {
    rows_under(app, org, &format!("SELECT id FROM doc WHERE {condition} ORDER BY id"))
}

#[test]
fn indexes_are_used_and_the_rows_are_the_same() {
    let world = world("search_index");
    for condition in CONDITIONS {
        switch(&world, "off");
        let mut app = world.app();
        // The policy comes first: no index, whatever it costs.
        assert!(!asks_index(&mut app, condition), "{condition}");
        let before = [A, B, C].map(|org| ids(&mut app, org, condition));
        switch(&world, "on");
        let mut app = world.app();
        // A session's first query loads the library, unless it is preloaded.
        refused(&mut app, "OS001", "SELECT id FROM doc");
        assert!(asks_index(&mut app, condition), "{condition}");
        assert_eq!([A, B, C].map(|org| ids(&mut app, org, condition)), before, "{condition}");
        let owned = |org| {
            rows(
                &mut world.superuser(),
                &format!("SELECT id FROM doc WHERE organization_id = '{org}' AND {condition} ORDER BY id"),
            )
        };
        assert_eq!(before, [A, B, C].map(owned), "{condition}");
        assert!(!before[0].is_empty(), "{condition}");
    }
}

#[test]
fn wherever_a_condition_stands() {
    let world = world("search_where");
    switch(&world, "on");
    run(
        &mut world.owner(),
        "CREATE VIEW found WITH (security_invoker) AS SELECT id, body FROM doc; GRANT SELECT ON found TO app",
    );
    let mut app = world.app();
    refused(&mut app, "OS001", "SELECT id FROM doc");
    for query in [
        "SELECT count(*) FROM found WHERE body @@ 'w7'",
        "WITH d AS MATERIALIZED (SELECT id FROM doc WHERE body @@ 'w7') SELECT count(*) FROM d",
        "SELECT (SELECT count(*) FROM doc WHERE body @@ 'w7')",
        "SELECT count(*) FROM (SELECT id FROM doc WHERE body @@ 'w7' OFFSET 0) d",
        "SELECT count(*) FROM doc WHERE id IN (SELECT id FROM doc WHERE body @@ 'w7')",
        "WITH d AS (UPDATE doc SET title = title WHERE body @@ 'w7' RETURNING 1) SELECT count(*) FROM d",
    ] {
        begin(&mut app, A);
        run(&mut app, "SET LOCAL enable_seqscan = off");
        let plan = rows(&mut app, &format!("EXPLAIN (COSTS off) {query}"));
        assert!(plan.iter().any(|line| line.contains("Index Cond: (body @@")), "{query}: {plan:#?}");
        assert_eq!(one(&mut app, query), "20", "{query}");
        run(&mut app, "COMMIT");
    }
}

#[test]
fn a_pattern_that_raises_tells_nothing() {
    // What a superuser may be tempted to do instead: an error tells that B has a title that begins so.
    let (by_hand, ours) = (by_hand("search_by_hand"), world("search_raises"));
    run(&mut by_hand.superuser(), "ALTER FUNCTION pg_catalog.textlike(text, text) LEAKPROOF");
    switch(&ours, "on");
    const ORACLE: &str = r"SELECT count(*) FROM doc WHERE name = 'secret30' AND name LIKE 'secret_\'";
    for (world, expected) in [(&by_hand, Err("22025")), (&ours, Ok("0"))] {
        let mut app = session(world);
        run(&mut app, "SET enable_seqscan = off; SET enable_bitmapscan = off");
        let found = under(&mut app, A, ORACLE);
        assert_eq!(
            found.as_deref().map_err(code),
            expected.map(|n| vec![n.to_owned()]).as_deref().map_err(|c| c.to_string()),
            "{}",
            world.name()
        );
    }
    // On rows of one's own it is the error that it always was.
    refused_under(&mut ours.app(), B, "22025", ORACLE);
    // Nor do the replacements raise when they are called by hand.
    run(&mut ours.superuser(), "CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false)");
    let mut app = ours.app();
    for call in [
        r"orgscope.leakproof_textlike(name, 'secret\')",
        r"orgscope.leakproof_texticlike(name, 'SECRET\')",
        r"orgscope.leakproof_textlike(name COLLATE loose, 'secret%')",
        r"orgscope.leakproof_textlike(name, 'secret%')",
        r"orgscope.leakproof_ts_match_vq(body, 'secret')",
        r"orgscope.leakproof_jsonb_contains(attrs, '{}')",
        r"orgscope.leakproof_arrayoverlap(tags, tags)",
    ] {
        assert_eq!(rows_under(&mut app, B, &format!("SELECT count(*) FROM doc WHERE {call}")), ["0"], "{call}");
    }
    // Nor would they for an operator that somebody has made of one.
    run(
        &mut app,
        r"CREATE OPERATOR pg_temp.~~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = orgscope.leakproof_textlike)",
    );
    assert_eq!(rows_under(&mut app, B, "SELECT count(*) FROM doc WHERE name OPERATOR(pg_temp.~~~~) 'secret%'"), ["0"]);
}

#[test]
fn partial_indexes_and_conflicts_find_their_condition() {
    let world = world("search_partial");
    run(
        &mut world.superuser(),
        "CREATE INDEX urgent ON doc (id) WHERE tags @> ARRAY['t7'];
        CREATE UNIQUE INDEX once ON doc (organization_id, code) WHERE title LIKE 'only%'; ANALYZE doc",
    );
    switch(&world, "on");
    let mut app = world.app();
    refused(&mut app, "OS001", "SELECT id FROM doc");
    begin(&mut app, A);
    run(&mut app, "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off");
    let plan = rows(&mut app, "EXPLAIN (COSTS off) SELECT id FROM doc WHERE tags @> ARRAY['t7'] AND id > 5").join("\n");
    assert!(plan.contains("using urgent"), "{plan}");
    let insert = "INSERT INTO doc (id, code, title) VALUES ($, 'x', 'only') ON CONFLICT (organization_id, code) WHERE title LIKE 'only%' DO NOTHING";
    run(&mut app, &insert.replace('$', "1001"));
    run(&mut app, &insert.replace('$', "1002"));
    assert_eq!(rows(&mut app, "SELECT id FROM doc WHERE id > 1000 AND title LIKE 'only%'"), ["1001"]);
    run(&mut app, "COMMIT");
}

#[test]
fn a_pattern_in_a_parameter() {
    let world = world("search_parameter");
    switch(&world, "on");
    for (mode, index) in [("force_custom_plan", true), ("force_generic_plan", false)] {
        let mut app = world.app();
        refused(&mut app, "OS001", "SELECT id FROM doc");
        run(
            &mut app,
            &format!(
                "SET plan_cache_mode = {mode}; SET enable_seqscan = off; PREPARE p(text) AS SELECT count(*) FROM doc WHERE code LIKE $1"
            ),
        );
        for (org, pattern, expected) in
            [(A, "c7%", Ok("20")), (B, "c7%", Ok("10")), (A, r"x\", Ok("0")), (A, r"c\", Err("22025"))]
        {
            let found = under(&mut app, org, &format!("EXECUTE p('{pattern}')"));
            assert_eq!(
                found.map_err(|e| code(&e)),
                expected.map(|n| vec![n.to_owned()]).map_err(str::to_owned),
                "{mode} {pattern}"
            );
        }
        let plan = rows_under(&mut app, A, "EXPLAIN (COSTS off) EXECUTE p('c7%')").join("\n");
        assert_eq!(plan.contains("Index Cond: ((code ~>=~"), index, "{mode}: {plan}");
    }
}

#[test]
fn only_a_superuser_decides_and_that_is_on_record() {
    let world = world("search_switch");
    refused(&mut world.app(), "42501", "SET orgscope.leakproof_operators = on");
    refused(&mut world.owner(), "42501", "SET orgscope.leakproof_operators = on");
    let mut superuser = world.superuser();
    run(&mut superuser, "SET orgscope.leakproof_operators = on; SELECT orgscope.flush_audit()");
    let found = rows(
        &mut superuser,
        "SELECT action, detail->>'value' FROM orgscope.audit_log WHERE detail->>'name' = 'orgscope.leakproof_operators'",
    );
    assert_eq!(found, ["setting|on"]);
}

#[test]
fn a_replacement_differs_from_its_original_in_nothing_else() {
    let world = World::without_tables("search_twins");
    let different = "SELECT l.replaced, l.replacement FROM orgscope.leakproof_operators() l
        JOIN pg_proc o ON o.oid = l.replaced JOIN pg_proc t ON t.oid = l.replacement
        WHERE (o.procost, o.prosupport, o.provolatile, o.proisstrict, o.proparallel, o.proretset, o.prorettype)
              IS DISTINCT FROM (t.procost, t.prosupport, t.provolatile, t.proisstrict, t.proparallel, t.proretset, t.prorettype)
           OR NOT t.proleakproof OR l.reason IS NULL";
    assert_eq!(rows(&mut world.superuser(), different), Vec::<String>::new());
    // Equality of elements: PostgreSQL's own word for it.
    let elements = "SELECT DISTINCT e.typname, p.proleakproof FROM orgscope.leakproof_operators() l
        JOIN pg_proc t ON t.oid = l.replacement JOIN pg_type a ON a.oid = t.proargtypes[0] JOIN pg_type e ON e.oid = a.typelem
        JOIN pg_opclass c ON c.opcintype = e.oid AND c.opcdefault
        JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
        JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3 AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
        JOIN pg_operator r ON r.oid = o.amopopr JOIN pg_proc p ON p.oid = r.oprcode
        WHERE a.typcategory = 'A' ORDER BY 1";
    assert_eq!(rows(&mut world.superuser(), elements), ["int2|t", "int4|t", "int8|t", "text|t", "uuid|t"]);
    assert_eq!(one(&mut world.app(), "SELECT count(*) > 25 FROM orgscope.leakproof_operators()"), "t");
}
