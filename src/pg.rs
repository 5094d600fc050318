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

use crate::error::{Error, Report};
use cee_scape::{SigJmpBufFields, call_with_sigsetjmp};
use pgrx::pg_sys;
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// C functions called without pgrx's guard: see rule 2 and 3.
pub mod raw {
    use super::*;
    unsafe extern "C-unwind" {
        pub fn errstart(level: c_int, domain: *const c_char) -> bool;
        pub fn errcode(sqlstate: c_int) -> c_int;
        pub fn errmsg(format: *const c_char, ...) -> c_int;
        pub fn errdetail(format: *const c_char, ...) -> c_int;
        pub fn errhint(format: *const c_char, ...) -> c_int;
        pub fn err_generic_string(field: c_int, value: *const c_char) -> c_int;
        pub fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
        pub fn ReThrowError(error: *mut pg_sys::ErrorData);
        pub fn MemoryContextAlloc(context: pg_sys::MemoryContext, size: usize) -> *mut u8;
        pub fn LockAcquire(
            tag: *const pg_sys::LOCKTAG,
            mode: c_int,
            session: bool,
            no_wait: bool,
        ) -> pg_sys::LockAcquireResult::Type;
        pub fn LockRelease(tag: *const pg_sys::LOCKTAG, mode: c_int, session: bool) -> bool;
        pub fn LockRelationOid(table: pg_sys::Oid, mode: c_int);
        pub fn get_partition_ancestors(table: pg_sys::Oid) -> *mut pg_sys::List;
        // Called for every statement, and raising nothing: pgrx's guard would cost more than they do.
        pub fn GetOuterUserId() -> pg_sys::Oid;
        pub fn GetUserId() -> pg_sys::Oid;
        pub fn InNoForceRLSOperation() -> bool;
        pub fn IsLogicalWorker() -> bool;
        pub fn AbortOutOfAnyTransaction();
        pub fn PreventCommandIfReadOnly(command: *const c_char);
        pub fn SPI_connect() -> c_int;
        pub fn SPI_connect_ext(options: c_int) -> c_int;
        pub fn SPI_commit();
        pub fn EnsurePortalSnapshotExists();
        pub fn SPI_finish() -> c_int;
        pub fn SPI_execute_with_args(
            sql: *const c_char,
            nargs: c_int,
            types: *mut pg_sys::Oid,
            values: *mut pg_sys::Datum,
            nulls: *const c_char,
            read_only: bool,
            limit: std::ffi::c_long,
        ) -> c_int;
        pub fn SPI_prepare_cursor(
            sql: *const c_char,
            nargs: c_int,
            types: *mut pg_sys::Oid,
            options: c_int,
        ) -> pg_sys::SPIPlanPtr;
        pub fn SPI_register_trigger_data(data: *mut pg_sys::TriggerData) -> c_int;
        pub fn SPI_keepplan(plan: pg_sys::SPIPlanPtr) -> c_int;
        pub fn SPI_execute_plan(
            plan: pg_sys::SPIPlanPtr,
            values: *mut pg_sys::Datum,
            nulls: *const c_char,
            read_only: bool,
            limit: std::ffi::c_long,
        ) -> c_int;
        pub fn to_jsonb(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
        pub fn SPI_cursor_open_with_args(
            name: *const c_char,
            sql: *const c_char,
            nargs: c_int,
            types: *mut pg_sys::Oid,
            values: *mut pg_sys::Datum,
            nulls: *const c_char,
            read_only: bool,
            options: c_int,
        ) -> pg_sys::Portal;
        pub fn heap_deform_tuple(
            tuple: pg_sys::HeapTuple,
            description: pg_sys::TupleDesc,
            values: *mut pg_sys::Datum,
            nulls: *mut bool,
        );
        pub fn SPI_cursor_fetch(portal: pg_sys::Portal, forward: bool, count: std::ffi::c_long);
        pub fn SPI_cursor_close(portal: pg_sys::Portal);
        pub fn errhidestmt(hide: bool) -> c_int;
        pub fn errhidecontext(hide: bool) -> c_int;
        pub fn set_config_option(
            name: *const c_char,
            value: *const c_char,
            context: pg_sys::GucContext::Type,
            source: pg_sys::GucSource::Type,
            action: pg_sys::GucAction::Type,
            change: bool,
            level: c_int,
            is_reload: bool,
        ) -> c_int;
        pub fn standard_ProcessUtility(
            statement: *mut pg_sys::PlannedStmt,
            query: *const c_char,
            read_only_tree: bool,
            context: pg_sys::ProcessUtilityContext::Type,
            params: pg_sys::ParamListInfo,
            environment: *mut pg_sys::QueryEnvironment,
            dest: *mut pg_sys::DestReceiver,
            completion: *mut pg_sys::QueryCompletion,
        );
    }
    #[cfg(feature = "pg15")]
    unsafe extern "C" {
        pub fn malloc(size: usize) -> *mut c_void;
    }
}

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
            crate::audit::denied::note(&report);
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

/// The command an event trigger fires for.
pub fn command_tag(call: Call) -> String {
    // SAFETY: an event trigger's call carries an EventTriggerData node; any other call is refused by SQL, which knows no
    // value of type event_trigger. The name is static.
    unsafe {
        let data = (*call.0).context.cast::<pg_sys::EventTriggerData>();
        text_of(pg_sys::GetCommandTagName((*data).tag)).unwrap_or_default()
    }
}

/// MAKE_SQLSTATE of elog.h.
pub fn sqlstate(code: &str) -> c_int {
    code.bytes()
        .enumerate()
        .fold(0, |sum, (i, byte)| sum + ((c_int::from(byte) - c_int::from(b'0')) & 0x3f) * (1 << (6 * i)))
}

/// Copies text into the current memory context, cut at a NUL byte.
pub fn pstrdup(text: &str) -> *mut c_char {
    let text = CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default();
    // SAFETY: pstrdup copies a NUL-terminated string.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
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

/// Exports `$name` as a version-1 function that returns what the body says: `Ok(Some(datum))`, `Ok(None)` for NULL, or
/// an [`Error`] that is raised.
#[macro_export]
macro_rules! pg_function {
    ($(#[$doc:meta])* fn $name:ident($call:ident) $body:block) => {
        $crate::pg_finfo!($name);
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            fn body($call: $crate::pg::Call) -> Result<Option<pgrx::pg_sys::Datum>, $crate::error::Error> $body
            let call = $crate::pg::Call(fcinfo);
            $crate::pg::entry(|| body(call).map(|value| call.result(value)))
        }
    };
}

/// PG_FUNCTION_INFO_V1.
#[macro_export]
macro_rules! pg_finfo {
    ($name:ident) => {
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name)))]
            extern "C" fn info() -> &'static pgrx::pg_sys::Pg_finfo_record {
                const RECORD: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &RECORD
            }
        };
    };
}

