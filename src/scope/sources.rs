//! The tables that CREATE TABLE AS, SELECT INTO and CREATE MATERIALIZED VIEW read: the catalogs do not keep them.

use crate::audit::detect;
use crate::context::handed_on;
use crate::context::token::redact;
use crate::pg::Backend;
use pgrx::pg_sys;
use std::ffi::c_int;

static SOURCES: Backend<Vec<u32>> = Backend::new(Vec::new());
static mut NEXT: pg_sys::ExecutorStart_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called after ours.
    unsafe {
        NEXT = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

/// Plain frame, called for every statement: all but the copying and the explained ones pay for two compares.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    use pg_sys::CommandDest;
    // SAFETY: the executor's own description of a planned statement.
    unsafe {
        let dest = (*query).dest;
        if !dest.is_null() && [CommandDest::DestIntoRel, CommandDest::DestTransientRel].contains(&(*dest).mydest) {
            note((*(*query).plannedstmt).relationOids);
        }
        let only_explained = flags as u32 & pg_sys::EXEC_FLAG_EXPLAIN_ONLY != 0;
        if !only_explained {
            handed_on::starts((*query).plannedstmt);
        }
        if detect::is_leaders(&*(*query).plannedstmt) {
            redact::hide_activity();
        }
        detect::starts((*query).plannedstmt, only_explained);
        match NEXT {
            Some(next) => next(query, flags),
            None => standard(query, flags),
        }
        detect::started();
    }
}

// SAFETY: declared as in executor/executor.h of every major version; called from plain frames.
unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorStart"]
    fn standard(query: *mut pg_sys::QueryDesc, flags: c_int);
}

unsafe fn note(relations: *mut pg_sys::List) {
    // SAFETY: a list of oids, or NULL when there is none.
    let length = if relations.is_null() { 0 } else { unsafe { (*relations).length as usize } };
    SOURCES.with(|sources| {
        sources.clear();
        sources.extend((0..length).map(|i| unsafe { (*(*relations).elements.add(i)).oid_value.to_u32() }));
    });
}

/// A statement that copies begins: what an earlier one has read is past.
pub fn forget() {
    SOURCES.with(Vec::clear);
}

pub fn take() -> Vec<u32> {
    SOURCES.with(std::mem::take)
}
