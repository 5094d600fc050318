//! What reads a table with other rights than those of who asks: row security asks for the rights' owner.

use crate::error::Error;
use crate::scope::options::{Mode, Options, Views};
use crate::scope::refuse::conflict;
use crate::scope::tree::Tree;
use crate::spi;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Readers {
    pub found: Vec<Reader>,
    /// SECURITY DEFINER functions, of roles that row security does not cover, whose bodies PostgreSQL does not look into.
    pub opaque: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Reader {
    pub kind: String,
    pub qualified: String,
    /// The value of a view's security_invoker, if it is set.
    pub invoker: Option<String>,
    pub around: bool,
    pub own: bool,
}

/// A view that was made security_invoker, and what it said before.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Changed {
    pub qualified: String,
    pub invoker: Option<String>,
}

/// Asked as the superuser, for the role that called.
pub fn read(tables: &str, role: &str) -> Result<Readers, Error> {
    let json = spi::query(include_str!("views.sql"), &[Some(tables), Some(role)]).unwrap_or_default();
    serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("views of a table: {e}") })
}

pub fn current_role() -> String {
    // SAFETY: reads this backend's current user.
    unsafe { pg_sys::GetUserId() }.to_u32().to_string()
}

impl Reader {
    /// Whether the option `views` makes it ask for its reader's rights.
    pub fn becomes_invoker(&self, options: &Options) -> bool {
        let wanted = options.views == Views::Invoker && options.mode == Mode::Enforce;
        wanted && self.kind == "view" && self.around && self.own
    }

    pub fn set_invoker(&self) -> String {
        format!("ALTER VIEW {} SET (security_invoker = true)", self.qualified)
    }
}

impl Changed {
    /// The way back, for a view that is still as it was left.
    pub fn restore(&self, readers: &Readers) -> Option<String> {
        let now = readers.found.iter().find(|r| r.qualified == self.qualified)?;
        if now.invoker.as_deref() != Some("true") {
            return None;
        }
        let change = match &self.invoker {
            Some(value) => format!("SET (security_invoker = {value})"),
            None => "RESET (security_invoker)".into(),
        };
        Some(format!("ALTER VIEW {} {change}", self.qualified))
    }
}

fn materialized(tree: &Tree) -> impl Iterator<Item = &Reader> {
    tree.readers.found.iter().filter(|r| r.kind == "materialized view")
}

/// A materialized view holds a copy of all organizations' rows, for everybody who may read it. One that came later is
/// no reason not to repair.
pub fn refuse_materialized(tree: &Tree, options: &Options) -> Result<(), Error> {
    let enforced = tree.root().registered.as_ref().is_some_and(|r| r.options.mode == Mode::Enforce);
    let names: Vec<_> = materialized(tree).map(|r| r.qualified.as_str()).collect();
    if names.is_empty() || enforced || options.allow_matviews || options.mode == Mode::Observe {
        return Ok(());
    }
    let detail =
        format!("Row security does not cover the copies of its rows in materialized view {}.", names.join(", "));
    let hint = "Drop them, or replace each by a view with security_invoker; to accept that whoever may read one reads the rows of every organization, give the option {\"allow_matviews\": true}.";
    Err(conflict(tree.root(), &detail, hint.into()))
}

/// What to know before enabling; nothing that enabling does.
pub fn notes(tree: &Tree, options: &Options) -> Vec<String> {
    let around = tree.readers.found.iter().filter(|r| r.around && !r.becomes_invoker(options));
    let mut notes: Vec<_> = around
        .filter(|r| r.kind != "materialized view")
        .map(|r| {
            let fix = match r.kind.as_str() {
                "view" => format!("make it ask for the reader's: {}", r.set_invoker()),
                "function" => format!("change it: ALTER FUNCTION {} SECURITY INVOKER, or another owner", r.qualified),
                _ => "give its table an owner whom row security covers".into(),
            };
            let what = if r.kind == "rule" { "a rule of table" } else { &r.kind };
            format!("{what} {} reads every organization's rows with its owner's rights; {fix}", r.qualified)
        })
        .collect();
    notes.extend(materialized(tree).map(|r| {
        format!(
            "materialized view {} holds a copy of every organization's rows, which row security does not cover",
            r.qualified
        )
    }));
    if tree.readers.opaque > 0 {
        notes.push(format!(
            "{} SECURITY DEFINER function(s) of roles that bypass row security have bodies that PostgreSQL does not look into: whether they read this table is for you to check",
            tree.readers.opaque
        ));
    }
    notes
}
