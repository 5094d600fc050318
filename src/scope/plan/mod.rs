//! From facts to steps. Pure: the same facts give the same plan, and the facts of a scoped table give none.

mod column;
mod protect;
#[cfg(test)]
mod tests;
mod unique;

use crate::error::Error;
use crate::policy::SHARED;
use crate::scope::Step;
use crate::scope::facts::Facts;
use crate::scope::options::Options;
use crate::scope::refuse;

pub use unique::{becomes_scoped, scoped_definition};

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

/// Quotes a generated name where PostgreSQL would. Its suffix keeps it from being a keyword.
fn quote(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.bytes().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.into();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}
