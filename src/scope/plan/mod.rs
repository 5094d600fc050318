//! From facts to steps. Pure: the same facts give the same plan, and the facts of a scoped table give none.

mod column;
mod low;
mod notes;
mod observe;
mod protect;
#[cfg(test)]
mod tests;
mod unique;

use crate::error::Error;
use crate::policy::SHARED;
use crate::scope::Step;
use crate::scope::facts::Facts;
use crate::scope::keys;
use crate::scope::options::Options;
use crate::scope::{refuse, views};

pub use low::{is_prepared, low, prepared};
pub use notes::notes;
pub use unique::{becomes_scoped, scoped_definition};

pub const EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
pub const SHARE: &str = "SHARE";
pub const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";

/// The steps that are missing, in order. OS005 when the table cannot be scoped as asked.
pub fn plan(facts: &Facts, options: &Options) -> Result<Vec<Step>, Error> {
    refuse::unfit(facts)?;
    refuse::unfilled(facts, options)?;
    observe::dormant(facts, options)?;
    views::refuse_materialized(facts, options)?;
    let mut plan = Plan { facts, options, steps: Vec::new() };
    plan.column();
    plan.foreign_key();
    plan.uniques();
    plan.index();
    plan.keys()?;
    plan.row_security();
    plan.policies();
    plan.guards();
    plan.views();
    Ok(plan.steps)
}

/// The steps that are missing from a shared table.
pub fn shared(facts: &Facts) -> Vec<Step> {
    let mut plan = Plan { facts, options: &Options::default(), steps: Vec::new() };
    SHARED.iter().for_each(|guard| plan.guard(guard));
    plan.steps
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

    fn keys(&mut self) -> Result<(), Error> {
        for (kind, lock, sql, reason) in keys::work(self.facts, self.options)?.drafts {
            self.add(kind, lock, sql, reason);
        }
        Ok(())
    }

    fn views(&mut self) {
        for view in self.facts.readers.found.iter().filter(|r| r.becomes_invoker(self.options)) {
            self.add("view", EXCLUSIVE, view.set_invoker(), "it reads with its reader's rights: row security applies");
        }
    }

    fn free_name(&self, label: &str) -> String {
        free_name(&self.facts.table, &self.facts.column_name, label, &self.facts.taken_names).1
    }
}

/// `table_column_label` as PostgreSQL would name it, cut to 63 bytes, and not taken; as it is, and quoted.
pub fn free_name(table: &str, column: &str, label: &str, taken: &[String]) -> (String, String) {
    let name = (0..).map(|n| {
        let suffix = if n == 0 { label.to_owned() } else { format!("{label}{n}") };
        let (mut table, mut column) = (table.to_owned(), column.to_owned());
        while table.len() + column.len() + suffix.len() + 2 > 63 {
            if table.len() >= column.len() {
                table.pop()
            } else {
                column.pop()
            };
        }
        format!("{table}_{column}_{suffix}")
    });
    let name = name.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    let quoted = quote(&name);
    (name, quoted)
}

/// Quotes a generated name where PostgreSQL would. Its suffix keeps it from being a keyword.
fn quote(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.bytes().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.into();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}
