//! What a table lacks, in words that do not change when it or a column is renamed.

use super::{Kind, Touched};
use crate::scope::tree::Tree;
use crate::scope::{Step, plan};

/// Not refused, only warned of: a migration may want it, and it was the team's choice.
const UNIQUE: &str = "uniqueness per organization of ";
const KEY: &str = "the organization in foreign key ";
const RULE: &str = "its own answer to queries, because of rule ";
const CHILD: &str = "rows that are its own only, because of child table ";
const OWNER: &str = "an owner that row security holds";
/// How labels begin that no plan has a step for.
const UNPLANNED: [&str; 5] = [UNIQUE, KEY, RULE, CHILD, OWNER];

fn is_planned(label: &str) -> bool {
    !UNPLANNED.iter().any(|start| label.starts_with(start))
}

pub struct Missing(Vec<String>);

/// What lets organizations meet and is not refused.
#[derive(Debug, PartialEq)]
pub enum Opening<'a> {
    Unique(&'a str),
    Key(&'a str),
}

impl<'a> Opening<'a> {
    fn of(label: &'a str) -> Option<Self> {
        let unique = || label.strip_prefix(UNIQUE).map(Self::Unique);
        label.strip_prefix(KEY).map(Self::Key).or_else(unique)
    }
}

impl Missing {
    pub fn of(table: &Touched, tree: Option<&Tree>) -> Self {
        let Some(tree) = tree else { return Self(Vec::new()) };
        let mut labels = match tree.missing_steps(table.kind) {
            Ok(steps) => steps.iter().filter_map(label).collect(),
            Err(error) => vec![format!("a usable organization column ({})", reason(&error.report().detail))],
        };
        if table.kind == Kind::Scoped {
            labels.extend(table.rules.iter().map(|rule| format!("{RULE}\"{rule}\"")));
            labels.extend(table.plain_keys.iter().map(|key| format!("{KEY}{key}")));
            labels.extend(table.owner.iter().map(|_| OWNER.to_owned()));
            // A restore brings them by the table above, at first without ALWAYS: until then they are missing.
            let awaited = if table.settled { Vec::new() } else { plan::lacking_clones(tree.root()) };
            labels.extend(awaited.iter().map(|name| format!("trigger {name}")));
        }
        labels.extend(table.children.iter().map(|child| format!("{CHILD}\"{child}\"")));
        labels.sort();
        labels.dedup();
        Self(labels)
    }

    /// Nothing of what the planner wants.
    pub fn is_complete(&self) -> bool {
        self.planned().is_empty()
    }

    pub fn planned(&self) -> Vec<String> {
        self.0.iter().filter(|l| is_planned(l)).cloned().collect()
    }

    pub fn labels(&self) -> &[String] {
        &self.0
    }

    pub fn is(&self, known: &[String]) -> bool {
        self.0 == known
    }

    /// What is missing that was not known to be: first what weakens the table, then what lets organizations meet.
    /// A table that is still being restored gets its rules and owner now.
    pub fn beyond(&self, known: &[String], settled: bool) -> (Vec<String>, Vec<Opening<'_>>) {
        // A key that is there but not valid is part of a key that was not there.
        let part = |k: &String, label: &str| Opening::of(label).is_none() && k.starts_with(label);
        let is_known = |label: &str| known.iter().any(|k| k == label || part(k, label));
        let new = || self.0.iter().filter(|l| (settled || is_planned(l)) && !is_known(l));
        let lost = new().filter(|l| Opening::of(l).is_none()).cloned().collect();
        (lost, new().filter_map(|l| Opening::of(l)).collect())
    }
}

fn reason(detail: &str) -> String {
    detail.trim_end_matches('.').into()
}

/// A step's part of the table; None where another step of the plan stands for the same.
fn label(step: &Step) -> Option<String> {
    let sql = step.sql.as_str();
    let after = |word: &str| sql.split_once(word).map(|(_, rest)| rest);
    let named = |what: &str, word: &str| after(word).map(|rest| format!("{what} {}", quoted_name(rest)));
    match step.kind {
        "row security" if sql.contains(" FORCE ROW ") => Some("row security for its owner".into()),
        "policy" => named("policy", " POLICY "),
        "guard" => named("trigger", " TRIGGER "),
        "foreign key" if sql.contains(" REFERENCES orgscope.organization ") => {
            Some("foreign key to orgscope.organization".into())
        }
        "foreign key" => match after("FOREIGN KEY (").and_then(|rest| rest.split_once(')')) {
            Some((columns, _)) => Some(format!("foreign key on {columns}")),
            None => Some("foreign key".into()),
        },
        "unique" => after(" ADD CONSTRAINT ")
            .or_else(|| after("CREATE UNIQUE INDEX "))
            .map(|rest| format!("{UNIQUE}{}", quoted_name(rest))),
        "column" => Some("its organization column".into()),
        "default" => Some("default of its organization column".into()),
        "not null" => Some("NOT NULL on its organization column".into()),
        "index" => Some("index that leads with its organization column".into()),
        kind => Some(kind.into()),
    }
}

/// The identifier a text begins with.
fn quoted_name(text: &str) -> &str {
    let end = match text.strip_prefix('"') {
        Some(rest) => rest.find('"').map(|i| i + 2),
        None => text.find([' ', ',', '(']),
    };
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: &'static str, sql: &str) -> Step {
        Step { step: 1, kind, sql: sql.into(), lock: "", reason: String::new(), member: 0 }
    }

    #[test]
    fn labels_name_the_part_and_not_the_table() {
        for (kind, sql, expected) in [
            ("row security", "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY", "row security"),
            ("row security", "ALTER TABLE s.t FORCE ROW LEVEL SECURITY", "row security for its owner"),
            ("policy", "CREATE POLICY orgscope_floor ON s.t AS RESTRICTIVE", "policy orgscope_floor"),
            ("guard", "DROP TRIGGER \"~orgscope_guard\" ON s.t", "trigger \"~orgscope_guard\""),
            ("guard", "ALTER TABLE s.t ENABLE ALWAYS TRIGGER orgscope_record", "trigger orgscope_record"),
            (
                "foreign key",
                "ALTER TABLE s.t ADD CONSTRAINT k FOREIGN KEY (o, a) REFERENCES x (o, id)",
                "foreign key on o, a",
            ),
            ("foreign key", "ALTER TABLE s.t VALIDATE CONSTRAINT k", "foreign key"),
            ("not null", "ALTER TABLE s.t ALTER COLUMN o SET NOT NULL", "NOT NULL on its organization column"),
            ("unique", "CREATE UNIQUE INDEX i ON s.t USING btree (o, a)", "uniqueness per organization of i"),
        ] {
            assert_eq!(label(&step(kind, sql)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn only_what_is_new_counts() {
        let missing = Missing(vec![
            "foreign key".into(),
            "policy p".into(),
            format!("{KEY}k"),
            format!("{UNIQUE}i"),
            OWNER.into(),
        ]);
        let known = ["foreign key on o".to_owned()];
        let lost = vec!["policy p".into(), OWNER.into()];
        assert_eq!(missing.beyond(&known, true), (lost, vec![Opening::Key("k"), Opening::Unique("i")]));
        assert_eq!(missing.beyond(&known, false), (vec!["policy p".into()], vec![]));
        assert!(!missing.is_complete() && Missing(vec![OWNER.into()]).is_complete());
    }
}
