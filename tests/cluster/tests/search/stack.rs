//! Where the stack ends: `src/leakproof/stack.rs`.

use super::*;

/// A search for a word and one of many others, which PostgreSQL looks for where it has found the word.
fn nested(word: &str, others: usize) -> String {
    let others = (0..others).map(|n| format!("x{n}")).collect::<Vec<_>>().join(" | ");
    format!("SELECT count(*) FROM doc WHERE body @@ '{word} & ({others})'")
}

/// Calls itself so often, and then runs the statement.
const DEEP: &str = "
    CREATE FUNCTION pg_temp.deep(n int, sql text) RETURNS bigint LANGUAGE plpgsql AS
        $$ DECLARE found bigint; BEGIN
               IF n > 0 THEN RETURN pg_temp.deep(n - 1, sql); END IF;
               EXECUTE sql INTO found;
               RETURN found;
           END $$";

#[test]
fn where_the_stack_ends_tells_nothing() {
    let (by_hand, ours) = (by_hand("search_stack_by_hand"), world("search_stack"));
    run(&mut by_hand.superuser(), "ALTER FUNCTION pg_catalog.ts_match_vq(tsvector, tsquery) LEAKPROOF");
    switch(&ours, "on");
    // Few enough for a twin, and too many.
    for (world, others, expected) in [(&by_hand, 4000, true), (&ours, 100, false), (&ours, 4000, false)] {
        let mut app = session(world);
        run(&mut app, DEEP);
        // An index would look at the whole query first.
        run(&mut app, "SET enable_indexscan = off; SET enable_bitmapscan = off");
        // B has the word, nobody has the other.
        for word in ["secret", "nowhere"] {
            run(&mut app, &format!("PREPARE {word} AS {}", nested(word, others)));
            assert_eq!(rows_under(&mut app, A, &format!("EXECUTE {word}")), ["0"]);
        }
        let mut outcome = |depth: usize, word: &str| {
            let found = under(&mut app, A, &format!("SELECT pg_temp.deep({depth}, 'EXECUTE {word}')"));
            found.map_or_else(|error| code(&error), |rows| rows.join(""))
        };
        // The first depth that is too much for a search that finds nothing.
        let (mut fits, mut end) = (50, 10_000);
        assert_eq!((outcome(fits, "secret").as_str(), outcome(end, "secret").as_str()), ("0", "54001"));
        while end - fits > 1 {
            let middle = (fits + end) / 2;
            if outcome(middle, "nowhere") == "0" { fits = middle } else { end = middle }
        }
        let mut depths = (end.saturating_sub(120)..end * 3 / 2).step_by(4);
        let differs = depths.any(|depth| outcome(depth, "secret") != outcome(depth, "nowhere"));
        assert_eq!(differs, expected, "{} {others}", world.name());
    }
}

#[test]
fn a_search_needs_room_before_its_first_row() {
    let world = world("search_room");
    switch(&world, "on");
    let mut app = world.app();
    refused(&mut app, "OS001", "SELECT id FROM doc");
    run(&mut app, "SET enable_seqscan = off; PREPARE search AS SELECT count(*) FROM doc WHERE body @@ 'w7'");
    assert_eq!(rows_under(&mut app, A, "EXECUTE search"), ["20"]);
    // The same plan, and a stack that would be enough for it, by a superuser's word.
    run(&mut world.superuser(), "GRANT SET ON PARAMETER max_stack_depth TO app");
    run(&mut app, "SET max_stack_depth = '513kB'");
    refused_under(&mut app, A, "54001", "EXECUTE search");
    // What is planned now has no twins: slow, and right.
    assert!(!asks_index(&mut app, "body @@ 'w7'"));
    assert_eq!(ids(&mut app, A, "body @@ 'w7'").len(), 20);
    run(&mut app, "RESET max_stack_depth");
    assert_eq!(rows_under(&mut app, A, "EXECUTE search"), ["20"]);
    // Nor is what goes deeper than the room was made for.
    for deep in [
        format!("body @@ '{}'", (0..129).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" | ")),
        format!("attrs @> '{}1{}'", "[".repeat(65), "]".repeat(65)),
        format!("code LIKE 'c7{}'", "%_".repeat(65)),
        format!("body @@ 'w7'{}", " AND EXISTS (SELECT FROM doc)".repeat(260)),
    ] {
        assert!(!asks_index(&mut app, &deep), "{deep}");
    }
    // Nor where the plan is deeper, however few tables it has.
    let search = "SELECT count(*) FROM doc WHERE body @@ 'w7'";
    let nested = |n: usize| format!("{}{search}{}", "SELECT (".repeat(n), ")".repeat(n));
    let windows = |n: usize| {
        let windows = (0..n).map(|i| format!("count(*) OVER (PARTITION BY id + {i})")).collect::<Vec<_>>().join(", ");
        format!("SELECT {windows} FROM doc WHERE body @@ 'w7'")
    };
    let limited = |n: usize| format!("SELECT 1 LIMIT ({})", nested(n));
    for (query, has_twins) in
        [(nested(100), true), (nested(260), false), (windows(50), true), (windows(260), false), (limited(260), false)]
    {
        begin(&mut app, A);
        let plan = rows(&mut app, &format!("EXPLAIN (COSTS off) {query}"));
        run(&mut app, "COMMIT");
        assert_eq!(plan.iter().any(|line| line.contains("Index Cond: (body @@")), has_twins, "{query}");
    }
}
