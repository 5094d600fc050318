//! Row security, policies and guards.

use super::{EXCLUSIVE, Plan, SHARE_ROW_EXCLUSIVE};
use crate::policy::{BASE, FLOOR, GUARDS, Guard, HISTORY, Policy, observing_predicate, predicate};
use crate::scope::facts::{self, Facts};

impl Plan<'_> {
    pub(super) fn row_security(&mut self) {
        if self.keeps_row_security() {
            return self.own_row_security();
        }
        if !self.facts.row_security {
            self.alter("row security", EXCLUSIVE, "ENABLE ROW LEVEL SECURITY", "policies apply");
        }
        if !self.facts.force_row_security {
            self.alter(
                "row security",
                EXCLUSIVE,
                "FORCE ROW LEVEL SECURITY",
                "policies apply to the table's owner too",
            );
        }
    }

    pub(super) fn policies(&mut self) {
        let own_permissive = self.facts.policies.iter().any(|p| p.permissive && p.name != BASE.name);
        let has_base = self.facts.policies.iter().any(|p| p.name == BASE.name);
        let observed =
            |p: &facts::Policy| p.name == BASE.name && p.using == Some(observing_predicate(&self.facts.qualified));
        let was_observed = !self.observes() && self.facts.policies.iter().any(observed);
        if self.keeps_row_security() {
            // Dropped with what else enforcing had added.
        } else if was_observed && own_permissive {
            let drop = format!("DROP POLICY {} ON {}", BASE.name, self.facts.qualified);
            self.add("policy", EXCLUSIVE, drop, "the table has permissive policies of its own");
        } else if self.observes() || has_base || !own_permissive {
            self.policy(&BASE);
        }
        self.policy(&FLOOR);
    }

    fn policy(&mut self, wanted: &Policy) {
        let (table, column) = (&self.facts.qualified, &self.facts.column_quoted);
        let found = self.facts.policies.iter().find(|p| p.name == wanted.name);
        let wanted_text = if self.observes() { observing_predicate(table) } else { predicate(column) };
        let predicate = Some(wanted_text.clone());
        if found.is_some_and(|p| {
            p.permissive == wanted.permissive && p.everywhere && p.using == predicate && p.check == predicate
        }) {
            return;
        }
        let create = wanted.create(table, &wanted_text);
        if found.is_some() {
            let drop = format!("DROP POLICY {} ON {table}", wanted.name);
            self.add("policy", EXCLUSIVE, drop, "it was changed; replaced by the next step");
        }
        self.add("policy", EXCLUSIVE, create, wanted.reason);
    }

    pub(super) fn guards(&mut self) {
        for guard in &GUARDS {
            self.guard(guard);
        }
        if self.history {
            return HISTORY.iter().for_each(|guard| self.guard(guard));
        }
        for found in self.facts.triggers.iter().filter(|t| t.ours && HISTORY.iter().any(|h| h.name == t.name)) {
            let drop = format!("DROP TRIGGER {} ON {}", found.quoted, self.facts.qualified);
            self.add("guard", EXCLUSIVE, drop, "changes are not recorded");
        }
    }

    /// A partition's row triggers are clones of those of the table above it.
    pub(super) fn guard(&mut self, wanted: &Guard) {
        let facts = self.facts;
        let create = wanted.create(&facts.qualified, &facts.column_literal, self.observes());
        let found = facts.triggers.iter().find(|t| t.name == wanted.name);
        let name = wanted.quoted_name();
        let cloned = facts.partition && wanted.is_row();
        let right = found.is_some_and(|t| t.definition == create && t.clone == cloned);
        if let Some(wrong) = found.filter(|t| !right && !t.clone) {
            let drop = format!("DROP TRIGGER {} ON {}", wrong.quoted, facts.qualified);
            let reason = if cloned { "a clone takes its place" } else { "it was changed; replaced by the next step" };
            self.add("guard", EXCLUSIVE, drop, reason);
        }
        if !right && !cloned {
            self.add("guard", SHARE_ROW_EXCLUSIVE, create, wanted.reason);
        }
        if (!right && !cloned) || found.is_some_and(|t| right && !t.always) {
            let change = format!("ENABLE ALWAYS TRIGGER {name}");
            self.alter("guard", SHARE_ROW_EXCLUSIVE, &change, "it fires whatever session_replication_role says");
        }
    }
}

/// The guards that a partition is to have from the table above it and has not: no step of its own can make them.
pub fn lacking_clones(facts: &Facts) -> Vec<String> {
    let is_there = |guard: &Guard| facts.triggers.iter().any(|t| t.clone && t.name == guard.name);
    let lacking = GUARDS.iter().filter(|guard| facts.partition && guard.is_row() && !is_there(guard));
    lacking.map(Guard::quoted_name).collect()
}
