//! From facts to steps. Pure: the same facts give the same plan, and the facts of a scoped table give none.

use crate::error::Error;
use crate::policy::{BASE, FLOOR, GUARDS, Guard, Policy, predicate};
use crate::scope::Step;
use crate::scope::facts::{Column, Facts, Index};
use crate::scope::options::{self, OnDelete, Options};
use crate::scope::refuse;
use uuid::Uuid;

const EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
const SHARE: &str = "SHARE";
const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";

/// The steps that are missing, in order. OS005 when the table cannot be scoped as asked.
pub fn plan(facts: &Facts, options: &Options) -> Result<Vec<Step>, Error> {
    refuse::unfit(facts)?;
    refuse::unfilled(facts, options)?;
    let mut plan = Plan { facts, options, steps: Vec::new() };
    plan.column();
    plan.foreign_key();
    plan.uniques();
    plan.index();
    plan.row_security();
    plan.policies();
    plan.guards();
    Ok(plan.steps)
}

struct Plan<'a> {
    facts: &'a Facts,
    options: &'a Options,
    steps: Vec<Step>,
}

impl Plan<'_> {
    fn add(&mut self, kind: &'static str, lock: &'static str, sql: String, reason: impl Into<String>) {
        let step = self.steps.len() + 1;
        self.steps.push(Step { step, kind, sql, lock, reason: reason.into() });
    }

    fn alter(&mut self, kind: &'static str, lock: &'static str, change: &str, reason: impl Into<String>) {
        self.add(kind, lock, format!("ALTER TABLE {} {change}", self.facts.qualified), reason);
    }

    fn column(&mut self) {
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
        if !self.facts.column.as_ref().is_some_and(Column::is_filled) {
            let change = format!("ALTER COLUMN {column} SET NOT NULL");
            self.alter(
                "not null",
                EXCLUSIVE,
                &change,
                "a row without an organization would be nobody's and everybody's",
            );
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

    fn foreign_key(&mut self) {
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

    fn uniques(&mut self) {
        if self.options.unique == options::Unique::Keep {
            return;
        }
        let facts = self.facts;
        for index in facts.indexes.iter().filter(|i| becomes_scoped(i)) {
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
    fn index(&mut self) {
        let leads =
            |i: &Index| i.usable && (i.leads || (self.options.unique == options::Unique::Auto && becomes_scoped(i)));
        if self.options.index == options::Index::None || self.facts.indexes.iter().any(leads) {
            return;
        }
        let name = self.free_name("idx");
        let sql = format!("CREATE INDEX {name} ON {} ({})", self.facts.qualified, self.facts.column_quoted);
        self.add("index", SHARE, sql, "one organization's rows are found without reading the others'");
    }

    fn row_security(&mut self) {
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

    fn policies(&mut self) {
        let own_permissive = self.facts.policies.iter().any(|p| p.permissive && p.name != BASE.name);
        let has_base = self.facts.policies.iter().any(|p| p.name == BASE.name);
        if has_base || !own_permissive {
            self.policy(&BASE);
        }
        self.policy(&FLOOR);
    }

    fn policy(&mut self, wanted: &Policy) {
        let (table, column) = (&self.facts.qualified, &self.facts.column_quoted);
        let found = self.facts.policies.iter().find(|p| p.name == wanted.name);
        let predicate = Some(predicate(column));
        if found.is_some_and(|p| {
            p.permissive == wanted.permissive && p.everywhere && p.using == predicate && p.check == predicate
        }) {
            return;
        }
        let create = wanted.create(table, column);
        if found.is_some() {
            let drop = format!("DROP POLICY {} ON {table}", wanted.name);
            self.add("policy", EXCLUSIVE, drop, "it was changed; replaced by the next step");
        }
        self.add("policy", EXCLUSIVE, create, wanted.reason);
    }

    fn guards(&mut self) {
        for guard in &GUARDS {
            self.guard(guard);
        }
    }

    fn guard(&mut self, wanted: &Guard) {
        let facts = self.facts;
        let create = wanted.create(&facts.qualified, &facts.column_literal);
        let found = facts.triggers.iter().find(|t| t.name == wanted.name);
        let name = wanted.quoted_name();
        let right = found.is_some_and(|t| t.definition == create);
        if let Some(wrong) = found.filter(|_| !right) {
            let drop = format!("DROP TRIGGER {} ON {}", wrong.quoted, facts.qualified);
            self.add("guard", EXCLUSIVE, drop, "it was changed; replaced by the next step");
        }
        if !right {
            self.add("guard", SHARE_ROW_EXCLUSIVE, create, wanted.reason);
        }
        if !right || found.is_some_and(|t| !t.always) {
            let change = format!("ENABLE ALWAYS TRIGGER {name}");
            self.alter("guard", SHARE_ROW_EXCLUSIVE, &change, "it fires whatever session_replication_role says");
        }
    }

    /// `table_column_label` as PostgreSQL would name it, cut to 63 bytes, and not taken.
    fn free_name(&self, label: &str) -> String {
        let (mut table, column) = (self.facts.table.clone(), self.facts.column_name.clone());
        (0..)
            .map(|n| {
                let suffix = if n == 0 { label.to_owned() } else { format!("{label}{n}") };
                let mut column = column.clone();
                while table.len() + column.len() + suffix.len() + 2 > 63 {
                    if table.len() >= column.len() {
                        table.pop()
                    } else {
                        column.pop()
                    };
                }
                format!("{table}_{column}_{suffix}")
            })
            .find(|name| !self.facts.taken_names.contains(name))
            .map_or_else(String::new, |name| quote(&name))
    }
}

/// Whether a unique index becomes unique per organization. A primary key stays, and so does what a foreign key refers to
/// or a replica identity uses: others depend on its columns.
pub fn becomes_scoped(index: &Index) -> bool {
    let needed = index.primary || index.referenced || index.replica_identity;
    index.unique && !index.contains && !needed
}

/// The definition with the organization column put first. PostgreSQL prints definitions in one form, so the place is
/// known: behind the first parenthesis of a constraint, behind the index's prefix.
pub fn scoped_definition(index: &Index, column: &str) -> Option<String> {
    match &index.constraint {
        Some(definition) => definition.split_once('(').map(|(head, rest)| format!("{head}({column}, {rest}")),
        None => index.definition.strip_prefix(&index.prefix).map(|rest| format!("{}{column}, {rest}", index.prefix)),
    }
}

/// Quotes a generated name where PostgreSQL would. Its suffix keeps it from being a keyword.
fn quote(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.bytes().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.into();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// An empty, ordinary table with the given names.
    fn facts(table: &str, column: &str, change: impl FnOnce(&mut Value)) -> Facts {
        let mut json = json!({
            "schema": "public", "schema_quoted": "public", "table": table, "qualified": format!("public.{table}"),
            "literal": format!("'public.{table}'"), "kind": "r", "temporary": false, "system": false, "is_child": false,
            "has_children": false, "row_security": false, "force_row_security": false, "column_name": column,
            "column_quoted": column, "column_literal": format!("'{column}'"), "column": null, "foreign_keys": [],
            "indexes": [], "policies": [], "triggers": [], "taken_names": [], "registered": null
        });
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    fn index(definition: &str, prefix: &str, constraint: Option<&str>) -> Index {
        serde_json::from_value(json!({
            "quoted": "i", "definition": definition, "prefix": prefix, "unique": true, "primary": false, "usable": true,
            "leads": false, "contains": false, "replica_identity": false, "referenced": false,
            "constraint": constraint, "comment": null, "clustered": false, "statistics": []
        }))
        .unwrap()
    }

    #[test]
    fn a_plain_table_gets_everything_in_order() {
        let steps = plan(&facts("t", "org", |_| ()), &Options::default()).unwrap();
        let mut kinds: Vec<_> = steps.iter().map(|s| s.kind).collect();
        kinds.dedup();
        assert_eq!(kinds, ["column", "default", "not null", "foreign key", "index", "row security", "policy", "guard"]);
        assert!(steps.iter().enumerate().all(|(i, s)| s.step == i + 1));
    }

    #[test]
    fn rows_need_a_backfill() {
        let mut with_rows = facts("t", "org", |_| ());
        with_rows.rows = crate::scope::facts::Rows { any: true, without_organization: true };
        assert_eq!(plan(&with_rows, &Options::default()).unwrap_err().report().sqlstate, "OS005");
        let options = Options { backfill: Some("(SELECT 1)".into()), ..Options::default() };
        assert!(plan(&with_rows, &options).unwrap().iter().any(|s| s.kind == "backfill"));
    }

    #[test]
    fn the_organization_comes_first_in_unique_definitions() {
        let of = |d: &str, p: &str, c: Option<&str>| scoped_definition(&index(d, p, c), "\"O\"").unwrap();
        assert_eq!(
            of("", "", Some("UNIQUE NULLS NOT DISTINCT (a, b) INCLUDE (c)")),
            "UNIQUE NULLS NOT DISTINCT (\"O\", a, b) INCLUDE (c)"
        );
        let prefix = "CREATE UNIQUE INDEX i ON s.\"odd USING btree (\" USING btree (";
        let definition = format!("{prefix}lower(a)) WHERE (b > 0)");
        assert_eq!(of(&definition, prefix, None), format!("{prefix}\"O\", lower(a)) WHERE (b > 0)"));
    }

    proptest! {
        /// Names of any length and alphabet: what is generated fits, is free, and cannot break out of its quotes.
        #[test]
        fn generated_names_fit(table in "[a-zA-Z\"' é漢]{1,20}", column in "\\PC{1,20}", taken in 0..5usize) {
            let mut f = facts("t", "c", |_| ());
            (f.table, f.column_name) = (table, column);
            let unquote = |n: String| match n.strip_prefix('"') {
                Some(inner) => inner[..inner.len() - 1].replace("\"\"", "\""),
                None => n,
            };
            for _ in 0..taken {
                let name = unquote(Plan { facts: &f, options: &Options::default(), steps: vec![] }.free_name("fkey"));
                prop_assert!(name.len() <= 63 && !name.is_empty());
                prop_assert!(!f.taken_names.contains(&name));
                f.taken_names.push(name);
            }
        }

        /// What a plan makes, the next plan finds: the policies and guards it wants are the ones it would create.
        #[test]
        fn a_scoped_table_needs_nothing(column in "[a-z_]{1,10}", unique in any::<bool>()) {
            let predicate = predicate(&column);
            let done = facts("t", &column, |j| {
                j["row_security"] = json!(true);
                j["force_row_security"] = json!(true);
                j["column"] = json!({"type": "uuid", "not_null": true, "not_valid": null, "generated": false, "default": "orgscope.current_org()"});
                j["foreign_keys"] = json!([{"quoted": "k", "to_organization": true, "validated": true, "enforced": true}]);
                j["indexes"] = json!([{"quoted": "i", "definition": "", "prefix": "", "unique": unique, "primary": false,
                    "usable": true, "leads": true, "contains": true, "replica_identity": false, "referenced": false,
                    "constraint": null, "comment": null, "clustered": false, "statistics": []}]);
                j["policies"] = json!([&BASE, &FLOOR].map(|p| json!({"name": p.name, "permissive": p.permissive,
                    "everywhere": true, "using": predicate, "check": predicate})));
                j["triggers"] = Value::Array(GUARDS.iter().map(|g| json!({"name": g.name, "quoted": g.quoted_name(),
                    "definition": g.create("public.t", &format!("'{column}'")), "always": true, "ours": true})).collect());
            });
            prop_assert_eq!(plan(&done, &Options::default()).unwrap(), vec![]);
            let back = crate::scope::undo::undo(&done, &crate::scope::undo::Original::default());
            prop_assert_eq!(back.iter().filter(|s| s.kind == "guard").count(), GUARDS.len());
        }
    }
}
