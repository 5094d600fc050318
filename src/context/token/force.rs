//! How long a token is in force: looked at when a statement begins and when a cursor goes on, by the clock and not by the
//! time of the client's message, so that a loop in a procedure has no end of its own.
//!
//! The hooks are set by a session's first token: no other session pays for them. What holds no more is taken out of the
//! setting, whose value parallel workers believe. While they run no setting can change, and a statement of a function is
//! refused.

use super::fault::Fault;
use super::judge::{configured_at, stands};
use super::setting::{TOKEN, Token};
use crate::audit::{detect, registry};
use crate::context::break_glass::is_under_row_security;
use crate::context::lifetime::{SETTING, TOKEN_SETTING, assign_to};
use crate::context::{signed, value};
use crate::error::Error;
use crate::guard::ddl::nodes;
use crate::guard::row_security_bypassed;
use crate::pg::{self, Backend, boundary, entry, raw};
use pgrx::pg_sys;
use pgrx::pg_sys::GucAction::GUC_ACTION_SET;
use std::ffi::c_int;

static IS_SET: Backend<bool> = Backend::new(false);
/// Tokens with an id that this transaction has used.
static USED: Backend<Vec<[u8; 32]>> = Backend::new(Vec::new());

/// Whether a statement of this transaction has run under a token.
static HELD: Backend<bool> = Backend::new(false);

static mut NEXT_START: pg_sys::ExecutorStart_hook_type = None;

pub fn has_used(id: &[u8; 32]) -> bool {
    USED.with(|used| used.contains(id))
}

pub fn note_used(id: [u8; 32]) {
    USED.with(|used| used.push(id));
}

pub fn end_transaction() {
    USED.with(Vec::clear);
    HELD.with(|held| *held = false);
}

pub fn watch() {
    if IS_SET.with(|is_set| std::mem::replace(is_set, true)) {
        return;
    }
    pg::add_steps(executor_run, None);
    // SAFETY: once per backend; a hook is a plain pointer, read anew at each call, and the one found is called by ours.
    unsafe {
        NEXT_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

// SAFETY: declared as in executor/executor.h of every major version; called from plain frames.
unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorStart"]
    fn standard_start(query: *mut pg_sys::QueryDesc, flags: c_int);
}

/// Plain frame.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: the arguments are PostgreSQL's and passed on as they came.
    unsafe {
        if signed::watches_token() {
            entry(|| look((*query).plannedstmt));
        }
        match NEXT_START {
            Some(next) => next(query, flags),
            None => standard_start(query, flags),
        }
    }
}

/// Plain frame.
unsafe fn executor_run(query: *mut pg_sys::QueryDesc) {
    if signed::watches_token() || HELD.with(|held| *held) {
        entry(|| go_on(query));
    }
}

/// Takes out of the setting what holds no more.
fn look(planned: *mut pg_sys::PlannedStmt) -> Result<(), Error> {
    let Some(token) = TOKEN.with(|t| *t) else { return Ok(()) };
    HELD.with(|held| *held = true);
    // SAFETY: reads the state of the transaction.
    if pg::in_parallel_worker() || unsafe { pg_sys::IsInParallelMode() } {
        return look_in_parallel(&token, planned);
    }
    let fault = lost(&token);
    if fault.is_none() && !signed::is_superseded(&token.held) {
        return Ok(());
    }
    boundary(|| assign_to(TOKEN_SETTING, Some(c""), GUC_ACTION_SET));
    if let Some(fault) = fault {
        if signed::has_plain_value() {
            boundary(|| assign_to(SETTING, Some(c""), GUC_ACTION_SET));
        }
        signed::end_token(fault);
    }
    Ok(())
}

/// While parallel workers run. The statement that launched them has been looked at before and runs to its end; those of
/// the functions that it calls begin here, in whatever process.
fn look_in_parallel(token: &Token, planned: *mut pg_sys::PlannedStmt) -> Result<(), Error> {
    // SAFETY: the executor's own description of a planned statement.
    let counts = signed::is_by_token() && !detect::is_leaders(unsafe { &*planned });
    match lost(token) {
        Some(fault) if counts && is_under_row_security(planned) => Err(Error::TokenRefused(fault)),
        _ => Ok(()),
    }
}

fn lost(token: &Token) -> Option<Fault> {
    // SAFETY: reads the clock and backend-local state. The outer user is the role of SET ROLE, whatever definer function
    // runs.
    let (now, role) = unsafe { (pg_sys::GetCurrentTimestamp(), raw::GetOuterUserId()) };
    if token.expires <= now {
        return Some(Fault::Expired);
    }
    if token.role.is_some_and(|bound| bound != role) {
        return Some(Fault::Role);
    }
    // A worker does not know what it was judged by.
    if token.seen == configured_at() || pg::in_parallel_worker() {
        return None;
    }
    if !stands(token) {
        return Some(Fault::Revoked);
    }
    TOKEN.with(|t| t.iter_mut().for_each(|t| t.seen = configured_at()));
    None
}

/// A statement goes on that may have begun under a token which has ended since, and may have asked for the context then. One
/// that has not run yet will ask itself.
fn go_on(query: *mut pg_sys::QueryDesc) -> Result<(), Error> {
    // SAFETY: the executor's own description of a statement that has been started.
    let (planned, has_run) = unsafe { ((*query).plannedstmt, (*query).already_executed) };
    look(planned)?;
    let ended = signed::ended();
    // SAFETY: as above.
    let concerned = (has_run || ended.is_some()) && value::current().is_none() && unsafe { reads_scoped(planned) };
    match ended {
        _ if !concerned => Ok(()),
        Some(fault) => Err(Error::TokenRefused(fault)),
        None => Err(Error::NoContext { table: None, why: value::absence() }),
    }
}

/// Whether it reads scoped tables as one whom row security covers.
///
/// SAFETY: a planned statement.
pub unsafe fn reads_scoped(planned: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: the planner's list of range table entries.
    nodes::<pg_sys::RangeTblEntry>(unsafe { (*planned).rtable }).any(|entry| unsafe {
        let table = (*entry).relid;
        (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION
            && registry::is_registered(table)
            && !row_security_bypassed(table)
    })
}
