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
