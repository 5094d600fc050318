//! The `options` argument. An option that is not known is an error that lists the known ones: a misspelt one must not
//! pass for its default.

use crate::error::Error;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    #[default]
    Restrict,
    Cascade,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unique {
    /// Unique constraints and indexes become unique per organization.
    #[default]
    Auto,
    Keep,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Index {
    /// An index that leads with the column, unless there is one.
    #[default]
    Auto,
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignKeys {
    /// Keys between scoped tables take the organization in.
    #[default]
    Composite,
    /// They stay, and the plan tells so.
    Report,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Enforce,
    /// Nothing is refused and nothing hidden: what enforcing would do is recorded.
    Observe,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Views {
    /// The plan tells which views read around row security.
    #[default]
    Report,
    /// They become security_invoker, where the caller may.
    Invoker,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrimaryKey {
    #[default]
    Keep,
    /// A primary key whose values somebody chooses becomes one per organization.
    Scoped,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Locks {
    #[default]
    Normal,
    /// Of a plan: as statements to run one by one, none of which locks the table for long.
    Low,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The organization of existing rows: a uuid, or an SQL expression over the row.
    #[serde(skip_serializing)]
    pub backfill: Option<String>,
    pub on_delete: OnDelete,
    pub unique: Unique,
    pub index: Index,
    #[serde(skip_serializing_if = "is_default")]
    pub foreign_keys: ForeignKeys,
    #[serde(skip_serializing_if = "is_default")]
    pub primary_key: PrimaryKey,
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Mode,
    #[serde(skip_serializing_if = "is_default")]
    pub views: Views,
    #[serde(skip_serializing_if = "is_default")]
    pub allow_matviews: bool,
    #[serde(skip_serializing)]
    pub locks: Locks,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Options {
    pub fn parse(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|e| Error::Conflict {
            table: None,
            message: "invalid scoping options".into(),
            detail: sentence(&e.to_string()),
            hint: "Known options: \"backfill\" (a uuid or an SQL expression over the row), \"on_delete\" (restrict, cascade), \"unique\" (auto, keep), \"index\" (auto, none), \"foreign_keys\" (composite, report), \"primary_key\" (keep, scoped), \"mode\" (enforce, observe), \"views\" (report, invoker), \"allow_matviews\" (false, true), \"locks\" (normal, low; of a plan).".into(),
        })
    }
}

/// serde's message in our style, without the place in a text that the caller never wrote as text.
fn sentence(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or_default().replace('`', "\"");
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn defaults_and_values() {
        assert_eq!(Options::parse("{}").unwrap(), Options::default());
        let o = Options::parse(r#"{"backfill": "a", "on_delete": "cascade", "unique": "keep", "index": "none"}"#);
        let o = o.unwrap();
        assert_eq!(o.backfill.as_deref(), Some("a"));
        assert_eq!((o.on_delete, o.unique, o.index), (OnDelete::Cascade, Unique::Keep, Index::None));
        let o = Options::parse(r#"{"foreign_keys": "report", "primary_key": "scoped"}"#).unwrap();
        assert_eq!((o.foreign_keys, o.primary_key), (ForeignKeys::Report, PrimaryKey::Scoped));
    }

    #[test]
    fn unknown_options_are_refused_with_the_list() {
        for bad in [r#"{"backfil": "a"}"#, r#"{"unique": "maybe"}"#, "[1]", "3", "null"] {
            let report = Options::parse(bad).unwrap_err().report();
            assert_eq!(report.sqlstate, "OS005");
            assert!(report.hint.contains("on_delete"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Options::parse(&text);
        }
    }
}
