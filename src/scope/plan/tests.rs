//! The planner on invented facts: no PostgreSQL.

use super::*;
use crate::policy::{BASE, FLOOR, GUARDS, predicate};
use crate::scope::facts::Index;
use proptest::prelude::*;
use serde_json::{Value, json};

/// An empty, ordinary table with the given names.
fn facts(table: &str, column: &str, change: impl FnOnce(&mut Value)) -> Facts {
    let mut json = json!({
        "schema": "public", "schema_quoted": "public", "table": table, "table_quoted": table, "qualified": format!("public.{table}"),
        "literal": format!("'public.{table}'"), "kind": "r", "temporary": false, "system": false, "is_child": false,
        "has_children": false, "row_security": false, "force_row_security": false, "column_name": column,
        "column_quoted": column, "column_literal": format!("'{column}'"), "column": null, "foreign_keys": [],
        "indexes": [], "policies": [], "triggers": [], "taken_names": [], "registered": null
    });
    change(&mut json);
    serde_json::from_value(json).unwrap()
}

fn index(definition: &str, prefix: &str, constraint: Option<&str>) -> Index {
    serde_json::from_value(json!({
        "quoted": "i", "definition": definition, "prefix": prefix, "unique": true, "primary": false, "usable": true,
        "leads": false, "contains": false, "replica_identity": false,
        "constraint": constraint, "comment": null, "clustered": false, "statistics": []
    }))
    .unwrap()
}

#[test]
fn a_plain_table_gets_everything_in_order() {
    let steps = plan(&facts("t", "org", |_| ()), &Options::default()).unwrap();
    let mut kinds: Vec<_> = steps.iter().map(|s| s.kind).collect();
    kinds.dedup();
    assert_eq!(kinds, ["column", "default", "not null", "foreign key", "index", "row security", "policy", "guard"]);
    assert!(steps.iter().enumerate().all(|(i, s)| s.step == i + 1));
}

#[test]
fn rows_need_a_backfill() {
    let mut with_rows = facts("t", "org", |_| ());
    with_rows.rows = crate::scope::facts::Rows { any: true, without_organization: true };
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
            let name = unquote(Plan { facts: &f, options: &Options::default(), steps: vec![] }.free_name("fkey"));
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
        prop_assert_eq!(plan(&done, &Options::default()).unwrap(), vec![]);
        let back = crate::scope::undo::undo(&done, &crate::scope::undo::Original::default(), &Default::default());
        prop_assert_eq!(back.iter().filter(|s| s.kind == "guard").count(), GUARDS.len());
    }
}
