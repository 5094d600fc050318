//! Audit rows are added, never changed.

use crate::error::Error;
use crate::guard::table_name;
use crate::pg_function;
use crate::trigger::{Shape, Trigger};

pg_function! {
    /// BEFORE UPDATE OR DELETE OR TRUNCATE STATEMENT on orgscope.audit_log and orgscope.change_log.
    fn orgscope_audit_immutable(call) {
        let t = Trigger::of(call, "audit_immutable", Shape::BeforeStatement)?;
        Err(Error::AuditImmutable { operation: t.event().name(), table: table_name(t.table(), None).table })
    }
}
