//! What a scoped table must have, as text exactly as PostgreSQL prints it back. Pure: no PostgreSQL in here.
//!
//! Because the wanted text equals the catalog's, "is it there and right?" is one comparison, for enable, repair and
//! doctor alike.

/// The predicate of every policy. Bare on purpose: a cast, an OR or a CASE around the call loses the index, and
/// `(SELECT …)` hides a skewed organization from the planner.
pub fn predicate(column: &str) -> String {
    format!("({column} = orgscope.require_org())")
}

#[derive(Debug, PartialEq)]
pub struct Policy {
    pub name: &'static str,
    pub permissive: bool,
    pub reason: &'static str,
}

pub const BASE: Policy = Policy {
    name: "orgscope_base",
    permissive: true,
    reason: "lets a role see and write its organization's rows; left out where the table has permissive policies of its own",
};

pub const FLOOR: Policy = Policy {
    name: "orgscope_floor",
    permissive: false,
    reason: "restrictive: no permissive policy, now or later, can reach past the organization",
};

impl Policy {
    pub fn create(&self, table: &str, column: &str) -> String {
        let kind = if self.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
        let predicate = predicate(column);
        format!(
            "CREATE POLICY {} ON {table} AS {kind} FOR ALL TO PUBLIC USING {predicate} WITH CHECK {predicate}",
            self.name
        )
    }
}

#[derive(Debug, PartialEq)]
pub struct Guard {
    /// Sorts where it must fire: triggers of one kind fire in the order of their names.
    pub name: &'static str,
    pub reason: &'static str,
    when: When,
    event: &'static str,
    function: &'static str,
}

#[derive(Debug, PartialEq)]
enum When {
    Always,
    Null,
    /// Also a NULL without a context, which is not distinct from it.
    NotCurrent,
    NeedsGuard {
        old: &'static str,
        new: &'static str,
    },
}

const fn last_word(name: &'static str, event: &'static str, old: &'static str, new: &'static str) -> Guard {
    Guard {
        name,
        reason: "the last word: no trigger of the application can change a row after it",
        when: When::NeedsGuard { old, new },
        event,
        function: "last_word",
    }
}

pub const GUARDS: [Guard; 8] = [
    Guard {
        name: "0_orgscope_fill",
        reason: "fills a NULL organization, before any other trigger reads it",
        when: When::Null,
        event: "BEFORE INSERT OR UPDATE",
        function: "fill",
    },
    last_word("orgscope_last_word_delete", "AFTER DELETE", "old", "old"),
    last_word("orgscope_last_word_insert", "AFTER INSERT", "new", "new"),
    last_word("orgscope_last_word_update", "AFTER UPDATE", "old", "new"),
    Guard {
        name: "orgscope_record",
        reason: "puts writes outside row security on record, in their transaction",
        when: When::Always,
        event: "AFTER INSERT OR DELETE OR UPDATE",
        function: "record",
    },
    Guard {
        name: "orgscope_statement",
        reason: "refuses a write without a context",
        when: When::Always,
        event: "BEFORE INSERT OR DELETE OR UPDATE",
        function: "statement",
    },
    Guard {
        name: "orgscope_truncate",
        reason: "refuses TRUNCATE, which row security does not cover",
        when: When::Always,
        event: "BEFORE TRUNCATE",
        function: "truncate",
    },
    Guard {
        name: "~orgscope_guard",
        reason: "refuses a row of another organization and a move, after the application's own triggers",
        when: When::NotCurrent,
        event: "BEFORE INSERT OR UPDATE",
        function: "guard",
    },
];

impl Guard {
    /// CREATE TRIGGER as pg_get_triggerdef() prints it. `column` is quoted as an identifier, `literal` as a string.
    pub fn create(&self, table: &str, column: &str, literal: &str) -> String {
        let each = match self.when {
            When::Always => "FOR EACH STATEMENT".to_owned(),
            When::Null => format!("FOR EACH ROW WHEN ((new.{column} IS NULL))"),
            When::NotCurrent => {
                format!(
                    "FOR EACH ROW WHEN (((new.{column} IS DISTINCT FROM orgscope.current_org()) OR (new.{column} IS NULL)))"
                )
            }
            When::NeedsGuard { old, new } => {
                format!("FOR EACH ROW WHEN (orgscope.needs_guard({new}.tableoid, {old}.{column}, {new}.{column}))")
            }
        };
        let name = self.quoted_name();
        format!(
            "CREATE TRIGGER {name} {} ON {table} {each} EXECUTE FUNCTION orgscope.{}({literal})",
            self.event, self.function
        )
    }

    /// PostgreSQL quotes only the names that need it.
    pub fn quoted_name(&self) -> String {
        if self.name.starts_with("orgscope") { self.name.into() } else { format!("\"{}\"", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_sort_where_they_must_fire() {
        let names: Vec<_> = GUARDS.iter().map(|g| g.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        for common in ["a_trigger", "zz_flip", "audit", "A", "_x", "zzzz"] {
            assert!(names[0] < common && common < names[7]);
        }
    }

    #[test]
    fn the_predicate_is_bare() {
        assert_eq!(predicate("\"Org\""), "(\"Org\" = orgscope.require_org())");
    }
}
