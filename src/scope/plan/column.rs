//! The organization column: there, filled, defaulted, NOT NULL, and a key to orgscope.organization.

use super::{EXCLUSIVE, Plan, ROW_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, is_prepared};
use crate::scope::facts::Column;
use crate::scope::options::OnDelete;
use uuid::Uuid;

impl Plan<'_> {
    pub(super) fn column(&mut self) {
        let column = self.facts.column_quoted.clone();
        let constant = self.options.backfill.as_deref().and_then(|b| Uuid::try_parse(b).ok());
        let fills = self.facts.rows.without_organization;
        match (&self.facts.column, constant) {
            (None, Some(org)) if fills => {
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
        if self.facts.column.as_ref().and_then(|c| c.default.as_deref()) != Some("orgscope.current_org()") {
            let change = format!("ALTER COLUMN {column} SET DEFAULT orgscope.current_org()");
            self.alter("default", EXCLUSIVE, &change, "a program need not know the column: the context fills it");
        }
        if self.observes() {
            return self.nullable();
        }
        if !self.facts.column.as_ref().is_some_and(Column::is_filled) {
            let change = format!("ALTER COLUMN {column} SET NOT NULL");
            self.alter(
                "not null",
                EXCLUSIVE,
                &change,
                "a row without an organization would be nobody's and everybody's",
            );
        }
        let checks = self.facts.column.iter().flat_map(|c| &c.checks);
        for check in checks.filter(|c| is_prepared(&c.quoted)) {
            let change = format!("DROP CONSTRAINT {}", check.quoted);
            self.alter("not null", EXCLUSIVE, &change, "it has spared SET NOT NULL from reading the table");
        }
    }

    fn backfill(&mut self, needed: bool) {
        let (true, Some(expression)) = (needed, &self.options.backfill) else { return };
        let (table, column) = (&self.facts.qualified, &self.facts.column_quoted);
        let value = match Uuid::try_parse(expression) {
            Ok(org) => format!("'{org}'"),
            Err(_) => format!("({expression})"),
        };
        let sql = format!("UPDATE ONLY {table} SET {column} = {value} WHERE {column} IS NULL");
        self.add("backfill", ROW_EXCLUSIVE, sql, "existing rows get their organization; the table's own triggers fire");
    }

    pub(super) fn foreign_key(&mut self) {
        const REASON: &str = "every row's organization exists";
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
