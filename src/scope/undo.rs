//! The inverse: what a table was like before, and the steps that make it so again. The column and its data stay.

use crate::policy::{BASE, FLOOR};
use crate::scope::Step;
use crate::scope::facts::{Facts, Index};
use crate::scope::keys::{Memory, OriginalKey, Restoration};
use crate::scope::plan::{becomes_scoped, is_prepared, prepared, scoped_definition};
use crate::scope::tree::Tree;
use crate::scope::views::Changed;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Kept in the registry when a table is scoped.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct Original {
    pub row_security: bool,
    pub force_row_security: bool,
    /// None if the column was not there.
    pub column: Option<OriginalColumn>,
    pub added: Vec<Added>,
    pub replaced: Vec<Replaced>,
    /// Foreign keys of this table that were made composite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<OriginalKey>,
    /// Unique constraints that composite keys to this table need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_uniques: Vec<String>,
    /// Views that were made security_invoker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<Changed>,
    /// Keys and indexes of the column that it had and that may come to belong to those of the table above, and go with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Replaced>,
    /// It is scoped as a partition or inheritance child.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub member: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct OriginalColumn {
    pub not_null: bool,
    /// What makes its NOT VALID constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_valid: Option<String>,
    pub default: Option<String>,
}

/// The foreign key or the index that scoping has added. By name: the table may have another one by now.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Added {
    pub quoted: String,
    pub constraint: bool,
}

/// A unique constraint or index as it was: the constraint's definition, or the index's behind its first parenthesis.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct Replaced {
    pub quoted: String,
    pub constraint: bool,
    pub definition: String,
    /// What hangs on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
}

/// What must be remembered of a member for `undo`, given what the plan is about to do. A table scoped before keeps what it
/// was like before that.
pub fn original(tree: &Tree, member: usize, steps: &[Step]) -> Original {
    let facts = &tree.members()[member];
    let steps: Vec<_> = steps.iter().filter(|s| s.member == member).collect();
    let mut original = match &facts.registered {
        Some(registered) => registered.original.clone(),
        None => Original {
            row_security: facts.row_security,
            force_row_security: facts.force_row_security,
            column: facts.column.as_ref().map(|c| OriginalColumn {
                not_null: c.is_filled(),
                not_valid: c.not_valid.clone().filter(|_| c.not_valid_here),
                // What the way of short locks has done is scoping's already.
                default: c.default.clone().filter(|_| !prepared(facts)),
            }),
            added: prepared_objects(facts),
            kept: kept(tree, member),
            ..Original::default()
        },
    };
    for view in tree.readers.found.iter().filter(|v| steps.iter().any(|s| s.sql == v.set_invoker())) {
        original.views.retain(|v| v.qualified != view.qualified);
        original.views.push(Changed { qualified: view.qualified.clone(), invoker: view.invoker.clone() });
    }
    original.added.extend(steps.iter().filter_map(|step| added(step)));
    let changed = |sql: &str| steps.iter().any(|s| s.kind == "unique" && s.sql.contains(sql));
    for index in facts.indexes.iter().filter(|i| becomes_scoped(i)) {
        if scoped_definition(index, &facts.column_quoted).is_some_and(|definition| changed(&definition)) {
            original.remember(Memory::Replaced(Replaced::of(index)));
        }
    }
    original
}

impl Replaced {
    pub fn of(index: &Index) -> Self {
        Self {
            quoted: index.quoted.clone(),
            constraint: index.constraint.is_some(),
            definition: index.constraint.clone().unwrap_or_else(|| columns(index).to_owned()),
            attachments: Vec::new(),
        }
    }
}

fn prepared_objects(facts: &Facts) -> Vec<Added> {
    let keys = facts.foreign_keys.iter().map(|k| Added { quoted: k.quoted.clone(), constraint: true });
    let indexes = facts.indexes.iter().map(|i| Added { quoted: i.quoted.clone(), constraint: false });
    keys.chain(indexes).filter(|a| is_prepared(&a.quoted)).collect()
}

/// What a partition has of its own for the column, or from a table that is not at the top.
fn kept(tree: &Tree, member: usize) -> Vec<Replaced> {
    let facts = &tree.members()[member];
    if !facts.partition {
        return Vec::new();
    }
    let keys = facts.foreign_keys.iter().filter(|k| k.to_organization && !k.inherited).map(|k| Replaced {
        quoted: k.quoted.clone(),
        constraint: true,
        definition: format!("ALTER TABLE {} ADD CONSTRAINT {} {}", facts.qualified, k.quoted, k.definition),
        attachments: Vec::new(),
    });
    let indexes = facts.indexes.iter().filter(|i| i.is_plain() && !tree.is_from_top(member, i)).map(|i| Replaced {
        quoted: i.quoted.clone(),
        constraint: false,
        definition: i.definition.clone(),
        attachments: facts.attachments(i, 0),
    });
    keys.chain(indexes).collect()
}

