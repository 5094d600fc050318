//! A foreign key that is checked over the rows of all organizations says which one breaks it. PostgreSQL leaves the values
//! out for whom row security holds, and does not know that we have suspended FORCE for the check.

use crate::guard::ddl::table_of;
use crate::pg::{raw, sqlstate, with_pinned_search_path};
use crate::spi;
use pgrx::pg_sys;
use std::ffi::c_void;

/// Whether row security holds the current user in a table whose rows the statement may check. Asked before FORCE is
/// suspended.
pub fn are_hidden(statement: &pg_sys::AlterTableStmt) -> bool {
    table_of(statement.relation).is_some_and(|table| {
        let table = table.to_u32().to_string();
        with_pinned_search_path(|| spi::query_planned(include_str!("checked.sql"), &[Some(&table)])).is_some()
    })
}

/// Runs `f` so that a violated foreign key tells no values. Plain frame.
pub fn without_values<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: what every error context in PostgreSQL does: on error the stack is put back by whoever catches.
    unsafe {
        let previous = pg_sys::error_context_stack;
        let mut callback =
            pg_sys::ErrorContextCallback { previous, callback: Some(leave_out), arg: std::ptr::null_mut() };
        pg_sys::error_context_stack = &raw mut callback;
        let result = f();
        pg_sys::error_context_stack = previous;
        result
    }
}

/// Called while an error is being raised, whose fields may still be replaced.
unsafe extern "C-unwind" fn leave_out(_: *mut c_void) {
    // SAFETY: both belong to the error at hand; errdetail copies its text.
    unsafe {
        if raw::geterrcode() == sqlstate("23503") {
            raw::errdetail(c"A row breaks the key.".as_ptr());
        }
    }
}
