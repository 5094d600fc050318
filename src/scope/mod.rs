//! Putting a table under scoping and taking it out again, as desired state: `facts` reads the catalogs, `plan` and
//! `undo` are pure, `apply` runs what they say. Enable, dry run, repair and disable are readers of the same plan.

mod apply;
mod backfill;
mod birth;
mod drift;
mod facts;
mod keys;
mod options;
mod plan;
mod refuse;
mod registry;
mod schema;
mod share;
mod sources;
mod undo;
mod views;

use crate::error::{Error, TableName};
use crate::pg::{as_superuser, text_datum};
use crate::{pg_function, spi};
use facts::{Facts, Registered};
use options::{Locks, Options};
use pgrx::pg_sys;
use serde::Serialize;
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
    match verb {
        "plan" => {
            let options = Options::parse(options)?;
            planned(&facts::read(target, Some(column))?, &options)
        }
        "enable" => {
            let options = Options::parse(options)?;
            if options.locks == Locks::Low {
                return Err(refuse::one_transaction(target));
            }
            lock_and_enable(target, column, &options)
        }
        "repair" => {
            let options = |facts: &Facts| facts.registered.as_ref().map(|r| r.options.clone()).unwrap_or_default();
            let (facts, registered) = registered(target, |facts| keys::touched_by_work(facts, &options(facts)))?;
            enable(&facts, &registered.options)
        }
        "disable" if share::is_shared(target)? => share::unshare(target),
        "disable" => {
            let (facts, registered) = registered(target, keys::touched_by_restoration)?;
            disable(&facts, &registered.original)
        }
        "share" => share::share(target),
        "unshare" => share::unshare(target),
        "exempt" => share::exempt(target, column),
        "unexempt" => share::unexempt(target),
        other => Err(Error::Internal { what: format!("unknown verb \"{other}\"") }),
    }
}

/// The plan as it is shown: with notes about what it leaves as it is.
fn planned(facts: &Facts, options: &Options) -> Result<Vec<Step>, Error> {
    let steps = if options.locks == Locks::Low { plan::low } else { plan::plan };
    let mut steps = steps(facts, options)?;
    for reason in plan::notes(facts, options).into_iter().chain(views::notes(facts, options)) {
        steps.push(Step { step: steps.len() + 1, kind: "note", sql: String::new(), lock: "", reason });
    }
    Ok(steps)
}

fn lock_and_enable(target: pg_sys::Oid, column: &str, options: &Options) -> Result<Vec<Step>, Error> {
    let touches = |facts: &Facts| keys::touched_by_work(facts, options);
    enable(&apply::lock(target, Some(column), touches)?, options)
}

fn enable(facts: &Facts, options: &Options) -> Result<Vec<Step>, Error> {
    let steps = plan::plan(facts, options)?;
    let quiet = drift::quiet(facts.with_neighbours());
    apply::run(facts, &steps, options.backfill.as_deref())?;
    if !steps.is_empty() || facts.registered.is_none() {
        let mut original = undo::original(facts, &steps);
        let memories = keys::work(facts, options)?.memories;
        let (own, others): (Vec<_>, Vec<_>) = memories.into_iter().partition(|(table, _)| facts.is_target(table));
        own.into_iter().for_each(|(_, memory)| original.remember(memory));
        apply::register(facts, &original, options)?;
        apply::note(others, Original::remember)?;
    }
    drop(quiet);
    drift::settle(facts.oid)?;
    Ok(steps)
}

fn disable(facts: &Facts, original: &Original) -> Result<Vec<Step>, Error> {
    let keys = keys::restoration(facts)?;
    let steps = undo::undo(facts, original, &keys);
    let _quiet = drift::quiet(facts.with_neighbours());
    apply::run(facts, &steps, None)?;
    apply::unregister(facts);
    apply::note(keys.forgotten, |original, memory| original.forget(&memory))?;
    drift::forget(facts.oid);
    Ok(steps)
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

/// The locked table, the tables that change with it locked too, and what the registry says of it.
fn registered(target: pg_sys::Oid, touches: impl Fn(&Facts) -> Vec<pg_sys::Oid>) -> Result<(Facts, Registered), Error> {
    let facts = apply::lock(target, None, touches)?;
    match facts.registered.clone() {
        Some(registered) => Ok((facts, registered)),
        None => Err(not_scoped(&facts)),
    }
}

fn not_scoped(facts: &Facts) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("table \"{}\" is not scoped", facts.table),
        detail: "It has no row in orgscope.scoped_tables.".into(),
        hint: format!("Call orgscope.enable_org_scoping({}).", facts.literal),
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
