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
use crate::scope::options::{Mode, Options};
use crate::scope::tree::Tree;
use crate::scope::{keys, refuse, views};
use std::borrow::Cow;
use std::collections::HashSet;

pub use column::DEFAULT;
pub use low::{is_prepared, low, prepared};
pub use notes::notes;
pub use protect::lacking_clones;
pub use unique::{becomes_scoped, scoped_definition};

pub const EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
pub const SHARE: &str = "SHARE";
pub const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";

/// The steps that are missing, in order. OS005 when the tables cannot be scoped as asked.
///
/// Parents come first where PostgreSQL hands down what a table gets (column, keys, row triggers of a partitioned table),
/// children first where a parent's new index is to find theirs.
pub fn plan(tree: &Tree, options: &Options) -> Result<Vec<Step>, Error> {
    fit(tree, options)?;
    let scoped_indexes = made_scoped(tree, options);
    let column_below = column::is_below(tree);
    let mut plan = Whole { tree, options, column_below, scoped_indexes: &scoped_indexes, steps: Vec::new() };
    plan.column();
    plan.down(|_| true, Plan::foreign_key);
    plan.down(|_| true, Plan::dropped_uniques);
    plan.up(Plan::uniques);
    plan.down(|_| true, Plan::index);
    plan.keys()?;
    plan.down(|_| true, Plan::row_security);
    plan.down(|_| true, Plan::policies);
    plan.up(Plan::guards);
    plan.views();
    Ok(plan.steps)
}

/// The indexes that this plan makes unique per organization. Observed, what is unique stays so: enforcing changes it.
fn made_scoped(tree: &Tree, options: &Options) -> HashSet<u32> {
    if options.mode == Mode::Observe { HashSet::new() } else { unique::scoped_indexes(tree, options) }
}

/// Whether the tables can be scoped as asked.
fn fit(tree: &Tree, options: &Options) -> Result<(), Error> {
    refuse::unfit(tree)?;
    refuse::unfilled(tree, options)?;
    tree.members().iter().try_for_each(|member| observe::dormant(member, options))?;
    views::refuse_materialized(tree, options)
}

/// The steps that are missing from a shared table.
pub fn shared(facts: &Facts) -> Vec<Step> {
    let options = Options::default();
    let mut plan = Plan::alone(facts, &options);
    SHARED.iter().for_each(|guard| plan.guard(guard));
    plan.steps
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

    fn column(&mut self) {
        self.down(|_| true, Plan::added_column);
        let defaults = self.tree.topmost(column::lacks_default);
        self.down(|i| defaults.contains(&i), Plan::default_value);
        if self.options.mode == Mode::Observe {
            let filled = self.tree.topmost(observe::becomes_nullable);
            self.down(|i| filled.contains(&i), Plan::nullable);
        } else {
            let nullable = self.tree.topmost(column::may_be_null);
            // A constraint of its own that is NOT VALID stays so when the table above gets one.
            let members = self.tree.members();
            let unchecked = |i: usize| members[i].column.as_ref().is_some_and(|c| c.not_valid.is_some());
            self.down(|i| nullable.contains(&i) || unchecked(i), Plan::not_null);
            self.down(|_| true, Plan::dropped_checks);
        }
    }

    fn keys(&mut self) -> Result<(), Error> {
        for (kind, lock, sql, reason) in keys::work(self.tree, self.options)?.drafts {
            self.member(0, |plan| plan.add(kind, lock, sql, reason));
        }
        Ok(())
    }

    fn views(&mut self) {
        for view in self.tree.readers.found.iter().filter(|r| r.becomes_invoker(self.options)) {
            let reason = "it reads with its reader's rights: row security applies";
            self.member(0, |plan| plan.add("view", EXCLUSIVE, view.set_invoker(), reason));
        }
    }

    fn up(&mut self, part: fn(&mut Plan<'a>)) {
        (0..self.tree.members().len()).rev().for_each(|i| self.member(i, part));
    }

    fn member(&mut self, member: usize, part: impl FnOnce(&mut Plan<'a>)) {
        let mut plan = Plan {
            facts: &self.tree.members()[member],
            options: self.options,
            member,
            is_root: self.tree.is_root(member),
            history: self.tree.history.is_some(),
            column_below: self.column_below,
            scoped_indexes: Cow::Borrowed(self.scoped_indexes),
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
    /// Whether changes are recorded.
    history: bool,
    column_below: bool,
    /// The unique indexes that become unique per organization.
    scoped_indexes: Cow<'a, HashSet<u32>>,
    steps: Vec<Step>,
}

impl<'a> Plan<'a> {
    /// Of a table that is nobody's member.
    fn alone(facts: &'a Facts, options: &'a Options) -> Self {
        let scoped_indexes = Cow::Owned(HashSet::new());
        Self {
            facts,
            options,
            member: 0,
            is_root: true,
            history: false,
            column_below: false,
            scoped_indexes,
            steps: Vec::new(),
        }
    }

    fn add(&mut self, kind: &'static str, lock: &'static str, sql: String, reason: impl Into<String>) {
        let step = self.steps.len() + 1;
        self.steps.push(Step { step, kind, sql, lock, reason: reason.into(), member: self.member });
    }

    fn alter(&mut self, kind: &'static str, lock: &'static str, change: &str, reason: impl Into<String>) {
        self.add(kind, lock, format!("ALTER TABLE {} {change}", self.facts.qualified), reason);
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