/// The arguments and the result of one call of a version-1 function.
#[derive(Clone, Copy)]
pub struct Call(pub pg_sys::FunctionCallInfo);

impl Call {
    /// Argument `n`, None when NULL. The SQL declaration fixes how many there are and their types.
    pub fn arg(self, n: usize) -> Option<pg_sys::Datum> {
        // SAFETY: PostgreSQL passes as many arguments as the declaration in sql/ names.
        let arg = unsafe { (*self.0).args.as_slice((*self.0).nargs as usize)[n] };
        (!arg.isnull).then_some(arg.value)
    }

    pub fn uuid(self, n: usize) -> Option<[u8; 16]> {
        // SAFETY: a uuid datum points to 16 bytes.
        self.arg(n).map(|d| unsafe { *d.cast_mut_ptr::<[u8; 16]>() })
    }

    pub fn oid(self, n: usize) -> Option<pg_sys::Oid> {
        self.arg(n).map(|d| pg_sys::Oid::from(d.value() as u32))
    }

    pub fn int4(self, n: usize) -> Option<i32> {
        self.arg(n).map(|d| d.value() as i32)
    }

    pub fn bool(self, n: usize) -> Option<bool> {
        self.arg(n).map(|d| d.value() != 0)
    }

    pub fn text(self, n: usize) -> Option<String> {
        // SAFETY: the declaration says text; text_to_cstring detoasts.
        self.arg(n).and_then(|d| text_of(unsafe { pg_sys::text_to_cstring(d.cast_mut_ptr()) }))
    }

