//! Putting a table under scoping and taking it out again, as desired state: `facts` reads the catalogs, `plan` and
//! `undo` are pure, `apply` runs what they say. Enable, dry run, repair and disable are readers of the same plan.

mod apply;
mod facts;
pub mod members;
mod options;
mod plan;
mod refuse;
pub mod registry;
mod tree;
mod undo;

use crate::error::{Error, TableName};
use crate::pg::text_datum;
use crate::pg_function;
use facts::{Facts, Registered};
use options::Options;
use pgrx::pg_sys;
use serde::Serialize;
use tree::Tree;
use undo::Original;

/// One row of orgscope.scoping_step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub step: usize,
    pub kind: &'static str,
    pub sql: String,
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

fn run(verb: &str, target: pg_sys::Oid, column: &str, options: &str) -> Result<Vec<Step>, Error> {
    match verb {
        "plan" => {
            let options = Options::parse(options)?;
            let tree = facts::read(target, Some(column))?;
            refuse::not_the_top(&tree, target.to_u32())?;
            plan::plan(&tree, &options)
        }
        "enable" => {
            let options = Options::parse(options)?;
            apply::lock(target)?;
            let tree = facts::read(target, Some(column))?;
            refuse::not_the_top(&tree, target.to_u32())?;
            enable(&tree, &options)
        }
        "repair" => {
            let (tree, registered) = registered(target)?;
            enable(&tree, &registered.options)
        }
        "disable" => disable(&registered(target)?.0),
        other => Err(Error::Internal { what: format!("unknown verb \"{other}\"") }),
    }
}

fn enable(tree: &Tree, options: &Options) -> Result<Vec<Step>, Error> {
    let steps = plan::plan(tree, options)?;
    registry::while_scoping(|| apply::run(tree, &steps))?;
    for (i, facts) in tree.members().iter().enumerate() {
        let is_member = !tree.is_root(i);
        let original = Original { member: is_member, ..undo::original(facts, steps.iter().filter(|s| s.member == i)) };
        if !steps.is_empty() || facts.registered.as_ref().is_none_or(|r| r.original != original) {
            apply::register(facts, &original, options)?;
        }
    }
    Ok(steps)
}

fn disable(tree: &Tree) -> Result<Vec<Step>, Error> {
    let steps = undo::undo(tree);
    registry::while_scoping(|| apply::run(tree, &steps))?;
    tree.members().iter().for_each(apply::unregister);
    Ok(steps)
}

/// The locked table with its family, and what the registry says of it.
fn registered(target: pg_sys::Oid) -> Result<(Tree, Registered), Error> {
    apply::lock(target)?;
    let tree = facts::read(target, None)?;
    match tree.place(target.to_u32()).map(|place| &tree.members()[place]) {
        Some(Facts { registered: Some(registered), .. }) => {
            refuse::not_the_top(&tree, target.to_u32())?;
            // One that is not registered itself goes by the column of the one that is.
            let tree = facts::read(target, Some(&registered.column_name))?;
            Ok((tree, registered.clone()))
        }
        Some(facts) => Err(not_scoped(facts)),
        None => Err(Error::Internal { what: "the table is gone".into() }),
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
