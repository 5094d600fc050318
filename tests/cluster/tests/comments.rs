//! What `\d+` and `\df+` say: everything of the extension that somebody can meet has a comment.

mod common;

use common::*;

const WITHOUT: &str = "
    SELECT pg_describe_object(d.classid, d.objid, 0) AS what
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'orgscope'
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
    LEFT JOIN pg_class r ON r.oid = t.typrelid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND (d.classid IN ('pg_proc'::regclass, 'pg_event_trigger'::regclass) OR c.relkind IN ('r', 'p', 'v')
           -- Since 18 also the types that come with tables, and arrays.
           OR t.typcategory <> 'A' AND COALESCE(r.relkind, 'c') = 'c')
      AND obj_description(d.objid, (SELECT relname FROM pg_class WHERE oid = d.classid)) IS NULL
    UNION ALL
    SELECT format('column %s.%s', c.relname, a.attname)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'orgscope'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'c') AND NOT c.relispartition
      AND col_description(c.oid, a.attnum) IS NULL
    ORDER BY what";

#[test]
fn everything_has_a_comment() {
    let world = World::without_tables("comments");
    let mut admin = world.superuser();
    assert_eq!(rows(&mut admin, WITHOUT), [""; 0]);
    for what in ["FUNCTION orgscope.guard()", "COLUMN orgscope.stats.places", "EVENT TRIGGER orgscope_keep_scoping"] {
        run(&mut admin, &format!("COMMENT ON {what} IS NULL"));
    }
    assert_eq!(
        rows(&mut admin, WITHOUT),
        ["column stats.places", "event trigger orgscope_keep_scoping", "function orgscope.guard()"]
    );
}