    /// The kind of statement that an event trigger was fired for, None when it was not called as one.
    pub fn event_trigger_statement(self) -> Option<pg_sys::NodeTag> {
        // SAFETY: an event trigger's call carries an EventTriggerData node in `context`, any other call NULL or another
        // node; its parse tree is the statement's and lives as long.
        unsafe {
            let context = (*self.0).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
                return None;
            }
            let statement = (*context.cast::<pg_sys::EventTriggerData>()).parsetree;
            (!statement.is_null()).then(|| (*statement).type_)
        }
    }

    /// The old and the new name of a column, for an event trigger's call after the statement that renames it.
    pub fn renamed_column(self) -> Option<(String, String)> {
        if self.event_trigger_statement() != Some(pg_sys::NodeTag::T_RenameStmt) {
            return None;
        }
        // SAFETY: the call is an event trigger's, and its parse tree a RenameStmt.
        let statement = unsafe {
            let data = (*self.0).context.cast::<pg_sys::EventTriggerData>();
            &*(*data).parsetree.cast::<pg_sys::RenameStmt>()
        };
        let of_column = statement.renameType == pg_sys::ObjectType::OBJECT_COLUMN;
        text_of(statement.subname).zip(text_of(statement.newname)).filter(|_| of_column)
    }

    /// Whether an event trigger was fired for a command that makes a table, an index or a trigger, or by which a table
    /// gets a partition, a constraint, or more protection.
    pub fn only_adds(self) -> bool {
        use pg_sys::AlterTableType as Alter;
        const ADDING: [Alter::Type; 6] = [
            Alter::AT_AddConstraint,
            Alter::AT_AddIndex,
            Alter::AT_AddIndexConstraint,
            Alter::AT_AttachPartition,
            Alter::AT_EnableAlwaysTrig,
            Alter::AT_EnableRowSecurity,
        ];
        use pg_sys::NodeTag::{T_AlterTableStmt, T_CreateStmt, T_CreateTrigStmt, T_IndexStmt};
        match self.event_trigger_statement() {
            Some(T_CreateStmt | T_CreateTrigStmt | T_IndexStmt) => true,
            // SAFETY: see event_trigger_statement(); the statement is an AlterTableStmt, and its list has AlterTableCmd
            // nodes.
            Some(T_AlterTableStmt) => unsafe {
                let data = (*self.0).context.cast::<pg_sys::EventTriggerData>();
                let commands = (*(*data).parsetree.cast::<pg_sys::AlterTableStmt>()).cmds;
                let length = if commands.is_null() { 0 } else { (*commands).length as usize };
                (0..length).all(|i| {
                    let command = (*(*commands).elements.add(i)).ptr_value.cast::<pg_sys::AlterTableCmd>();
                    ADDING.contains(&(*command).subtype)
                })
            },
            _ => false,
        }
    }

    /// As text that reads back as the same time.
    pub fn timestamptz(self, n: usize) -> Option<String> {
        // SAFETY: timestamptz_to_str returns a buffer of its own, with the zone in it.
        self.arg(n).and_then(|d| text_of(unsafe { pg_sys::timestamptz_to_str(d.value() as i64) }))
    }

    /// An argument of type name.
    pub fn name(self, n: usize) -> Option<String> {
        // SAFETY: a name datum points to NUL-terminated text of at most 64 bytes.
        self.arg(n).and_then(|d| text_of(d.cast_mut_ptr()))
    }

    pub fn result(self, value: Option<pg_sys::Datum>) -> pg_sys::Datum {
        // SAFETY: fcinfo is valid for the duration of the call.
        unsafe { (*self.0).isnull = value.is_none() };
        value.unwrap_or(pg_sys::Datum::null())
    }
}

