//! What the catalogs say about a table. Read as one JSON value, so that the planner is testable without PostgreSQL.

use crate::error::Error;
use crate::guard::table_name;
use crate::history::History;
use crate::pg::{self, as_superuser};
use crate::scope::keys::Key;
use crate::scope::options::Options;
use crate::scope::tree::Tree;
use crate::scope::undo::Original;
use crate::scope::views;
use crate::spi;
use pgrx::pg_sys;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    #[serde(default)]
    pub oid: u32,
    pub schema: String,
    pub schema_quoted: String,
    pub table: String,
    pub table_quoted: String,
    /// Schema and table as PostgreSQL quotes them, and that as a string literal.
    pub qualified: String,
    pub literal: String,
    pub kind: char,
    pub temporary: bool,
    pub system: bool,
    #[serde(default)]
    pub partition: bool,
    /// The tables it is a partition or an inheritance child of.
    #[serde(default)]
    pub parents: Vec<u32>,
    pub row_security: bool,
    pub force_row_security: bool,
    pub column_name: String,
    pub column_quoted: String,
    pub column_literal: String,
    pub column: Option<Column>,
    pub foreign_keys: Vec<ForeignKey>,
    pub indexes: Vec<Index>,
    pub policies: Vec<Policy>,
    pub triggers: Vec<Trigger>,
    pub taken_names: Vec<String>,
    pub registered: Option<Registered>,
    /// `shared` or `exempt`, when the table is declared to be outside scoping.
    #[serde(default)]
    pub declared: Option<String>,
    #[serde(default)]
    pub rows: Rows,
    /// Whether the caller owns the table.
    #[serde(default)]
    pub owned: bool,
}

