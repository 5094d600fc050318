//! The table of organizations; what it is, is in sql/install/20_organization.sql.

use crate::pg_function;
use crate::trigger::{Shape, Trigger};
use pgrx::pg_sys;

pg_function! {
    /// BEFORE UPDATE ROW on orgscope.organization.
    fn orgscope_touch_updated_at(call) {
        let t = Trigger::of(call, "touch_updated_at", Shape::BeforeRow)?;
        // SAFETY: both take a literal or nothing; the column is part of the extension's own table.
        let (column, now) = unsafe {
            (pg_sys::get_attnum(t.table(), c"updated_at".as_ptr()), pg_sys::GetCurrentTransactionStartTimestamp())
        };
        Ok(Some(t.with_value(column, now.into())))
    }
}
