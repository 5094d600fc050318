//! What statistics show to whom: `src/leakproof/estimates.rs`.

use super::*;

/// An operator of the tenant's own that remembers what it was shown, with an estimator that tries it on the most common
/// values.
const TAP: &str = "
    CREATE FUNCTION pg_temp.tap(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM set_config('tap.seen', coalesce(current_setting('tap.seen', true), '') || $1 || ' ', false);
           RETURN false; END $$;
    CREATE OPERATOR pg_temp.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.tap, RESTRICT = eqsel);
    CREATE FUNCTION pg_temp.tapped() RETURNS SETOF doc LANGUAGE sql STABLE AS
        $$ SELECT * FROM doc WHERE tag OPERATOR(pg_temp.<<<) 'x' OFFSET 0 $$;
    CREATE FUNCTION pg_temp.docs() RETURNS SETOF doc LANGUAGE sql STABLE AS $$ SELECT * FROM doc OFFSET 0 $$";

#[test]
fn statistics_are_shown_to_no_other_function() {
    let world = world("search_statistics");
    switch(&world, "on");
    // As PostgreSQL does where no policy hides anything, which shows that the operator works.
    run(
        &mut world.superuser(),
        "CREATE TABLE common AS SELECT tags[2] AS tag, code FROM doc; ANALYZE common; GRANT SELECT ON common TO app;
        ALTER TABLE doc ADD tag text; UPDATE doc SET tag = tags[2]; ANALYZE doc",
    );
    for (table, condition, seen) in [
        ("common", "tag OPERATOR(pg_temp.<<<) 'x'", true),
        ("doc", "tag OPERATOR(pg_temp.<<<) 'x'", false),
        ("doc", "code LIKE 'c7%' AND tag OPERATOR(pg_temp.<<<) 'x'", false),
        ("doc", "code LIKE 'c7%' OR tag OPERATOR(pg_temp.<<<) 'x'", false),
        (
            "doc JOIN common USING (code)",
            "doc.tag OPERATOR(pg_temp.<<<) common.tag AND doc.tag OPERATOR(pg_temp.<<<) 'x'",
            false,
        ),
        ("doc", "code LIKE 'c7%' GROUP BY tag HAVING tag OPERATOR(pg_temp.<<<) 'x'", false),
        (
            "doc",
            "code LIKE 'c7%' GROUP BY tag HAVING count(*) > 1 AND tag || random() OPERATOR(pg_temp.<<<) 'x'",
            false,
        ),
        ("doc", "id IN (SELECT id FROM doc d WHERE d.tag OPERATOR(pg_temp.<<<) 'x')", false),
        ("(SELECT tag, code FROM doc OFFSET 0) d JOIN common USING (code)", "d.tag OPERATOR(pg_temp.<<<) 'x'", false),
        ("(SELECT tag, count(*) AS n FROM doc GROUP BY tag) d", "tag OPERATOR(pg_temp.<<<) 'x'", false),
        ("pg_temp.tapped() d", "code LIKE 'c7%'", false),
        ("pg_temp.docs() d", "code LIKE 'c7%' AND tag OPERATOR(pg_temp.<<<) 'x'", false),
        ("(SELECT tag, code FROM doc OFFSET 0) d", "code LIKE 'c7%' AND tag OPERATOR(pg_temp.<<<) 'x'", false),
    ] {
        let mut app = world.app();
        refused(&mut app, "OS001", "SELECT id FROM doc");
        run(&mut app, TAP);
        rows_under(&mut app, A, &format!("EXPLAIN SELECT count(*) FROM {table} WHERE {condition}"));
        let found = one(&mut app, "SELECT coalesce(current_setting('tap.seen', true), '') LIKE '%secret%'");
        assert_eq!(found, if seen { "t" } else { "f" }, "{table}: {condition}");
    }
    // Without such a function the estimate is as good as without row security.
    let mut app = world.app();
    refused(&mut app, "OS001", "SELECT id FROM doc");
    let plan = rows_under(&mut app, A, "EXPLAIN SELECT * FROM doc WHERE body @@ 'w7'").join("\n");
    assert!(plan.contains("rows=20 ") || plan.contains("rows=10 ") || plan.contains("rows=30 "), "{plan}");
}
