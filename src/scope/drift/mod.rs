//! DDL that would weaken a registered table, judged by what it leaves behind and not by its name: after every command the
//! planner says what the tables it may have touched are missing. What they were missing before is remembered, so a
//! command that takes nothing away is never refused, and neither is a restore that puts the parts together one by one.

mod commanded;
mod missing;
mod quiet;

use crate::audit::ddl;
use crate::audit::writes::qualified;
use crate::error::{Error, Report};
use crate::guard::table_name;
use crate::history;
use crate::pg::{as_superuser, command_tag, warn, with_pinned_search_path};
use crate::scope::facts::Facts;
use crate::scope::tree::Tree;
use crate::scope::{apply, facts, members, plan, registry};
use crate::settings::{DRIFT, Drift};
use crate::{pg_function, spi};
use missing::{Missing, Opening};
use pgrx::pg_sys;
use serde::Deserialize;
use std::collections::HashMap;

pub use commanded::name;
pub use quiet::{is_any_quiet, is_quiet, quiet};

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
    plain_keys: Vec<String>,
    /// Of a shared table, whose rows are its own only.
    children: Vec<String>,
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

/// What a command does to a table it may do to those below.
const COMMANDS: &str = concat!(
    "WITH RECURSIVE touched (target) AS (",
    include_str!("commands.sql"),
    include_str!("shared_above.sql"),
    "UNION SELECT i.inhrelid FROM touched t JOIN pg_inherits i ON i.inhparent = t.target) ",
    include_str!("registered.sql")
);
const CONCERNED: &str = concat!("WITH touched AS (", include_str!("commands.sql"), ") ", include_str!("near.sql"));
const LOST: &str = include_str!("lost.sql");
/// Whether a table was dropped that one of the registries knows.
const GONE: &str = "SELECT 'yes' FROM pg_event_trigger_dropped_objects() d \
     JOIN (SELECT table_name FROM orgscope.scoped_table UNION ALL SELECT table_name FROM orgscope.unscoped_table) known \
       ON known.table_name::text = d.object_name \
     WHERE d.object_type = 'table' LIMIT 1";
const DROPS: &str = concat!("WITH touched AS (", include_str!("drops.sql"), ") ", include_str!("registered.sql"));
const OWNERS: &str = concat!("WITH touched AS (", include_str!("owners.sql"), ") ", include_str!("registered.sql"));
const GIVEN: &str = concat!("WITH touched AS (SELECT unnest($1::oid[]) AS target) ", include_str!("registered.sql"));

const OURS: &str = include_str!("ours.sql");
const DROPPED_OURS: &str = include_str!("dropped_ours.sql");
const FOLLOW: &str = include_str!("follow.sql");
const FORGET: &str = include_str!("forget.sql");

pg_function! {
    /// ddl_command_end of every command: the registry follows, then what is in it is judged.
    fn orgscope_keep_scoping(call) {
        use pg_sys::NodeTag::{T_AlterObjectSchemaStmt, T_RenameStmt};
        if in_binary_upgrade() {
            return Ok(None);
        }
        let tag = command_tag(call);
        // ALTER INDEX renames tables too.
        if matches!(call.event_trigger_statement(), Some(T_RenameStmt | T_AlterObjectSchemaStmt)) {
            registry::follow(tag == "ALTER SCHEMA");
            as_superuser(|| spi::query_planned(FOLLOW, &[]));
        }
        let named = commanded::take_named(&tag, &["GRANT", "REVOKE", "CREATE SCHEMA"]);
        if named.is_some() || is_there(CONCERNED) {
            let commanded = commanded::by_command(&named.unwrap_or_default())?;
            if let Some((old, new)) = call.renamed_column() {
                history::follow_column(&old, &new);
            }
            if !registry::is_scoping() && members::may_change(&tag) {
                members::adopt()?;
            }
            let recorded = judge_all(touched(COMMANDS)?, &tag)?;
            commanded::record(&tag, &commanded, &recorded)?;
        }
        record_ours(OURS, &tag, &[Some(if call.only_adds() { "true" } else { "false" })])?;
        crate::scope::birth::judge(&tag)?;
        Ok(None)
    }
}

