//! Audit rows are added, never changed.

use crate::error::Error;
use crate::pg_function;
use pgrx::pg_sys;

pg_function! {
    /// BEFORE UPDATE OR DELETE OR TRUNCATE STATEMENT on orgscope.audit_log.
    fn orgscope_audit_immutable(call) {
        // SAFETY: a trigger call carries TriggerData, any other call NULL or another node.
        let event = unsafe {
            let context = (*call.0).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return Err(Error::NotATrigger { function: "audit_immutable" });
            }
            (*context.cast::<pg_sys::TriggerData>()).tg_event & pg_sys::TRIGGER_EVENT_OPMASK
        };
        let operation = match event {
            pg_sys::TRIGGER_EVENT_UPDATE => "UPDATE",
            pg_sys::TRIGGER_EVENT_DELETE => "DELETE",
            _ => "TRUNCATE",
        };
        Err(Error::AuditImmutable { operation })
    }
}
