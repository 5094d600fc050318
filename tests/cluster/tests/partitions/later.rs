//! Tables that come to a scoped tree later, or leave it: scoped when the statement ends, whoever runs it.

use postgres::Client;

use crate::common::*;
use crate::{SHAPES, assert_protected, scope};

/// A scoped tree and the ways in which DDL may be run.
fn each_way(name: &str, shape: usize, test: impl Fn(&World, &mut Client)) {
    for (way, user, settings) in [
        ("owner", "owner", ""),
        ("superuser", "postgres", ""),
        ("replica", "postgres", "SET session_replication_role = replica"),
        // Another operator before PostgreSQL's, and no orgscope in sight.
        ("path", "owner", "SET search_path = hostile, public, pg_catalog"),
    ] {
        let world = World::without_tables(&format!("{name}_{way}"));
        run(
            &mut world.superuser(),
            "CREATE SCHEMA hostile; GRANT USAGE ON SCHEMA hostile TO PUBLIC;
             CREATE FUNCTION hostile.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE OPERATOR hostile.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = hostile.yes)",
        );
        SHAPES[shape].build(&world);
        scope(&mut world.owner());
        let mut client = world.connect(user);
        run(&mut client, settings);
        test(&world, &mut client);
    }
}

#[test]
fn a_partition_made_later_is_scoped_at_once() {
    each_way("made", 1, |world, ddl| {
        run(
            ddl,
            "CREATE TABLE public.t_new PARTITION OF public.t FOR VALUES FROM (100) TO (200);
             CREATE TABLE public.t_sub PARTITION OF public.t FOR VALUES FROM (200) TO (300) PARTITION BY LIST (id);
             CREATE TABLE public.t_sub_1 PARTITION OF public.t_sub DEFAULT;
             GRANT ALL ON public.t_new, public.t_sub, public.t_sub_1 TO app, owner, dba;
             ALTER TABLE public.t_new OWNER TO owner; ALTER TABLE public.t_sub OWNER TO owner; ALTER TABLE public.t_sub_1 OWNER TO owner",
        );
        rows_under(&mut world.app(), A, "INSERT INTO t (id, title) VALUES (101, 'x'), (201, 'y')");
        rows_under(&mut world.app(), B, "INSERT INTO t (id, title) VALUES (102, 'x'), (202, 'y')");
        assert_protected(world, SHAPES[1].members);
        assert_protected(world, &["t_new", "t_sub", "t_sub_1"]);
        assert_eq!(scope(&mut world.owner()), [""; 0]);
    });
}

#[test]
fn an_attached_tree_is_scoped_at_every_level() {
    each_way("attached", 1, |world, ddl| {
        run(
            &mut world.owner(),
            &format!(
                "CREATE TABLE s (organization_id uuid NOT NULL, id int NOT NULL, title text NOT NULL) PARTITION BY LIST (id);
                 CREATE TABLE s_1 PARTITION OF s FOR VALUES IN (101) PARTITION BY LIST (title);
                 CREATE TABLE s_1_1 PARTITION OF s_1 DEFAULT;
                 CREATE TABLE s_2 PARTITION OF s DEFAULT;
                 INSERT INTO s (id, title, organization_id) VALUES (101, 'x', '{A}'), (102, 'y', '{B}');
                 GRANT ALL ON s, s_1, s_1_1, s_2 TO app, dba"
            ),
        );
        run(ddl, "ALTER TABLE public.t ATTACH PARTITION public.s FOR VALUES FROM (100) TO (200)");
        assert_protected(world, SHAPES[1].members);
        assert_protected(world, &["s", "s_1", "s_1_1", "s_2"]);
        run(ddl, "ALTER TABLE public.t DETACH PARTITION public.s");
        assert_protected(world, &["s", "s_1", "s_1_1", "s_2"]);
        assert_eq!(rows(&mut world.owner(), "SELECT sql FROM orgscope.repair_org_scoping('public.s')"), [""; 0]);
        run(&mut world.owner(), "SELECT orgscope.disable_org_scoping('public.s')");
        assert_eq!(one(&mut world.owner(), "SELECT count(*) FROM s"), "2");
        assert_protected(world, SHAPES[1].members);
    });
}

