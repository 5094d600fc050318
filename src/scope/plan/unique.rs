//! What is unique becomes unique per organization; an index leads with the organization.

use super::{EXCLUSIVE, Plan, SHARE};
use crate::scope::facts::{Facts, Index};
use crate::scope::options::{self, Options};
use crate::scope::tree::Tree;
use std::collections::{HashMap, HashSet};

const REASON: &str = "unique per organization: across organizations it would tell one what another has";

/// The indexes that become unique per organization by themselves. Those of a partitioned table and its partitions are one
/// family, which changes whole or not at all.
pub fn scoped_indexes(tree: &Tree, options: &Options) -> HashSet<u32> {
    let mut top_of: HashMap<u32, u32> = HashMap::new();
    let mut kept: HashSet<u32> = HashSet::new();
    for index in tree.members().iter().flat_map(|m| &m.indexes).filter(|i| i.unique || i.exclusion) {
        let top = match index.parent {
            None => index.oid,
            Some(parent) => top_of.get(&parent).copied().unwrap_or(parent),
        };
        top_of.insert(index.oid, top);
        if !options.scopes(index) || !becomes_scoped(index) {
            kept.insert(top);
        }
    }
    // A partition's alone, without the table that its index comes from: not the partition's to change.
    let is_known = |top: &u32| top_of.contains_key(top);
    top_of.iter().filter(|(_, top)| is_known(top) && !kept.contains(top)).map(|(index, _)| *index).collect()
}

impl Plan<'_> {
    fn changing(&self) -> impl Iterator<Item = &'_ Index> {
        self.facts.indexes.iter().filter(|i| self.scoped_indexes.contains(&i.oid))
    }

    /// What is unique in a partitioned table goes with what belongs to it in the partitions, before those make theirs
    /// anew.
    pub(super) fn dropped_uniques(&mut self) {
        for index in self.changing().filter(|i| self.facts.heads(i)).cloned().collect::<Vec<_>>() {
            self.add("unique", EXCLUSIVE, self.facts.drop_unique(&index), "made anew by later steps, partitions first");
        }
    }

    pub(super) fn uniques(&mut self) {
        let facts = self.facts;
        for index in self.changing().cloned().collect::<Vec<_>>() {
            let Some(definition) = scoped_definition(&index, &facts.column_quoted) else { continue };
            let alone = index.parent.is_none() && facts.kind != 'p';
            let name = &index.quoted;
            match (&index.constraint, alone) {
                (Some(_), true) => {
                    let change = format!("DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition}");
                    self.alter("unique", EXCLUSIVE, &change, REASON);
                }
                (Some(_), false) => {
                    self.alter("unique", EXCLUSIVE, &format!("ADD CONSTRAINT {name} {definition}"), REASON);
                }
                (None, _) => {
                    if alone {
                        self.add("unique", EXCLUSIVE, facts.drop_unique(&index), "replaced by the next step");
                    }
                    self.add("unique", SHARE, definition, REASON);
                }
            }
            for sql in facts.attachments(&index, 1) {
                self.add("unique", EXCLUSIVE, sql, "it goes with the index, which was made anew");
            }
        }
    }

    /// Needed unless an index leads with the column already, or one that this plan makes will. That of a partitioned
    /// table is every partition's.
    pub(super) fn index(&mut self) {
        let leads = |i: &Index| i.usable && (i.leads || self.scoped_indexes.contains(&i.oid));
        let unwanted = self.options.index == options::Index::None || self.facts.partition;
        if unwanted || self.facts.indexes.iter().any(leads) {
            return;
        }
        let name = self.free_name("idx");
        let sql = format!("CREATE INDEX {name} ON {} ({})", self.facts.qualified, self.facts.column_quoted);
        self.add("index", SHARE, sql, "one organization's rows are found without reading the others'");
    }
}

impl Facts {
    /// Whether partitions have indexes that belong to this one.
    pub fn heads(&self, index: &Index) -> bool {
        self.kind == 'p' && index.parent.is_none()
    }

    pub fn drop_unique(&self, index: &Index) -> String {
        match index.constraint {
            Some(_) => format!("ALTER TABLE {} DROP CONSTRAINT {}", self.qualified, index.quoted),
            None => format!("DROP INDEX {}.{}", self.schema_quoted, index.quoted),
        }
    }
}

/// Whether an index that allows no two equal values can become one per organization by itself. What a foreign key refers
/// to or a replica identity uses cannot: others depend on its columns.
pub fn becomes_scoped(index: &Index) -> bool {
    let needed = !index.references.is_empty() || index.replica_identity;
    let restricts = index.unique || (index.exclusion && index.takes_uuid);
    restricts && !index.contains && !needed
}

/// The definition with the organization column put first. PostgreSQL prints definitions in one form, so the place is
/// known: behind the first parenthesis of a constraint, behind the index's prefix.
pub fn scoped_definition(index: &Index, column: &str) -> Option<String> {
    match &index.constraint {
        Some(definition) => {
            let operator = if index.exclusion { " WITH =" } else { "" };
            definition.split_once('(').map(|(head, rest)| format!("{head}({column}{operator}, {rest}"))
        }
        None => index.definition.strip_prefix(&index.prefix).map(|rest| format!("{}{column}, {rest}", index.prefix)),
    }
}