/// The keys and indexes that a partition has from the table above it: when it leaves the tree, they are what scoping
/// has added to it.
pub fn left_behind(facts: &Facts, original: &Original) -> Vec<Added> {
    let keys = facts.foreign_keys.iter().filter(|k| k.to_organization).map(|k| (&k.quoted, true));
    let indexes = facts.indexes.iter().filter(|i| i.is_plain()).map(|i| (&i.quoted, false));
    keys.chain(indexes)
        .filter(|(quoted, _)| {
            !original.kept.iter().any(|k| k.quoted == **quoted) && !original.added.iter().any(|a| a.quoted == **quoted)
        })
        .map(|(quoted, constraint)| Added { quoted: quoted.clone(), constraint })
        .collect()
}

/// What a step adds, if it is a foreign key or an index.
fn added(step: &Step) -> Option<Added> {
    let name = |before: &str, after: &str| {
        step.sql.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(name, _)| name.to_owned())
    };
    let (quoted, constraint) = match step.kind {
        "foreign key" => (name(" ADD CONSTRAINT ", " FOREIGN KEY "), true),
        "index" => (name("CREATE INDEX ", " ON "), false),
        _ => (None, false),
    };
    quoted.map(|quoted| Added { quoted, constraint })
}

fn drop_added(facts: &Facts, added: &Added) -> String {
    let Added { quoted, constraint } = added;
    if *constraint {
        format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {quoted}", facts.qualified)
    } else {
        format!("DROP INDEX IF EXISTS {}.{quoted}", facts.schema_quoted)
    }
}

/// An index definition without its prefix, which names the table.
pub fn columns(index: &Index) -> &str {
    index.definition.strip_prefix(&index.prefix).unwrap_or(&index.definition)
}

/// The steps back, in the reverse order of the plan. A table that is not registered is left alone.
pub fn undo(tree: &Tree, keys: &Restoration) -> Vec<Step> {
    let mut undo = Undo { tree, steps: Vec::new() };
    undo.views();
    undo.each(protection);
    keys.before.iter().for_each(|(kind, sql)| undo.add(0, kind, sql.clone()));
    undo.uniques();
    keys.after.iter().for_each(|(kind, sql)| undo.add(0, kind, sql.clone()));
    undo.each(added_here);
    undo.kept();
    undo.columns();
    undo.steps
}

struct Undo<'a> {
    tree: &'a Tree,
    steps: Vec<Step>,
}

