//! A context that is handed on to parallel workers: what they use of it their leader does not see, and yet it has used it.

use crate::context::token::force::reads_scoped;
use crate::context::value::{self, current, ready, use_current};
use crate::error::Error;
use crate::guard::ddl::nodes;
use crate::pg::entry;
use pgrx::pg_sys;

/// Plain frame, called for every statement that begins and is not just explained. All but the parallel ones pay for one
/// compare.
pub unsafe fn starts(planned: *mut pg_sys::PlannedStmt) {
    // SAFETY: the executor's own description of a planned statement. A worker's copy of it does not say that it is parallel.
    if unsafe { (*planned).parallelModeNeeded } && current().is_some() && ready().is_none() {
        entry(|| note(planned));
    }
}

/// Without a context the policies say so themselves.
fn note(planned: *mut pg_sys::PlannedStmt) -> Result<(), Error> {
    // SAFETY: a planned statement.
    if unsafe { reads_scoped(planned) } {
        use_current().map(drop)
    } else if calls_a_function(planned) {
        value::note_use()
    } else {
        Ok(())
    }
}

/// Whether it calls a function that is not PostgreSQL's own, which may read anything.
fn calls_a_function(planned: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: the planner's list of what the plan depends on beside tables.
    nodes::<pg_sys::PlanInvalItem>(unsafe { (*planned).invalItems })
        .any(|item| unsafe { (*item).cacheId } == pg_sys::SysCacheIdentifier::PROCOID as i32)
}
