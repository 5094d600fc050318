//! Events on their way to the audit log. They wait in a file that every process of the server has mapped: it survives the
//! caller's rollback and a crash of the server, and works where nothing can be written, in a read-only transaction.
//!
//! What cannot wait (the queue is full, a standby, no library preloaded) goes to the server's log, and is counted.

pub mod memory;
mod shared;
pub mod writer;

use crate::audit::event::{Counts, Event};
use crate::pg::text_datum;
use crate::pg_function;
use memory::{LONGEST, Queue};
use pgrx::pg_sys;

pub use shared::{is_there, wait_for_writer};

pg_function! {
    /// `orgscope.flush_audit() → void`: returns when all that was queued before it in this database is written.
    fn orgscope_flush_audit(_call) {
        // SAFETY: plain globals. A standby writes nothing, and its events wait nowhere.
        let (database, standby) = unsafe { (pg_sys::MyDatabaseId.to_u32(), pg_sys::RecoveryInProgress()) };
        if !standby {
            wait_for_writer(database, None);
        }
        Ok(None)
    }
}

pg_function! {
    /// `orgscope.audit_queue_state() → jsonb` as text; NULL without the library preloaded.
    fn orgscope_audit_queue_state(_call) {
        let state = with(|queue| {
            let totals = *queue.totals();
            serde_json::json!({
                "events_queued": totals.queued, "events_written": totals.written, "events_logged": totals.logged,
                "places_used": queue.waiting(), "places": queue.capacity(),
            })
        });
        Ok(state.map(|state| text_datum(&state.to_string())))
    }
}

pub fn init() {
    shared::init();
    writer::init();
}

/// Puts an event on record, for the database that this backend is connected to.
pub fn push(event: &Event, rows: Option<u64>) {
    push_many(event, 1, rows);
}

/// The same for equal events that were counted already.
pub fn push_many(event: &Event, events: u64, rows: Option<u64>) {
    let (counts, json) = (Counts::now(events, rows), event.encode(LONGEST));
    // SAFETY: plain globals.
    let (database, standby) = unsafe { (pg_sys::MyDatabaseId.to_u32(), pg_sys::RecoveryInProgress()) };
    if standby || !shared::push(database, &json, counts) {
        log(&json, counts);
    }
}

/// How many rows an event had that was queued before. It joins the event where that still waits, and is a row with an event
/// count of zero otherwise.
pub fn push_rows(event: &Event, rows: u64) {
    // SAFETY: plain globals.
    let (database, standby) = unsafe { (pg_sys::MyDatabaseId.to_u32(), pg_sys::RecoveryInProgress()) };
    if !standby {
        shared::push(database, &event.encode(LONGEST), Counts::now(0, Some(rows)));
    }
}

/// This backend has committed audit rows of its own, which a writer is to seal.
pub fn note_unsealed() {
    // SAFETY: a plain global.
    shared::note_unsealed(unsafe { pg_sys::MyDatabaseId }.to_u32());
}

/// One line of JSON for whoever collects the server's log.
pub fn log(json: &[u8], counts: Counts) {
    let text = String::from_utf8_lossy(json);
    crate::pg::log(&format!("orgscope audit: {{\"event_count\":{},{}", counts.events, text.trim_start_matches('{')));
}

/// The queue, held for one closure that must not call PostgreSQL.
fn with<R>(f: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    shared::with(f)
}
