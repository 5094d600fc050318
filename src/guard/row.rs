//! Row triggers. `fill` runs first, `guard` last among the BEFORE triggers, `last_word` after the row is written, where
//! no trigger of the application can change it any more.

use crate::audit::writes;
use crate::context::value::{Org, absence, current};
use crate::error::{Error, Foreign};
use crate::guard::{is_apply_worker, row_security_bypassed, table_name};
use crate::pg::raw;
use crate::trigger::{Event, Shape, Trigger};
use crate::{pg, pg_finfo, pg_function};
use pgrx::pg_sys;

pg_finfo!(orgscope_needs_guard);
/// `orgscope.needs_guard(tableoid oid, old uuid, new uuid) → boolean`: the WHEN condition of `last_word`. False for a
/// row of the current organization written under row security: then no trigger event is queued at all.
///
/// Plain frame on the path of every written row: whether row security covers the writer is asked once per statement and
/// kept in `fn_extra`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn orgscope_needs_guard(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: three arguments by declaration; the executor gives each trigger of a statement its own flinfo, whose
    // fn_mcxt lives as long as the statement.
    unsafe {
        let args = (*fcinfo).args.as_slice(3);
        let call = (*fcinfo).flinfo;
        let mut covered = (*call).fn_extra.cast::<bool>();
        if covered.is_null() {
            let table = pg_sys::Oid::from(args[0].value.value() as u32);
            let answer = entry_covered(table);
            covered = raw::MemoryContextAlloc((*call).fn_mcxt, 1).cast();
            *covered = answer;
            (*call).fn_extra = covered.cast();
        }
        let own = |i: usize, org: Org| !args[i].isnull && *args[i].value.cast_mut_ptr::<Org>() == org;
        let fine = *covered && current().is_some_and(|org| own(1, org) && own(2, org));
        pg_sys::Datum::from(!fine)
    }
}

#[cold]
fn entry_covered(table: pg_sys::Oid) -> bool {
    pg::entry(|| Ok(!row_security_bypassed(table)))
}

pg_function! {
    /// BEFORE ROW, first, WHEN (new.organization IS NULL): ORMs send NULL for a column they do not know.
    fn orgscope_fill(call) {
        let t = Trigger::of(call, "fill", Shape::BeforeRow)?;
        let org = match t.event() {
            Event::Update => t.old_org()?,
            _ => current(),
        };
        Ok(Some(match org {
            Some(org) if !is_apply_worker() => t.with_org(org)?,
            _ => t.row(),
        }))
    }
}

pg_function! {
    /// BEFORE ROW, last, WHEN the organization is not the current one.
    fn orgscope_guard(call) {
        let t = Trigger::of(call, "guard", Shape::BeforeRow)?;
        if !is_apply_worker() {
            judge(&t)?;
        }
        Ok(Some(t.row()))
    }
}

pg_function! {
    /// AFTER ROW, WHEN orgscope.needs_guard(): a foreign row is refused whatever a trigger made of it, and a row written
    /// outside row security is counted for the audit log.
    fn orgscope_last_word(call) {
        let t = Trigger::of(call, "last_word", Shape::AfterRow)?;
        if !is_apply_worker() {
            judge(&t)?;
            count(&t)?;
        }
        Ok(Some(t.row()))
    }
}

/// The rules for one row, for every role alike: a context admits only its own rows, and without a context only a role
/// outside row security may write.
fn judge(t: &Trigger) -> Result<(), Error> {
    let (old, new) = (t.old_org()?, t.new_org()?);
    let event = t.event();
    if event == Event::Update && new.is_some() && old != new {
        return Err(wrong(t, Foreign::Move));
    }
    match current() {
        Some(org) if new.or(old).is_some_and(|row| row != org) => Err(wrong(
            t,
            match event {
                Event::Insert => Foreign::Insert,
                Event::Update => Foreign::Update,
                Event::Delete => Foreign::Delete,
            },
        )),
        Some(_) => Ok(()),
        // Without a context there is nothing to fill a NULL with, so that is refused to every role.
        None if new.or(old).is_some() && row_security_bypassed(t.table()) => Ok(()),
        None => Err(Error::NoContext { table: Some(table_name(t.table(), t.column())), why: absence() }),
    }
}

fn wrong(t: &Trigger, what: Foreign) -> Error {
    Error::WrongOrganization { table: table_name(t.table(), t.column()), what }
}

/// Referential-integrity actions under a context belong to the statement that caused them and stay inside its
/// organization; without one they are an administrator's, and on record.
fn count(t: &Trigger) -> Result<(), Error> {
    // SAFETY: reads a backend-local flag.
    let integrity = unsafe { pg_sys::InNoForceRLSOperation() };
    let org = t.new_org()?.or(t.old_org()?);
    if row_security_bypassed(t.table()) && !(integrity && current().is_some()) {
        writes::count(t.table(), t.event(), org);
    }
    Ok(())
}
