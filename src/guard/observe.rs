//! The guards and the policy of a table in observe mode: they judge as when enforcing, and note instead of refusing.

use crate::audit::observed::{self, Why};
use crate::context::available;
use crate::context::value::{Org, current};
use crate::error::Error;
use crate::guard::{is_apply_worker, row_security_bypassed};
use crate::pg::{self, Backend};
use crate::pg_function;
use crate::settings::{CONTEXT_CHANGE, ContextChange};
use crate::trigger::{Event, Trigger};
use pgrx::pg_sys;
use std::ffi::c_void;

pg_function! {
    /// `orgscope.observe_read(target regclass) → boolean`: the predicate of the policies. Always true. Constant over a
    /// scan, so it is called once for it, also when it finds no row.
    fn orgscope_observe_read(call) {
        if let Some(table) = call.oid(0) {
            match current() {
                Some(org) => use_org(table, observed::READ, org),
                None => observed::read(table),
            }
        }
        Ok(Some(pg_sys::Datum::from(true)))
    }
}

/// The organization whose rows this transaction has used first.
static USED: Backend<Option<Org>> = Backend::new(None);

pub fn init() {
    // SAFETY: registered once per backend, with a function that lives as long as the library.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
}

/// Enforcing keeps a transaction to one organization, which must be there and active.
fn use_org(table: pg_sys::Oid, operation: &'static str, org: Org) {
    if available::require(org).is_err() {
        observed::note(table, operation, Why::Unavailable, Some(org), 0);
    }
    let used = USED.with(|used| *used.get_or_insert(org));
    if used != org && CONTEXT_CHANGE.get() == ContextChange::Once {
        observed::note(table, operation, Why::ContextChange, Some(org), 0);
    }
}

pub fn statement(t: &Trigger) {
    match current() {
        Some(org) => use_org(t.table(), t.event().name(), org),
        None if is_apply_worker() || row_security_bypassed(t.table()) => {}
        None => observed::note(t.table(), t.event().name(), Why::NoContext, None, 0),
    }
}

/// Enforcing lets only a role outside row security truncate, and only without a context: that is on record anyway.
pub fn truncate(t: &Trigger) {
    observed::note(t.table(), t.event().name(), Why::Truncate, current(), 0);
}

/// A row as it was written.
pub fn row(t: &Trigger) -> Result<(), Error> {
    let (old, new) = (t.old_org()?, t.new_org()?);
    if is_apply_worker() {
        return Ok(());
    }
    let event = t.event();
    let moved = event == Event::Update && old.is_some() && new.is_some() && old != new;
    let foreign = current().is_some_and(|org| new.or(old).is_some_and(|row| row != org));
    if moved || foreign {
        observed::note(t.table(), event.name(), Why::WrongOrganization, current(), 1);
    }
    if event != Event::Delete && new.is_none() {
        observed::note(t.table(), event.name(), Why::NullOrganization, current(), 1);
    }
    Ok(())
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if pg::ends_transaction(event) {
        USED.with(|used| *used = None);
    }
}
