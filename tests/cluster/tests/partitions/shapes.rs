//! Each shape of a tree: protected at every level, restored by pg_dump, and exactly undone.

use crate::common::*;
use crate::{SHAPES, assert_protected, scope};

#[test]
fn every_shape_is_protected_and_undone_exactly() {
    for shape in &SHAPES {
        let world = World::without_tables(&format!("shape_{}", shape.name));
        shape.build(&world);
        let mut owner = world.owner();
        let before = dump(&world);
        let planned = rows(&mut owner, "SELECT sql FROM orgscope.plan_org_scoping('public.t') WHERE kind <> 'note'");
        assert_same(&before, &dump(&world), "a plan changes nothing");
        assert_eq!(scope(&mut owner), planned, "{}", shape.name);
        assert_eq!(scope(&mut owner), [""; 0], "{}: a second time", shape.name);
        assert_protected(&world, shape.members);
        run(&mut owner, "SELECT orgscope.disable_org_scoping('public.t')");
        assert_same(&before, &dump(&world), shape.name);
        assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM orgscope.scoped_tables"), "0");
        scope(&mut owner);
        assert_protected(&world, shape.members);
    }
}

#[test]
fn a_dump_brings_the_tree_back_protected() {
    for shape in &SHAPES {
        let from = World::without_tables(&format!("dumped_{}", shape.name));
        shape.build(&from);
        scope(&mut from.owner());
        let all = "SELECT tableoid::regclass::text, t::text FROM t ORDER BY 1, 2";
        let before = rows(&mut from.superuser(), all);
        let script = from.cluster().command("pg_dump").args(["-d", from.name()]).output().unwrap();
        assert!(script.status.success());
        let name = format!("restored_{}", shape.name);
        let to = from.beside(&name);
        let path = from.cluster().scratch_directory(&name).unwrap().join("dump.sql");
        std::fs::write(&path, script.stdout).unwrap();
        let mut psql = from.cluster().command("psql");
        let output = psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &name, "-f"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}: {}", shape.name, String::from_utf8_lossy(&output.stderr));
        assert_same(&dump(&from), &dump(&to), shape.name);
        assert_eq!(rows(&mut to.superuser(), all), before);
        assert_protected(&to, shape.members);
        assert_eq!(scope(&mut to.owner()), [""; 0], "{}", shape.name);
    }
}

#[test]
fn existing_rows_are_backfilled_to_where_they_belong() {
    for shape in SHAPES.iter().filter(|s| s.name != "by_organization_hash") {
        let world = World::without_tables(&format!("backfill_{}", shape.name));
        shape.build(&world);
        let mut owner = world.owner();
        run(
            &mut owner,
            "UPDATE t SET organization_id = NULL WHERE id > 10 AND tableoid::regclass::text NOT IN ('t_high_x', 't_grandchild')",
        );
        let backfill = r#"{"backfill": "bbbbbbbb-0000-7000-8000-000000000002"}"#;
        if shape.name != "by_range" {
            refused(&mut owner, "OS005", "SELECT orgscope.enable_org_scoping('public.t')");
        }
        run(&mut owner, &format!("SELECT orgscope.enable_org_scoping('public.t', options => '{backfill}')"));
        assert_protected(&world, shape.members);
        assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM ONLY t WHERE organization_id IS NULL"), "0");
    }
}

/// Without the column: it is added at the top.
#[test]
fn the_column_reaches_every_member() {
    let world = World::without_tables("column_added");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE t (id int, title text) PARTITION BY LIST (id);
         CREATE TABLE t_1 PARTITION OF t DEFAULT PARTITION BY LIST (id);
         CREATE TABLE t_2 PARTITION OF t_1 DEFAULT;
         INSERT INTO t VALUES (1, 'x');
         GRANT ALL ON t, t_1, t_2 TO app;
         SELECT orgscope.enable_org_scoping('public.t', options => '{\"backfill\": \"aaaaaaaa-0000-7000-8000-000000000001\"}')",
    );
    assert_protected(&world, &["t", "t_1", "t_2"]);
    assert_eq!(rows_under(&mut world.app(), A, "SELECT id FROM t_2"), ["1"]);
}

#[test]
fn a_member_alone_is_refused_and_the_top_is_named() {
    let world = World::without_tables("member_alone");
    SHAPES[1].build(&world);
    let mut owner = world.owner();
    for (function, when) in [("enable", "before"), ("plan", "before"), ("disable", "after"), ("repair", "after")] {
        if (function, when) == ("disable", "after") {
            scope(&mut owner);
        }
        for member in ["t_low", "t_low_a", "t_high_x"] {
            let error = refused(&mut owner, "OS005", &format!("SELECT orgscope.{function}_org_scoping('{member}')"));
            assert!(error.hint().unwrap().contains("'public.t'"), "{error:?}");
        }
    }
}

#[test]
fn a_foreign_table_in_the_tree_is_refused() {
    let world = World::without_tables("foreign_member");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
         CREATE TABLE t (id int, organization_id uuid) PARTITION BY LIST (id);
         CREATE FOREIGN TABLE t_far PARTITION OF t DEFAULT SERVER nowhere",
    );
    let error = refused(&mut admin, "OS005", "SELECT orgscope.enable_org_scoping('public.t')");
    assert_eq!(error.table(), Some("t_far"));
    run(&mut admin, "ALTER TABLE t DETACH PARTITION t_far; CREATE TABLE p (LIKE t)");
    run(&mut admin, "SELECT orgscope.enable_org_scoping('public.t'), orgscope.enable_org_scoping('public.p')");
    assert_ne!(state(&mut admin, "ALTER TABLE t ATTACH PARTITION t_far DEFAULT"), "00000");
    refused(&mut admin, "OS005", "CREATE FOREIGN TABLE far () INHERITS (p) SERVER nowhere");
    refused(&mut admin, "OS005", "CREATE TEMPORARY TABLE passing () INHERITS (p)");
}
