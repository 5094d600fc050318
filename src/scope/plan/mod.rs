//! From facts to steps. Pure: the same facts give the same plan, and the facts of a scoped table give none.

mod column;
mod protect;
#[cfg(test)]
mod tests;
mod unique;

use crate::error::Error;
use crate::scope::Step;
use crate::scope::facts::Facts;
use crate::scope::options::Options;
use crate::scope::refuse;
use crate::scope::tree::Tree;
use std::collections::HashSet;

pub use column::DEFAULT;
pub use unique::scoped_definition;

const EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
const SHARE: &str = "SHARE";
const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";

/// The steps that are missing, in order. OS005 when the tables cannot be scoped as asked.
///
/// Parents come first where PostgreSQL hands down what a table gets (column, keys, row triggers of a partitioned table),
/// children first where a parent's new index is to find theirs.
pub fn plan(tree: &Tree, options: &Options) -> Result<Vec<Step>, Error> {
    refuse::unfit(tree)?;
    refuse::unfilled(tree, options)?;
    let scoped_indexes = unique::scoped_indexes(tree, options);
    let column_below = column::is_below(tree);
    let mut plan = Whole { tree, options, column_below, scoped_indexes: &scoped_indexes, steps: Vec::new() };
    plan.down(|_| true, Plan::added_column);
    let defaults = tree.topmost(column::lacks_default);
    plan.down(|i| defaults.contains(&i), Plan::default_value);
    let nullable = tree.topmost(column::may_be_null);
    // A constraint of its own that is NOT VALID stays so when the table above gets one.
    let unchecked = |i: usize| tree.members()[i].column.as_ref().is_some_and(|c| c.not_valid.is_some());
    plan.down(|i| nullable.contains(&i) || unchecked(i), Plan::not_null);
    plan.down(|_| true, Plan::foreign_key);
    plan.down(|_| true, Plan::dropped_uniques);
    plan.up(Plan::uniques);
    plan.down(|_| true, Plan::index);
    plan.down(|_| true, Plan::row_security);
    plan.down(|_| true, Plan::policies);
    plan.up(Plan::guards);
    Ok(plan.steps)
}

/// The plan of a tree of tables.
struct Whole<'a> {
    tree: &'a Tree,
    options: &'a Options,
    column_below: bool,
    scoped_indexes: &'a HashSet<u32>,
    steps: Vec<Step>,
}

impl<'a> Whole<'a> {
    fn down(&mut self, which: impl Fn(usize) -> bool, part: fn(&mut Plan<'a>)) {
        (0..self.tree.members().len()).filter(|&i| which(i)).for_each(|i| self.member(i, part));
    }

    fn up(&mut self, part: fn(&mut Plan<'a>)) {
        (0..self.tree.members().len()).rev().for_each(|i| self.member(i, part));
    }

    fn member(&mut self, member: usize, part: fn(&mut Plan<'a>)) {
        let mut plan = Plan {
            facts: &self.tree.members()[member],
            options: self.options,
            member,
            is_root: self.tree.is_root(member),
            column_below: self.column_below,
            scoped_indexes: self.scoped_indexes,
            steps: std::mem::take(&mut self.steps),
        };
        part(&mut plan);
        self.steps = plan.steps;
    }
}

/// The part of one table in it.
struct Plan<'a> {
    facts: &'a Facts,
    options: &'a Options,
    /// Its place in the tree.
    member: usize,
    is_root: bool,
    column_below: bool,
    scoped_indexes: &'a HashSet<u32>,
    steps: Vec<Step>,
}

impl Plan<'_> {
    fn add(&mut self, kind: &'static str, lock: &'static str, sql: String, reason: impl Into<String>) {
        let step = self.steps.len() + 1;
        self.steps.push(Step { step, kind, sql, lock, reason: reason.into(), member: self.member });
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
