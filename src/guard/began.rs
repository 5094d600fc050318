//! Which statements of this transaction were begun by whom.
//!
//! AFTER triggers of what a foreign key's action has written fire when that action is over, with the statement that
//! caused it: up to PostgreSQL 17 as the user of that statement, since 18 as the key table's owner, and never with the
//! security context of the action. What they must know of it is noted when its statement begins.

use crate::pg::{self, Backend, boundary, raw};
use pgrx::pg_sys;
use std::ffi::c_void;

#[derive(Clone, Copy, PartialEq)]
struct Begun {
    table: pg_sys::Oid,
    role: pg_sys::Oid,
    integrity: bool,
}

static BEGUN: Backend<Vec<Begun>> = Backend::new(Vec::new());

pub fn init() {
    // SAFETY: registered once per backend, with a function that lives as long as the library.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
}

/// A writing statement of the current user begins.
pub fn note(table: pg_sys::Oid) {
    // SAFETY: reads a backend-local flag: only referential-integrity actions suspend FORCE while they write.
    let begun = of(table, unsafe { raw::InNoForceRLSOperation() });
    BEGUN.with(|all| {
        // Most transactions write few tables, and mostly the same one again.
        if !all.iter().rev().any(|b| *b == begun) {
            all.push(begun);
        }
    });
}

/// Whether a foreign key's action has written to the table as the current user.
pub fn by_integrity(table: pg_sys::Oid) -> bool {
    has(of(table, true))
}

/// Whether all that was written to the table as the current user was written by foreign keys' actions.
pub fn only_by_integrity(table: pg_sys::Oid) -> bool {
    has(of(table, true)) && !has(of(table, false))
}

fn of(table: pg_sys::Oid, integrity: bool) -> Begun {
    // SAFETY: reads this backend's current user.
    Begun { table, role: unsafe { raw::GetUserId() }, integrity }
}

/// Rows are written in a partition, the statement names the partitioned table above it.
fn has(begun: Begun) -> bool {
    let named: Vec<pg_sys::Oid> = BEGUN.with(|all| {
        let same = all.iter().filter(|b| b.role == begun.role && b.integrity == begun.integrity);
        same.map(|b| b.table).collect()
    });
    !named.is_empty() && (named.contains(&begun.table) || partitioned_above(begun.table).any(|t| named.contains(&t)))
}

fn partitioned_above(table: pg_sys::Oid) -> impl Iterator<Item = pg_sys::Oid> {
    // SAFETY: syscache look-up; for a partition the list of oids above it, palloc'd.
    let above = unsafe {
        if pg_sys::get_rel_relispartition(table) {
            boundary(|| raw::get_partition_ancestors(table))
        } else {
            std::ptr::null_mut()
        }
    };
    // SAFETY: a list has as many elements as it says.
    let length = if above.is_null() { 0 } else { unsafe { (*above).length as usize } };
    (0..length).map(move |i| unsafe { (*(*above).elements.add(i)).oid_value })
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if pg::ends_transaction(event) {
        BEGUN.with(Vec::clear);
    }
}
