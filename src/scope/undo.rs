//! The inverse: what a table was like before, and the steps that make it so again. The column and its data stay.

use crate::policy::{BASE, FLOOR};
use crate::scope::Step;
use crate::scope::facts::{Facts, Index};
use crate::scope::keys::{Memory, OriginalKey, Restoration};
use crate::scope::plan::{becomes_scoped, is_prepared, prepared, scoped_definition};
use crate::scope::views::Changed;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Replaced {
    pub quoted: String,
    pub constraint: bool,
    pub definition: String,
}

/// What must be remembered for `undo`, given what the plan is about to do. A table scoped before keeps what it was like
/// before that.
pub fn original(facts: &Facts, steps: &[Step]) -> Original {
    let mut original = match &facts.registered {
        Some(registered) => registered.original.clone(),
        None => Original {
            row_security: facts.row_security,
            force_row_security: facts.force_row_security,
            column: facts.column.as_ref().map(|c| OriginalColumn {
                not_null: c.is_filled(),
                not_valid: c.not_valid.clone(),
                // What the way of short locks has done is scoping's already.
                default: c.default.clone().filter(|_| !prepared(facts)),
            }),
            added: prepared_objects(facts),
            ..Original::default()
        },
    };
    for view in facts.readers.found.iter().filter(|v| steps.iter().any(|s| s.sql == v.set_invoker())) {
        original.views.retain(|v| v.qualified != view.qualified);
        original.views.push(Changed { qualified: view.qualified.clone(), invoker: view.invoker.clone() });
    }
    original.added.extend(steps.iter().filter_map(added));
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
        }
    }
}

fn prepared_objects(facts: &Facts) -> Vec<Added> {
    let keys = facts.foreign_keys.iter().map(|k| Added { quoted: k.quoted.clone(), constraint: true });
    let indexes = facts.indexes.iter().map(|i| Added { quoted: i.quoted.clone(), constraint: false });
    keys.chain(indexes).filter(|a| is_prepared(&a.quoted)).collect()
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

/// The steps back, in the reverse order of the plan.
pub fn undo(facts: &Facts, original: &Original, keys: &Restoration) -> Vec<Step> {
    let table = &facts.qualified;
    let mut steps: Vec<(&'static str, String)> = Vec::new();
    steps.extend(original.views.iter().filter_map(|v| v.restore(facts)).map(|sql| ("view", sql)));
    for trigger in facts.triggers.iter().filter(|t| t.ours) {
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
    steps.extend(keys.before.iter().cloned());
    steps.extend(original.replaced.iter().flat_map(|r| restore(facts, r)).map(|sql| ("unique", sql)));
    steps.extend(keys.after.iter().cloned());
    steps.extend(original.added.iter().rev().map(|a| ("added", drop_added(facts, a))));
    steps.extend(column(facts, original).into_iter().map(|sql| ("column", sql)));
    steps
        .into_iter()
        .enumerate()
        .map(|(i, (kind, sql))| Step {
            step: i + 1,
            kind,
            sql,
            lock: "ACCESS EXCLUSIVE",
            reason: "as it was before the table was scoped".into(),
        })
        .collect()
}

/// Puts a unique constraint or index back, if the one that replaced it is still there.
pub fn restore(facts: &Facts, replaced: &Replaced) -> Vec<String> {
    let Replaced { quoted, definition, .. } = replaced;
    let Some(now) = facts.indexes.iter().find(|i| i.quoted == *quoted) else { return Vec::new() };
    let mut steps = if now.constraint.is_some() && replaced.constraint {
        let table = &facts.qualified;
        vec![format!("ALTER TABLE {table} DROP CONSTRAINT {quoted}, ADD CONSTRAINT {quoted} {definition}")]
    } else {
        vec![format!("DROP INDEX {}.{quoted}", facts.schema_quoted), format!("{}{definition}", now.prefix)]
    };
    steps.extend(facts.attachments(now, -1));
    steps
}

/// The column stays. What only orgscope wanted of it goes: the default needs the extension, NOT NULL the default.
fn column(facts: &Facts, original: &Original) -> Vec<String> {
    let Some(now) = &facts.column else { return Vec::new() };
    let alter = format!("ALTER TABLE {} ALTER COLUMN {}", facts.qualified, facts.column_quoted);
    let before = original.column.clone().unwrap_or_default();
    let mut steps = Vec::new();
    if now.default != before.default {
        steps.push(match before.default {
            Some(default) => format!("{alter} SET DEFAULT {default}"),
            None => format!("{alter} DROP DEFAULT"),
        });
    }
    if now.is_filled() && !before.not_null {
        steps.push(format!("{alter} DROP NOT NULL"));
        steps.extend(before.not_valid.map(|constraint| format!("ALTER TABLE {} {constraint}", facts.qualified)));
    }
    steps
}
