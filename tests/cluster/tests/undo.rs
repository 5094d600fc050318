//! enable_org_scoping() and then disable_org_scoping() leave a table exactly as it was: pg_dump sees no difference.

mod common;
mod generate;

use common::*;
use generate::{Random, Table, literal, quote, value};

const TABLES: usize = 40;

fn dump(world: &World) -> Vec<String> {
    let output =
        world.cluster().command("pg_dump").args(["--schema-only", "-n", "public", "-d", world.name()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Blocks, not lines: a failure then names the object.
    String::from_utf8(output.stdout).unwrap().split("\n\n\n").map(str::to_owned).collect()
}

/// Something that a team may have done to a table before.
fn feature(r: &mut Random, table: &Table, number: usize) -> String {
    let (name, key, org) = (quote(&table.name), quote(&table.key), quote(&table.org));
    let column = quote(&r.one(&table.columns).name);
    let unique = format!("u{number}");
    match r.below(24) {
        0 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE ({column})"),
        1 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE ({key}, {column}) DEFERRABLE INITIALLY DEFERRED"),
        2 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE NULLS NOT DISTINCT ({key}) INCLUDE ({column}) WITH (fillfactor = 70)"),
        3 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({column} DESC NULLS LAST) WHERE {key} > 3"),
        4 => format!("CREATE UNIQUE INDEX {unique} ON {name} (({column}::text COLLATE \"C\"), {key})"),
        5 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({org}, {key})"),
        6 => format!("CREATE INDEX {unique} ON {name} ({org})"),
        7 => format!("CREATE INDEX {unique} ON {name} USING hash ({key})"),
        8 => format!("ALTER TABLE {name} ALTER {org} SET DEFAULT {}", value(r, "uuid")),
        9 => format!("ALTER TABLE {name} ALTER {org} SET DEFAULT gen_random_uuid()"),
        10 => format!("ALTER TABLE {name} ALTER {org} SET NOT NULL"),
        11 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} FOREIGN KEY ({org}) REFERENCES orgscope.organization ON DELETE SET NULL"),
        12 => format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"),
        13 => format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; ALTER TABLE {name} FORCE ROW LEVEL SECURITY"),
        14 => format!("CREATE POLICY {unique} ON {name} USING ({key} > 0); CREATE POLICY r{number} ON {name} AS RESTRICTIVE FOR SELECT TO app USING (true)"),
        15 => format!("CREATE TRIGGER {unique} BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION public.touch(); ALTER TABLE {name} DISABLE TRIGGER {unique}"),
        16 => format!("COMMENT ON COLUMN {name}.{org} IS 'whose'; COMMENT ON TABLE {name} IS 'a table'"),
        17 => format!("GRANT SELECT, UPDATE ({org}) ON {name} TO app"),
        18 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({key}, {org}); COMMENT ON INDEX {unique} IS 'kept'"),
        19 => format!("ALTER TABLE {name} ADD CONSTRAINT {unique} UNIQUE ({column}); COMMENT ON CONSTRAINT {unique} ON {name} IS 'why it is unique'"),
        20 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({column}); COMMENT ON INDEX {unique} IS 'why it is unique'"),
        21 => format!("CREATE UNIQUE INDEX {unique} ON {name} ({key}); ALTER TABLE {name} CLUSTER ON {unique}"),
        22 => format!("ALTER TABLE {name} ALTER {key} SET NOT NULL; CREATE UNIQUE INDEX {unique} ON {name} ({key}); ALTER TABLE {name} REPLICA IDENTITY USING INDEX {unique}"),
        _ => format!("CREATE UNIQUE INDEX {unique} ON {name} (lower({column}::text)); ALTER INDEX {unique} ALTER COLUMN 1 SET STATISTICS 500"),
    }
}

#[test]
fn enable_then_disable_changes_nothing() {
    let (mut r, seed) = Random::from_environment();
    let world = World::without_tables("undo");
    let mut owner = world.owner();
    run(&mut owner, "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
    let tables: Vec<_> = (0..TABLES).map(|i| Table::generate(&mut r, i)).collect();
    for (i, table) in tables.iter().enumerate() {
        run(&mut owner, &table.create(&mut r));
        for f in 0..r.below(4) {
            let sql = feature(&mut r, table, i * 10 + f);
            // Some do not fit the table (a type without an operator class); the rest of them do.
            let _ = owner.batch_execute(&sql);
        }
    }
    let before = dump(&world);
    for table in &tables {
        let (name, org) = (literal(&quote(&table.name)), literal(&table.org));
        let enabled = rows(&mut owner, &format!("SELECT sql FROM orgscope.enable_org_scoping({name}::regclass, {org})"));
        assert!(!enabled.is_empty());
        let again = rows(&mut owner, &format!("SELECT sql FROM orgscope.enable_org_scoping({name}::regclass, {org})"));
        assert_eq!(again, [""; 0], "seed {seed}: {name} is not settled");
    }
    assert_ne!(dump(&world), before);
    for table in &tables {
        run(&mut owner, &format!("SELECT orgscope.disable_org_scoping({}::regclass)", literal(&quote(&table.name))));
    }
    let after = dump(&world);
    let lost: Vec<_> = before.iter().filter(|block| !after.contains(block)).collect();
    let new: Vec<_> = after.iter().filter(|block| !before.contains(block)).collect();
    assert!(lost.is_empty() && new.is_empty(), "seed {seed}\nlost: {lost:#?}\nnew: {new:#?}");
    assert_eq!(after, before, "seed {seed}: the order changed");
}
