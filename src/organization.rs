//! The table of organizations; what it is, is in sql/install/20_organization.sql.

use crate::audit::entry::{self, Entry};
use crate::context::available;
use crate::context::value::Org;
use crate::error::Error;
use crate::pg_function;
use crate::trigger::{Event, Shape, Trigger};
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

pg_function! {
    /// AFTER INSERT OR UPDATE OR DELETE ROW on orgscope.organization.
    fn orgscope_organization_changed(call) {
        let t = Trigger::of(call, "organization_changed", Shape::AfterRow)?;
        record(t.event(), t.new_org()?.or(t.old_org()?))?;
        Ok(Some(t.row()))
    }
}

pg_function! {
    /// AFTER TRUNCATE STATEMENT on orgscope.organization.
    fn orgscope_organizations_truncated(call) {
        let t = Trigger::of(call, "organizations_truncated", Shape::AfterStatement)?;
        record(t.event(), None)?;
        Ok(Some(pg_sys::Datum::null()))
    }
}

pg_function! {
    /// AFTER INSERT OR UPDATE OR DELETE ROW on orgscope.organization, where that changes which are available.
    fn orgscope_availability_changed(call) {
        let t = Trigger::of(call, "availability_changed", Shape::AfterRow)?;
        available::note_change(t.event() != Event::Insert);
        Ok(Some(t.row()))
    }
}

pg_function! {
    /// AFTER TRUNCATE STATEMENT on orgscope.organization.
    fn orgscope_availability_truncated(call) {
        Trigger::of(call, "availability_truncated", Shape::AfterStatement)?;
        available::note_change(true);
        Ok(Some(pg_sys::Datum::null()))
    }
}

/// In the same statement: what rolls back was never there.
fn record(event: Event, org: Option<Org>) -> Result<(), Error> {
    entry::write(&[Entry::of_client("lifecycle", event.name(), None).about(org)])
}
