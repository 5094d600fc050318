//! What is unique becomes unique per organization; an index leads with the organization.

use super::{EXCLUSIVE, Plan, SHARE};
use crate::scope::facts::Index;
use crate::scope::options;

impl Plan<'_> {
    pub(super) fn uniques(&mut self) {
        // Observed, what is unique stays so: enforcing changes it.
        if self.observes() {
            return;
        }
        let (facts, options) = (self.facts, self.options);
        for index in facts.indexes.iter().filter(|i| becomes_scoped(i) && options.scopes(i)) {
            let scoped = scoped_definition(index, &facts.column_quoted);
            let reason = "unique per organization: across organizations it would tell one what another has";
            match (&index.constraint, scoped) {
                (Some(_), Some(definition)) => {
                    let name = &index.quoted;
                    let change = format!("DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition}");
                    self.alter("unique", EXCLUSIVE, &change, reason);
                }
                (None, Some(definition)) => {
                    let drop = format!("DROP INDEX {}.{}", facts.schema_quoted, index.quoted);
                    self.add("unique", EXCLUSIVE, drop, "replaced by the next step");
                    self.add("unique", SHARE, definition, reason);
                }
                (_, None) => continue,
            }
            for sql in facts.attachments(index, 1) {
                self.add("unique", EXCLUSIVE, sql, "it goes with the index, which was made anew");
            }
        }
    }

    /// Needed unless an index leads with the column already, or one that this plan makes will.
    pub(super) fn index(&mut self) {
        let becomes = |i: &Index| !self.observes() && self.options.scopes(i) && becomes_scoped(i);
        let leads = |i: &Index| i.usable && (i.leads || becomes(i));
        if self.options.index == options::Index::None || self.facts.indexes.iter().any(leads) {
            return;
        }
        let name = self.free_name("idx");
        let sql = format!("CREATE INDEX {name} ON {} ({})", self.facts.qualified, self.facts.column_quoted);
        self.add("index", SHARE, sql, "one organization's rows are found without reading the others'");
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
