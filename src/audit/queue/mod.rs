//! Events on their way to the audit log. They wait in a file that every process of the server has mapped: it survives the
//! caller's rollback and a crash of the server, and works where nothing can be written, in a read-only transaction.
//!
//! What cannot wait (the queue is full, a standby, no library preloaded) goes to the server's log, and is counted.

mod kind;
pub mod memory;
mod shared;
pub mod writer;

use crate::audit::event::{Counts, Event};
use crate::pg::text_datum;
use crate::pg_function;
pub use memory::LONGEST;
use memory::Queue;
use pgrx::pg_sys;

pub use kind::{ByKind, kind_of};
pub use shared::{count, is_there, wait_for_writer};

pg_function! {
    /// `orgscope.flush_audit() → void`: returns when all that was queued before it in this database is written.
    fn orgscope_flush_audit(_call) {
        if !is_standby() {
            // SAFETY: a plain global.
            wait_for_writer(unsafe { pg_sys::MyDatabaseId }.to_u32(), None);
        }
        Ok(None)
    }
}

pg_function! {
    /// `orgscope.audit_queue_state() → jsonb` as text; NULL without the library preloaded.
    fn orgscope_audit_queue_state(_call) {
        // SAFETY: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        Ok(with(|queue| state(queue, now)).map(|state| text_datum(&state.to_string())))
    }
}

fn state(queue: &mut Queue, now: i64) -> serde_json::Value {
    let totals = *queue.totals();
    let mut state = serde_json::json!({
        "events_queued": totals.queued, "events_written": totals.written, "events_logged": totals.logged,
        "places_used": queue.waiting(), "places": queue.capacity(),
        "oldest_waiting_seconds": queue.oldest().map(|at| (now - at).max(0) as f64 / 1e6),
    });
    for (kind, events) in kind::KINDS.into_iter().zip(totals.by_kind) {
        state[kind] = events.into();
    }
    state
}

pub fn init() {
    shared::init();
    writer::init();
}

/// Puts an event on record, for the database that this backend is connected to.
/// False when it went to the server's log.
pub fn push(event: &Event, rows: Option<u64>) -> bool {
    push_many(event, 1, rows)
}

/// The same for equal events that were counted already.
pub fn push_many(event: &Event, events: u64, rows: Option<u64>) -> bool {
    let (counts, json) = (Counts::now(events, rows), event.encode(LONGEST));
    // SAFETY: a plain global.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let queued = shared::push((!is_standby()).then_some(database), kind_of(&event.action), &json, counts);
    if !queued {
        log(&json, counts);
    }
    queued
}

/// A standby writes nothing, and its events wait nowhere.
pub fn is_standby() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// How many rows an event had that was queued before. It joins the event where that still waits, and is a row with an event
/// count of zero otherwise.
pub fn push_rows(event: &Event, rows: u64) {
    if !is_standby() {
        // SAFETY: a plain global.
        let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
        shared::push(Some(database), kind_of(&event.action), &event.encode(LONGEST), Counts::now(0, Some(rows)));
    }
}

/// This backend has committed audit rows of its own, of these events, which a writer is to seal.
pub fn note_unsealed(events: &ByKind) {
    // SAFETY: a plain global.
    shared::note_unsealed(unsafe { pg_sys::MyDatabaseId }.to_u32(), events);
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