/// A uuid datum in the current memory context.
pub fn uuid_datum(bytes: [u8; 16]) -> pg_sys::Datum {
    // SAFETY: palloc returns 16 writable bytes or raises.
    unsafe {
        let copy = pg_sys::palloc(16).cast::<[u8; 16]>();
        *copy = bytes;
        pg_sys::Datum::from(copy)
    }
}

pub fn text_datum(text: &str) -> pg_sys::Datum {
    // SAFETY: cstring_to_text_with_len copies exactly the bytes given.
    pg_sys::Datum::from(unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as c_int) })
}

/// Runs `f` as the bootstrap superuser in a security-restricted operation, as the referential-integrity triggers run
/// as the table's owner: for our own tables, which no role may write.
pub fn as_superuser<R>(f: impl FnOnce() -> R) -> R {
    let _own = Own::begin();
    as_role(pg_sys::BOOTSTRAP_SUPERUSERID.into(), f)
}

/// Runs `f`, which may run a user's code, as the role in a security-restricted operation.
pub fn as_role<R>(role: pg_sys::Oid, f: impl FnOnce() -> R) -> R {
    let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    with_security(Some(role), restricted, f)
}

/// How deep in statements of our own this backend is.
static OWN: Backend<u32> = Backend::new(0);

struct Own;

impl Own {
    fn begin() -> Self {
        OWN.with(|depth| *depth += 1);
        Self
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        OWN.with(|depth| *depth -= 1);
    }
}

/// Whether the extension itself is reading: its own tables and the catalogs, for nobody.
pub fn is_own_statement() -> bool {
    OWN.with(|depth| *depth > 0)
}

/// Runs `f` under the search_path that our functions have, for SQL that is not called through one of them.
pub fn with_pinned_search_path<R>(f: impl FnOnce() -> R) -> R {
    use pg_sys::{GucAction, GucContext, GucSource};
    // SAFETY: what a function's SET clause does; on error AbortTransaction restores the setting.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        let (name, value) = (c"search_path".as_ptr(), c"pg_catalog, pg_temp".as_ptr());
        let (source, action) = (GucSource::PGC_S_SESSION, GucAction::GUC_ACTION_SAVE);
        boundary(|| raw::set_config_option(name, value, GucContext::PGC_USERSET, source, action, true, 0, false));
        let result = f();
        pg_sys::AtEOXact_GUC(true, level);
        result
    }
}

/// Runs `f` with FORCE ROW LEVEL SECURITY suspended for the caller's own tables.
pub fn without_force<R>(f: impl FnOnce() -> R) -> R {
    with_security(None, pg_sys::SECURITY_NOFORCE_RLS, f)
}

/// An error restores the user with the transaction.
fn with_security<R>(user: Option<pg_sys::Oid>, flags: u32, f: impl FnOnce() -> R) -> R {
    // SAFETY: the pair of calls every definer context in PostgreSQL uses; on error AbortTransaction resets both.
    unsafe {
        let (mut before, mut context) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
        pg_sys::SetUserIdAndSecContext(user.unwrap_or(before), context | flags as c_int);
        let result = f();
        pg_sys::SetUserIdAndSecContext(before, context);
        result
    }
}

/// The name of a role, None when it is gone.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: with noerr a missing role is NULL.
    text_of(unsafe { pg_sys::GetUserNameFromId(role, true) })
}

// What differs between the majors. Everything else in this crate reads the same for all of them.

/// Memory for what a check hook leaves beside a value: guc.c frees it. NULL when there is none.
pub fn guc_alloc(size: usize) -> *mut c_void {
    // SAFETY: up to PostgreSQL 15 guc.c frees it with free(), since 16 in a memory context of its own.
    unsafe {
        #[cfg(feature = "pg15")]
        return raw::malloc(size);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::guc_malloc(pgrx::PgLogLevel::LOG as c_int, size);
    }
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