impl<'a> Undo<'a> {
    fn members(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Facts, &'a Original)> + use<'a> {
        let members = self.tree.members().iter().enumerate();
        members.filter_map(|(i, facts)| facts.registered.as_ref().map(|r| (i, facts, &r.original)))
    }

    fn add(&mut self, member: usize, kind: &'static str, sql: String) {
        let step = self.steps.len() + 1;
        let reason = "as it was before the table was scoped".into();
        self.steps.push(Step { step, kind, sql, lock: "ACCESS EXCLUSIVE", reason, member });
    }

    fn each(&mut self, part: fn(&Facts, &Original) -> Vec<(&'static str, String)>) {
        for (member, facts, original) in self.members() {
            part(facts, original).into_iter().for_each(|(kind, sql)| self.add(member, kind, sql));
        }
    }

    fn views(&mut self) {
        for (member, _, original) in self.members() {
            let steps = original.views.iter().filter_map(|v| v.restore(&self.tree.readers)).collect::<Vec<_>>();
            steps.into_iter().for_each(|sql| self.add(member, "view", sql));
        }
    }

    /// Puts unique constraints and indexes back, if those that replaced them are still there: a partitioned table's go
    /// first, with those of its partitions, and come last, to find theirs.
    fn uniques(&mut self) {
        let mut going = HashSet::new();
        for (member, facts, original) in self.members() {
            for now in original.replaced.iter().filter_map(|r| facts.index(&r.quoted)) {
                if facts.heads(now) {
                    self.add(member, "unique", facts.drop_unique(now));
                }
                if facts.heads(now) || now.parent.is_some_and(|parent| going.contains(&parent)) {
                    going.insert(now.oid);
                }
            }
        }
        for (member, facts, original) in self.members().rev() {
            for replaced in &original.replaced {
                let steps = restore(facts, replaced, &going);
                steps.into_iter().for_each(|sql| self.add(member, "unique", sql));
            }
        }
    }

    /// What a partition had before, and what went with what was added above it. The lowest first: an index finds those that
    /// are to be its parts.
    fn kept(&mut self) {
        for (member, facts, original) in self.members().rev() {
            let from_top = |index| self.tree.is_from_top(member, index);
            let gone = |k: &&Replaced| facts.index(&k.quoted).map_or(facts.inherits(&k.quoted), from_top);
            for kept in original.kept.iter().filter(gone) {
                let steps = std::iter::once(&kept.definition).chain(&kept.attachments);
                steps.for_each(|sql| self.add(member, "kept", sql.clone()));
            }
        }
    }

    /// The column stays. What only orgscope wanted of it goes: the default needs the extension, NOT NULL the default.
    fn columns(&mut self) {
        let only = if self.tree.members().len() > 1 { "ONLY " } else { "" };
        let (mut nullable, mut filled_again) = (HashSet::new(), HashSet::new());
        let mut not_valid = Vec::new();
        for (member, facts, original) in self.members() {
            let Some(now) = &facts.column else { continue };
            let column = &facts.column_quoted;
            let before = original.column.clone().unwrap_or_default();
            if now.default != before.default {
                let change = match before.default {
                    Some(default) => format!("SET DEFAULT {default}"),
                    None => "DROP DEFAULT".into(),
                };
                self.add(
                    member,
                    "column",
                    format!("ALTER TABLE {only}{} ALTER COLUMN {column} {change}", facts.qualified),
                );
            }
            let alter = format!("ALTER TABLE {} ALTER COLUMN {column}", facts.qualified);
            let parents_in = |set: &HashSet<usize>| self.tree.parents(member).any(|p| set.contains(&p));
            let (above, handed_down) = (parents_in(&nullable), parents_in(&filled_again));
            let dropped = (now.is_filled() || handed_down) && !before.not_null;
            // A table below may have lost its own with that of the table above, now or when that was observed.
            let lost = above || (!self.tree.is_root(member) && !now.is_filled());
            if before.not_null && (handed_down || lost) {
                filled_again.insert(member);
            } else if above || dropped {
                nullable.insert(member);
            }
            // What a partition had of its own stays with it when the table above drops its NOT NULL.
            if dropped && (!above || handed_down || before.not_valid.is_some()) {
                self.add(member, "column", format!("{alter} DROP NOT NULL"));
            }
            if before.not_null && lost && !handed_down {
                self.add(member, "column", format!("{alter} SET NOT NULL"));
            }
            // Below the top it may meet one that is handed down, of another name.
            if dropped
                && self.tree.is_root(member)
                && let Some(constraint) = before.not_valid
            {
                not_valid.push((member, format!("ALTER TABLE {} {constraint}", facts.qualified)));
            }
        }
        // When no table above forbids it any more.
        not_valid.into_iter().for_each(|(member, sql)| self.add(member, "column", sql));
    }
}

/// Guards, policies and row security. What a partition has from the table above it goes with that.
fn protection(facts: &Facts, original: &Original) -> Vec<(&'static str, String)> {
    let table = &facts.qualified;
    let mut steps = Vec::new();
    for trigger in facts.triggers.iter().filter(|t| t.ours && !t.clone) {
        steps.push(("guard", format!("DROP TRIGGER {} ON {table}", trigger.quoted)));
    }
    for policy in facts.policies.iter().filter(|p| p.name == BASE.name || p.name == FLOOR.name) {
        steps.push(("policy", format!("DROP POLICY {} ON {table}", policy.name)));
    }
    if facts.force_row_security && !original.force_row_security {
        steps.push(("row security", format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")));
    }
    if facts.row_security && !original.row_security {
        steps.push(("row security", format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")));
    }
    steps
}

fn added_here(facts: &Facts, original: &Original) -> Vec<(&'static str, String)> {
    let own = original.added.iter().rev().filter(|a| !facts.inherits(&a.quoted));
    own.map(|a| ("added", drop_added(facts, a))).collect()
}

pub fn restore(facts: &Facts, replaced: &Replaced, going: &HashSet<u32>) -> Vec<String> {
    let Replaced { quoted, definition, .. } = replaced;
    let Some(now) = facts.index(quoted) else { return Vec::new() };
    let gone = going.contains(&now.oid);
    if now.parent.is_some() && !gone {
        return Vec::new();
    }
    let (table, constraint) = (&facts.qualified, now.constraint.is_some() && replaced.constraint);
    let mut steps = match (constraint, gone) {
        (true, true) => vec![format!("ALTER TABLE {table} ADD CONSTRAINT {quoted} {definition}")],
        (true, false) => {
            vec![format!("ALTER TABLE {table} DROP CONSTRAINT {quoted}, ADD CONSTRAINT {quoted} {definition}")]
        }
        (false, true) => vec![format!("{}{definition}", now.prefix)],
        (false, false) => vec![facts.drop_unique(now), format!("{}{definition}", now.prefix)],
    };
    steps.extend(facts.attachments(now, -1));
    steps
}
