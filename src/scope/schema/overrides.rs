//! The caller's word on single tables: `{"public.country": "share", "public.comment": {"by": "ticket_id"}}`.

use super::propose::{ForeignKey, Table};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Override {
    Scope,
    Share,
    Skip,
    /// A foreign key, by its name or its only column.
    By(String),
    Backfill(String),
}

/// By table, as `schema.table` or `table`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Overrides(pub BTreeMap<String, Override>);

impl Overrides {
    pub fn of(&self, table: &Table) -> Option<&Override> {
        self.0.get(&table.qualified).or_else(|| self.0.get(&table.table))
    }

    /// Whether the table's organization may come along this key.
    pub fn allow(&self, table: &Table, key: &ForeignKey) -> bool {
        match self.of(table) {
            None => true,
            Some(Override::By(name)) => key.name == *name || key.columns == [name.as_str()],
            Some(_) => false,
        }
    }

    /// Whether the table has an organization without asking its parents.
    pub fn gives_column(&self, table: &Table) -> bool {
        match self.of(table) {
            Some(Override::Scope | Override::Backfill(_)) => true,
            Some(Override::Share | Override::Skip | Override::By(_)) => false,
            None => table.has_column || table.registered,
        }
    }

    /// Names that are no table's.
    pub fn unknown(&self, tables: &[Table]) -> Vec<&str> {
        let known = |name: &str| tables.iter().any(|t| t.qualified == *name || t.table == *name);
        self.0.keys().map(String::as_str).filter(|name| !known(name)).collect()
    }
}
