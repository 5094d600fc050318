//! Tables that come to a scoped tree or leave it later: scoped within the statement that does so.

use crate::error::Error;
use crate::guard::table_name;
use crate::history::{self, History};
use crate::pg::as_superuser;
use crate::scope::facts::{self, Facts};
use crate::scope::options::Options;
use crate::scope::tree::Tree;
use crate::scope::undo::{Original, left_behind};
use crate::scope::{enable, plan};
use crate::spi;
use pgrx::pg_sys;
use serde::Deserialize;

/// What a DDL statement has done to trees of scoped tables.
#[derive(Deserialize)]
struct Changes {
    new: Vec<Change>,
    leaving: Vec<Change>,
    /// A scoped table below one that is not.
    exposed: Option<u32>,
}

/// A table, and how the table above it is registered; for a leaving one, how it is itself.
#[derive(Deserialize)]
struct Change {
    table: u32,
    column: String,
    options: Options,
    original: Original,
    #[serde(default)]
    history: Option<History>,
}

/// Whether a command of this tag may change which tables belong together.
pub fn may_change(tag: &str) -> bool {
    ["ALTER TABLE", "ALTER FOREIGN TABLE", "CREATE TABLE", "CREATE FOREIGN TABLE", "CREATE SCHEMA"].contains(&tag)
}

/// Called at the end of every DDL statement that may concern a tree. The steps run as who runs the statement, owner of
/// the new table or superuser.
pub fn adopt() -> Result<(), Error> {
    let changes = as_superuser(|| spi::query(include_str!("members.sql"), &[]));
    let Some(json) = changes else { return Ok(()) };
    let changes: Changes =
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("members of a tree: {e}") })?;
    if let Some(table) = changes.exposed {
        return Err(Error::Attached { table: table_name(table.into(), None) });
    }
    // A table with two scoped parents comes twice; what the second asks is there already, or refused.
    changes.new.iter().try_for_each(scope_new)?;
    changes.leaving.iter().try_for_each(scope_leaving)
}

/// The new table and what is below it. Its parents are above and stay as they are.
fn scope_new(new: &Change) -> Result<(), Error> {
    let tables = below(new.table);
    let mut tree = facts::read_all(&tables, Some(&new.column))?;
    tree.history = new.history.clone();
    refuse_other_parents(&tree, &tables)?;
    tree.oids().for_each(history::plan_anew);
    let kept = |member: usize, own: Original| {
        Some(Original { member: true, ..as_if_before(&tree.members()[member], own, &new.original) })
    };
    enable(&tree, &new.options, kept).map(drop)
}

/// What the new table has of scoping from its parent, it would not have had.
fn as_if_before(facts: &Facts, mut own: Original, parent: &Original) -> Original {
    if facts.registered.is_some() {
        return own;
    }
    let above = parent.column.clone().unwrap_or_default();
    if let Some(column) = &mut own.column {
        column.not_null &= above.not_null;
        if column.default.as_deref() == Some(plan::DEFAULT) {
            column.default = above.default;
        }
    }
    own
}

/// A table below that has another parent as well can be read through that one.
fn refuse_other_parents(tree: &Tree, tables: &[u32]) -> Result<(), Error> {
    let others: Vec<String> = (tree.members().iter().flat_map(|m| &m.parents))
        .filter(|p| !tables.contains(p))
        .map(|p| p.to_string())
        .collect();
    let sql = "SELECT 'yes' FROM unnest($1::oid[]) other (oid) JOIN pg_class c ON c.oid = other.oid \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE NOT EXISTS (SELECT FROM orgscope.scoped_table s WHERE s.schema_name = n.nspname AND s.table_name = c.relname) \
               LIMIT 1";
    let unscoped = as_superuser(|| spi::query(sql, &[Some(&format!("{{{}}}", others.join(",")))]));
    match unscoped {
        None => Ok(()),
        Some(_) => Err(Error::Attached { table: tree.root().table_name() }),
    }
}

/// A table that is nobody's partition or child any more stays scoped, alone or at the top of its own tree. PostgreSQL
/// takes the row triggers from a detached partition; keys and indexes stay with it.
fn scope_leaving(leaving: &Change) -> Result<(), Error> {
    let target = pg_sys::Oid::from(leaving.table);
    let tree = facts::read(target, Some(&leaving.column))?;
    tree.oids().for_each(history::plan_anew);
    let kept = |member: usize, own: Original| {
        let facts = &tree.members()[member];
        let mut original = Original { member: !tree.is_root(member), ..own };
        if tree.is_root(member) {
            original.added.extend(left_behind(facts, &original));
        }
        facts.registered.is_some().then_some(original)
    };
    enable(&tree, &leaving.options, kept).map(drop)
}

/// The table and all below it, the table first.
fn below(table: u32) -> Vec<u32> {
    let sql = "WITH RECURSIVE below (oid) AS (SELECT $1::oid UNION \
               SELECT i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.oid) \
               SELECT jsonb_agg(oid::bigint)::text FROM below";
    let json = as_superuser(|| spi::query(sql, &[Some(&table.to_string())]));
    json.and_then(|j| serde_json::from_str(&j).ok()).unwrap_or_default()
}
