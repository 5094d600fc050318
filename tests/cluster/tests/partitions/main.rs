//! Partitioned tables and inheritance trees: scoped whole, whatever their shape, now and later.

#[path = "../common/mod.rs"]
mod common;
mod later;
mod shapes;
mod together;
mod writes;

use common::*;
use postgres::Client;

/// A tree of tables: its root, all of it, and what makes it.
pub struct Shape {
    pub name: &'static str,
    pub members: &'static [&'static str],
    pub create: &'static str,
}

pub const SHAPES: [Shape; 7] = [
    Shape {
        name: "by_list",
        members: &["t", "t_odd", "t_even", "t_rest"],
        create: "CREATE TABLE t (id int PRIMARY KEY, title text, organization_id uuid, UNIQUE (id, title)) PARTITION BY LIST (id);
            CREATE TABLE t_odd PARTITION OF t FOR VALUES IN (1, 3, 11, 13);
            CREATE TABLE t_even PARTITION OF t FOR VALUES IN (2, 12);
            CREATE TABLE t_rest PARTITION OF t DEFAULT",
    },
    Shape {
        name: "by_range",
        members: &["t", "t_low", "t_low_a", "t_low_b", "t_high", "t_high_x"],
        // Another order of columns, a dropped one, own indexes and keys: PostgreSQL attaches them to the root's.
        create: "CREATE TABLE t (id int, title text DEFAULT 'x', organization_id uuid, PRIMARY KEY (id, title)) PARTITION BY RANGE (id);
            CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10) PARTITION BY LIST (title);
            CREATE TABLE t_low_a PARTITION OF t_low FOR VALUES IN ('a1', 'a2');
            CREATE TABLE t_low_b PARTITION OF t_low DEFAULT;
            CREATE TABLE t_high (gone int, organization_id uuid NOT NULL DEFAULT gen_random_uuid() REFERENCES orgscope.organization ON DELETE RESTRICT,
                title text NOT NULL, id int NOT NULL) PARTITION BY RANGE (id);
            ALTER TABLE t_high DROP COLUMN gone;
            CREATE TABLE t_high_x PARTITION OF t_high FOR VALUES FROM (10) TO (100);
            CREATE INDEX of_mine ON t_high_x (organization_id); COMMENT ON INDEX of_mine IS 'kept';
            CREATE UNIQUE INDEX only_here ON t_high_x (title);
            ALTER TABLE t ATTACH PARTITION t_high FOR VALUES FROM (10) TO (100);
            CREATE UNIQUE INDEX t_both ON t (title, id);
            ALTER INDEX t_low_title_id_idx RENAME TO another_name;
            ALTER TABLE t_low_a ENABLE ROW LEVEL SECURITY",
    },
    Shape {
        name: "by_hash",
        members: &["t", "t_0", "t_1", "t_2"],
        create: "CREATE TABLE t (id int, title text, organization_id uuid) PARTITION BY HASH (id);
            CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 0);
            CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 1);
            CREATE TABLE t_2 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 2)",
    },
    Shape {
        name: "by_organization_list",
        members: &["t", "t_a", "t_others"],
        create: "CREATE TABLE t (id int, title text, organization_id uuid, UNIQUE (organization_id, id)) PARTITION BY LIST (organization_id);
            CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('aaaaaaaa-0000-7000-8000-000000000001');
            CREATE TABLE t_others PARTITION OF t DEFAULT",
    },
    Shape {
        name: "by_organization_hash",
        members: &["t", "t_0", "t_1"],
        create: "CREATE TABLE t (id int, title text, organization_id uuid, PRIMARY KEY (organization_id, id)) PARTITION BY HASH (organization_id);
            CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    },
    Shape {
        name: "inherited",
        members: &["t", "t_child", "t_grandchild"],
        create: "CREATE TABLE t (id int PRIMARY KEY, title text UNIQUE, organization_id uuid);
            CREATE TABLE t_child (extra text UNIQUE) INHERITS (t);
            CREATE TABLE t_grandchild (organization_id uuid NOT NULL DEFAULT gen_random_uuid()) INHERITS (t_child);
            CREATE POLICY own ON t_child USING (id > 0)",
    },
    Shape {
        name: "many_parents",
        members: &["t", "t_other", "t_both", "t_below"],
        create: "CREATE TABLE t (id int, title text, organization_id uuid);
            CREATE TABLE t_other (tag text, organization_id uuid);
            CREATE TABLE t_both (own int) INHERITS (t, t_other);
            CREATE TABLE t_below () INHERITS (t_both, t)",
    },
];

impl Shape {
    /// Made by the owner, with rows of A and B in every leaf that takes them.
    pub fn build(&self, world: &World) {
        let mut owner = world.owner();
        run(&mut owner, self.create);
        for member in self.members {
            run(&mut owner, &format!("GRANT ALL ON {member} TO app, dba"));
        }
        run(
            &mut owner,
            "INSERT INTO t (id, title, organization_id) SELECT i, 'a' || i, 'aaaaaaaa-0000-7000-8000-000000000001' FROM generate_series(1, 5) i;
             INSERT INTO t (id, title, organization_id) SELECT i, 'b' || i, 'bbbbbbbb-0000-7000-8000-000000000002' FROM generate_series(11, 15) i",
        );
        if self.name == "inherited" || self.name == "many_parents" {
            let leaf = self.members[self.members.len() - 1];
            run(
                &mut owner,
                &format!(
                    "INSERT INTO {leaf} (id, title, organization_id) VALUES (6, 'a6', '{A}'), (16, 'b16', '{B}'), (26, 'c26', '{C}')"
                ),
            );
        }
    }
}

pub fn scope(owner: &mut Client) -> Vec<String> {
    rows(owner, "SELECT sql FROM orgscope.enable_org_scoping('public.t')")
}

/// Every table of the tree, named directly: nothing without a context, its own rows with one, for the application and
/// the owner alike.
#[track_caller]
pub fn assert_protected(world: &World, members: &[&str]) {
    let mut admin = world.superuser();
    for member in members {
        let protected = format!("SELECT protected FROM orgscope.scoped_tables WHERE target = '{member}'::regclass");
        assert_eq!(rows(&mut admin, &protected), ["t"], "{member} in the view");
        let all: usize = one(&mut admin, &format!("SELECT count(*) FROM {member}")).parse().unwrap();
        for mut client in [world.app(), world.owner()] {
            if all > 0 {
                refused(&mut client, "OS001", &format!("SELECT * FROM {member}"));
            }
            refused(&mut client, "OS001", &format!("DELETE FROM {member}"));
            refused(&mut client, "OS001", &format!("UPDATE {member} SET organization_id = organization_id"));
            refused(&mut client, "OS001", &format!("INSERT INTO {member} DEFAULT VALUES"));
            refused(&mut client, "OS001", &format!("TRUNCATE {member}"));
            refused_under(&mut client, A, "OS002", &format!("TRUNCATE {member}"));
            for org in [A, B, C] {
                let seen = rows_under(&mut client, org, &format!("SELECT {member}::text FROM {member} ORDER BY 1"));
                let cut = format!("SELECT {member}::text FROM {member} WHERE organization_id = '{org}' ORDER BY 1");
                assert_eq!(seen, rows(&mut admin, &cut), "{member}");
                if !seen.is_empty() {
                    let other = if org == A { B } else { A };
                    let sql = format!("UPDATE {member} SET organization_id = '{other}'");
                    refused_under(&mut client, org, "OS002", &sql);
                }
            }
        }
    }
}
