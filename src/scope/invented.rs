//! Invented tables for the planner's tests: no PostgreSQL.

use crate::scope::facts::{Facts, Index};
use crate::scope::tree::Tree;
use serde_json::{Value, json};

/// An empty, ordinary table of schema `public`, not scoped, by its name and its organization column.
pub fn table(name: &str, column: &str, change: impl FnOnce(&mut Value)) -> Facts {
    let mut json = json!({
        "schema": "public", "schema_quoted": "public", "table": name, "table_quoted": name,
        "qualified": format!("public.{name}"), "literal": format!("'public.{name}'"), "kind": "r", "temporary": false,
        "system": false, "row_security": false, "force_row_security": false, "column_name": column,
        "column_quoted": column, "column_literal": format!("'{column}'"), "column": null, "foreign_keys": [],
        "indexes": [], "policies": [], "triggers": [], "taken_names": [], "registered": null, "owned": true
    });
    change(&mut json);
    serde_json::from_value(json).unwrap()
}

/// A unique index, as JSON.
pub fn unique(definition: &str, prefix: &str, constraint: Option<&str>) -> Value {
    json!({
        "quoted": "i", "definition": definition, "prefix": prefix, "unique": true, "primary": false, "usable": true,
        "leads": false, "contains": false, "replica_identity": false, "constraint": constraint, "comment": null,
        "clustered": false, "statistics": []
    })
}

pub fn index(definition: &str, prefix: &str, constraint: Option<&str>) -> Index {
    serde_json::from_value(unique(definition, prefix, constraint)).unwrap()
}

pub fn alone(facts: Facts) -> Tree {
    Tree::new(vec![facts])
}

/// A partitioned table with this many partitions below each table, two levels deep.
pub fn partitioned(width: u32) -> Tree {
    let mut tables = Vec::new();
    let mut member = |oid: u32, parent: Option<u32>, kind: &str| {
        tables.push(table(&format!("t{oid}"), "org", |j| {
            j["oid"] = json!(oid);
            j["kind"] = json!(kind);
            j["partition"] = json!(parent.is_some());
            j["parents"] = json!(parent.into_iter().collect::<Vec<_>>());
        }));
    };
    member(1, None, "p");
    for i in 0..width {
        let middle = 2 + i * (width + 1);
        (1..=width).for_each(|leaf| member(middle + leaf, Some(middle), "r"));
        member(middle, Some(1), "p");
    }
    Tree::new(tables)
}
