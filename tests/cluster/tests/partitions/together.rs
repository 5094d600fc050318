//! Trees of tables together with keys, observe mode, short locks, views and the judgement of DDL.

use crate::common::*;
use crate::{SHAPES, assert_protected, scope};

fn world(name: &str, shape: usize) -> World {
    let world = World::without_tables(&format!("together_{name}"));
    SHAPES[shape].build(&world);
    world
}

#[test]
fn keys_from_and_to_partitioned_tables_become_composite() {
    let world = world("keys", 0);
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE note (id int PRIMARY KEY, t_id int REFERENCES t ON DELETE CASCADE, up int REFERENCES note, organization_id uuid)
             PARTITION BY RANGE (id);
         CREATE TABLE note_low PARTITION OF note FOR VALUES FROM (0) TO (10);
         CREATE TABLE note_high PARTITION OF note DEFAULT;
         GRANT ALL ON note, note_low, note_high TO app, dba;
         INSERT INTO note SELECT id, id, id, organization_id FROM t",
    );
    let before = dump(&world);
    for order in [["t", "note"], ["note", "t"]] {
        for table in order {
            run(&mut owner, &format!("SELECT orgscope.enable_org_scoping('{table}')"));
        }
        for table in order {
            let again = format!("SELECT sql FROM orgscope.enable_org_scoping('{table}')");
            assert_eq!(rows(&mut owner, &again), [""; 0], "{table}");
        }
        run(&mut owner, "CREATE TABLE note_new PARTITION OF note FOR VALUES FROM (100) TO (200)");
        run(&mut owner, "GRANT ALL ON note_new TO app");
        refused_under(&mut world.app(), A, "23503", "INSERT INTO note (id, t_id) VALUES (101, 11)");
        refused_under(&mut world.app(), A, "23503", "INSERT INTO note (id, up) VALUES (102, 11)");
        rows_under(&mut world.app(), A, "INSERT INTO note (id, t_id, up) VALUES (103, 1, 1)");
        // A key from rows of any organization holds a partition, whoever detaches it.
        refused(&mut owner, "23503", "ALTER TABLE note DETACH PARTITION note_low");
        run(&mut owner, "ALTER TABLE note DETACH PARTITION note_new");
        run(&mut world.superuser(), "DROP TABLE note_new");
        for table in order {
            run(&mut owner, &format!("SELECT orgscope.disable_org_scoping('{table}')"));
        }
        assert_same(&before, &dump(&world), &format!("{order:?}"));
    }
}

#[test]
fn a_key_between_two_tables_of_a_tree_becomes_composite_at_once() {
    let world = world("inner_key", 5);
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE t_child ADD up int REFERENCES t (id); UPDATE t_child SET up = 1 WHERE id = 6");
    let before = dump(&world);
    scope(&mut owner);
    assert_eq!(scope(&mut owner), [""; 0]);
    let definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 't_child_up_fkey'";
    assert!(one(&mut owner, definition).starts_with("FOREIGN KEY (organization_id, up)"));
    refused_under(&mut world.app(), A, "23503", "INSERT INTO t_child (id, title, up) VALUES (7, 'a7', 11)");
    run(&mut owner, "SELECT orgscope.disable_org_scoping('t')");
    assert_same(&before, &dump(&world), "undone");
}

#[test]
fn what_weakens_a_member_is_refused() {
    for (n, shape) in [(0, "list"), (5, "inherited")] {
        let world = world(&format!("drift_{shape}"), n);
        let mut owner = world.owner();
        scope(&mut owner);
        let member = SHAPES[n].members[1];
        for sql in [
            format!("ALTER TABLE {member} DISABLE ROW LEVEL SECURITY"),
            format!("ALTER TABLE {member} DISABLE TRIGGER \"~orgscope_guard\""),
            format!("DROP POLICY orgscope_floor ON {member}"),
            format!("DROP TRIGGER orgscope_truncate ON {member}"),
            "ALTER TABLE t ALTER organization_id DROP DEFAULT".into(),
            "ALTER TABLE t DISABLE TRIGGER USER".into(),
        ] {
            let error = refused(&mut owner, "OS006", &sql);
            assert!(error.hint().unwrap().contains("orgscope.disable_org_scoping('public.t')"), "{sql}");
        }
        run(&mut owner, "ALTER TABLE t RENAME organization_id TO org");
        let columns = "SELECT DISTINCT column_name FROM orgscope.scoped_tables";
        assert_eq!(rows(&mut owner, columns), ["org"]);
        run(&mut owner, "ALTER TABLE t RENAME org TO organization_id");
        assert_protected(&world, SHAPES[n].members);
        assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('t')"), [""; 0]);
    }
}

#[test]
fn what_a_command_does_below_is_judged_too() {
    let world = world("below", 0);
    scope(&mut world.owner());
    run(&mut world.superuser(), "ALTER TABLE ONLY t ALTER organization_id DROP DEFAULT");
    let error = refused(&mut world.owner(), "OS006", "ALTER TABLE t ALTER organization_id DROP DEFAULT");
    assert!(error.message().contains("\"t_"), "{}", error.message());
}

#[test]
fn a_tree_is_observed_and_then_enforced() {
    for (n, shape) in [(0, "list"), (1, "range"), (5, "inherited")] {
        let world = world(&format!("observed_{shape}"), n);
        let mut owner = world.owner();
        let before = dump(&world);
        let observe = "SELECT sql FROM orgscope.enable_org_scoping('t', options => '{\"mode\": \"observe\"}')";
        let enforce = "SELECT sql FROM orgscope.enable_org_scoping('t', options => '{\"mode\": \"enforce\"}')";
        for first in [observe, enforce] {
            run(&mut owner, first);
            run(&mut owner, observe);
            assert_eq!(rows(&mut owner, observe), [""; 0], "{shape}");
            assert_eq!(
                one(&mut world.dba(), "SELECT count(*) FROM t"),
                one(&mut world.app(), "SELECT count(*) FROM t")
            );
            run(&mut owner, enforce);
            assert_protected(&world, SHAPES[n].members);
            run(&mut owner, "SELECT orgscope.disable_org_scoping('t')");
            assert_same(&before, &dump(&world), shape);
        }
        run(&mut owner, observe);
        run(&mut owner, "SELECT orgscope.disable_org_scoping('t')");
        assert_same(&before, &dump(&world), shape);
    }
}

#[test]
fn a_tree_has_no_way_of_short_locks_and_cannot_be_shared() {
    let world = world("refused", 0);
    let mut owner = world.owner();
    refused(&mut owner, "OS005", "SELECT orgscope.plan_org_scoping('t', options => '{\"locks\": \"low\"}')");
    for table in ["t", "t_odd"] {
        refused(&mut owner, "OS005", &format!("SELECT orgscope.share_table('{table}')"));
    }
}

#[test]
fn readers_of_any_member_are_told_of() {
    let world = world("readers", 0);
    run(&mut world.superuser(), "CREATE VIEW v AS SELECT * FROM t_odd");
    let notes = "SELECT reason FROM orgscope.plan_org_scoping('t') WHERE kind = 'note'";
    assert!(rows(&mut world.owner(), notes).iter().any(|n| n.starts_with("view public.v reads every")));
    run(&mut world.superuser(), "CREATE MATERIALIZED VIEW m AS SELECT * FROM t_odd");
    refused(&mut world.owner(), "OS005", "SELECT orgscope.enable_org_scoping('t')");
}
