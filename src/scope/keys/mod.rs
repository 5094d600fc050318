//! Foreign keys between scoped tables. A plain key lets a row of one organization refer to, and a cascade reach, a row of
//! another; with the organization in the key it cannot. Pure, but for the count of rows in `violations`.

mod convert;
mod restore;
#[cfg(test)]
mod tests;
pub mod violations;

use crate::scope::facts::{Facts, Index, KeyName};
use crate::scope::options::{self, Options};
use crate::scope::tree::Tree;
use crate::scope::undo::{Original, Replaced};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub use convert::work;
pub use restore::{Restoration, restoration};

/// Kind of the steps on a foreign key, and of those that give its parent the unique index it needs.
pub const KIND: &str = "composite key";

#[derive(Debug, Clone, Deserialize)]
pub struct Key {
    pub quoted: String,
    /// Referencing and referenced table, schema and name quoted.
    pub child: String,
    pub parent: String,
    pub child_oid: u32,
    pub parent_oid: u32,
    pub columns: Vec<String>,
    pub parent_columns: Vec<String>,
    /// One comparison per column, of `p` and `c`.
    pub equal: Vec<String>,
    pub nullable: Vec<String>,
    /// The organizations of both tables take part in it.
    #[serde(default)]
    pub composite: bool,
    pub matched_fully: bool,
    /// As pg_constraint spells them.
    pub on_delete: char,
    pub on_update: char,
    /// The column list of ON DELETE SET NULL or SET DEFAULT, when there is one.
    pub set_columns: Vec<String>,
    pub deferrable: bool,
    pub deferred: bool,
    pub validated: bool,
    pub enforced: bool,
    pub temporal: bool,
    pub comment: Option<String>,
}

/// What undo must know of a key that was made composite, beyond what the key still says itself.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct OriginalKey {
    pub quoted: String,
    /// It had a column list behind ON DELETE SET NULL or SET DEFAULT.
    pub listed: bool,
    pub matched_fully: bool,
    /// The CHECK that stands in for MATCH FULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// A line in a table's registry entry, for the way back.
#[derive(Debug, Clone, PartialEq)]
pub enum Memory {
    Key(OriginalKey),
    /// A unique constraint that composite keys need.
    Unique(String),
    Replaced(Replaced),
}

/// What becomes of a key.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    AlreadyComposite,
    Converts,
    /// It stays, for this reason.
    Kept(String),
}

impl Key {
    /// Referencing column and referenced column.
    fn pairs(&self) -> impl Iterator<Item = (&String, &String)> {
        self.columns.iter().zip(&self.parent_columns)
    }

    fn is_organization(child: &Facts, parent: &Facts, pair: (&String, &String)) -> bool {
        *pair.0 == child.column_quoted && *pair.1 == parent.column_quoted
    }

    fn is(&self, name: &KeyName) -> bool {
        name.table == self.child && name.quoted == self.quoted
    }

    /// As pg_get_constraintdef() would print it, without NOT VALID.
    fn definition(&self, columns: &[&str], parent_columns: &[&str], matched_fully: bool, set: &[&str]) -> String {
        let mut definition = format!(
            "FOREIGN KEY ({}) REFERENCES {} ({}){}",
            columns.join(", "),
            self.parent,
            parent_columns.join(", "),
            if matched_fully { " MATCH FULL" } else { "" }
        );
        for (event, action) in [("UPDATE", self.on_update), ("DELETE", self.on_delete)] {
            if let Some(action) = action_name(action) {
                definition += &format!(" ON {event} {action}");
            }
        }
        if !set.is_empty() {
            // ON DELETE comes last, and the list behind it.
            definition += &format!(" ({})", set.join(", "));
        }
        if self.deferrable {
            definition += if self.deferred { " DEFERRABLE INITIALLY DEFERRED" } else { " DEFERRABLE" };
        }
        definition
    }

    /// Replaces the key. One statement: there is no moment without a key. The rows that are there are looked at by a
    /// later VALIDATE, except where the key is not validated, and on partitioned tables, which know no NOT VALID
    /// before PostgreSQL 18: one that has such a key can have another.
    fn replace(&self, child: &Facts, definition: &str) -> String {
        let (table, name) = (&self.child, &self.quoted);
        let later = if child.kind == 'p' && self.validated { "" } else { " NOT VALID" };
        format!("ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition}{later}")
    }

    pub fn validate(&self) -> String {
        format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", self.child, self.quoted)
    }

    fn comment_again(&self) -> Option<String> {
        let comment = self.comment.as_ref()?;
        Some(format!("COMMENT ON CONSTRAINT {} ON {} IS {comment}", self.quoted, self.child))
    }
}

fn action_name(action: char) -> Option<&'static str> {
    match action {
        'r' => Some("RESTRICT"),
        'c' => Some("CASCADE"),
        'n' => Some("SET NULL"),
        'd' => Some("SET DEFAULT"),
        _ => None,
    }
}

