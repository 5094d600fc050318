//! The policy comes first: `src/leakproof/order.rs`, with the setting off as well as on.

use super::*;

/// What tells that its turn has come.
const TELL: &str = "
    CREATE FUNCTION pg_temp.tell() RETURNS boolean LANGUAGE plpgsql COST 0.1 AS $$ BEGIN RAISE 'told'; END $$;
    CREATE COLLATION pg_temp.loose (provider = icu, locale = 'und', deterministic = false)";

/// No collation can be told for what is compared with this, and the comparison raises.
const EITHER: &str = r#"CASE WHEN (SELECT true) THEN (SELECT 'a' COLLATE "C") ELSE (SELECT 'b' COLLATE "POSIX") END"#;

/// Each raises for B's row of that number, if it is asked before the policy; there is none in the place of A's.
fn questions(number: u32) -> Vec<String> {
    let named = format!("name = 'secret{number}'");
    let tells = format!("CASE WHEN {named} THEN pg_temp.tell() ELSE false END");
    [
        format!("doc WHERE {named} AND title = {EITHER}"),
        format!("doc WHERE {named} AND tags && ARRAY[{EITHER}]"),
        format!("doc WHERE {named} AND code ^@ (SELECT 'c' COLLATE pg_temp.loose)"),
        format!("doc WHERE {named} AND id = (SELECT 1 / (SELECT 0))"),
        format!("doc WHERE {named} AND title = (SELECT 'a' UNION ALL SELECT 'b')"),
        format!("doc WHERE {tells}"),
        format!("doc WHERE organization_id = '{A}' AND {tells}"),
        format!("doc WHERE id = (SELECT min(id) FROM doc WHERE {tells})"),
        format!("(SELECT * FROM doc UNION ALL SELECT * FROM doc) d WHERE {tells}"),
        format!("doc WHERE id IN (SELECT id FROM doc WHERE {tells})"),
        format!("(VALUES (30), (31)) v (x) JOIN doc ON id = x AND {tells}"),
        format!(
            "(VALUES (30), (31)) v (x) JOIN doc ON id = x AND {named} AND title = CASE WHEN x > 0 THEN {EITHER} END"
        ),
        format!("leaf WHERE {tells}"),
        format!("leaf JOIN doc USING (id) WHERE {}", tells.replace("name", "leaf.name")),
    ]
    .to_vec()
}

