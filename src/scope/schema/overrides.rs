//! The caller's word on single tables: `{"public.country": "share", "public.comment": {"by": "ticket_id"}}`, and on many
//! of a kind: `{"*_type": "share", "link_*": {"by": "source_id"}}`.

use super::propose::{ForeignKey, Table};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Override {
    Scope,
    Share,
    Skip,
    /// Nobody's word of today: exempt_table() was called for the table.
    #[serde(skip)]
    Exempt,
    /// A foreign key, by its name or its only column.
    By(String),
    Backfill(String),
}

/// By table, as `schema.table` or `table`; `*` stands for any letters. A table's own name is heard before a pattern, and
/// a long pattern, which says more, before a short one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Overrides(pub BTreeMap<String, Override>);

impl Overrides {
    pub fn of(&self, table: &Table) -> Option<&Override> {
        let own = self.0.get(&table.qualified).or_else(|| self.0.get(&table.table));
        own.or_else(|| {
            let matching = self.0.iter().filter(|(pattern, _)| covers(pattern, table));
            matching.max_by_key(|(pattern, _)| pattern.len()).map(|(_, said)| said)
        })
        .or(table.exempt.then_some(&Override::Exempt))
    }

    /// Whether the table's organization may come along this key.
    pub fn allow(&self, table: &Table, key: &ForeignKey) -> bool {
        match self.of(table) {
            None => true,
            Some(Override::By(name)) => key.name == *name || key.own_pairs(table).map(|(own, _)| own).eq([name]),
            Some(_) => false,
        }
    }

    /// Whether the table has an organization without asking its parents.
    pub fn gives_column(&self, table: &Table) -> bool {
        match self.of(table) {
            Some(Override::Scope | Override::Backfill(_)) => true,
            Some(Override::Share | Override::Skip | Override::Exempt | Override::By(_)) => false,
            None => table.has_column || table.registered,
        }
    }

    /// Names that are no table's.
    pub fn unknown(&self, tables: &[Table]) -> Vec<&str> {
        let known = |name: &str| tables.iter().any(|table| covers(name, table));
        self.0.keys().map(String::as_str).filter(|name| !known(name)).collect()
    }
}

fn covers(pattern: &str, table: &Table) -> bool {
    matches(pattern, &table.qualified) || matches(pattern, &table.table)
}

/// Whether the name is the pattern, whose `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').map_or(("", rest), |(middle, end)| (middle, end));
    // What stands between two stars is looked for from the left: the first place leaves the most for the rest.
    for part in middle.split('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}
