//! New tables: one that has the organization column, or a copy of scoped rows, is born scoped, refused or warned of.

use crate::error::{Error, Report};
use crate::guard::table_name;
use crate::pg::{as_superuser, warn};
use crate::scope::{run, sources};
use crate::settings::{NEW_TABLES, NewTables};
use crate::spi;
use pgrx::pg_sys;
use serde::Deserialize;

const NEWBORN: &str = include_str!("birth.sql");

#[derive(Deserialize)]
struct Newborn {
    oid: u32,
    kind: char,
    column: Option<String>,
    literal: String,
    copy: bool,
}

/// At the end of a command.
pub fn judge(tag: &str) -> Result<(), Error> {
    let creates = ["CREATE TABLE", "CREATE TABLE AS", "SELECT INTO", "CREATE MATERIALIZED VIEW", "CREATE SCHEMA"];
    let mode = NEW_TABLES.get();
    if !creates.contains(&tag) || mode == NewTables::Ignore {
        return Ok(());
    }
    let sources = serde_json::json!(sources::take()).to_string();
    // pg_dump's scripts and pg_restore switch row security off.
    // SAFETY: a plain global of guc.c.
    let first = matches!(mode, NewTables::Scope | NewTables::Reject) && unsafe { pg_sys::row_security };
    let args = [Some(sources.as_str()), Some(if first { "true" } else { "false" })];
    let Some(json) = as_superuser(|| spi::query_planned(NEWBORN, &args)) else { return Ok(()) };
    let newborn: Vec<Newborn> =
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("new tables: {e}") })?;
    newborn.iter().try_for_each(|table| table.judge(mode))
}

impl Newborn {
    fn judge(&self, mode: NewTables) -> Result<(), Error> {
        let scopable = self.column.as_deref().filter(|_| self.kind != 'm');
        match (mode, scopable) {
            (NewTables::Scope, Some(column)) => run("enable", self.oid.into(), column, "{}").map(drop),
            (NewTables::Scope | NewTables::Reject, _) => Err(Error::Unscoped {
                table: table_name(self.oid.into(), None),
                detail: self.detail(),
                hint: self.hint(mode),
            }),
            _ => {
                warn(&self.warning(mode));
                Ok(())
            }
        }
    }

    fn detail(&self) -> String {
        match &self.column {
            Some(column) if !self.copy => {
                format!("It has the organization column \"{column}\", and nothing keeps its rows apart.")
            }
            _ => "It holds a copy of a scoped table's rows, and nothing keeps them apart.".into(),
        }
    }

    fn hint(&self, mode: NewTables) -> String {
        let table = &self.literal;
        if self.kind == 'm' {
            return "Make it a view with security_invoker, or a table with an organization column.".into();
        }
        match (mode, &self.column) {
            (NewTables::Reject, Some(_)) => format!(
                "Create it without the column and call orgscope.enable_org_scoping({table}), which adds it, or let a superuser set orgscope.new_tables to \"scope\"."
            ),
            (_, None) => "Copy the organization column too, or use a temporary table.".into(),
            (_, Some(column)) if column != "organization_id" => {
                format!("Call orgscope.enable_org_scoping({table}, '{}').", column.replace('\'', "''"))
            }
            _ => format!("Call orgscope.enable_org_scoping({table})."),
        }
    }

    fn warning(&self, mode: NewTables) -> Report {
        let table = table_name(self.oid.into(), None);
        Report {
            sqlstate: "01000",
            message: format!("new table \"{}\" is not scoped", table.table),
            detail: self.detail(),
            hint: format!(
                "{} If it is meant to be so, call orgscope.exempt_table({}, '<reason>').",
                self.hint(mode),
                self.literal
            ),
            table: Some(table),
        }
    }
}
