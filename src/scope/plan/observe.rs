//! What is different in observe mode: nothing is refused and nothing hidden, so what would do either is left out or undone.

use super::{EXCLUSIVE, Plan};
use crate::error::Error;
use crate::policy::{BASE, FLOOR};
use crate::scope::facts::{Column, Facts};
use crate::scope::options::{Mode, Options};
use crate::scope::refuse;

/// Row security must come on for reads to be seen, and would wake the team's own restrictive policies with it.
pub fn dormant(facts: &Facts, options: &Options) -> Result<(), Error> {
    let restrictive = |p: &crate::scope::facts::Policy| !p.permissive && p.name != FLOOR.name;
    if options.mode == Mode::Enforce || before(facts).0 || !facts.policies.iter().any(restrictive) {
        return Ok(());
    }
    let detail = "It has a restrictive policy that takes no effect yet, for its row security is not enabled.";
    let hint = "Drop the policy while the table is observed, or scope the table with {\"mode\": \"enforce\"}.";
    Err(refuse::conflict(facts, detail, hint.into()))
}

/// Row security and FORCE as they were before the table was scoped.
fn before(facts: &Facts) -> (bool, bool) {
    match &facts.registered {
        Some(r) => (r.original.row_security, r.original.force_row_security),
        None => (facts.row_security, facts.force_row_security),
    }
}

/// Whether it was scoping that made the column NOT NULL.
pub(super) fn becomes_nullable(facts: &Facts) -> bool {
    let original = facts.registered.as_ref().and_then(|r| r.original.column.as_ref());
    let was = facts.registered.is_none() || original.is_some_and(|c| c.not_null);
    !was && facts.column.as_ref().is_some_and(Column::is_filled)
}

impl Plan<'_> {
    pub(super) fn observes(&self) -> bool {
        self.options.mode == Mode::Observe
    }

    /// A table whose own row security was on keeps it as it was: FORCE would hide rows from its owner, a base policy show
    /// rows to others.
    pub(super) fn keeps_row_security(&self) -> bool {
        self.observes() && before(self.facts).0
    }

    /// A row without an organization must go in. Reaches the tables below.
    pub(super) fn nullable(&mut self) {
        let change = format!("ALTER COLUMN {} DROP NOT NULL", self.facts.column_quoted);
        self.alter("not null", EXCLUSIVE, &change, "observed, not enforced");
    }

    pub(super) fn own_row_security(&mut self) {
        if self.facts.force_row_security && !before(self.facts).1 {
            self.alter("row security", EXCLUSIVE, "NO FORCE ROW LEVEL SECURITY", "observed, not enforced");
        }
        if self.facts.policies.iter().any(|p| p.name == BASE.name) {
            let drop = format!("DROP POLICY {} ON {}", BASE.name, self.facts.qualified);
            self.add("policy", EXCLUSIVE, drop, "observed, not enforced");
        }
    }
}