pg_function! {
    /// sql_drop: a dropped table is forgotten, and who has lost a part is judged.
    fn orgscope_keep_scoping_parts(call) {
        if in_binary_upgrade() {
            return Ok(None);
        }
        let tag = command_tag(call);
        let (gone, lost) = (is_there(GONE), is_there(LOST));
        let named = commanded::take_named(&tag, &["DROP INDEX"]);
        let dropped = if gone || lost || named.is_some() { commanded::by_drop(&named)? } else { Vec::new() };
        if gone {
            registry::forget();
            as_superuser(|| spi::query_planned(FORGET, &[]));
        }
        let recorded = if lost { judge_all(touched(DROPS)?, &tag)? } else { Vec::new() };
        commanded::record(&tag, &dropped, &recorded)?;
        record_ours(DROPPED_OURS, &tag, &[])?;
        Ok(None)
    }
}

/// After REASSIGN OWNED, for which no event trigger fires.
pub fn judge_owners() -> Result<(), Error> {
    with_pinned_search_path(|| judge_all(touched(OWNERS)?, "REASSIGN OWNED")).map(drop)
}

/// pg_upgrade puts catalogs together without our settings.
fn in_binary_upgrade() -> bool {
    // SAFETY: a plain global.
    unsafe { pg_sys::IsBinaryUpgrade }
}

fn is_there(sql: &'static str) -> bool {
    as_superuser(|| spi::query_planned(sql, &[])).is_some()
}

fn touched(sql: &'static str) -> Result<Vec<Touched>, Error> {
    parse(as_superuser(|| spi::query_planned(sql, &[])))
}

fn parse(json: Option<String>) -> Result<Vec<Touched>, Error> {
    json.map_or(Ok(Vec::new()), |json| {
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("state of a table: {e}") })
    })
}

/// Returns the tables whose loss is on record.
fn judge_all(mut tables: Vec<Touched>, tag: &str) -> Result<Vec<u32>, Error> {
    tables.retain(|t| !is_quiet(t.oid));
    let mut trees = inspect(&mut tables)?;
    let mut recorded = Vec::new();
    for table in &mut tables {
        if judge(table, trees.remove(&table.oid), tag)? {
            recorded.push(table.oid);
        }
    }
    Ok(recorded)
}

fn judge(table: &mut Touched, tree: Option<Tree>, tag: &str) -> Result<bool, Error> {
    let missing = Missing::of(table, tree.as_ref());
    let Some(known) = &table.known else {
        // Restored a moment ago: from here on it gets no worse.
        remember(table, &missing);
        return Ok(false);
    };
    let (lost, wider) = missing.beyond(known, table.settled);
    if let (false, Some(tree)) = (lost.is_empty(), &tree) {
        // SAFETY: a syscache look-up.
        if DRIFT.get() == Drift::Reject && !unsafe { pg_sys::superuser() } {
            return Err(Error::Drift {
                table: table_name(table.oid.into(), None),
                kind: table.kind.name(),
                undo: undo_call(tree.root()),
                command: tag.into(),
                missing: lost,
            });
        }
        ddl::record(tag, Some(qualified(table.oid.into())), Some(serde_json::json!({ "missing": lost })))?;
    }
    let recorded = !lost.is_empty();
    for opening in wider.iter().filter(|_| table.settled) {
        warn(&opening.report(table.oid));
    }
    if !missing.is(known) || (missing.is_complete() && !table.settled) {
        remember(table, &missing);
    }
    Ok(recorded)
}

/// The tables as the catalogs say they are now, their registered columns followed.
fn inspect(tables: &mut [Touched]) -> Result<HashMap<u32, Tree>, Error> {
    for table in tables.iter_mut() {
        follow_column(table)?;
    }
    let oids: Vec<u32> = tables.iter().filter(|t| t.kind != Kind::Exempt).map(|t| t.oid).collect();
    if oids.is_empty() { Ok(HashMap::new()) } else { facts::inspect(&oids) }
}

