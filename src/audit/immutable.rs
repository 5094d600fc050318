//! Audit rows are added, never changed; only a purge takes old ones away, and says so.

use crate::error::Error;
use crate::guard::table_name;
use crate::pg::Backend;
use crate::pg_function;
use crate::trigger::{Shape, Trigger};

/// Whether a purge's own statement is running.
static LIFTED: Backend<bool> = Backend::new(false);

struct Lift;

impl Drop for Lift {
    fn drop(&mut self) {
        LIFTED.with(|lifted| *lifted = false);
    }
}

/// Runs `f`, whose statements may delete audit rows. An error puts the rule back as it unwinds.
pub fn lifted<R>(f: impl FnOnce() -> R) -> R {
    LIFTED.with(|lifted| *lifted = true);
    let _lift = Lift;
    f()
}

pg_function! {
    /// BEFORE UPDATE OR DELETE OR TRUNCATE STATEMENT on orgscope.audit_log, what makes up its chains, and orgscope.change_log.
    fn orgscope_audit_immutable(call) {
        let t = Trigger::of(call, "audit_immutable", Shape::BeforeStatement)?;
        if LIFTED.with(|lifted| *lifted) {
            return Ok(Some(pgrx::pg_sys::Datum::null()));
        }
        Err(Error::AuditImmutable { operation: t.event().name(), table: table_name(t.table(), None) })
    }
}