/// A partitioned table with the same rows.
const LEAVES: &str = "
    CREATE TABLE leaf (id int, name text COLLATE \"C\", organization_id uuid) PARTITION BY HASH (id);
    CREATE TABLE leaf0 PARTITION OF leaf FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE leaf1 PARTITION OF leaf FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO leaf SELECT id, name, organization_id FROM doc;
    GRANT SELECT ON leaf TO app";

/// The ways to a row: all rows in turn, an index, a bitmap of one.
const WAYS: [&str; 3] = [
    "SET enable_indexscan = off; SET enable_bitmapscan = off",
    "SET enable_seqscan = off; SET enable_bitmapscan = off",
    "SET enable_seqscan = off; SET enable_indexscan = off",
];

#[test]
fn no_condition_comes_before_the_policy() {
    let (by_hand, off, on) = (by_hand("first_by_hand"), world("first_off"), world("first_on"));
    switch(&on, "on");
    for (world, policy) in [
        (
            &by_hand,
            "CREATE POLICY own ON leaf USING (organization_id = orgscope.current_org()); ALTER TABLE leaf ENABLE ROW LEVEL SECURITY",
        ),
        (&off, "SELECT orgscope.enable_org_scoping('public.leaf')"),
        (&on, "SELECT orgscope.enable_org_scoping('public.leaf')"),
    ] {
        run(&mut world.superuser(), &format!("{LEAVES}; {policy}; ANALYZE"));
    }
    // B has a row 30 and its name; nobody has the name with 31.
    for (there, nowhere) in questions(30).into_iter().zip(questions(31)) {
        let differs = |world: &World| {
            WAYS.map(|way| {
                let mut app = session(world);
                run(&mut app, TELL);
                run(&mut app, way);
                let [there, nowhere] = [&there, &nowhere].map(|question| {
                    let found = under(&mut app, A, &format!("SELECT count(*) FROM {question}"));
                    found.map_err(|error| code(&error))
                });
                there != nowhere
            })
        };
        // Of arrays PostgreSQL promises nothing, where our twin would; the others have the policy first by their cost.
        if !["tags", "organization_id", "x > 0"].iter().any(|part| there.contains(part)) {
            assert!(differs(&by_hand).contains(&true), "{there}");
        }
        for world in [&off, &on] {
            assert_eq!(differs(world), [false; 3], "{}: {there}", world.name());
        }
    }
}

/// As a function may that was declared to be immutable, and is asked twice.
#[test]
fn a_pattern_is_what_it_was_judged_by() {
    let world = world("first_pattern");
    switch(&world, "on");
    let mut app = session(&world);
    run(
        &mut app,
        r"CREATE FUNCTION pg_temp.pattern() RETURNS text IMMUTABLE LANGUAGE plpgsql AS
              $$ DECLARE n int := coalesce(nullif(current_setting('my.n', true), ''), '0'); BEGIN
                     PERFORM set_config('my.n', (n + 1)::text, false);
                     RETURN CASE n WHEN 0 THEN 'c7%' ELSE 'c\' END; END $$",
    );
    // The plan has the first answer.
    let plan =
        rows_under(&mut app, A, "EXPLAIN (COSTS off) SELECT FROM doc WHERE code LIKE pg_temp.pattern()").join("\n");
    assert!(plan.contains("(code ~~ 'c7%'::text)"), "{plan}");
    assert_eq!(one(&mut app, "SELECT current_setting('my.n')"), "1");
    // So it has where a function asks for either side.
    run(&mut app, "SET my.n = 0");
    assert_eq!(ids(&mut app, A, "code LIKE pg_temp.pattern()").len(), 20);
}

#[test]
fn arrays_have_no_twin_without_a_collation() {
    let world = world("first_arrays");
    switch(&world, "on");
    let mut app = session(&world);
    run(&mut app, TELL);
    for condition in [
        format!("tags && ARRAY[{EITHER}]"),
        format!("codes @> ARRAY[{EITHER}]::varchar[]"),
        "tags && ARRAY['t7' COLLATE pg_temp.loose]".to_owned(),
    ] {
        assert!(!asks_index(&mut app, &condition), "{condition}");
    }
    assert!(asks_index(&mut app, "tags && ARRAY['t7']"));
    assert!(asks_index(&mut app, "numbers && ARRAY[7]"));
}

/// Three thousand of B's rows at the end, a third of which are gone since the table was analyzed.
const WIDE: &str = "
    CREATE TABLE wide (a int, b int, pad text, organization_id uuid);
    INSERT INTO wide SELECT i, i * 7919 % 20000, repeat('x', 300), 'aaaaaaaa-0000-7000-8000-000000000001' FROM generate_series(1, 20000) i;
    INSERT INTO wide SELECT 100000 + i, i * 7919 % 20000, repeat('x', 300), 'bbbbbbbb-0000-7000-8000-000000000002' FROM generate_series(1, 3000) i;
    CREATE INDEX ON wide (a); CREATE INDEX ON wide (b); GRANT SELECT ON wide TO app";

/// Where indexes are combined, the second is asked only if the first has found a row.
#[test]
fn no_index_decides_whether_another_is_asked() {
    let (by_hand, ours) = (by_hand("bitmap_by_hand"), world("bitmap"));
    for (world, policy) in [
        (
            &by_hand,
            "CREATE POLICY own ON wide USING (organization_id = orgscope.current_org()); ALTER TABLE wide ENABLE ROW LEVEL SECURITY",
        ),
        (&ours, "SELECT orgscope.enable_org_scoping('public.wide'); DROP INDEX wide_organization_id_idx"),
    ] {
        run(&mut world.superuser(), &format!("{WIDE}; {policy}; ALTER TABLE wide SET (autovacuum_enabled = off)"));
        run(&mut world.superuser(), "ANALYZE wide");
        run(&mut world.superuser(), "SET orgscope.bypass = audit; DELETE FROM wide WHERE a > 102000");
    }
    let asked = |app: &mut Client, from: u32, value: &str| {
        let sql = format!("SELECT count(*) FROM wide WHERE a BETWEEN {from} AND {from} + 900 AND b > {value}");
        let plan = rows_under(app, A, &format!("EXPLAIN (COSTS off) {sql}")).join("\n");
        (plan, under(app, A, &sql).map_or_else(|error| code(&error), |rows| rows.join("")))
    };
    let divides = "(SELECT 19000 / (SELECT 0))";
    for (world, tells) in [(&by_hand, true), (&ours, false)] {
        let mut app = session(world);
        run(&mut app, "SET enable_seqscan = off; SET enable_indexscan = off");
        let [there, gone] = [100_000, 102_050].map(|from| asked(&mut app, from, divides));
        assert_eq!(there.0.contains("BitmapAnd"), tells, "{}", there.0);
        assert_eq!(there.1 != gone.1, tells, "{there:?} {gone:?}");
    }
    // What is known before the first row decides as ever; what a function of one's own says does not stand beside others.
    run(&mut ours.superuser(), "CREATE INDEX ON wide (a, b)");
    let mut app = session(&ours);
    run(&mut app, "CREATE FUNCTION pg_temp.five() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN 5; END $$");
    run(&mut app, "SET enable_seqscan = off; SET enable_indexscan = off");
    for (value, both) in [("19000", true), ("(SELECT 19000)", true), ("pg_temp.five()", false)] {
        let (plan, found) = asked(&mut app, 100_000, value);
        assert_eq!(plan.lines().any(|line| line.contains("Recheck Cond") && line.contains("(b > ")), both, "{plan}");
        assert_eq!(found, "0");
    }
}