/// What the tree of tables holds; asked of the tables themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Rows {
    pub any: bool,
    pub without_organization: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Column {
    #[serde(rename = "type")]
    pub type_name: String,
    pub not_null: bool,
    /// What makes a NOT NULL constraint that PostgreSQL has not checked for existing rows.
    pub not_valid: Option<String>,
    /// That constraint is the table's own, not handed down.
    #[serde(default)]
    pub not_valid_here: bool,
    pub generated: bool,
    pub default: Option<String>,
    /// CHECK constraints that say no more than that it is not NULL.
    #[serde(default)]
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Check {
    pub quoted: String,
    pub validated: bool,
}

impl Column {
    /// Whether no row has a NULL here.
    pub fn is_filled(&self) -> bool {
        self.not_null && self.not_valid.is_none()
    }

    /// The same, or a CHECK says so: then SET NOT NULL need not look.
    pub fn has_no_null(&self) -> bool {
        self.is_filled() || self.checks.iter().any(|c| c.validated)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct ForeignKey {
    pub quoted: String,
    /// It comes from the partitioned table above.
    #[serde(default)]
    pub inherited: bool,
    #[serde(default)]
    pub definition: String,
    pub to_organization: bool,
    pub validated: bool,
    pub enforced: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    #[serde(default)]
    pub oid: u32,
    /// The index of the partitioned table above that it belongs to.
    #[serde(default)]
    pub parent: Option<u32>,
    pub quoted: String,
    pub definition: String,
    /// How the definition of a unique index begins, up to its first column.
    pub prefix: String,
    pub unique: bool,
    pub primary: bool,
    pub usable: bool,
    pub leads: bool,
    /// It has one column and no more.
    #[serde(default)]
    pub only: bool,
    pub contains: bool,
    pub replica_identity: bool,
    /// The foreign keys that need it.
    #[serde(default)]
    pub references: Vec<KeyName>,
    /// Quoted key columns; an expression is an empty name.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Not deferrable.
    #[serde(default)]
    pub immediate: bool,
    /// It belongs to an EXCLUDE constraint.
    #[serde(default)]
    pub exclusion: bool,
    /// Its access method can take a uuid column in front.
    #[serde(default)]
    pub takes_uuid: bool,
    /// One column whose values nobody chooses.
    #[serde(default)]
    pub surrogate: bool,
    /// Definition of the PRIMARY KEY, UNIQUE or EXCLUDE constraint it belongs to.
    pub constraint: Option<String>,
    /// As a string literal.
    pub comment: Option<String>,
    pub clustered: bool,
    /// Column number and statistics target, where it is not the default.
    pub statistics: Vec<(i16, i32)>,
}

/// A foreign key by its table and its name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct KeyName {
    pub table: String,
    pub quoted: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Policy {
    pub name: String,
    pub permissive: bool,
    /// For all commands and all roles.
    pub everywhere: bool,
    pub using: Option<String>,
    pub check: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Trigger {
    pub name: String,
    pub quoted: String,
    pub definition: String,
    pub always: bool,
    /// It comes from the partitioned table above.
    #[serde(default)]
    pub clone: bool,
    pub ours: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    pub column_name: String,
    pub options: Options,
    pub original: Original,
    #[serde(default)]
    pub history: Option<History>,
}

/// The table and all that are partitions or inheritance children with it. Row security is that of the table a query
/// names, so what can be read through one another is scoped together.
pub fn read(target: pg_sys::Oid, column: Option<&str>) -> Result<Tree, Error> {
    require_owner(target)?;
    read_all(&family(target), column)
}

/// The same without a look at the rows, and so without a lock on the tables, which who locks them afterwards would have to
/// wait for in others.
pub fn outline(target: pg_sys::Oid, column: Option<&str>) -> Result<Tree, Error> {
    require_owner(target)?;
    read_tables(&family(target), column, false)
}

/// The tables of the family, the target first, then those next to it, as PostgreSQL locks them.
pub fn family(target: pg_sys::Oid) -> Vec<u32> {
    let target = target.to_u32().to_string();
    let json = as_superuser(|| spi::query(include_str!("family.sql"), &[Some(&target)]));
    json.and_then(|j| serde_json::from_str(&j).ok()).unwrap_or_default()
}

/// Reads as the superuser: the registry is nobody's to read, and row security must not hide rows from the question
/// whether there are any. So only the owner may ask. Without a column: the one that each table is registered with.
pub fn read_all(tables: &[u32], column: Option<&str>) -> Result<Tree, Error> {
    read_tables(tables, column, true)
}

fn read_tables(tables: &[u32], column: Option<&str>, with_rows: bool) -> Result<Tree, Error> {
    tables.iter().try_for_each(|table| require_owner((*table).into()))?;
    let (oids, role) = (array(tables), views::current_role());
    let mut tree = as_superuser(|| {
        let mut members = catalogs(&oids, column)?;
        if members.is_empty() {
            return Err(gone(&oids));
        }
        members.iter_mut().for_each(|m| m.owned = true);
        let mut tree = Tree::new(members);
        // Others cannot be scoped, and a foreign table need not answer.
        if with_rows && tree.members().iter().all(|m| matches!(m.kind, 'r' | 'p')) {
            for root in tree.roots().collect::<Vec<_>>() {
                let rows = rows(&tree.members()[root], tree.is_alone());
                tree.found(root, rows);
            }
        }
        tree.readers = views::read(&oids, &role)?;
        tree.keys = keys(&oids, column)?;
        Ok(tree)
    })?;
    let neighbours = array(&neighbours(&tree, column.is_none()));
    tree.neighbours = as_superuser(|| catalogs(&neighbours, None))?;
    tree.neighbours.iter_mut().for_each(|n| n.owned = pg::owns_table(n.oid.into()));
    Ok(tree)
}

/// One table by itself, for its owner.
pub fn read_one(target: pg_sys::Oid, column: Option<&str>) -> Result<Facts, Error> {
    require_owner(target)?;
    let tables = as_superuser(|| catalogs(&array(&[target.to_u32()]), column))?;
    tables.into_iter().next().ok_or_else(|| gone(&target.to_u32().to_string()))
}

/// What the catalogs say of registered tables, whoever is asking, as if they were empty: rows are not read. Each by itself:
/// what a partition or child has from the table above counts as its own.
pub fn inspect(tables: &[u32]) -> Result<HashMap<u32, Tree>, Error> {
    let tables = as_superuser(|| catalogs(&array(tables), None))?;
    Ok(tables.into_iter().map(|facts| (facts.oid, Tree::new(vec![facts]))).collect())
}

/// The foreign keys between some tables and the scoped ones.
fn keys(oids: &str, column: Option<&str>) -> Result<Vec<Key>, Error> {
    let json = spi::query_planned(include_str!("keys.sql"), &[Some(oids), column]).unwrap_or_else(|| "[]".into());
    serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("foreign keys of a table: {e}") })
}

/// The tables of the keys that are not composite yet, or for the way back of all, but for the members.
fn neighbours(tree: &Tree, of_composite: bool) -> Vec<u32> {
    let wanted = tree.keys.iter().filter(|k| of_composite || !k.composite);
    let oids: BTreeSet<u32> = wanted.flat_map(|k| [k.child_oid, k.parent_oid]).collect();
    oids.into_iter().filter(|oid| tree.place(*oid).is_none()).collect()
}

/// Whether no key of the tables waits to become composite.
pub fn keys_are_settled(tables: &[u32], column: &str) -> Result<bool, Error> {
    Ok(as_superuser(|| keys(&array(tables), Some(column)))?.iter().all(|key| key.composite))
}

/// Tables that a foreign key ties to one of these and that are not scoped.
pub fn unscoped_relatives(tables: &[u32]) -> Vec<u32> {
    let oids = array(tables);
    let others = as_superuser(|| spi::query(include_str!("relatives.sql"), &[Some(&oids)])).unwrap_or_default();
    others.split(' ').filter_map(|oid| oid.parse().ok()).collect()
}

const FACTS: &str = include_str!("facts.sql");

/// Where pg_get_constraintdef() knows nothing of a constraint. It goes by the transaction's own snapshot, not by ours.
const MADE_SINCE: &str = "SELECT k.conrelid::text FROM pg_constraint k WHERE k.conrelid = ANY ($1::oid[]) AND pg_get_constraintdef(k.oid) IS NULL LIMIT 1";

fn catalogs(oids: &str, column: Option<&str>) -> Result<Vec<Facts>, Error> {
    if spi::has_own_snapshot()
        && let Some(table) = spi::query(MADE_SINCE, &[Some(oids)]).and_then(|oid| oid.parse::<u32>().ok())
    {
        return Err(Error::ChangedMeanwhile {
            table: table_name(table.into(), None),
            detail: "A constraint of it is newer than this transaction's snapshot.",
        });
    }
    let read = || {
        let json = spi::query_planned(FACTS, &[Some(oids), column]).unwrap_or_else(|| "[]".into());
        serde_json::from_str(&json)
    };
    // What somebody drops while the catalogs are read has no definition; when they are read again it is gone.
    read().or_else(|_| read()).map_err(|e| Error::Internal { what: format!("facts of a table: {e}") })
}

/// As PostgreSQL writes an array.
fn array(oids: &[u32]) -> String {
    format!("{{{}}}", oids.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}

fn gone(oid: &str) -> Error {
    Error::Internal { what: format!("no table with oid {oid}") }
}

pub fn require_owner(target: pg_sys::Oid) -> Result<(), Error> {
    if pg::owns_table(target) { Ok(()) } else { Err(Error::NotOwner { table: table_name(target, None) }) }
}

/// Of the table and what is below it. A CHECK speaks for its own table only.
fn rows(facts: &Facts, alone: bool) -> Rows {
    let exists = |condition: &str| {
        let sql = format!("SELECT EXISTS (SELECT FROM {}{condition})::text", facts.qualified);
        spi::query(&sql, &[]).as_deref() == Some("true")
    };
    let any = exists("");
    let without_organization = any
        && match &facts.column {
            None => true,
            Some(column) if column.is_filled() || (alone && column.has_no_null()) => false,
            Some(_) => exists(&format!(" WHERE {} IS NULL", facts.column_quoted)),
        };
    Rows { any, without_organization }
}

impl Index {
    /// As scoping makes it: the organization and nothing else.
    pub fn is_plain(&self) -> bool {
        self.leads && self.only && self.usable && !self.unique
    }
}

impl Facts {
    pub fn index(&self, quoted: &str) -> Option<&Index> {
        self.indexes.iter().find(|i| i.quoted == quoted)
    }

    /// Whether the key or index of this name comes from the partitioned table above, and goes with that one's.
    pub fn inherits(&self, quoted: &str) -> bool {
        self.foreign_keys.iter().any(|k| k.quoted == quoted && k.inherited)
            || self.indexes.iter().any(|i| i.quoted == quoted && i.parent.is_some())
    }

    /// Whether scoping has added the key or index of this name.
    pub fn has_added(&self, quoted: &str) -> bool {
        self.registered.as_ref().is_some_and(|r| r.original.added.iter().any(|a| a.quoted == quoted))
    }

    /// What hangs on a unique index and goes with it when it is made anew: comment, CLUSTER mark, statistics targets. The
    /// new one has `shift` more columns in front.
    pub fn attachments(&self, index: &Index, shift: i16) -> Vec<String> {
        let Index { quoted, .. } = index;
        let (table, name) = (&self.qualified, format!("{}.{quoted}", self.schema_quoted));
        let comment = index.comment.as_ref().map(|comment| match index.constraint {
            Some(_) => format!("COMMENT ON CONSTRAINT {quoted} ON {table} IS {comment}"),
            None => format!("COMMENT ON INDEX {name} IS {comment}"),
        });
        let cluster = index.clustered.then(|| format!("ALTER TABLE {table} CLUSTER ON {quoted}"));
        let statistics = index.statistics.iter().map(|(column, target)| {
            format!("ALTER INDEX {name} ALTER COLUMN {} SET STATISTICS {target}", column + shift)
        });
        comment.into_iter().chain(cluster).chain(statistics).collect()
    }
}
