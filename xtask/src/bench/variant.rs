//! The ways to keep organizations apart that are compared.

use std::fs;

use anyhow::{Context, Result};

use crate::project;

pub const VARIANTS: [Variant; 4] = [Variant::Plain, Variant::Setting, Variant::SubSelect, Variant::Orgscope];

const SETTING: &str = "current_setting('bench.org')::uuid";
const SUB_SELECT: &str = "(SELECT current_setting('bench.org')::uuid)";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variant {
    /// No row security; every statement names its organization.
    Plain,
    /// A hand-written policy on `current_setting(..)::uuid`.
    Setting,
    /// The same, wrapped in a sub-select.
    SubSelect,
    Orgscope,
}

impl Variant {
    pub fn heading(self) -> &'static str {
        match self {
            Self::Plain => "plain, WHERE",
            Self::Setting => "current_setting",
            Self::SubSelect => "sub-select",
            Self::Orgscope => "orgscope",
        }
    }

    pub fn items(self) -> String {
        format!("items_{}", self.suffix())
    }

    pub fn entries(self) -> String {
        format!("entries_{}", self.suffix())
    }

    /// The SQL that makes and fills this variant's tables.
    pub fn tables(self, rows: u32) -> Result<String> {
        let default = match self {
            Self::Plain => "NULL",
            Self::Setting | Self::SubSelect => SETTING,
            Self::Orgscope => "orgscope.current_org()",
        };
        let template = script("tables.sql")?.replace("{default}", default).replace("{rows}", &rows.to_string());
        Ok(template.replace("{items}", &self.items()).replace("{entries}", &self.entries()))
    }

    /// The SQL that separates the organizations in one of the tables.
    pub fn protect(self, table: &str) -> Result<String> {
        let handwritten = |predicate: &str| {
            let template = script("handwritten_policy.sql")?;
            Ok::<_, anyhow::Error>(template.replace("{table}", table).replace("{predicate}", predicate))
        };
        Ok(match self {
            Self::Plain => String::new(),
            Self::Setting => handwritten(SETTING)?,
            Self::SubSelect => handwritten(SUB_SELECT)?,
            Self::Orgscope => {
                format!("SELECT * FROM orgscope.enable_org_scoping('public.{table}')")
            }
        })
    }

    /// Fills in what differs between the variants in a statement of a case.
    pub fn statement(self, template: &str, organization: &str) -> String {
        let only_plain = |text: String| {
            if self == Self::Plain { text } else { String::new() }
        };
        template
            .replace("{items}", &self.items())
            .replace("{entries}", &self.entries())
            .replace("{where_organization}", &only_plain(format!(" WHERE organization_id = '{organization}'")))
            .replace("{and_organization}", &only_plain(format!(" AND organization_id = '{organization}'")))
            .replace("{organization_column}", &only_plain("organization_id, ".into()))
            .replace("{organization_value}", &only_plain(format!("'{organization}', ")))
            .replace("{set_context}", &self.set_context(organization))
    }

    fn set_context(self, organization: &str) -> String {
        match self {
            Self::Plain => String::new(),
            Self::Setting | Self::SubSelect => format!("SET LOCAL bench.org = '{organization}';"),
            Self::Orgscope => format!("SET LOCAL orgscope.current_org = '{organization}';"),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Setting => "setting",
            Self::SubSelect => "sub_select",
            Self::Orgscope => "orgscope",
        }
    }
}

/// A text of tests/bench.
pub fn script(name: &str) -> Result<String> {
    let path = project::path("tests/bench").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
