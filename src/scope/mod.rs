//! Putting a table under scoping and taking it out again, as desired state: `facts` reads the catalogs, `plan` and
//! `undo` are pure, `apply` runs what they say. Enable, dry run, repair and disable are readers of the same plan.

mod apply;
mod backfill;
mod birth;
mod drift;
mod facts;
#[cfg(test)]
mod invented;
mod keys;
mod members;
mod options;
mod plan;
mod refuse;
mod registry;
mod schema;
mod share;
mod sources;
mod tree;
mod undo;
mod views;

use crate::audit::entry::{self, Entry};
use crate::audit::writes::qualified;
use crate::error::{Error, TableName};
use crate::guard::lent;
use crate::history::{self, History};
use crate::pg::{as_superuser, text_datum};
use crate::{pg_function, spi};
pub use drift::name;
pub use facts::Facts;
use facts::Registered;
use options::{Locks, Mode, Options};
use pgrx::pg_sys;
pub use refuse::conflict;
pub use registry::{ALONE, CHANGE, change as change_registry, lock as lock_registry};
use serde::Serialize;
use tree::Tree;
use undo::Original;

/// One row of orgscope.scoping_step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub step: usize,
    pub kind: &'static str,
    /// NULL for a note: nothing to run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sql: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub lock: &'static str,
    pub reason: String,
    /// The place in the tree of the table it is for.
    #[serde(skip)]
    pub member: usize,
}

pg_function! {
    /// `orgscope.run_scoping(verb text, target regclass, column_name text, options text) → text`: the steps, as JSON.
    fn orgscope_run_scoping(call) {
        let verb = call.text(0).unwrap_or_default();
        let target = call.oid(1).ok_or_else(null_target)?;
        let column = call.text(2).unwrap_or_default();
        let options = call.text(3).unwrap_or_else(|| "{}".into());
        let steps = run(&verb, target, &column, &options)?;
        let json = serde_json::to_string(&steps).map_err(|e| Error::Internal { what: e.to_string() })?;
        Ok(Some(text_datum(&json)))
    }
}

pg_function! {
    /// `orgscope.run_readiness(since timestamptz) → text`: one object per observed table, as JSON. Reads as the superuser
    /// what belongs to the caller's tables.
    fn orgscope_run_readiness(call) {
        // SAFETY: reads this backend's current user.
        let role = unsafe { pg_sys::GetUserId() }.to_u32().to_string();
        let since = call.timestamptz(0).unwrap_or_else(|| "-infinity".into());
        let json = as_superuser(|| spi::query(include_str!("readiness.sql"), &[Some(&role), Some(&since)]));
        Ok(json.map(|json| text_datum(&json)))
    }
}

fn run(verb: &str, target: pg_sys::Oid, column: &str, options: &str) -> Result<Vec<Step>, Error> {
    let steps = obey(verb, target, column, options)?;
    let operation = match verb {
        "disable" => "DISABLE",
        "end history" => "END HISTORY",
        "unshare" => "UNSHARE",
        "exempt" => "EXEMPT",
        "enable" if Options::parse(options)?.mode == Mode::Observe => "OBSERVE",
        _ => return Ok(steps),
    };
    // What takes protection away is on record.
    entry::write_now(Entry::of_client("lifecycle", operation, None).of_table(Some(qualified(target))))?;
    Ok(steps)
}

fn obey(verb: &str, target: pg_sys::Oid, column: &str, options: &str) -> Result<Vec<Step>, Error> {
    match verb {
        "plan" => {
            let options = Options::parse(options)?;
            let tree = facts::read(target, Some(column))?;
            refuse::not_the_top(&tree, target.to_u32())?;
            planned(&tree, &options)
        }
        "enable" => {
            let options = Options::parse(options)?;
            if options.locks == Locks::Low {
                return Err(refuse::one_transaction(target));
            }
            lock_and_enable(target, column, &options, keep)
        }
        "repair" => lock_and_renew(target, keep),
        "history" => lock_and_renew(target, |tree| History::of(tree.member(target), options).map(Some)),
        "end history" => {
            lock_and_renew(target, |tree| tree.history.as_ref().map(|_| None).ok_or_else(|| no_history(tree.root())))
        }
        "disable" if share::is_shared(target)? => share::unshare(target),
        "disable" => {
            registered(target)?;
            let tree = apply::lock(target, None, keys::touched_by_restoration)?;
            if registered(target)?.history.is_some() {
                return Err(has_history(&facts::read_one(target, None)?));
            }
            disable(&tree)
        }
        "share" => share::share(target),
        "unshare" => share::unshare(target),
        "exempt" => share::exempt(target, column),
        "unexempt" => share::unexempt(target),
        other => Err(Error::Internal { what: format!("unknown verb \"{other}\"") }),
    }
}

/// The plan as it is shown: with notes about what it leaves as it is.
fn planned(tree: &Tree, options: &Options) -> Result<Vec<Step>, Error> {
    let steps = if options.locks == Locks::Low { plan::low } else { plan::plan };
    let mut steps = steps(tree, options)?;
    for reason in plan::notes(tree, options).into_iter().chain(views::notes(tree, options)) {
        steps.push(Step { step: steps.len() + 1, kind: "note", sql: String::new(), lock: "", reason, member: 0 });
    }
    Ok(steps)
}

/// `history` says how changes are to be recorded.
fn lock_and_enable(
    target: pg_sys::Oid,
    column: &str,
    options: &Options,
    history: impl FnOnce(&Tree) -> Result<Option<History>, Error>,
) -> Result<Vec<Step>, Error> {
    let mut tree = apply::lock(target, Some(column), |tree| keys::touched_by_work(tree, options))?;
    refuse::not_the_top(&tree, target.to_u32())?;
    tree.history = history(&tree)?;
    let tree = &tree;
    enable(tree, options, |member, original| Some(Original { member: !tree.is_root(member), ..original }))
}