impl Tree {
    /// One of the tables at the ends of a key.
    fn end(&self, qualified: &str) -> &Facts {
        let both = || self.members().iter().chain(&self.neighbours);
        both().find(|t| t.qualified == qualified).unwrap_or(self.root())
    }

    fn ends(&self, key: &Key) -> (&Facts, &Facts) {
        (self.end(&key.child), self.end(&key.parent))
    }

    fn has(&self, table: &Facts) -> bool {
        self.place_of(table).is_some()
    }
}

impl Facts {
    /// The unique index over exactly these columns, in any order, that a foreign key could refer to.
    fn index_for_key(&self, columns: &[&str]) -> Option<&Index> {
        let fits = |i: &&Index| i.unique && i.immediate && i.usable && same(&i.columns, columns);
        self.indexes.iter().find(fits)
    }
}

/// The same columns, in any order.
fn same(have: &[String], wanted: &[&str]) -> bool {
    have.len() == wanted.len() && wanted.iter().all(|c| have.iter().any(|h| h == c))
}

/// Options that count for a table: those of this call, or those that a neighbour was scoped with.
fn options_of<'a>(tree: &Tree, options: &'a Options, table: &'a Facts) -> Option<&'a Options> {
    if tree.has(table) { Some(options) } else { table.registered.as_ref().map(|r| &r.options) }
}

pub fn verdict(tree: &Tree, options: &Options, key: &Key) -> Verdict {
    use options::ForeignKeys::Report;
    use options::Mode::Observe;
    if key.composite {
        return Verdict::AlreadyComposite;
    }
    let (child, parent) = tree.ends(key);
    let takes_part = key.columns.contains(&child.column_quoted) || key.parent_columns.contains(&parent.column_quoted);
    let asked = |table: &&Facts| options_of(tree, options, table).is_some_and(|o| o.foreign_keys == Report);
    let observed = |table: &&Facts| options_of(tree, options, table).is_some_and(|o| o.mode == Observe);
    let reason = if let Some(table) = [child, parent].iter().find(|t| observed(t)) {
        format!(
            "\"{}\" is observed, and nothing is refused there; enforcing takes the organization into it",
            table.table
        )
    } else if let Some(table) = [child, parent].iter().find(|t| asked(t)) {
        format!(
            "the option {{\"foreign_keys\": \"report\"}} for \"{}\"; rows can refer to another organization's, and cascades reach them",
            table.table
        )
    } else if !key.enforced {
        "it is NOT ENFORCED: nothing is checked and nothing cascades".into()
    } else if key.temporal {
        "it compares periods".into()
    } else if takes_part {
        "an organization column takes part in it on one side only".into()
    } else {
        return Verdict::Converts;
    };
    Verdict::Kept(reason)
}

/// The keys that become composite.
fn converting<'a>(tree: &'a Tree, options: &Options) -> Vec<&'a Key> {
    tree.keys.iter().filter(|k| verdict(tree, options, k) == Verdict::Converts).collect()
}

/// The indexes that become unique per organization together with the keys that refer to them.
pub fn taken_along(tree: &Tree, options: &Options) -> Vec<u32> {
    let indexes = convert::indexes(tree, options, &converting(tree, options));
    indexes.into_iter().map(|(_, index)| index.oid).collect()
}

/// The tables that enable or repair changes beside those of the tree; none when it is refused.
pub fn touched_by_work(tree: &Tree, options: &Options) -> Vec<pg_sys::Oid> {
    let keys = if work(tree, options).is_ok() { converting(tree, options) } else { Vec::new() };
    oids(tree, keys.into_iter())
}

/// The same for disable.
pub fn touched_by_restoration(tree: &Tree) -> Vec<pg_sys::Oid> {
    let keys = if restoration(tree).is_ok() { restore::restored(tree) } else { Vec::new() };
    oids(tree, keys.into_iter().map(|(key, _)| key))
}

fn oids<'a>(tree: &Tree, keys: impl Iterator<Item = &'a Key>) -> Vec<pg_sys::Oid> {
    let ends = keys.flat_map(|k| [k.child_oid, k.parent_oid]);
    let others: BTreeSet<u32> = ends.filter(|oid| tree.place(*oid).is_none()).collect();
    others.into_iter().map(pg_sys::Oid::from).collect()
}

impl Original {
    pub fn remember(&mut self, memory: Memory) {
        match memory {
            Memory::Key(key) => {
                self.keys.retain(|k| k.quoted != key.quoted);
                self.keys.push(key);
            }
            Memory::Unique(quoted) => {
                if !self.key_uniques.contains(&quoted) {
                    self.key_uniques.push(quoted);
                }
            }
            Memory::Replaced(replaced) => {
                self.replaced.retain(|r| r.quoted != replaced.quoted);
                self.replaced.push(replaced);
            }
        }
    }

    pub fn forget(&mut self, memory: &Memory) {
        match memory {
            Memory::Key(key) => self.keys.retain(|k| k.quoted != key.quoted),
            Memory::Unique(quoted) => self.key_uniques.retain(|u| u != quoted),
            Memory::Replaced(replaced) => self.replaced.retain(|r| r.quoted != replaced.quoted),
        }
    }
}
