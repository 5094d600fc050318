//! Statement triggers: a write without a context is refused before its first row, TRUNCATE always.

use crate::audit::writes;
use crate::context::break_glass;
use crate::context::value::{absence, current, use_current};
use crate::error::{Error, Foreign};
use crate::guard::{began, is_apply_worker, observe, row_security_bypassed, table_name};
use crate::pg_function;
use crate::settings::{BYPASS, Bypass, REQUIRE_CONTEXT, RequireContext};
use crate::trigger::{Shape, Trigger};
use pgrx::pg_sys;

pg_function! {
    /// BEFORE INSERT OR UPDATE OR DELETE STATEMENT. With a context: a few compares.
    fn orgscope_statement(call) {
        let t = Trigger::of(call, "statement", Shape::BeforeStatement)?;
        began::note(t.table());
        if break_glass::is_read_only() {
            return Err(Error::ReadOnly { table: table_name(t.table(), None) });
        }
        if t.observes() {
            observe::statement(&t);
            return Ok(Some(pg_sys::Datum::null()));
        }
        if use_current()?.is_some() || is_apply_worker() {
            return Ok(Some(pg_sys::Datum::null()));
        }
        if REQUIRE_CONTEXT.get() != RequireContext::Off && !row_security_bypassed(t.table()) {
            return Err(Error::NoContext { table: Some(table_name(t.table(), None)), why: absence() });
        }
        Ok(Some(pg_sys::Datum::null()))
    }
}

pg_function! {
    /// BEFORE TRUNCATE STATEMENT. Row security does not cover TRUNCATE, so no context makes it safe.
    fn orgscope_truncate(call) {
        let t = Trigger::of(call, "truncate", Shape::BeforeStatement)?;
        if is_apply_worker() {
            return Ok(Some(pg_sys::Datum::null()));
        }
        if t.observes() && !(current().is_none() && row_security_bypassed(t.table())) {
            observe::truncate(&t);
            return Ok(Some(pg_sys::Datum::null()));
        }
        let table = || table_name(t.table(), None);
        if current().is_none() {
            if row_security_bypassed(t.table()) {
                if BYPASS.get() == Bypass::Deny {
                    return Err(Error::BypassDenied { table: table() });
                }
                writes::record_truncate(t.table())?;
                return Ok(Some(pg_sys::Datum::null()));
            }
            if REQUIRE_CONTEXT.get() != RequireContext::Off {
                return Err(Error::NoContext { table: Some(table()), why: absence() });
            }
        }
        Err(Error::WrongOrganization { table: table(), what: Foreign::Truncate })
    }
}

pg_function! {
    /// AFTER INSERT OR UPDATE OR DELETE STATEMENT: writes down what `last_word` has counted.
    fn orgscope_record(call) {
        let t = Trigger::of(call, "record", Shape::AfterStatement)?;
        writes::record(t.table(), t.event(), t.has_last_word())?;
        Ok(Some(pg_sys::Datum::null()))
    }
}
