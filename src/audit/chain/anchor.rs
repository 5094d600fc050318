//! The digest of each seal, one line of JSON in the server log: who could rewrite a whole chain cannot rewrite what a log
//! collector has taken away. Written after the commit, so that no line names a seal that never was; a seal whose line a
//! crash swallows is covered by the next one's.

use super::link::{NO_ORGANIZATION, Seal, hex};
use super::uuid_text;
use crate::pg::{self, Backend};
use pgrx::pg_sys;
use std::ffi::c_void;

struct Line {
    text: String,
    subtransaction: pg_sys::SubTransactionId,
}

static LINES: Backend<Vec<Line>> = Backend::new(Vec::new());

pub fn init() {
    // SAFETY: registered once per backend, with functions that live as long as the library.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
    }
}

pub fn keep(seal: &Seal) {
    // SAFETY: reads the current transaction state, and the name of this backend's database.
    let (subtransaction, database) =
        unsafe { (pg_sys::GetCurrentSubTransactionId(), pg::text_of(pg_sys::get_database_name(pg_sys::MyDatabaseId))) };
    let organization = &seal.chain.organization;
    let organization = (*organization != NO_ORGANIZATION).then(|| uuid_text(organization));
    let json = serde_json::json!({
        "database": database, "organization_id": organization, "installation": seal.chain.installation,
        "seal": seal.number, "sequence": seal.head().sequence, "digest": hex(&seal.digest),
    });
    LINES.with(|lines| lines.push(Line { text: format!("orgscope audit seal {json}"), subtransaction }));
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if !LINES.with(|lines| lines.is_empty()) && pg::ends_transaction(event) {
        end_transaction(event);
    }
}

#[cold]
fn end_transaction(event: pg_sys::XactEvent::Type) {
    use pg_sys::XactEvent::{XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    let lines = LINES.with(std::mem::take);
    // A prepared transaction has no later moment in this backend.
    if matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) {
        lines.iter().for_each(|line| pg::log(&line.text));
    }
}

crate::subtransaction::at_subtransaction_end!(LINES: Line, drop);
