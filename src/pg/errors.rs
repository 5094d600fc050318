//! Errors on their way: PostgreSQL's through Rust and back whole, ours to PostgreSQL.

use super::{pstrdup, raw};
use crate::error::{Error, Refused, Report};
use cee_scape::{SigJmpBufFields, call_with_sigsetjmp};
use pgrx::pg_sys;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A PostgreSQL error on its way through Rust, whole.
struct Caught(*mut pg_sys::ErrorData);

// SAFETY: the pointer never leaves the backend's only thread.
unsafe impl Send for Caught {}

/// Calls C code that may raise, and turns a raise into unwinding that [`entry`] re-throws unchanged.
///
/// The closure calls functions of [`raw`] only: the guard of a pgrx wrapper would unwind through the C frame in here,
/// which ends the process.
pub fn boundary<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: this is PG_TRY: the stacks are saved before and put back on both ways out, and after a jump the error is
    // copied out of ErrorContext before it is flushed, as PG_CATCH does.
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let handlers = pg_sys::PG_exception_stack;
        let callbacks = pg_sys::error_context_stack;
        let mut result = MaybeUninit::uninit();
        let jumped = call_with_sigsetjmp(false, |buffer| {
            pg_sys::PG_exception_stack = std::ptr::from_ref::<SigJmpBufFields>(buffer).cast_mut().cast();
            result.write(f());
            0
        });
        pg_sys::PG_exception_stack = handlers;
        pg_sys::error_context_stack = callbacks;
        if jumped == 0 {
            return result.assume_init();
        }
        pg_sys::CurrentMemoryContext = memory;
        let error = pg_sys::CopyErrorData();
        pg_sys::FlushErrorState();
        resume_unwind(Box::new(Caught(error)))
    }
}

/// Runs `f`; a PostgreSQL error whose SQLSTATE is in the table becomes ours. The transaction is lost either way: nothing
/// may go on after it but the raise.
pub fn replace_errors<R>(
    f: impl FnOnce() -> R,
    table: impl IntoIterator<Item = (&'static str, Error)>,
) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match payload.downcast::<Caught>() {
        Ok(caught) => {
            // SAFETY: the error was copied whole when it was caught.
            let raised = unsafe { (*caught.0).sqlerrcode };
            match table.into_iter().find(|(code, _)| sqlstate(code) == raised) {
                Some((_, ours)) => ours,
                None => resume_unwind(caught),
            }
        }
        Err(other) => resume_unwind(other),
    })
}

/// The outermost frame of every function PostgreSQL calls: runs the body, then returns or raises.
pub fn entry<R>(body: impl FnOnce() -> Result<R, Error>) -> R {
    let thrown = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => {
            let report = error.report();
            // A wrong key is on record already.
            if error != Error::ContextRefused(Refused::WrongKey) {
                crate::audit::denied::note(&report);
            }
            Thrown::Ours(RawReport::new(report))
        }
        Err(payload) => match payload.downcast::<Caught>() {
            Ok(caught) => Thrown::Postgres(caught.0),
            // pgrx's own guard knows how to report a panic or an error caught by one of its wrappers.
            // SAFETY: called on the backend's thread, as every entry point is.
            Err(payload) => unsafe { pg_sys::submodules::panic::pgrx_extern_c_guard(move || resume_unwind(payload)) },
        },
    };
    // SAFETY: nothing on this frame needs dropping any more: `Thrown` is Copy, its strings belong to PostgreSQL.
    unsafe { throw(thrown) }
}

#[derive(Clone, Copy)]
enum Thrown {
    Ours(RawReport),
    Postgres(*mut pg_sys::ErrorData),
}

/// A [`Report`] whose strings live in PostgreSQL's memory, so that raising it leaks nothing.
#[derive(Clone, Copy)]
struct RawReport {
    sqlstate: c_int,
    message: *const c_char,
    detail: *const c_char,
    hint: *const c_char,
    table: Option<(*const c_char, *const c_char)>,
    column: *const c_char,
    hides_statement: bool,
}

impl RawReport {
    fn new(report: Report) -> Self {
        let table = report.table.as_ref().map(|t| (pstrdup(&t.schema).cast_const(), pstrdup(&t.table).cast_const()));
        Self {
            sqlstate: sqlstate(report.sqlstate),
            message: pstrdup(&report.message),
            detail: pstrdup(&report.detail),
            hint: pstrdup(&report.hint),
            table,
            hides_statement: crate::audit::event::is_statement_secret(),
            column: report.table.and_then(|t| t.column).map_or(std::ptr::null(), |c| pstrdup(&c).cast_const()),
        }
    }
}

/// Plain frame: raises. `elog.c` never returns from `errfinish` at ERROR.
unsafe fn throw(thrown: Thrown) -> ! {
    // PG_DIAG_SCHEMA_NAME, PG_DIAG_TABLE_NAME, PG_DIAG_COLUMN_NAME of postgres_ext.h
    const FIELDS: [c_int; 3] = [b's' as c_int, b't' as c_int, b'c' as c_int];
    // SAFETY: ereport()'s own sequence; all strings are NUL-terminated and palloc'd.
    unsafe {
        match thrown {
            Thrown::Postgres(error) => raw::ReThrowError(error),
            Thrown::Ours(r) => {
                raw::errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null());
                raw::errcode(r.sqlstate);
                raw::errmsg(c"%s".as_ptr(), r.message);
                raw::errdetail(c"%s".as_ptr(), r.detail);
                raw::errhint(c"%s".as_ptr(), r.hint);
                if let Some((schema, table)) = r.table {
                    raw::err_generic_string(FIELDS[0], schema);
                    raw::err_generic_string(FIELDS[1], table);
                }
                if !r.column.is_null() {
                    raw::err_generic_string(FIELDS[2], r.column);
                }
                raw::errhidestmt(r.hides_statement);
                raw::errfinish(c"orgscope".as_ptr(), 0, c"orgscope".as_ptr());
            }
        }
    }
    std::process::abort()
}

/// A warning to the client, with its table. Not an error: PostgreSQL returns from it.
pub fn warn(report: &Report) {
    pg_sys::submodules::panic::ErrorReport::new(
        pgrx::PgSqlErrorCode::ERRCODE_WARNING,
        report.message.clone(),
        "orgscope",
    )
    .set_detail(report.detail.clone())
    .set_hint(report.hint.clone())
    .report(pgrx::PgLogLevel::WARNING);
}

/// One line of the server log, which no client sees.
pub fn log(line: &str) {
    // SAFETY: ereport()'s own sequence with a palloc'd string; below ERROR PostgreSQL returns from it.
    unsafe {
        let line = pstrdup(line);
        if raw::errstart(pg_sys::LOG_SERVER_ONLY as c_int, std::ptr::null()) {
            raw::errmsg(c"%s".as_ptr(), line);
            raw::errhidestmt(true);
            raw::errhidecontext(true);
            raw::errfinish(c"orgscope".as_ptr(), 0, c"orgscope".as_ptr());
        }
        pg_sys::pfree(line.cast());
    }
}

/// MAKE_SQLSTATE of elog.h.
pub fn sqlstate(code: &str) -> c_int {
    code.bytes()
        .enumerate()
        .fold(0, |sum, (i, byte)| sum + ((c_int::from(byte) - c_int::from(b'0')) & 0x3f) * (1 << (6 * i)))
}
