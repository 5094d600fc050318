//! DDL that would weaken a registered table, judged by what it leaves behind and not by its name: after every command the
//! planner says what the tables it may have touched are missing. What they were missing before is remembered, so a
//! command that takes nothing away is never refused, and neither is a restore that puts the parts together one by one.

mod missing;
mod quiet;

use crate::audit::ddl;
use crate::error::Error;
use crate::guard::table_name;
use crate::pg::{as_superuser, command_tag, warn, with_pinned_search_path};
use crate::scope::facts::Facts;
use crate::scope::{apply, facts, plan};
use crate::settings::{DRIFT, Drift};
use crate::{pg_function, spi};
use missing::Missing;
use pgrx::pg_sys;
use serde::Deserialize;

pub use quiet::quiet;

/// A registered table that a command may have changed, and what it was like when it was last looked at.
#[derive(Deserialize)]
struct Touched {
    oid: u32,
    kind: Kind,
    column: Option<String>,
    /// What the organization column is called now, if it was seen before and is still there.
    column_now: Option<String>,
    settled: bool,
    known: Option<Vec<String>>,
    /// The owner, if row security does not hold it.
    owner: Option<String>,
    rules: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Scoped,
    Shared,
    Exempt,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Scoped => "scoped",
            Self::Shared => "shared",
            Self::Exempt => "exempt",
        }
    }
}

const COMMANDS: &str = concat!("WITH touched AS (", include_str!("commands.sql"), ") ", include_str!("registered.sql"));
const DROPS: &str = concat!("WITH touched AS (", include_str!("drops.sql"), ") ", include_str!("registered.sql"));
const OWNERS: &str = concat!("WITH touched AS (", include_str!("owners.sql"), ") ", include_str!("registered.sql"));
const ONE: &str = concat!("WITH touched AS (SELECT $1::oid AS target) ", include_str!("registered.sql"));

const OURS: &str = include_str!("ours.sql");
const DROPPED_OURS: &str = include_str!("dropped_ours.sql");
const FOLLOW: &str = include_str!("follow.sql");
const FORGET: &str = include_str!("forget.sql");

pg_function! {
    /// ddl_command_end of every command.
    fn orgscope_keep_scoping(call) {
        if in_binary_upgrade() {
            return Ok(None);
        }
        let tag = command_tag(call);
        if matches!(tag.as_str(), "ALTER TABLE" | "ALTER SCHEMA" | "ALTER MATERIALIZED VIEW") {
            as_superuser(|| spi::query_planned(FOLLOW, &[]));
        }
        judge_all(touched(COMMANDS)?, &tag)?;
        record_ours(OURS, &tag)?;
        crate::scope::birth::judge(&tag)?;
        Ok(None)
    }
}

pg_function! {
    /// sql_drop.
    fn orgscope_keep_scoping_parts(call) {
        if in_binary_upgrade() {
            return Ok(None);
        }
        let tag = command_tag(call);
        as_superuser(|| spi::query_planned(FORGET, &[]));
        judge_all(touched(DROPS)?, &tag)?;
        record_ours(DROPPED_OURS, &tag)?;
        Ok(None)
    }
}

/// After REASSIGN OWNED, for which no event trigger fires.
pub fn judge_owners() -> Result<(), Error> {
    with_pinned_search_path(|| judge_all(touched(OWNERS)?, "REASSIGN OWNED"))
}

/// pg_upgrade puts catalogs together without our settings.
fn in_binary_upgrade() -> bool {
    // SAFETY: a plain global.
    unsafe { pg_sys::IsBinaryUpgrade }
}

fn touched(sql: &'static str) -> Result<Vec<Touched>, Error> {
    parse(as_superuser(|| spi::query_planned(sql, &[])))
}

fn parse(json: Option<String>) -> Result<Vec<Touched>, Error> {
    json.map_or(Ok(Vec::new()), |json| {
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("state of a table: {e}") })
    })
}

fn judge_all(tables: Vec<Touched>, tag: &str) -> Result<(), Error> {
    tables.into_iter().filter(|t| !quiet::is_quiet(t.oid)).try_for_each(|mut t| judge(&mut t, tag))
}

