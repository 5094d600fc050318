//! What orgscope refused is on record, although the refusal takes its transaction back.

use super::event::Event;
use super::queue;
use super::writes::quoted;
use crate::error::Report;
use pgrx::pg_sys;

/// Called with every error of ours just before it is raised.
pub fn note(report: &Report) {
    if !report.sqlstate.starts_with("OS") || queue::writer::is_this() || !is_in_a_database() {
        return;
    }
    let table = report.table.as_ref().map(|t| quoted(&t.schema, &t.table));
    let event = Event {
        sqlstate: Some(report.sqlstate.into()),
        detail: Some(serde_json::json!({ "message": report.message })),
        ..Event::now("denied", table, None)
    };
    queue::push(&event, None);
}

/// With the extension; in a transaction, where its catalogs can be read.
fn is_in_a_database() -> bool {
    // SAFETY: plain globals, and a catalog look-up that tells an absent extension by InvalidOid.
    unsafe {
        pg_sys::MyDatabaseId != pg_sys::InvalidOid
            && pg_sys::IsTransactionState()
            && pg_sys::get_extension_oid(c"orgscope".as_ptr(), true) != pg_sys::InvalidOid
    }
}
