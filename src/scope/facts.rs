//! What the catalogs say about a table. Read as one JSON value, so that the planner is testable without PostgreSQL.

use crate::error::Error;
use crate::guard::table_name;
use crate::pg::{self, as_superuser};
use crate::scope::keys::Key;
use crate::scope::options::Options;
use crate::scope::undo::Original;
use crate::scope::views::{self, Readers};
use crate::spi;
use pgrx::pg_sys;
use serde::Deserialize;
use std::collections::BTreeSet;

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
    pub is_child: bool,
    pub has_children: bool,
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
    /// Foreign keys between this table and the scoped ones, itself included.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// The scoped tables at the other ends of those keys, unless there is nothing to do about them; without keys and rows
    /// of their own.
    #[serde(default)]
    pub neighbours: Vec<Facts>,
    /// Whether the caller owns the table.
    #[serde(default)]
    pub owned: bool,
    #[serde(default)]
    pub readers: Readers,
}

/// What the table holds; asked of the table itself.
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
    pub to_organization: bool,
    pub validated: bool,
    pub enforced: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    pub quoted: String,
    pub definition: String,
    /// How the definition of a unique index begins, up to its first column.
    pub prefix: String,
    pub unique: bool,
    pub primary: bool,
    pub usable: bool,
    pub leads: bool,
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
    pub ours: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    pub column_name: String,
    pub options: Options,
    pub original: Original,
}

/// Reads as the superuser: the registry is nobody's to read, and row security must not hide rows from the question
/// whether there are any. So only the owner may ask. Without a column: the one that the table is registered with.
pub fn read(target: pg_sys::Oid, column: Option<&str>) -> Result<Facts, Error> {
    require_owner(target)?;
    let role = views::current_role();
    let mut facts = as_superuser(|| {
        let mut facts = catalogs(target, column)?;
        facts.readers = views::read(&target.to_u32().to_string(), &role)?;
        if facts.kind == 'r' {
            facts.rows = rows(&facts);
        }
        facts.keys = keys(target, column)?;
        Ok(facts)
    })?;
    facts.owned = true;
    for neighbour in neighbours(&facts.keys, target, column.is_none()) {
        let mut other = as_superuser(|| catalogs(neighbour, None))?;
        other.owned = pg::owns_table(neighbour);
        facts.neighbours.push(other);
    }
    Ok(facts)
}

/// The foreign keys between a table and the scoped ones.
fn keys(target: pg_sys::Oid, column: Option<&str>) -> Result<Vec<Key>, Error> {
    let oid = target.to_u32().to_string();
    let json = spi::query_planned(include_str!("keys.sql"), &[Some(&oid), column]).unwrap_or_else(|| "[]".into());
    serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("foreign keys of a table: {e}") })
}

/// The other tables of the keys that are not composite yet, or for the way back of all.
fn neighbours(keys: &[Key], target: pg_sys::Oid, of_composite: bool) -> Vec<pg_sys::Oid> {
    let wanted = keys.iter().filter(|k| of_composite || !k.composite);
    let oids: BTreeSet<u32> = wanted.flat_map(|k| [k.child_oid, k.parent_oid]).collect();
    oids.into_iter().map(pg_sys::Oid::from).filter(|oid| *oid != target).collect()
}

/// Whether no key of the table waits to become composite.
pub fn keys_are_settled(target: pg_sys::Oid, column: &str) -> Result<bool, Error> {
    Ok(as_superuser(|| keys(target, Some(column)))?.iter().all(|key| key.composite))
}

/// Tables that a foreign key ties to this one and that are not scoped.
pub fn unscoped_relatives(target: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let oid = target.to_u32().to_string();
    let oids = as_superuser(|| spi::query(include_str!("relatives.sql"), &[Some(&oid)])).unwrap_or_default();
    oids.split(' ').filter_map(|oid| oid.parse().ok()).map(|oid: u32| oid.into()).collect()
}

/// What the catalogs say of a registered table, whoever is asking, and as if it were empty: rows are not read.
pub fn inspect(target: pg_sys::Oid) -> Result<Facts, Error> {
    as_superuser(|| catalogs(target, None))
}

const FACTS: &str = include_str!("facts.sql");

fn catalogs(target: pg_sys::Oid, column: Option<&str>) -> Result<Facts, Error> {
    let oid = target.to_u32().to_string();
    let json = spi::query_planned(FACTS, &[Some(&oid), column]);
    let json = json.ok_or_else(|| Error::Internal { what: format!("no table with oid {oid}") })?;
    serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("facts of a table: {e}") })
}

pub fn require_owner(target: pg_sys::Oid) -> Result<(), Error> {
    if pg::owns_table(target) { Ok(()) } else { Err(Error::NotOwner { table: table_name(target, None) }) }
}

fn rows(facts: &Facts) -> Rows {
    let exists = |condition: &str| {
        let sql = format!("SELECT EXISTS (SELECT FROM ONLY {}{condition})::text", facts.qualified);
        spi::query(&sql, &[]).as_deref() == Some("true")
    };
    let any = exists("");
    let without_organization = any
        && match &facts.column {
            None => true,
            Some(column) if column.has_no_null() => false,
            Some(_) => exists(&format!(" WHERE {} IS NULL", facts.column_quoted)),
        };
    Rows { any, without_organization }
}

impl Facts {
    /// The table and those that its keys tie it to.
    pub fn with_neighbours(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.oid).chain(self.neighbours.iter().map(|n| n.oid))
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
