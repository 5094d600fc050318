//! enable_org_scoping() and then disable_org_scoping() leave a table exactly as it was: pg_dump sees no difference.

mod common;
mod generate;

use common::*;
use generate::{Layout, Random, Table, literal, quote, value};

const TABLES: usize = 40;

/// Something that a team may have done to a table before.
fn feature(r: &mut Random, table: &Table, number: usize, major: u32) -> String {
    let (key, org) = (quote(&table.key), quote(&table.org));
    let name = match r.below(table.below.len() + 1) {
        0 => quote(&table.name),
        below => quote(&table.below[below - 1]),
    };
    let column = quote(&r.one(&table.columns).name);
    let unique = format!("u{number}");
    match r.below(if major >= 18 { 24 } else { 20 }) {
        0 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE ({column})"),
        1 => {
            format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE ({key}, {column}) DEFERRABLE INITIALLY DEFERRED")
        }
        2 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE NULLS NOT DISTINCT ({key}) INCLUDE ({column})"),
        3 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({column} DESC NULLS LAST) WHERE {key} > 3"),
        4 => format!("CREATE UNIQUE INDEX {unique} ON {name} (({column}::text COLLATE \"C\"), {key})"),
        5 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({org}, {key})"),
        6 => format!("CREATE INDEX {unique} ON {name} ({org})"),
        7 => format!("CREATE INDEX {unique} ON {name} USING hash ({key})"),
        8 => format!("ALTER TABLE {name} ALTER {org} SET DEFAULT {}", value(r, "uuid")),
        9 => format!("ALTER TABLE {name} ALTER {org} SET DEFAULT gen_random_uuid()"),
        10 => format!("ALTER TABLE {name} ALTER {org} SET NOT NULL"),
        11 => format!(
            "ALTER TABLE {name} ADD CONSTRAINT {unique} FOREIGN KEY ({org}) REFERENCES orgscope.organization ON DELETE SET NULL"
        ),
        12 => format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"),
        13 => format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; ALTER TABLE {name} FORCE ROW LEVEL SECURITY"),
        14 => format!(
            "CREATE POLICY {unique} ON {name} USING ({key} > 0); CREATE POLICY r{number} ON {name} AS RESTRICTIVE FOR SELECT TO app USING (true)"
        ),
        15 => format!(
            "CREATE TRIGGER {unique} BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION public.touch(); ALTER TABLE {name} DISABLE TRIGGER {unique}"
        ),
        16 => format!("COMMENT ON COLUMN {name}.{org} IS 'whose'; COMMENT ON TABLE {name} IS 'a table'"),
        17 => format!("GRANT SELECT, UPDATE ({org}) ON {name} TO app"),
        18 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({key}, {org}); COMMENT ON INDEX {unique} IS 'kept'"),
        19 => format!(
            "CREATE UNIQUE INDEX {unique} ON {name} ({key}); ALTER TABLE {name} REPLICA IDENTITY USING INDEX {unique}"
        ),
        // Not exact in a tree: names of NOT NULL constraints that PostgreSQL has merged are lost.
        20 if table.layout == Layout::Plain => {
            format!("ALTER TABLE {name} ADD CONSTRAINT {unique} NOT NULL {org} NOT VALID")
        }
        // Not among partitions: that is refused.
        21 if matches!(table.layout, Layout::Plain | Layout::Inherited) => format!(
            "ALTER TABLE {name} ADD CONSTRAINT {unique} FOREIGN KEY ({org}) REFERENCES orgscope.organization NOT ENFORCED"
        ),
        22 => format!("ALTER TABLE {name} ADD {unique} text GENERATED ALWAYS AS ({org}::text || {key}) VIRTUAL"),
        _ => format!(
            "ALTER TABLE {name} ADD during{number} daterange, ADD CONSTRAINT {unique} UNIQUE ({key}, during{number} WITHOUT OVERLAPS)"
        ),
    }
}

