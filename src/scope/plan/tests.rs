//! The planner on invented facts: no PostgreSQL.

use super::*;
use crate::policy::{BASE, FLOOR, GUARDS, predicate};
use crate::scope::facts::Rows;
use crate::scope::invented::{alone, index, partitioned, table as facts};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn every_member_gets_what_is_not_handed_down() {
    let tree = partitioned(3);
    assert_eq!(tree.members().len(), 13);
    let steps = plan(&tree, &Options::default()).unwrap();
    let count = |text: &str| steps.iter().filter(|s| s.sql.contains(text)).count();
    for once in [
        "ADD COLUMN",
        "SET DEFAULT",
        "SET NOT NULL",
        "FOREIGN KEY",
        "CREATE INDEX",
        "FOR EACH ROW EXECUTE FUNCTION orgscope.fill",
    ] {
        assert_eq!(count(once), 1, "{once}");
    }
    for each in ["ENABLE ROW", "CREATE POLICY orgscope_floor", "FOR EACH STATEMENT EXECUTE FUNCTION orgscope.truncate"]
    {
        assert_eq!(count(each), 13, "{each}");
    }
}

#[test]
fn parents_stand_before_their_children() {
    for tree in [partitioned(4), partitioned(1)] {
        for i in 0..tree.members().len() {
            assert!(tree.parents(i).all(|parent| parent < i));
        }
        assert_eq!(tree.roots().collect::<Vec<_>>(), [0]);
    }
}

#[test]
fn a_plain_table_gets_everything_in_order() {
    let steps = plan(&alone(facts("t", "org", |_| ())), &Options::default()).unwrap();
    let mut kinds: Vec<_> = steps.iter().map(|s| s.kind).collect();
    kinds.dedup();
    assert_eq!(kinds, ["column", "default", "not null", "foreign key", "index", "row security", "policy", "guard"]);
    assert!(steps.iter().enumerate().all(|(i, s)| s.step == i + 1));
}

#[test]
fn rows_need_a_backfill() {
    let mut with_rows = facts("t", "org", |_| ());
    with_rows.rows = Rows { any: true, without_organization: true };
    let with_rows = alone(with_rows);
    assert_eq!(plan(&with_rows, &Options::default()).unwrap_err().report().sqlstate, "OS005");
    let options = Options { backfill: Some("(SELECT 1)".into()), ..Options::default() };
    assert!(plan(&with_rows, &options).unwrap().iter().any(|s| s.kind == "backfill"));
}

#[test]
fn the_organization_comes_first_in_unique_definitions() {
    let of = |d: &str, p: &str, c: Option<&str>| scoped_definition(&index(d, p, c), "\"O\"").unwrap();
    assert_eq!(
        of("", "", Some("UNIQUE NULLS NOT DISTINCT (a, b) INCLUDE (c)")),
        "UNIQUE NULLS NOT DISTINCT (\"O\", a, b) INCLUDE (c)"
    );
    let prefix = "CREATE UNIQUE INDEX i ON s.\"odd USING btree (\" USING btree (";
    let definition = format!("{prefix}lower(a)) WHERE (b > 0)");
    assert_eq!(of(&definition, prefix, None), format!("{prefix}\"O\", lower(a)) WHERE (b > 0)"));
}

proptest! {
    /// Names of any length and alphabet: what is generated fits, is free, and cannot break out of its quotes.
    #[test]
    fn generated_names_fit(table in "[a-zA-Z\"' é漢]{1,20}", column in "\\PC{1,20}", taken in 0..5usize) {
        let mut f = facts("t", "c", |_| ());
        (f.table, f.column_name) = (table, column);
        let unquote = |n: String| match n.strip_prefix('"') {
            Some(inner) => inner[..inner.len() - 1].replace("\"\"", "\""),
            None => n,
        };
        for _ in 0..taken {
            let name = unquote(Plan::alone(&f, &Options::default()).free_name("fkey"));
            prop_assert!(name.len() <= 63 && !name.is_empty());
            prop_assert!(!f.taken_names.contains(&name));
            f.taken_names.push(name);
        }
    }

    /// What a plan makes, the next plan finds: the policies and guards it wants are the ones it would create.
    #[test]
    fn a_scoped_table_needs_nothing(column in "[a-z_]{1,10}", unique in any::<bool>()) {
        let predicate = predicate(&column);
        let done = facts("t", &column, |j| {
            j["registered"] = json!({"column_name": column, "options": {}, "original": {"row_security": false,
                "force_row_security": false, "column": null, "added": [], "replaced": []}});
            j["row_security"] = json!(true);
            j["force_row_security"] = json!(true);
            j["column"] = json!({"type": "uuid", "not_null": true, "not_valid": null, "generated": false, "default": "orgscope.current_org()"});
            j["foreign_keys"] = json!([{"quoted": "k", "to_organization": true, "validated": true, "enforced": true}]);
            j["indexes"] = json!([{"quoted": "i", "definition": "", "prefix": "", "unique": unique, "primary": false,
                "usable": true, "leads": true, "contains": true, "replica_identity": false,
                "constraint": null, "comment": null, "clustered": false, "statistics": []}]);
            j["policies"] = json!([&BASE, &FLOOR].map(|p| json!({"name": p.name, "permissive": p.permissive,
                "everywhere": true, "using": predicate, "check": predicate})));
            j["triggers"] = Value::Array(GUARDS.iter().map(|g| json!({"name": g.name, "quoted": g.quoted_name(),
                "definition": g.create("public.t", &format!("'{column}'"), false), "always": true, "ours": true})).collect());
        });
        let done = alone(done);
        prop_assert_eq!(plan(&done, &Options::default()).unwrap(), vec![]);
        let back = crate::scope::undo::undo(&done, &Default::default());
        prop_assert_eq!(back.iter().filter(|s| s.kind == "guard").count(), GUARDS.len());
    }
}
