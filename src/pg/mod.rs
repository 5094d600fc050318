//! Everything that touches PostgreSQL's C interface by hand.
//!
//! Three rules, each bought with a lost error field or a leak:
//!
//! 1. PostgreSQL leaves a C frame by `longjmp`. Functions marked *plain frame* below hold nothing that needs dropping,
//!    so a jump over them loses nothing.
//! 2. pgrx 0.18 rebuilds an error that passes through its guard from a few fields, and knows only PostgreSQL's own
//!    SQLSTATEs: class OS would arrive as XX000. So our entry points end in [`entry`], which raises our errors itself
//!    and re-throws PostgreSQL's untouched.
//! 3. Calls that may run a user's code go through [`boundary`] (SPI) or stand in a plain frame (the next hook): either
//!    keeps the whole error.

mod call;
mod errors;
mod executor;
mod lookup;
pub mod raw;
mod rights;
pub mod shared;

pub use call::{Call, command_tag, text_datum, uuid_datum};
pub use errors::{boundary, entry, log, replace_errors, sqlstate, warn};
pub use executor::add_steps;
pub use lookup::{equal, find_row, own_table};
pub use rights::{
    as_role, as_superuser, is_own_statement, replace_own, with_pinned_search_path, with_settings, without_force,
};

use pgrx::pg_sys;
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_void};

/// State of this backend. A backend is one process with one thread that runs PostgreSQL code, so a plain cell is
/// enough, and cheaper on the hot path than a thread-local.
pub struct Backend<T>(UnsafeCell<T>);

// SAFETY: PostgreSQL runs hooks, functions and callbacks of a backend on its only thread.
unsafe impl<T> Sync for Backend<T> {}

impl<T> Backend<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Borrows the state for one closure, which must not call back into PostgreSQL: another hook could borrow it again.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: one thread, and by the rule above no second borrow while the closure runs.
        f(unsafe { &mut *self.0.get() })
    }
}

/// Copies text into the current memory context, cut at a NUL byte.
pub fn pstrdup(text: &str) -> *mut c_char {
    let text = CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default();
    // SAFETY: pstrdup copies a NUL-terminated string.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}

/// The same in a given memory context.
///
/// # Safety
/// The context is a live one.
pub unsafe fn pstrdup_in(context: pg_sys::MemoryContext, text: &str) -> *mut c_char {
    let text = text.split('\0').next().unwrap_or_default();
    // SAFETY: memory for the text and its end, or an error.
    unsafe { copy_to(raw::MemoryContextAlloc(context, text.len() + 1), text) }
}

/// SAFETY: room for the text and its end.
unsafe fn copy_to(memory: *mut u8, text: &str) -> *mut c_char {
    // SAFETY: the caller's.
    unsafe {
        memory.copy_from_nonoverlapping(text.as_ptr(), text.len());
        memory.add(text.len()).write(0);
    }
    memory.cast()
}

/// Text of a C string that may be NULL or in another encoding than UTF-8.
pub fn text_of(pointer: *const c_char) -> Option<String> {
    // SAFETY: PostgreSQL's C strings are NUL-terminated and live at least as long as the calling statement.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Whether a transaction of this backend is over, or handed on as a prepared one.
pub fn ends_transaction(event: pg_sys::XactEvent::Type) -> bool {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE)
}

/// A parallel worker repeats its leader's settings and must not judge or end them.
pub fn in_parallel_worker() -> bool {
    // SAFETY: both are plain globals, set once when the worker starts.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 || pg_sys::InitializingParallelWorker }
}

/// Whether this is a parallel worker that has taken over its leader's settings: what is set now a function's SET clause
/// sets, of which the leader knows nothing.
pub fn is_running_worker() -> bool {
    // SAFETY: as in in_parallel_worker().
    in_parallel_worker() && !unsafe { pg_sys::InitializingParallelWorker }
}

/// The name of a role, None when it is gone.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: with noerr a missing role is NULL.
    text_of(unsafe { pg_sys::GetUserNameFromId(role, true) })
}

// What differs between the majors. Everything else in this crate reads the same for all of them.

/// Whether a condition on what WITH returns is estimated by the statistics of the tables in it.
pub const WITH_SHOWS_STATISTICS: bool = cfg!(any(feature = "pg17", feature = "pg18"));

/// Memory for what a check hook leaves beside a value: guc.c frees it. NULL when there is none.
pub fn guc_alloc(size: usize) -> *mut c_void {
    // SAFETY: up to PostgreSQL 15 guc.c frees it with free(), since 16 in a memory context of its own.
    unsafe {
        #[cfg(feature = "pg15")]
        return raw::malloc(size);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::guc_malloc(pgrx::PgLogLevel::LOG as std::ffi::c_int, size);
    }
}

/// Puts another text in the place of the value that a check hook was given. False without memory.
///
/// # Safety
/// guc.c's own pointer to a value, as the check hook has it.
pub unsafe fn guc_replace(value: *mut *mut c_char, text: &str) -> bool {
    let memory = guc_alloc(text.len() + 1).cast::<u8>();
    if memory.is_null() {
        return false;
    }
    // SAFETY: guc.c allocated the value as guc_alloc() does, and takes over the other; free() takes NULL.
    unsafe {
        #[cfg(feature = "pg15")]
        raw::free((*value).cast());
        #[cfg(not(feature = "pg15"))]
        if !(*value).is_null() {
            pg_sys::guc_free((*value).cast());
        }
        *value = copy_to(memory, text);
    }
    true
}

/// Every setting this backend knows, placeholders among them.
pub fn settings() -> impl Iterator<Item = &'static pg_sys::config_generic> {
    // SAFETY: guc.c's own array, since 16 a palloc'd copy of it, of as many pointers as it says. The caller defines no
    // setting while it iterates.
    unsafe {
        #[cfg(feature = "pg15")]
        let (settings, length) = (pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions());
        #[cfg(not(feature = "pg15"))]
        let (settings, length) = {
            let mut length = 0;
            (pg_sys::get_guc_variables(&mut length), length)
        };
        (0..length as usize).map(move |i| &**settings.add(i))
    }
}

/// Whether the current user owns the table, by membership too. A table that is gone is PostgreSQL's error.
pub fn owns_table(table: pg_sys::Oid) -> bool {
    // SAFETY: syscache look-ups by oid.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::pg_class_ownercheck(table, pg_sys::GetUserId());
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::RelationRelationId, table, pg_sys::GetUserId());
    }
}
