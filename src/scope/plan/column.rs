//! The organization column: there, filled, defaulted, NOT NULL, and a key to orgscope.organization.

use super::{EXCLUSIVE, Plan, ROW_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, is_prepared};
use crate::scope::facts::{Column, Facts};
use crate::scope::options::OnDelete;
use crate::scope::tree::Tree;
use uuid::Uuid;

pub const DEFAULT: &str = "orgscope.current_org()";

pub(super) fn lacks_default(facts: &Facts) -> bool {
    facts.column.as_ref().and_then(|c| c.default.as_deref()) != Some(DEFAULT)
}

pub(super) fn may_be_null(facts: &Facts) -> bool {
    !facts.column.as_ref().is_some_and(Column::is_filled)
}

/// Whether a table below a root has the column already: rows there are not filled by adding it to the root.
pub(super) fn is_below(tree: &Tree) -> bool {
    tree.members().iter().enumerate().any(|(i, m)| !tree.is_root(i) && m.column.is_some())
}

impl Plan<'_> {
    /// The column, filled. A root's reaches the tables below it.
    pub(super) fn added_column(&mut self) {
        if !self.is_root {
            return;
        }
        let column = self.facts.column_quoted.clone();
        let constant = self.options.backfill.as_deref().and_then(|b| Uuid::try_parse(b).ok());
        let fills = self.facts.rows.without_organization;
        match (&self.facts.column, constant) {
            (None, Some(org)) if fills && !self.column_below => {
                let change = format!("ADD COLUMN {column} uuid DEFAULT '{org}'");
                self.alter("column", EXCLUSIVE, &change, "existing rows get the organization without being rewritten");
            }
            (None, _) => {
                self.alter(
                    "column",
                    EXCLUSIVE,
                    &format!("ADD COLUMN {column} uuid"),
                    "every row names its organization",
                );
                self.backfill(fills);
            }
            (Some(_), _) => self.backfill(fills),
        }
    }

    pub(super) fn default_value(&mut self) {
        let change = format!("ALTER COLUMN {} SET DEFAULT orgscope.current_org()", self.facts.column_quoted);
        self.alter("default", EXCLUSIVE, &change, "a program need not know the column: the context fills it");
    }

    pub(super) fn not_null(&mut self) {
        let change = format!("ALTER COLUMN {} SET NOT NULL", self.facts.column_quoted);
        self.alter("not null", EXCLUSIVE, &change, "a row without an organization would be nobody's and everybody's");
    }

    pub(super) fn dropped_checks(&mut self) {
        let checks = self.facts.column.iter().flat_map(|c| &c.checks);
        for check in checks.filter(|c| is_prepared(&c.quoted)) {
            let change = format!("DROP CONSTRAINT {}", check.quoted);
            self.alter("not null", EXCLUSIVE, &change, "it has spared SET NOT NULL from reading the table");
        }
    }

    /// Through the root, so that rows move to the partition of their organization.
    fn backfill(&mut self, needed: bool) {
        let (true, Some(expression)) = (needed, &self.options.backfill) else { return };
        let (table, column) = (&self.facts.qualified, &self.facts.column_quoted);
        let value = match Uuid::try_parse(expression) {
            Ok(org) => format!("'{org}'"),
            Err(_) => format!("({expression})"),
        };
        let sql = format!("UPDATE {table} SET {column} = {value} WHERE {column} IS NULL");
        self.add("backfill", ROW_EXCLUSIVE, sql, "existing rows get their organization; the table's own triggers fire");
    }

    pub(super) fn foreign_key(&mut self) {
        const REASON: &str = "every row's organization exists";
        // A partition has that of the table above it; an inheritance child needs its own.
        if self.facts.partition {
            return;
        }
        let (enforced, lapsed): (Vec<_>, Vec<_>) =
            self.facts.foreign_keys.iter().filter(|k| k.to_organization).partition(|k| k.enforced);
        if let Some(key) = enforced.first() {
            if !key.validated {
                let change = format!("VALIDATE CONSTRAINT {}", key.quoted);
                self.alter("foreign key", SHARE_ROW_EXCLUSIVE, &change, REASON);
            }
            return;
        }
        // A key that was NOT ENFORCED before stays so, for the way back; one that scoping has made is put right.
        if let Some(key) = lapsed.iter().find(|k| self.facts.has_added(&k.quoted)) {
            let change = format!("ALTER CONSTRAINT {} ENFORCED", key.quoted);
            self.alter("foreign key", SHARE_ROW_EXCLUSIVE, &change, REASON);
            return;
        }
        let name = self.free_name("fkey");
        let action = match self.options.on_delete {
            OnDelete::Restrict => "RESTRICT",
            OnDelete::Cascade => "CASCADE",
        };
        let change = format!(
            "ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES orgscope.organization (id) ON DELETE {action}",
            self.facts.column_quoted
        );
        self.alter("foreign key", SHARE_ROW_EXCLUSIVE, &change, REASON);
    }
}
