//! Tables that are deliberately not scoped: shared ones, which all organizations read and none writes, and exempt ones,
//! with the reason.

use crate::error::Error;
use crate::guard::table_name;
use crate::pg_function;
use crate::scope::facts::{self, Facts};
use crate::scope::tree::Tree;
use crate::scope::{Step, apply, drift, plan, registry};
use crate::trigger::{Shape, Trigger};
use pgrx::pg_sys;

pg_function! {
    /// BEFORE INSERT OR UPDATE OR DELETE STATEMENT and BEFORE TRUNCATE of a shared table.
    fn orgscope_shared(call) {
        let t = Trigger::of(call, "shared", Shape::BeforeStatement)?;
        if !writer_is_above_organizations() {
            return Err(Error::SharedTable { table: table_name(t.table(), None) });
        }
        Ok(Some(pg_sys::Datum::null()))
    }
}

/// A foreign key's action runs as the table's owner, for whoever has caused it.
fn writer_is_above_organizations() -> bool {
    // SAFETY: reads this backend's roles; superusers have the privilege too.
    unsafe {
        let role = if pg_sys::InNoForceRLSOperation() { pg_sys::GetOuterUserId() } else { pg_sys::GetUserId() };
        pg_sys::has_bypassrls_privilege(role)
    }
}

pub fn is_shared(target: pg_sys::Oid) -> Result<bool, Error> {
    Ok(facts::read_one(target, None)?.declared.as_deref() == Some("shared"))
}

pub fn share(target: pg_sys::Oid) -> Result<Vec<Step>, Error> {
    apply::lock_all(vec![target.to_u32()])?;
    let (facts, steps) = planned(target)?;
    let _quiet = drift::quiet([facts.oid]);
    apply::run(&Tree::new(vec![facts.clone()]), &steps, None)?;
    declare(&facts, "shared", None)?;
    Ok(steps)
}

/// What sharing the table would do.
pub fn planned(target: pg_sys::Oid) -> Result<(Facts, Vec<Step>), Error> {
    let facts = facts::read_one(target, None)?;
    if facts.kind != 'r' || facts::family(target).len() > 1 {
        return refuse(&facts, "share", "It is not an ordinary table.", "Share the tables that hold the rows.".into());
    }
    fit(&facts, "share", "exempt")?;
    let steps = plan::shared(&facts);
    Ok((facts, steps))
}

pub fn unshare(target: pg_sys::Oid) -> Result<Vec<Step>, Error> {
    apply::lock_all(vec![target.to_u32()])?;
    let facts = facts::read_one(target, None)?;
    require(&facts, "shared", "share_table")?;
    let steps: Vec<_> = facts
        .triggers
        .iter()
        .filter(|t| t.ours)
        .enumerate()
        .map(|(i, trigger)| drop_trigger(&facts, i, &trigger.quoted))
        .collect();
    let _quiet = drift::quiet([facts.oid]);
    apply::run(&Tree::new(vec![facts.clone()]), &steps, None)?;
    retract(&facts);
    Ok(steps)
}

fn drop_trigger(facts: &Facts, before: usize, quoted: &str) -> Step {
    Step {
        step: before + 1,
        kind: "guard",
        sql: format!("DROP TRIGGER {quoted} ON {}", facts.qualified),
        lock: "ACCESS EXCLUSIVE",
        reason: "as it was before the table was shared".into(),
        member: 0,
    }
}

pub fn exempt(target: pg_sys::Oid, reason: &str) -> Result<Vec<Step>, Error> {
    apply::hold(target)?;
    let facts = facts::read_one(target, None)?;
    if !matches!(facts.kind, 'r' | 'p' | 'm' | 'f') {
        return refuse(&facts, "exempt", "It holds no rows.", "Exempt the tables that hold the rows.".into());
    }
    if reason.trim().is_empty() {
        let hint = format!("Say why: orgscope.exempt_table({}, '<reason>').", facts.literal);
        return refuse(&facts, "exempt", "No reason was given.", hint);
    }
    fit(&facts, "exempt", "shared")?;
    declare(&facts, "exempt", Some(reason))?;
    Ok(Vec::new())
}

pub fn unexempt(target: pg_sys::Oid) -> Result<Vec<Step>, Error> {
    apply::hold(target)?;
    let facts = facts::read_one(target, None)?;
    require(&facts, "exempt", "exempt_table")?;
    retract(&facts);
    Ok(Vec::new())
}

/// A table is scoped, shared or exempt: one of the three.
fn fit(facts: &Facts, verb: &str, other: &str) -> Result<(), Error> {
    if facts.temporary || facts.system {
        let detail = "It is a temporary table, a system table or one of orgscope's own.";
        return refuse(facts, verb, detail, "Name one of the application's permanent tables.".into());
    }
    if facts.registered.is_some() {
        let hint = format!("Call orgscope.disable_org_scoping({}) first.", facts.literal);
        return refuse(facts, verb, "It is scoped.", hint);
    }
    if facts.declared.as_deref() == Some(other) {
        let function = if other == "shared" { "unshare_table" } else { "unexempt_table" };
        let hint = format!("Call orgscope.{function}({}) first.", facts.literal);
        return refuse(facts, verb, &format!("It is {other}."), hint);
    }
    Ok(())
}

fn require(facts: &Facts, kind: &str, function: &str) -> Result<(), Error> {
    if facts.declared.as_deref() == Some(kind) {
        return Ok(());
    }
    Err(Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("table \"{}\" is not {kind}", facts.table),
        detail: "It has no such row in orgscope.unscoped_tables.".into(),
        hint: format!("Call orgscope.{function}() to make it so."),
    })
}

fn refuse<T>(facts: &Facts, verb: &str, detail: &str, hint: String) -> Result<T, Error> {
    Err(Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot {verb} table \"{}\"", facts.table),
        detail: detail.into(),
        hint,
    })
}

fn declare(facts: &Facts, kind: &str, reason: Option<&str>) -> Result<(), Error> {
    let sql = "INSERT INTO orgscope.unscoped_table (schema_name, table_name, kind, reason) \
               SELECT n.nspname, c.relname, $2, $3 \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid \
               ON CONFLICT (schema_name, table_name) DO UPDATE \
               SET reason = EXCLUDED.reason, declared_at = now(), declared_by = session_user \
               WHERE unscoped_table.reason IS DISTINCT FROM EXCLUDED.reason";
    registry::change(sql, &[Some(&facts.oid.to_string()), Some(kind), reason]);
    drift::settle(&[facts.oid])
}

fn retract(facts: &Facts) {
    let sql = "DELETE FROM orgscope.unscoped_table u USING pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = $1::oid AND u.schema_name = n.nspname AND u.table_name = c.relname";
    registry::change(sql, &[Some(&facts.oid.to_string())]);
    drift::forget(facts.oid);
}