#[test]
fn a_scoped_table_may_join_a_scoped_tree() {
    each_way("joined", 1, |world, ddl| {
        run(
            &mut world.owner(),
            "CREATE TABLE s (id int NOT NULL, title text NOT NULL, organization_id uuid); GRANT ALL ON s TO app, dba;
             SELECT orgscope.enable_org_scoping('public.s')",
        );
        rows_under(&mut world.app(), A, "INSERT INTO s VALUES (101, 'x')");
        run(ddl, "ALTER TABLE public.t ATTACH PARTITION public.s FOR VALUES FROM (100) TO (200)");
        assert_protected(world, &["t", "s"]);
        refused(&mut world.owner(), "OS005", "SELECT orgscope.disable_org_scoping('public.s')");
        run(ddl, "ALTER TABLE public.t DETACH PARTITION public.s CONCURRENTLY");
        assert_protected(world, &["t", "s"]);
        run(&mut world.owner(), "SELECT orgscope.disable_org_scoping('public.s')");
        assert_eq!(
            one(
                &mut world.owner(),
                "SELECT count(*) FROM pg_trigger WHERE tgrelid = 's'::regclass AND NOT tgisinternal"
            ),
            "0"
        );
    });
}

#[test]
fn children_come_and_go() {
    each_way("children", 5, |world, ddl| {
        run(
            ddl,
            "CREATE TABLE public.made () INHERITS (public.t_child);
             CREATE TABLE public.joined (LIKE public.t INCLUDING DEFAULTS);
             ALTER TABLE public.joined INHERIT public.t;
             GRANT ALL ON public.made, public.joined TO app, dba, owner;
             ALTER TABLE public.made OWNER TO owner; ALTER TABLE public.joined OWNER TO owner",
        );
        for table in ["made", "joined"] {
            rows_under(&mut world.app(), A, &format!("INSERT INTO {table} (id, title) VALUES (30, '{table}')"));
            rows_under(&mut world.app(), B, &format!("INSERT INTO {table} (id, title) VALUES (31, '{table} b')"));
        }
        assert_protected(world, SHAPES[5].members);
        assert_protected(world, &["made", "joined"]);
        run(ddl, "ALTER TABLE public.joined NO INHERIT public.t; ALTER TABLE public.made NO INHERIT public.t_child");
        assert_protected(world, &["made", "joined"]);
        run(&mut world.owner(), "SELECT orgscope.disable_org_scoping('made'), orgscope.disable_org_scoping('joined')");
        assert_protected(world, SHAPES[5].members);
    });
}

/// A detached partition that was there before is exactly what it was before the tree was scoped.
#[test]
fn a_detached_partition_is_undone_alone() {
    let world = World::without_tables("detached");
    SHAPES[1].build(&world);
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE t DETACH PARTITION t_low");
    let before = dump(&world);
    run(&mut owner, "ALTER TABLE t ATTACH PARTITION t_low FOR VALUES FROM (0) TO (10)");
    scope(&mut owner);
    run(&mut owner, "ALTER TABLE t DETACH PARTITION t_low");
    assert_protected(&world, SHAPES[1].members);
    run(&mut owner, "SELECT orgscope.disable_org_scoping('t_low'), orgscope.disable_org_scoping('t')");
    assert_same(&before, &dump(&world), "detached");
}

#[test]
fn what_does_not_fit_leaves_nothing_behind() {
    let world = World::without_tables("unfit");
    SHAPES[5].build(&world);
    let mut owner = world.owner();
    scope(&mut owner);
    run(
        &mut owner,
        "CREATE TABLE unscoped (id int, title text, organization_id uuid NOT NULL);
         CREATE TABLE nulls (id int NOT NULL, title text, organization_id uuid); INSERT INTO nulls VALUES (1);
         CREATE TABLE unknown (LIKE t); INSERT INTO unknown VALUES (1, 'x', gen_random_uuid());
         CREATE TABLE other_type (id int NOT NULL, title text, organization_id text NOT NULL)",
    );
    let before = dump(&world);
    for (sqlstate, sql) in [
        // Its rows could be read through the other parent.
        ("OS006", "CREATE TABLE c () INHERITS (t, unscoped)"),
        ("OS006", "CREATE TABLE c () INHERITS (unscoped, t)"),
        ("OS006", "ALTER TABLE t_child INHERIT unscoped"),
        ("OS006", "ALTER TABLE t INHERIT unscoped"),
        ("42804", "ALTER TABLE nulls INHERIT t"),
        ("OS005", "ALTER TABLE unknown INHERIT t"),
        ("42804", "ALTER TABLE other_type INHERIT t"),
    ] {
        refused(&mut owner, sqlstate, sql);
        assert_same(&before, &dump(&world), sql);
    }
    assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM orgscope.scoped_tables"), "3");
}
