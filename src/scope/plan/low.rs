//! The way of short locks: statements for the owner to run one by one, each its own transaction, that do the long work
//! before enable_org_scoping() takes its strong lock for what is then a moment.
//!
//! Constraints and indexes made here have names of their own kind, by which enable knows them for scoping's.

use super::{EXCLUSIVE, Plan, ROW_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, fit, made_scoped};
use crate::error::Error;
use crate::scope::Step;
use crate::scope::facts::{Column, Facts};
use crate::scope::options::{Index, Locks, OnDelete, Options};
use crate::scope::refuse;
use crate::scope::tree::Tree;
use std::borrow::Cow;

const SHARE_UPDATE_EXCLUSIVE: &str = "SHARE UPDATE EXCLUSIVE";
const KEY: &str = "orgscope_fkey";
const INDEX: &str = "orgscope_idx";
const CHECK: &str = "orgscope_check";

/// Whether a constraint or index was made on this way.
pub fn is_prepared(quoted: &str) -> bool {
    [KEY, INDEX, CHECK].iter().any(|label| quoted.contains(&format!("_{label}")))
}

/// Whether anything of the table was.
pub fn prepared(facts: &Facts) -> bool {
    let checks = facts.column.iter().flat_map(|c| c.checks.iter().map(|k| &k.quoted));
    let keys = facts.foreign_keys.iter().map(|k| &k.quoted);
    let indexes = facts.indexes.iter().map(|i| &i.quoted);
    checks.chain(keys).chain(indexes).any(|name| is_prepared(name))
}

pub fn low(tree: &Tree, options: &Options) -> Result<Vec<Step>, Error> {
    refuse::low_locks_of_many(tree)?;
    fit(tree, options)?;
    let mut plan = Plan::alone(tree.root(), options);
    plan.scoped_indexes = Cow::Owned(made_scoped(tree, options));
    plan.low_column();
    plan.low_not_null();
    plan.low_foreign_key();
    plan.low_index();
    plan.low_enable()?;
    Ok(plan.steps)
}

impl Plan<'_> {
    fn low_column(&mut self) {
        let column = &self.facts.column_quoted;
        let default = self.facts.column.as_ref().and_then(|c| c.default.as_deref());
        if self.facts.column.is_none() {
            let change = format!("ADD COLUMN {column} uuid");
            self.alter("column", EXCLUSIVE, &change, "without a default no row is touched: the lock is short");
        }
        if default != Some("orgscope.current_org()") {
            let change = format!("ALTER COLUMN {column} SET DEFAULT orgscope.current_org()");
            self.alter("default", EXCLUSIVE, &change, "from now on the context fills it; the lock is short");
        }
        if self.facts.rows.without_organization {
            self.low_backfill("in batches: nobody waits longer than for one of them");
        }
    }

    fn low_backfill(&mut self, reason: &str) {
        let Some(expression) = &self.options.backfill else { return };
        let (table, column) = (&self.facts.literal, &self.facts.column_literal);
        let sql =
            format!("CALL orgscope.backfill_org({table}, {}, column_name => {column})", string_literal(expression));
        self.add("backfill", ROW_EXCLUSIVE, sql, reason);
    }

    /// SET NOT NULL reads the whole table under the strongest lock, unless a valid CHECK says the same.
    fn low_not_null(&mut self) {
        let checks = self.facts.column.as_ref().map_or(&[][..], |c| &c.checks);
        if self.observes()
            || self.facts.column.as_ref().is_some_and(Column::is_filled)
            || checks.iter().any(|k| k.validated)
        {
            return;
        }
        let name = match checks.first() {
            Some(check) => check.quoted.clone(),
            None => {
                let name = self.free_name(CHECK);
                let change =
                    format!("ADD CONSTRAINT {name} CHECK ({} IS NOT NULL) NOT VALID", self.facts.column_quoted);
                self.alter("not null", EXCLUSIVE, &change, "holds for new rows; reads none, so the lock is short");
                if self.facts.rows.any {
                    self.low_backfill("what was written without an organization since the first one");
                }
                name
            }
        };
        let change = format!("VALIDATE CONSTRAINT {name}");
        self.alter("not null", SHARE_UPDATE_EXCLUSIVE, &change, "reads the table while others write");
    }

    fn low_foreign_key(&mut self) {
        let found = self.facts.foreign_keys.iter().find(|k| k.to_organization && k.enforced);
        if found.is_some_and(|k| k.validated) {
            return;
        }
        let name = match found {
            Some(key) => key.quoted.clone(),
            None => {
                let name = self.free_name(KEY);
                let action = match self.options.on_delete {
                    OnDelete::Restrict => "RESTRICT",
                    OnDelete::Cascade => "CASCADE",
                };
                let change = format!(
                    "ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES orgscope.organization (id) ON DELETE {action} NOT VALID",
                    self.facts.column_quoted
                );
                self.alter(
                    "foreign key",
                    SHARE_ROW_EXCLUSIVE,
                    &change,
                    "holds for new rows; reads none, so the lock is short",
                );
                name
            }
        };
        let change = format!("VALIDATE CONSTRAINT {name}");
        self.alter("foreign key", SHARE_UPDATE_EXCLUSIVE, &change, "reads the table while others write");
    }

    /// Not inside a function or transaction: it waits for the transactions of others.
    fn low_index(&mut self) {
        if self.options.index == Index::None || self.facts.indexes.iter().any(|i| i.usable && i.leads) {
            return;
        }
        let name = self.free_name(INDEX);
        let sql =
            format!("CREATE INDEX CONCURRENTLY {name} ON {} ({})", self.facts.qualified, self.facts.column_quoted);
        self.add("index", SHARE_UPDATE_EXCLUSIVE, sql, "built while others write");
    }

    fn low_enable(&mut self) -> Result<(), Error> {
        let facts = self.facts;
        let scoped = self.scoped_indexes.clone();
        for index in facts.indexes.iter().filter(|i| scoped.contains(&i.oid)) {
            let reason = format!(
                "the next step builds {} anew under its lock; the option {{\"unique\": \"keep\"}} leaves it as it is",
                index.quoted
            );
            self.add("note", "", String::new(), reason);
        }
        // What is left for it needs no expression.
        let options = Options { locks: Locks::Normal, backfill: None, ..self.options.clone() };
        let options = serde_json::to_string(&options).map_err(|e| Error::Internal { what: e.to_string() })?;
        let sql = format!(
            "SELECT * FROM orgscope.enable_org_scoping({}, {}, {})",
            facts.literal,
            facts.column_literal,
            string_literal(&options)
        );
        self.add("enable", EXCLUSIVE, sql, "what is left changes catalogs only: the lock is short");
        Ok(())
    }
}

/// As quote_literal() writes it with standard_conforming_strings in doubt.
fn string_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}
