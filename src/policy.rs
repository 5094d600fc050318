//! What a scoped table must have, as text exactly as PostgreSQL prints it back. Pure: no PostgreSQL in here.
//!
//! Because the wanted text equals the catalog's, "is it there and right?" is one comparison, for enable, repair and
//! doctor alike.

/// The predicate of every policy. Bare on purpose: a cast, an OR or a CASE around the call loses the index, and
/// `(SELECT …)` hides a skewed organization from the planner.
pub fn predicate(column: &str) -> String {
    format!("({column} = orgscope.require_org())")
}

/// The predicate while the table is observed: it lets every row through, and notes who reads without a context.
pub fn observing_predicate(qualified: &str) -> String {
    format!("orgscope.observe_read('{}'::regclass)", qualified.replace('\'', "''"))
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
    pub fn create(&self, table: &str, predicate: &str) -> String {
        let kind = if self.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
        let predicate = if predicate.starts_with('(') { predicate.into() } else { format!("({predicate})") };
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
    each: Each,
    event: &'static str,
    function: &'static str,
}

/// No trigger has a WHEN: its expression is parsed once a statement, which costs a single-row insert more than the call
/// of a native function that looks for itself.
#[derive(Debug, PartialEq)]
enum Each {
    Statement,
    Row,
    /// A statement, with the rows it has changed.
    Rows(&'static str),
}

pub const GUARDS: [Guard; 6] = [
    Guard {
        name: "0_orgscope_fill",
        reason: "fills a NULL organization, before any other trigger reads it",
        each: Each::Row,
        event: "BEFORE INSERT OR UPDATE",
        function: "fill",
    },
    Guard {
        name: "orgscope_last_word",
        reason: "the last word: no trigger of the application can change a row after it; counts rows for the audit log",
        each: Each::Row,
        event: "AFTER INSERT OR DELETE OR UPDATE",
        function: "last_word",
    },
    Guard {
        name: "orgscope_record",
        reason: "puts writes outside row security on record, in their transaction",
        each: Each::Statement,
        event: "AFTER INSERT OR DELETE OR UPDATE",
        function: "record",
    },
    Guard {
        name: "orgscope_statement",
        reason: "refuses a write without a context",
        each: Each::Statement,
        event: "BEFORE INSERT OR DELETE OR UPDATE",
        function: "statement",
    },
    Guard {
        name: "orgscope_truncate",
        reason: "refuses TRUNCATE, which row security does not cover",
        each: Each::Statement,
        event: "BEFORE TRUNCATE",
        function: "truncate",
    },
    Guard {
        name: "~orgscope_guard",
        reason: "refuses a row of another organization and a move, after the application's own triggers",
        each: Each::Row,
        event: "BEFORE INSERT OR UPDATE",
        function: "guard",
    },
];

/// What records changes where that is asked for. One trigger for each event: PostgreSQL gives the rows of no more than one.
pub const HISTORY: [Guard; 4] = [
    Guard {
        name: "orgscope_history_delete",
        reason: "change history: puts deleted rows on record",
        each: Each::Rows("OLD TABLE AS old_rows"),
        event: "AFTER DELETE",
        function: "history",
    },
    Guard {
        name: "orgscope_history_insert",
        reason: "change history: puts new rows on record",
        each: Each::Rows("NEW TABLE AS new_rows"),
        event: "AFTER INSERT",
        function: "history",
    },
    Guard {
        name: "orgscope_history_truncate",
        reason: "change history: puts TRUNCATE on record",
        each: Each::Statement,
        event: "AFTER TRUNCATE",
        function: "history",
    },
    Guard {
        name: "orgscope_history_update",
        reason: "change history: puts rows on record as they were and as they are",
        each: Each::Rows("OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        event: "AFTER UPDATE",
        function: "history",
    },
];

/// What keeps a shared table from being written by an organization.
pub const SHARED: [Guard; 2] = [
    Guard {
        name: "orgscope_shared",
        reason: "all organizations read the table, none writes it",
        each: Each::Statement,
        event: "BEFORE INSERT OR DELETE OR UPDATE",
        function: "shared",
    },
    Guard {
        name: "orgscope_shared_truncate",
        reason: "all organizations read the table, none empties it",
        each: Each::Statement,
        event: "BEFORE TRUNCATE",
        function: "shared",
    },
];

impl Guard {
    /// CREATE TRIGGER as pg_get_triggerdef() prints it. `literal` is the organization column as a string: a row trigger's
    /// argument.
    pub fn create(&self, table: &str, literal: &str, observe: bool) -> String {
        let (each, argument) = match self.each {
            Each::Row if observe => ("ROW", format!("{literal}, 'observe'")),
            Each::Row => ("ROW", literal.into()),
            // What is written outside row security is on record either way.
            Each::Statement if observe && !matches!(self.function, "record" | "history") => {
                ("STATEMENT", "'observe'".into())
            }
            Each::Statement | Each::Rows(_) => ("STATEMENT", String::new()),
        };
        let rows = if let Each::Rows(rows) = self.each { format!(" REFERENCING {rows}") } else { String::new() };
        let name = self.quoted_name();
        format!(
            "CREATE TRIGGER {name} {} ON {table}{rows} FOR EACH {each} EXECUTE FUNCTION orgscope.{}({argument})",
            self.event, self.function
        )
    }

    pub fn is_row(&self) -> bool {
        self.each == Each::Row
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
            assert!(names[0] < common && common < names[5]);
        }
    }

    #[test]
    fn the_predicate_is_bare() {
        assert_eq!(predicate("\"Org\""), "(\"Org\" = orgscope.require_org())");
    }
}
