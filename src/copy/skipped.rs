//! ON_ERROR ignore, since PostgreSQL 17: NextCopyFrom says with what it returns that it has met a value that is none, and
//! leaves skipping the row and counting to CopyFrom.

pub use since_17::{is, tell};

#[cfg(not(any(feature = "pg17", feature = "pg18")))]
mod since_17 {
    use pgrx::pg_sys;

    pub unsafe fn is(_: pg_sys::CopyFromState) -> bool {
        false
    }

    pub unsafe fn tell(_: pg_sys::CopyFromState) {}
}

#[cfg(any(feature = "pg17", feature = "pg18"))]
mod since_17 {
    use super::super::raw;
    use crate::pg::raw as pg_raw;
    #[cfg(feature = "pg18")]
    use crate::pg::sqlstate;
    use pgrx::pg_sys;
    use std::ffi::{CStr, c_char, c_int, c_void};

    /// The beginning of CopyFromStateData in copyfrom_internal.h.
    #[repr(C)]
    struct State {
        #[cfg(feature = "pg18")]
        routine: *const c_void,
        copy_src: c_int,
        copy_file: *mut c_void,
        fe_msgbuf: pg_sys::StringInfo,
        eol_type: c_int,
        file_encoding: c_int,
        need_transcoding: bool,
        conversion_proc: pg_sys::Oid,
        rel: pg_sys::Relation,
        attnumlist: *mut pg_sys::List,
        filename: *mut c_char,
        is_program: bool,
        data_source_cb: pg_sys::copy_data_source_cb,
        opts: pg_sys::CopyFormatOptions,
        convert_select_flags: *mut bool,
        where_clause: *mut pg_sys::Node,
        cur_relname: *const c_char,
        cur_lineno: u64,
        cur_attname: *const c_char,
        cur_attval: *const c_char,
        relname_only: bool,
        copycontext: pg_sys::MemoryContext,
        num_defaults: i16,
        in_functions: *mut pg_sys::FmgrInfo,
        typioparams: *mut pg_sys::Oid,
        escontext: *mut pg_sys::ErrorSaveContext,
        num_errors: u64,
    }

    /// Plain frame. Whether the row just read is none.
    pub unsafe fn is(copy: pg_sys::CopyFromState) -> bool {
        // SAFETY: PostgreSQL's state; the trap is there with the option.
        unsafe {
            let state = copy.cast::<State>();
            let stops = (*state).opts.on_error == pg_sys::CopyOnErrorChoice::COPY_ON_ERROR_STOP;
            if stops || !(*(*state).escontext).error_occurred {
                return false;
            }
            (*(*state).escontext).error_occurred = false;
            let skipped = pg_sys::PROGRESS_COPY_TUPLES_SKIPPED as c_int;
            raw::pgstat_progress_update_param(skipped, (*state).num_errors as i64);
            #[cfg(feature = "pg18")]
            limit(&*state);
            true
        }
    }

    /// Plain frame.
    #[cfg(feature = "pg18")]
    unsafe fn limit(state: &State) {
        let limit = state.opts.reject_limit;
        if limit > 0 && state.num_errors > limit as u64 {
            let message = c"skipped more than REJECT_LIMIT (%lld) rows due to data type incompatibility";
            // SAFETY: the message has one number of this width.
            unsafe { report(pgrx::PgLogLevel::ERROR, sqlstate("22P02"), message, limit) }
        }
    }

    /// Plain frame. After the last row.
    pub unsafe fn tell(copy: pg_sys::CopyFromState) {
        // SAFETY: PostgreSQL's state; the message has one number of this width.
        unsafe {
            let state = copy.cast::<State>();
            #[cfg(feature = "pg18")]
            if (*state).opts.log_verbosity < pg_sys::CopyLogVerbosityChoice::COPY_LOG_VERBOSITY_DEFAULT {
                return;
            }
            let message = match (*state).num_errors {
                0 => return,
                1 => c"%lld row was skipped due to data type incompatibility",
                _ => c"%lld rows were skipped due to data type incompatibility",
            };
            report(pgrx::PgLogLevel::NOTICE, 0, message, (*state).num_errors as i64);
        }
    }

    /// Plain frame.
    unsafe fn report(level: pgrx::PgLogLevel, sqlstate: c_int, message: &'static CStr, number: i64) {
        // SAFETY: ereport()'s own sequence.
        unsafe {
            if pg_raw::errstart(level as c_int, std::ptr::null()) {
                if sqlstate != 0 {
                    pg_raw::errcode(sqlstate);
                }
                pg_raw::errmsg(message.as_ptr(), number);
                pg_raw::errfinish(c"orgscope".as_ptr(), 0, c"orgscope".as_ptr());
            }
        }
    }
}