/// Policies, keys and indexes follow a renamed column by themselves. The guards have its name as an argument and are made
/// anew; the registry follows.
fn follow_column(table: &mut Touched) -> Result<(), Error> {
    let renamed =
        table.column_now.clone().filter(|now| table.kind == Kind::Scoped && table.column.as_ref() != Some(now));
    let Some(now) = renamed else { return Ok(()) };
    let sql = "UPDATE orgscope.scoped_table s SET column_name = $2::name \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = $1::oid AND s.schema_name = n.nspname AND s.table_name = c.relname";
    registry::change(sql, &[Some(&table.oid.to_string()), Some(&now)]);
    table.column = Some(now);
    for tree in facts::inspect(&[table.oid])?.values() {
        let Some(registered) = &tree.root().registered else { continue };
        let mut steps = plan::plan(tree, &registered.options).unwrap_or_default();
        steps.retain(|s| s.kind == "guard");
        // Partitions have clones of the guards.
        let _quiet = quiet(facts::family(table.oid.into()));
        apply::run(tree, &steps, None)?;
    }
    Ok(())
}

fn remember(table: &Touched, missing: &Missing) {
    let settled = if table.settled || missing.is_complete() { "true" } else { "false" };
    let labels = serde_json::json!(missing.labels()).to_string();
    let args = [Some(&*table.oid.to_string()), table.column.as_deref(), Some(settled), Some(&*labels)];
    registry::change(include_str!("remember.sql"), &args);
}

/// After the extension's own work on a table: this is what it is from now on. A user's code that ran meanwhile (a
/// backfill, an index expression) may have taken something away again.
pub fn settle(oids: &[u32]) -> Result<(), Error> {
    let list = format!("{{{}}}", oids.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    let mut tables = parse(as_superuser(|| spi::query(GIVEN, &[Some(&list)])))?;
    let trees = inspect(&mut tables)?;
    for mut table in tables {
        let tree = trees.get(&table.oid);
        table.settled = true;
        let missing = Missing::of(&table, tree);
        if let (false, Some(tree)) = (missing.is_complete(), tree) {
            return Err(Error::Drift {
                table: table_name(table.oid.into(), None),
                kind: table.kind.name(),
                undo: undo_call(tree.root()),
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
fn record_ours(sql: &'static str, tag: &str, args: &[Option<&str>]) -> Result<(), Error> {
    if let Some(objects) = as_superuser(|| spi::query_planned(sql, args)) {
        let objects: serde_json::Value = serde_json::from_str(&objects).unwrap_or_default();
        ddl::record_ours(tag, serde_json::json!({ "objects": objects }))?;
    }
    Ok(())
}

impl Opening<'_> {
    fn report(&self, oid: u32) -> Report {
        let table = table_name(oid.into(), None);
        let (message, detail, hint) = match self {
            Self::Unique(index) => (
                format!("what is unique in table \"{}\" is unique across organizations", table.table),
                format!("A violation of {index} tells one organization what another has."),
                "Put the organization column first, or call orgscope.repair_org_scoping(), which does.",
            ),
            Self::Key(key) => (
                format!("foreign key \"{key}\" of table \"{}\" reaches across organizations", table.table),
                "A row may refer to another organization's row, and go with it.".into(),
                "Put the organization columns into it, or call orgscope.repair_org_scoping(), which does.",
            ),
        };
        Report { sqlstate: "01000", message, detail, hint: hint.into(), table: Some(table) }
    }
}

/// Partitions and children leave scoping with the table at the top.
fn undo_call(facts: &Facts) -> String {
    let sql = "WITH RECURSIVE above (oid) AS (SELECT $1::oid UNION \
               SELECT i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid) \
               SELECT quote_literal(format('%I.%I', n.nspname, c.relname)) \
               FROM above a JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = a.oid) ORDER BY 1 LIMIT 1";
    let top = as_superuser(|| spi::query(sql, &[Some(&facts.oid.to_string())]));
    format!("orgscope.disable_org_scoping({})", top.as_ref().unwrap_or(&facts.literal))
}

impl Tree {
    /// The steps that are missing from a registered table, or why it can have none.
    fn missing_steps(&self, kind: Kind) -> Result<Vec<super::Step>, Error> {
        match (&self.root().registered, kind) {
            (Some(registered), Kind::Scoped) => plan::plan(self, &registered.options),
            (_, Kind::Shared) => Ok(plan::shared(self.root())),
            _ => Ok(Vec::new()),
        }
    }
}
