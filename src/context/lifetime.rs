//! How a context ends: with its transaction, whatever the driver did.
//!
//! Comparing transaction ids at use instead would be wrong in parallel workers, which have their own. Resetting the
//! setting before the commit means that no stale value exists anywhere, also not for a hand-written policy.

use crate::context::signed::{self, leaves_token};
use crate::context::token::{Fault, force};
use crate::context::value::{end_transaction, is_organization, is_session, leaves_value, stays_session};
use crate::context::{glass_end, seal};
use crate::error::{Error, Refused};
use crate::pg::{self, raw};
use pgrx::pg_sys;
use std::ffi::{CStr, c_void};

pub const SETTING: &CStr = c"orgscope.current_org";
pub const TOKEN_SETTING: &CStr = c"orgscope.token";

pub fn init() {
    // SAFETY: registered once per backend, from _PG_init, with a function that lives as long as the library.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => clear_leftover(event),
        XACT_EVENT_COMMIT
        | XACT_EVENT_ABORT
        | XACT_EVENT_PREPARE
        | XACT_EVENT_PARALLEL_COMMIT
        | XACT_EVENT_PARALLEL_ABORT => {
            glass_end::after_end(event);
            seal::end_transaction();
            end_transaction();
            force::end_transaction();
        }
        _ => {}
    }
}

/// Deferred triggers and WITH HOLD cursors have run; nothing of this transaction asks for the context any more. A
/// parallel worker restores its settings in a transaction of its own that commits: it must keep them.
fn clear_leftover(event: pg_sys::XactEvent::Type) {
    if pg::in_parallel_worker() {
        return;
    }
    // First: break-glass looks at which organization is in force without it.
    if !stays_session() && leaves_token() {
        assign_to(TOKEN_SETTING, None, pg_sys::GucAction::GUC_ACTION_SET);
    }
    if glass_end::before_end(event) {
        return;
    }
    if !stays_session() && leaves_value() {
        assign(None, pg_sys::GucAction::GUC_ACTION_SET);
    }
}

/// Plain frame: assigns the setting; None puts back what the connection began with.
pub fn assign(value: Option<&CStr>, action: pg_sys::GucAction::Type) {
    assign_to(SETTING, value, action);
}

/// Plain frame.
pub fn assign_to(setting: &CStr, value: Option<&CStr>, action: pg_sys::GucAction::Type) {
    // SAFETY: set_config_option copies the value; an error it raises crosses only frames without destructors.
    unsafe {
        raw::set_config_option(
            setting.as_ptr(),
            value.map_or(std::ptr::null(), CStr::as_ptr),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Refuses `SET orgscope.current_org = ...` and `SET orgscope.token = ...` without LOCAL unless the lifetime is `session`.
/// The check hooks cannot: they are not told whether a value is local.
pub fn check_set(statement: &pg_sys::VariableSetStmt) -> Result<(), Error> {
    use pg_sys::VariableSetKind::{VAR_SET_CURRENT, VAR_SET_VALUE};
    if is_reset(statement) {
        return seal::check_reset();
    }
    let sets = matches!(statement.kind, VAR_SET_VALUE | VAR_SET_CURRENT);
    if !sets || statement.is_local || is_session() {
        return Ok(());
    }
    let error = if names(statement.name, SETTING) {
        Error::ContextRefused(Refused::SessionSet)
    } else if names(statement.name, TOKEN_SETTING) {
        Error::TokenRefused(Fault::Session)
    } else {
        return Ok(());
    };
    let text = if statement.kind == VAR_SET_VALUE { text(statement) } else { None };
    // '' ends a context, which is always allowed; what is no organization is the check hook's to refuse.
    let goes_on = statement.kind == VAR_SET_VALUE
        && text.is_none_or(|t| t.is_empty() || names(statement.name, SETTING) && !is_organization(&t));
    if goes_on { Ok(()) } else { Err(error) }
}

/// Which runs no check hook.
fn is_reset(statement: &pg_sys::VariableSetStmt) -> bool {
    use pg_sys::VariableSetKind::{VAR_RESET, VAR_RESET_ALL, VAR_SET_DEFAULT};
    statement.kind == VAR_RESET_ALL
        || matches!(statement.kind, VAR_RESET | VAR_SET_DEFAULT) && names(statement.name, SETTING)
}

pub fn names(name: *const std::ffi::c_char, setting: &CStr) -> bool {
    // SAFETY: the parser gives a NUL-terminated name, or NULL for RESET ALL.
    !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes().eq_ignore_ascii_case(setting.to_bytes())
}

/// After `RESET orgscope.current_org`, in whatever spelling: that ends a context, and so it does a token's.
pub fn after_reset(statement: &pg_sys::VariableSetStmt) {
    use pg_sys::VariableSetKind::{VAR_RESET, VAR_SET_DEFAULT};
    let resets = matches!(statement.kind, VAR_RESET | VAR_SET_DEFAULT) && names(statement.name, SETTING);
    if resets && signed::watches_token() {
        let local = statement.is_local;
        let action = if local { pg_sys::GucAction::GUC_ACTION_LOCAL } else { pg_sys::GucAction::GUC_ACTION_SET };
        pg::boundary(|| assign_to(TOKEN_SETTING, Some(c""), action));
    }
}

/// The value that the statement sets.
fn text(statement: &pg_sys::VariableSetStmt) -> Option<String> {
    let statement = std::ptr::from_ref(statement).cast_mut();
    // SAFETY: the tree is the parser's; ExtractSetVariableArgs only reads it and returns a palloc'd string.
    pg::text_of(unsafe { pg_sys::ExtractSetVariableArgs(statement) })
}