fn judge(table: &mut Touched, tag: &str) -> Result<(), Error> {
    let facts = follow_column(table)?;
    let missing = Missing::of(table, facts.as_ref());
    let Some(known) = &table.known else {
        // Restored a moment ago: from here on it gets no worse.
        remember(table, &missing);
        return Ok(());
    };
    let (lost, wider) = missing.beyond(known, table.settled);
    if let (false, Some(facts)) = (lost.is_empty(), &facts) {
        // SAFETY: a syscache look-up.
        if DRIFT.get() == Drift::Reject && !unsafe { pg_sys::superuser() } {
            return Err(Error::Drift {
                table: table_name(table.oid.into(), None),
                kind: table.kind.name(),
                undo: facts.undo_call(),
                command: tag.into(),
                missing: lost,
            });
        }
        ddl::record(tag, Some(table.oid.into()), &serde_json::json!({ "missing": lost }));
    }
    for index in wider.iter().filter(|_| table.settled) {
        warn(&unique_across(table.oid, index));
    }
    if !missing.is(known) || (missing.is_complete() && !table.settled) {
        remember(table, &missing);
    }
    Ok(())
}

/// Policies, keys and indexes follow a renamed column by themselves. The guards have its name as an argument and are made
/// anew; the registry follows.
fn follow_column(table: &mut Touched) -> Result<Option<Facts>, Error> {
    let target = table.oid.into();
    let renamed =
        table.column_now.clone().filter(|now| table.kind == Kind::Scoped && table.column.as_ref() != Some(now));
    if let Some(now) = renamed {
        let sql = "UPDATE orgscope.scoped_table s SET column_name = $2::name \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.oid = $1::oid AND s.schema_name = n.nspname AND s.table_name = c.relname";
        as_superuser(|| spi::execute(sql, &[Some(&table.oid.to_string()), Some(&now)]));
        table.column = Some(now);
        let facts = facts::inspect(target)?;
        if let Some(registered) = &facts.registered {
            let mut steps = plan::plan(&facts, &registered.options).unwrap_or_default();
            steps.retain(|s| s.kind == "guard");
            let _quiet = quiet([table.oid]);
            apply::run(&facts, &steps, None)?;
        }
    }
    if table.kind == Kind::Exempt { Ok(None) } else { facts::inspect(target).map(Some) }
}

fn remember(table: &Touched, missing: &Missing) {
    let settled = if table.settled || missing.is_complete() { "true" } else { "false" };
    let labels = serde_json::json!(missing.labels()).to_string();
    let args = [Some(&*table.oid.to_string()), table.column.as_deref(), Some(settled), Some(&*labels)];
    as_superuser(|| spi::execute(include_str!("remember.sql"), &args));
}

/// After the extension's own work on a table: this is what it is from now on. A user's code that ran meanwhile (a
/// backfill, an index expression) may have taken something away again.
pub fn settle(oid: u32) -> Result<(), Error> {
    for mut table in parse(as_superuser(|| spi::query(ONE, &[Some(&oid.to_string())])))? {
        let facts = follow_column(&mut table)?;
        let missing = Missing::of(&table, facts.as_ref());
        table.settled = true;
        if let (false, Some(facts)) = (missing.is_complete(), &facts) {
            return Err(Error::Drift {
                table: table_name(oid.into(), None),
                kind: table.kind.name(),
                undo: facts.undo_call(),
                command: "code run meanwhile".into(),
                missing: missing.planned(),
            });
        }
        remember(&table, &missing);
    }
    Ok(())
}

pub fn forget(oid: u32) {
    as_superuser(|| spi::execute("DELETE FROM orgscope.table_state WHERE target = $1::oid", &[Some(&oid.to_string())]));
}

/// Only a superuser owns orgscope's objects and cannot be stopped; it is put on record.
fn record_ours(sql: &'static str, tag: &str) -> Result<(), Error> {
    if let Some(objects) = as_superuser(|| spi::query_planned(sql, &[])) {
        let objects: serde_json::Value = serde_json::from_str(&objects).unwrap_or_default();
        ddl::record(tag, None, &serde_json::json!({ "objects": objects }));
    }
    Ok(())
}

fn unique_across(oid: u32, index: &str) -> crate::error::Report {
    let table = table_name(oid.into(), None);
    crate::error::Report {
        sqlstate: "01000",
        message: format!("what is unique in table \"{}\" is unique across organizations", table.table),
        detail: format!("A violation of {index} tells one organization what another has."),
        hint: "Put the organization column first, or call orgscope.repair_org_scoping(), which does.".into(),
        table: Some(table),
    }
}

impl Facts {
    fn undo_call(&self) -> String {
        format!("orgscope.disable_org_scoping({})", self.literal)
    }

    /// The steps that are missing from a registered table, or why it can have none.
    fn missing_steps(&self, kind: Kind) -> Result<Vec<super::Step>, Error> {
        match (&self.registered, kind) {
            (Some(registered), Kind::Scoped) => plan::plan(self, &registered.options),
            (_, Kind::Shared) => Ok(plan::shared(self)),
            _ => Ok(Vec::new()),
        }
    }
}