/// A foreign key between two of the tables, or from one to itself.
fn key(r: &mut Random, tables: &[Table], number: usize) -> String {
    let (child, parent) = (r.one(tables), r.one(tables));
    let (name, to, added) = (quote(&child.name), quote(&parent.name), quote(&generate::name(r, 300 + number)));
    let actions = [
        "",
        "ON DELETE CASCADE",
        "ON DELETE SET NULL",
        "ON UPDATE SET DEFAULT",
        "ON UPDATE CASCADE ON DELETE RESTRICT",
    ];
    let deferrable = r.pick(&["", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"]);
    let full = r.pick(&["", " MATCH FULL"]);
    let tail = format!("{full} {}{deferrable}", r.pick(&actions));
    match r.below(4) {
        0 => format!("ALTER TABLE {name} ADD {added} int, ADD CONSTRAINT k{number} FOREIGN KEY ({added}) REFERENCES {to} {tail} NOT VALID"),
        // An index of a partitioned table is made per organization by the next enable only.
        1 if matches!(parent.layout, Layout::Plain | Layout::Inherited) => format!(
            "ALTER TABLE {to} ADD p{number} text; CREATE UNIQUE INDEX kp{number} ON {to} (p{number} DESC, {0});
             ALTER TABLE {name} ADD {added} text, ADD b{number} int, ADD CONSTRAINT k{number} FOREIGN KEY (b{number}, {added}) REFERENCES {to} ({0}, p{number}) {tail};
             COMMENT ON CONSTRAINT k{number} ON {name} IS 'a key'",
            quote(&parent.key)
        ),
        2 => format!(
            "ALTER TABLE {to} ADD p{number} uuid, ADD CONSTRAINT kp{number} UNIQUE (p{number}) WITH (fillfactor = 90);
             ALTER TABLE {name} ADD {added} uuid, ADD CONSTRAINT k{number} FOREIGN KEY ({added}) REFERENCES {to} (p{number}) {tail}"
        ),
        _ => format!("ALTER TABLE {name} ADD {added} int, ADD CONSTRAINT k{number} FOREIGN KEY ({added}) REFERENCES {to} {tail}"),
    }
}

#[test]
fn enable_then_disable_changes_nothing() {
    let (mut r, seed) = Random::from_environment();
    let world = World::without_tables("undo");
    let mut owner = world.owner();
    let major = major(&mut owner);
    if major >= 18 {
        run(&mut world.superuser(), "CREATE EXTENSION btree_gist");
    }
    run(&mut owner, "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
    let tables: Vec<_> = (0..TABLES).map(|i| Table::generate(&mut r, i)).collect();
    for (i, table) in tables.iter().enumerate() {
        run(&mut owner, &table.create(&mut r));
        for f in 0..r.below(4) {
            let sql = feature(&mut r, table, i * 10 + f, major);
            // Some do not fit the table (a type without an operator class); the rest of them do.
            let _ = owner.batch_execute(&sql);
        }
    }
    for number in 0..TABLES / 2 {
        // Partitioned tables have no key that is NOT VALID before PostgreSQL 18, and no unique index without the partition's columns.
        let _ = owner
            .batch_execute(&format!("BEGIN; {}; COMMIT", key(&mut r, &tables, number)))
            .or_else(|_| owner.batch_execute("ROLLBACK"));
    }
    for (i, table) in tables.iter().enumerate().filter(|_| r.chance(30)) {
        let name = quote(&table.name);
        run(&mut owner, &format!("CREATE VIEW v{i} AS SELECT {}, count(*) FROM {name} GROUP BY 1", quote(&table.key)));
        run(&mut owner, &format!("CREATE VIEW w{i} WITH (security_barrier) AS SELECT * FROM {name}"));
    }
    let before = dump(&world);
    let options = ["{}", r#"{"primary_key": "scoped"}"#, r#"{"foreign_keys": "report"}"#, r#"{"unique": "keep"}"#];
    let options: Vec<_> = tables.iter().map(|_| r.pick(&options)).collect();
    let enable = |table: &Table, options: &str| {
        let (name, org) = (literal(&quote(&table.name)), literal(&table.org));
        format!("SELECT sql FROM orgscope.enable_org_scoping({name}::regclass, {org}, '{options}')")
    };
    for (table, options) in tables.iter().zip(&options) {
        assert!(!rows(&mut owner, &enable(table, options)).is_empty());
        assert_eq!(rows(&mut owner, &enable(table, options)), [""; 0], "seed {seed}: enabled a second time");
    }
    assert_eq!(
        rows(&mut owner, "SELECT target FROM orgscope.scoped_tables WHERE NOT protected"),
        [""; 0],
        "seed {seed}"
    );
    // What became of the other ends of keys leaves nothing to do either.
    for (table, options) in tables.iter().zip(&options) {
        assert_eq!(rows(&mut owner, &enable(table, options)), [""; 0], "seed {seed}: enabled once more");
    }
    assert_ne!(dump(&world), before);
    let mut waiting: Vec<&Table> = tables.iter().collect();
    let mut refused = 0;
    while !waiting.is_empty() {
        let table = waiting.remove(r.below(waiting.len()));
        let name = literal(&quote(&table.name));
        if let Err(error) = query(&mut owner, &format!("SELECT orgscope.disable_org_scoping({name}::regclass)")) {
            // A key of another table needs an index as it is: after that one.
            assert!(code(&error) == "OS005" && refused < TABLES * TABLES, "seed {seed}: {}", describe(&error));
            refused += 1;
            waiting.push(table);
        }
    }
    assert_same(&before, &dump(&world), &format!("seed {seed}"));
}

/// An index of a partition in the middle becomes part of the one that scoping adds above, and goes with that.
#[test]
fn an_index_below_the_top_comes_back_with_its_parts() {
    let world = World::without_tables("undo_below");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE event (id int, organization_id uuid) PARTITION BY LIST (id);
         CREATE TABLE middle PARTITION OF event DEFAULT PARTITION BY LIST (id);
         CREATE TABLE leaf PARTITION OF middle DEFAULT;
         CREATE INDEX of_leaf ON leaf (organization_id); COMMENT ON INDEX of_leaf IS 'kept';
         CREATE INDEX of_middle ON middle (organization_id)",
    );
    let before = dump(&world);
    run(&mut owner, "SELECT orgscope.enable_org_scoping('event')");
    run(&mut owner, "SELECT orgscope.disable_org_scoping('event')");
    assert_same(&before, &dump(&world), "an index of three levels");
    // Without an index at the top nothing goes.
    run(&mut owner, r#"SELECT orgscope.enable_org_scoping('event', options => '{"index": "none"}')"#);
    run(&mut owner, "SELECT orgscope.disable_org_scoping('event')");
    assert_same(&before, &dump(&world), "no index at the top");
}

/// A unique index is replaced twice: what hangs on it must come along, also while the table is scoped.
#[test]
fn what_hangs_on_a_replaced_index_comes_back() {
    let world = World::without_tables("replaced");
    let mut owner = world.owner();
    let mut lost = Vec::new();
    for (what, sql) in [
        ("storage parameter of a constraint", "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a) WITH (fillfactor = 70)"),
        ("storage parameter of an index", "CREATE UNIQUE INDEX u ON t (a) WITH (fillfactor = 70)"),
        ("comment on a constraint", "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a); COMMENT ON CONSTRAINT u ON t IS 'why'"),
        ("comment on an index", "CREATE UNIQUE INDEX u ON t (a); COMMENT ON INDEX u IS 'why'"),
        ("CLUSTER", "CREATE UNIQUE INDEX u ON t (a); ALTER TABLE t CLUSTER ON u"),
        ("CLUSTER on a constraint", "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a); ALTER TABLE t CLUSTER ON u"),
        ("statistics target", "CREATE UNIQUE INDEX u ON t (lower(a)); ALTER INDEX u ALTER COLUMN 1 SET STATISTICS 500"),
        ("deferrability", "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a) DEFERRABLE INITIALLY DEFERRED"),
        (
            "operator class and collation",
            "CREATE UNIQUE INDEX u ON t (a COLLATE \"C\" text_pattern_ops DESC) INCLUDE (b) WHERE b > 0",
        ),
    ] {
        run(&mut owner, "CREATE TABLE t (a text, b int, organization_id uuid)");
        run(&mut owner, sql);
        let before = dump(&world);
        run(
            &mut owner,
            "SELECT orgscope.enable_org_scoping('public.t'); SELECT orgscope.disable_org_scoping('public.t')",
        );
        if dump(&world) != before {
            lost.push(what);
        }
        run(&mut owner, "DROP TABLE t");
    }
    assert_eq!(lost, [""; 0]);
}

/// Each of the tables of a tree has its own before: what one of them hands down is not the others' own.
#[test]
fn what_a_table_of_a_tree_had_of_its_own_comes_back() {
    let world = World::without_tables("tree");
    let mut owner = world.owner();
    let major = major(&mut owner);
    let inherited = "CREATE TABLE t (id int PRIMARY KEY, organization_id uuid); CREATE TABLE middle () INHERITS (t);
                     CREATE TABLE below () INHERITS (middle); ALTER TABLE middle ALTER organization_id SET NOT NULL";
    let partitioned = "CREATE TABLE t (id int, organization_id uuid) PARTITION BY LIST (id);
                       CREATE TABLE middle PARTITION OF t DEFAULT PARTITION BY LIST (id); CREATE TABLE below PARTITION OF middle DEFAULT";
    let mut lost = Vec::new();
    for (what, before, sql, since) in [
        ("NOT NULL that the middle one hands down", inherited, "", 15),
        ("a column that is nullable below", inherited, "ALTER TABLE below ALTER organization_id DROP NOT NULL", 15),
        ("NOT NULL at the bottom", partitioned, "ALTER TABLE below ALTER organization_id SET NOT NULL", 15),
        ("NOT NULL of the middle one", partitioned, "ALTER TABLE middle ALTER organization_id SET NOT NULL", 15),
        (
            "a key that is NOT VALID",
            partitioned,
            "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES other NOT VALID",
            18,
        ),
        (
            "a key of the middle one",
            partitioned,
            "ALTER TABLE middle ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES other",
            15,
        ),
    ] {
        // Since 18 a column is NOT NULL below when it is above.
        if major < since || (major >= 18 && sql.contains("DROP NOT NULL")) {
            continue;
        }
        run(&mut owner, "CREATE TABLE other (id int PRIMARY KEY, organization_id uuid)");
        run(&mut owner, &format!("{before}; {sql}"));
        // A dump does not tell that a column is nullable below one that is not.
        let filled = "SELECT attrelid::regclass::text || attnotnull FROM pg_attribute WHERE attname = 'organization_id' ORDER BY 1";
        let as_it_was = (dump(&world), rows(&mut owner, filled));
        for mode in ["{}", r#"{"mode": "observe"}"#] {
            for table in ["t", "other"] {
                run(&mut owner, &format!("SELECT orgscope.enable_org_scoping('public.{table}', options => '{mode}')"));
            }
            for table in ["t", "other"] {
                run(&mut owner, &format!("SELECT orgscope.disable_org_scoping('public.{table}')"));
            }
            if (dump(&world), rows(&mut owner, filled)) != as_it_was {
                lost.push((what, mode));
            }
        }
        run(&mut owner, "DROP TABLE t CASCADE; DROP TABLE other");
    }
    assert_eq!(lost, [("", ""); 0]);
}