/// What the registry says, once more.
fn lock_and_renew(
    target: pg_sys::Oid,
    history: impl FnOnce(&Tree) -> Result<Option<History>, Error>,
) -> Result<Vec<Step>, Error> {
    let before = registered(target)?;
    lock_and_enable(target, &before.column_name, &before.options, |tree| {
        // Others may have changed or ended it while we waited.
        let now = registered(target)?;
        if (&now.column_name, &now.options) != (&before.column_name, &before.options) {
            return Err(Error::ChangedMeanwhile {
                table: tree.member(target).table_name(),
                detail: "Its scoping was changed while this waited for it.",
            });
        }
        history(tree)
    })
}

/// As they are.
fn keep(tree: &Tree) -> Result<Option<History>, Error> {
    Ok(tree.history.clone())
}

/// `kept` says what the registry is to know of a member; nothing of those that it leaves out.
fn enable(
    tree: &Tree,
    options: &Options,
    kept: impl Fn(usize, Original) -> Option<Original>,
) -> Result<Vec<Step>, Error> {
    let steps = plan::plan(tree, options)?;
    let quiet = drift::quiet(tree.with_neighbours());
    apply::run(tree, &steps, options.backfill.as_deref())?;
    let memories = keys::work(tree, options)?.memories;
    let (own, others): (Vec<_>, Vec<_>) = memories.into_iter().partition(|(table, _)| tree.place_of(table).is_some());
    let mut own: Vec<_> = own.into_iter().map(|(table, memory)| (tree.place_of(table), memory)).collect();
    for (i, facts) in tree.members().iter().enumerate() {
        let mut original = undo::original(tree, i, &steps);
        own.extract_if(.., |(place, _)| *place == Some(i)).for_each(|(_, memory)| original.remember(memory));
        let Some(original) = kept(i, original) else { continue };
        if !steps.is_empty() || facts.registered.as_ref().is_none_or(|r| r.original != original) {
            apply::register(facts, &original, options)?;
        }
        if facts.registered.as_ref().and_then(|r| r.history.as_ref()) != tree.history.as_ref() {
            history::remember(facts, tree.history.as_ref())?;
        }
    }
    apply::note(others, Original::remember)?;
    drop(quiet);
    drift::settle(&tree.oids().collect::<Vec<_>>())?;
    Ok(steps)
}

fn disable(tree: &Tree) -> Result<Vec<Step>, Error> {
    let keys = keys::restoration(tree)?;
    let steps = undo::undo(tree, &keys);
    let _quiet = drift::quiet(tree.with_neighbours());
    apply::run(tree, &steps, None)?;
    tree.members().iter().for_each(apply::unregister);
    apply::note(keys.forgotten, |original, memory| original.forget(&memory))?;
    tree.oids().for_each(drift::forget);
    Ok(steps)
}

/// Whether scoping itself is at work on the table, and looks at its rows.
pub fn is_being_scoped(table: pg_sys::Oid) -> bool {
    drift::is_quiet(table.to_u32()) && !lent::is_users_code()
}

pub fn is_any_being_scoped() -> bool {
    drift::is_any_quiet()
}

/// Runs DDL on a table whose scoping is being put right.
pub fn quietly<R>(table: pg_sys::Oid, f: impl FnOnce() -> R) -> R {
    let _quiet = drift::quiet([table.to_u32()]);
    registry::while_scoping(f)
}

pub fn init() {
    sources::init();
}

/// After REASSIGN OWNED. Without the extension there is nothing to judge.
pub fn judge_owners() -> Result<(), Error> {
    if crate::guard::ddl::extension_is_there() { drift::judge_owners() } else { Ok(()) }
}

/// Before CREATE TABLE AS runs.
pub fn forget_sources() {
    sources::forget();
}

/// What the registry says of the table, which is at the top of its tree. One below that is not registered itself goes by
/// its column.
fn registered(target: pg_sys::Oid) -> Result<Registered, Error> {
    let facts = facts::read_one(target, None)?;
    let Some(registered) = facts.registered else { return Err(not_scoped(&facts)) };
    refuse::not_the_top(&facts::outline(target, Some(&registered.column_name))?, target.to_u32())?;
    Ok(registered)
}

fn not_scoped(facts: &Facts) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("table \"{}\" is not scoped", facts.table),
        detail: "It has no row in orgscope.scoped_tables.".into(),
        hint: format!("Call orgscope.enable_org_scoping({}).", facts.literal),
    }
}

fn has_history(facts: &Facts) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot take table \"{}\" out of scoping", facts.table),
        detail: "Its changes are recorded for each organization.".into(),
        hint: format!("Call orgscope.disable_change_history({}) first: what was recorded stays.", facts.literal),
    }
}

fn no_history(facts: &Facts) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("table \"{}\" has no change history", facts.table),
        detail: "It has no row in orgscope.history_tables.".into(),
        hint: format!("Call orgscope.enable_change_history({}) to record its changes.", facts.literal),
    }
}

fn null_target() -> Error {
    Error::Conflict {
        table: None,
        message: "target must not be null".into(),
        detail: "No table was named.".into(),
        hint: "Name the table, for example orgscope.enable_org_scoping('public.ticket').".into(),
    }
}

impl Facts {
    pub fn table_name(&self) -> Box<TableName> {
        Box::new(TableName { schema: self.schema.clone(), table: self.table.clone(), column: None })
    }
}
