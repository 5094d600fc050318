//! From facts to steps. Pure: the same facts give the same plan, and the facts of a scoped table give none.

use crate::error::Error;
use crate::policy::{BASE, FLOOR, GUARDS, Guard, Policy, predicate};
use crate::scope::Step;
use crate::scope::facts::{Facts, Index};
use crate::scope::options::{self, OnDelete, Options};
use uuid::Uuid;

const EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
const SHARE: &str = "SHARE";
const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";

/// The steps that are missing, in order. OS005 when the table cannot be scoped as asked.
pub fn plan(facts: &Facts, options: &Options) -> Result<Vec<Step>, Error> {
    refuse_unfit(facts)?;
    refuse_unfilled(facts, options)?;
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
                self.alter("column", EXCLUSIVE, &format!("ADD COLUMN {column} uuid"), "every row names its organization");
                self.backfill(fills);
            }
            (Some(_), _) => self.backfill(fills),
        }
        if self.facts.column.as_ref().and_then(|c| c.default.as_deref()) != Some("orgscope.current_org()") {
            let change = format!("ALTER COLUMN {column} SET DEFAULT orgscope.current_org()");
            self.alter("default", EXCLUSIVE, &change, "a program need not know the column: the context fills it");
        }
        if !self.facts.column.as_ref().is_some_and(|c| c.not_null) {
            let change = format!("ALTER COLUMN {column} SET NOT NULL");
            self.alter("not null", EXCLUSIVE, &change, "a row without an organization would be nobody's and everybody's");
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
        let ours = self.facts.foreign_keys.iter().find(|k| k.to_organization);
        if let Some(key) = ours.filter(|k| !k.validated) {
            let change = format!("VALIDATE CONSTRAINT {}", key.quoted);
            self.alter("foreign key", SHARE_ROW_EXCLUSIVE, &change, "every row's organization exists");
        }
        if ours.is_some() {
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
        self.alter("foreign key", SHARE_ROW_EXCLUSIVE, &change, "every row's organization exists");
    }

    fn uniques(&mut self) {
        if self.options.unique == options::Unique::Keep {
            return;
        }
        let facts = self.facts;
        for index in facts.indexes.iter().filter(|i| kept(i).is_none()) {
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
                (_, None) => {}
            }
        }
    }

    /// Needed unless an index leads with the column already, or one that this plan makes will.
    fn index(&mut self) {
        let leads = |i: &Index| i.usable && (i.leads || (self.options.unique == options::Unique::Auto && kept(i).is_none()));
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
            self.alter("row security", EXCLUSIVE, "FORCE ROW LEVEL SECURITY", "policies apply to the table's owner too");
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
        let create = wanted.create(&facts.qualified, &facts.column_quoted, &facts.column_literal);
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
                    if table.len() >= column.len() { table.pop() } else { column.pop() };
                }
                format!("{table}_{column}_{suffix}")
            })
            .find(|name| !self.facts.taken_names.contains(name))
            .map_or_else(String::new, |name| quote(&name))
    }
}

/// Why a unique index stays as it is; None if it becomes unique per organization, or is not unique at all.
pub fn kept(index: &Index) -> Option<&'static str> {
    if !index.unique || index.exclusion {
        Some("it is not a unique index")
    } else if index.primary {
        Some("it is the primary key")
    } else if index.contains {
        Some("it has the organization column")
    } else if index.referenced {
        Some("a foreign key refers to it")
    } else if index.replica_identity {
        Some("it is the replica identity")
    } else {
        None
    }
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

fn refuse_unfit(facts: &Facts) -> Result<(), Error> {
    let refuse = |detail: &str, hint: String| Err(conflict(facts, detail, hint));
    if facts.kind != 'r' || facts.is_child || facts.has_children {
        let what = match facts.kind {
            'p' => "It is a partitioned table",
            'v' => "It is a view",
            'm' => "It is a materialized view",
            'f' => "It is a foreign table",
            'r' => "It is a partition, or takes part in inheritance",
            _ => "It is not a table",
        };
        return refuse(&format!("{what}."), "Scope the ordinary tables that hold the rows.".into());
    }
    if facts.temporary || facts.system {
        return refuse(
            "It is a temporary table, a system table or one of orgscope's own.",
            "Scope the application's permanent tables.".into(),
        );
    }
    if let Some(registered) = facts.registered.as_ref().filter(|r| r.column_name != facts.column_name) {
        return refuse(
            &format!("It is scoped by its column \"{}\" already.", registered.column_name),
            format!("Call orgscope.disable_org_scoping({}) first.", facts.literal),
        );
    }
    let Some(column) = &facts.column else { return Ok(()) };
    let name = &facts.column_name;
    if column.type_name != "uuid" {
        return refuse(
            &format!("Its column \"{name}\" has type {}, not uuid.", column.type_name),
            "Change the column's type to uuid, or name another column as the second argument.".into(),
        );
    }
    if column.generated {
        return refuse(
            &format!("Its column \"{name}\" is generated."),
            "Name another column as the second argument.".into(),
        );
    }
    if facts.foreign_keys.iter().any(|k| !k.to_organization) {
        return refuse(
            &format!("Its column \"{name}\" has a foreign key to another table than orgscope.organization."),
            "Move the organizations to orgscope.organization and drop that foreign key.".into(),
        );
    }
    Ok(())
}

fn refuse_unfilled(facts: &Facts, options: &Options) -> Result<(), Error> {
    if !facts.rows.without_organization || options.backfill.is_some() {
        return Ok(());
    }
    let column = &facts.column_name;
    let call = format!(
        "orgscope.enable_org_scoping({}, {}, '{{\"backfill\": \"<uuid or SQL expression>\"}}')",
        facts.literal, facts.column_literal
    );
    Err(conflict(
        facts,
        &format!("It has rows without a value for \"{column}\"."),
        format!("Say which organization existing rows belong to: {call}."),
    ))
}

pub fn conflict(facts: &Facts, detail: &str, hint: String) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot scope table \"{}\"", facts.table),
        detail: detail.into(),
        hint,
    }
}
