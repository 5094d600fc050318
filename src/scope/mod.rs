//! Putting a table under scoping and taking it out again, as desired state: `facts` reads the catalogs, `plan` and
//! `undo` are pure, `apply` runs what they say. Enable, dry run, repair and disable are readers of the same plan.

mod apply;
mod birth;
mod drift;
mod facts;
mod options;
mod plan;
mod refuse;
mod registry;
mod share;
mod sources;
mod undo;

use crate::error::{Error, TableName};
use crate::pg::text_datum;
use crate::pg_function;
use facts::{Facts, Registered};
use options::Options;
use pgrx::pg_sys;
use serde::Serialize;
use undo::Original;

/// One row of orgscope.scoping_step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub step: usize,
    pub kind: &'static str,
    pub sql: String,
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

fn run(verb: &str, target: pg_sys::Oid, column: &str, options: &str) -> Result<Vec<Step>, Error> {
    match verb {
        "plan" => {
            let options = Options::parse(options)?;
            facts::read(target, Some(column)).and_then(|facts| plan::plan(&facts, &options))
        }
        "enable" => {
            let options = Options::parse(options)?;
            apply::lock(target)?;
            enable(&facts::read(target, Some(column))?, &options)
        }
        "repair" => {
            let (facts, registered) = registered(target)?;
            enable(&facts, &registered.options)
        }
        "disable" if share::is_shared(target)? => share::unshare(target),
        "disable" => {
            let (facts, registered) = registered(target)?;
            disable(&facts, &registered.original)
        }
        "share" => share::share(target),
        "unshare" => share::unshare(target),
        "exempt" => share::exempt(target, column),
        "unexempt" => share::unexempt(target),
        other => Err(Error::Internal { what: format!("unknown verb \"{other}\"") }),
    }
}

fn enable(facts: &Facts, options: &Options) -> Result<Vec<Step>, Error> {
    let steps = plan::plan(facts, options)?;
    let quiet = drift::quiet(facts.oid);
    apply::run(facts, &steps)?;
    if !steps.is_empty() || facts.registered.is_none() {
        apply::register(facts, &undo::original(facts, &steps), options)?;
    }
    drop(quiet);
    drift::settle(facts.oid)?;
    Ok(steps)
}

fn disable(facts: &Facts, original: &Original) -> Result<Vec<Step>, Error> {
    let steps = undo::undo(facts, original);
    let _quiet = drift::quiet(facts.oid);
    apply::run(facts, &steps)?;
    apply::unregister(facts);
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

/// The locked table and what the registry says of it.
fn registered(target: pg_sys::Oid) -> Result<(Facts, Registered), Error> {
    apply::lock(target)?;
    let facts = facts::read(target, None)?;
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
