//! Change history: old and new images of the rows that a statement has changed, written by AFTER STATEMENT triggers with
//! transition tables: one INSERT ... SELECT for each statement, whatever the number of its rows.
//!
//! The registry says which tables have it, and the planner puts the triggers on them: what enable does, repair and the
//! drift rules know.

mod image;
mod record;
mod statement;

use crate::error::Error;
use crate::pg::as_superuser;
use crate::scope::{Facts, change_registry, conflict};
use crate::spi;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// How changes are recorded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct History {
    /// Columns whose values are left out.
    pub exclude: Vec<String>,
}

pub fn init() {
    statement::init();
}

/// What speaks against recording the changes of a table.
#[derive(Deserialize)]
struct Obstacles {
    key: bool,
    typed: bool,
    unknown: Option<String>,
    in_key: Option<String>,
}

impl History {
    /// `exclude` is a JSON array of names, or null.
    pub fn of(facts: &Facts, exclude: &str) -> Result<Self, Error> {
        let exclude: Option<Vec<String>> = serde_json::from_str(exclude).map_err(internal)?;
        let mut exclude = exclude.unwrap_or_default();
        exclude.sort();
        exclude.dedup();
        let names = serde_json::json!(exclude).to_string();
        let args = [facts.oid.to_string(), names];
        let args = args.each_ref().map(|a| Some(a.as_str()));
        let found = as_superuser(|| spi::query(include_str!("obstacles.sql"), &args)).unwrap_or_default();
        let found: Obstacles = serde_json::from_str(&found).map_err(internal)?;
        found.refuse(facts, &exclude)?;
        Ok(Self { exclude })
    }
}

impl Obstacles {
    fn refuse(&self, facts: &Facts, exclude: &[String]) -> Result<(), Error> {
        let refuse = |detail: &str, hint: &str| {
            let ours = conflict(facts, detail, hint.into());
            let Error::Conflict { table, detail, hint, .. } = ours else { return Err(ours) };
            let message = format!("cannot record the changes of table \"{}\"", facts.table);
            Err(Error::Conflict { table, message, detail, hint })
        };
        if !self.key {
            return refuse(
                "It has no primary key, by which the history of a row is found.",
                "Add a primary key to it first.",
            );
        }
        if let Some(name) = &self.unknown {
            return refuse(&format!("It has no column \"{name}\" to exclude."), "Name columns of the table.");
        }
        if let Some(name) = &self.in_key {
            return refuse(
                &format!("Column \"{name}\" is part of its primary key, which is recorded with each change."),
                "Leave the primary key's columns out of exclude_columns.",
            );
        }
        if self.typed && !exclude.is_empty() {
            return refuse(
                "It is a table OF a type: a column that is renamed in the type would no longer be excluded.",
                "Make it a table of its own with ALTER TABLE ... NOT OF first.",
            );
        }
        Ok(())
    }
}

/// Writes down in the registry how the table's changes are recorded.
pub fn remember(facts: &Facts, history: Option<&History>) -> Result<(), Error> {
    let json = history.map(serde_json::to_string).transpose().map_err(internal)?;
    let sql = "UPDATE orgscope.scoped_table s SET history = $2::jsonb FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = $1::oid AND s.schema_name = n.nspname AND s.table_name = c.relname";
    change_registry(sql, &[Some(&facts.oid.to_string()), json.as_deref()]);
    plan_anew(facts.oid);
    Ok(())
}

/// Sessions plan anew how they record the changes of a table: also when another one has come to the top of its tree.
pub fn plan_anew(table: u32) {
    // SAFETY: the table is locked by the caller.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table.into()) };
}

/// A column that is left out stays so under its new name, in the table and what is below it.
pub fn follow_column(old: &str, new: &str) {
    as_superuser(|| spi::query_planned(include_str!("follow.sql"), &[Some(old), Some(new)]));
}

fn internal(error: serde_json::Error) -> Error {
    Error::Internal { what: format!("change history: {error}") }
}
