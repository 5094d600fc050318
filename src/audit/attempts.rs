//! Writes outside row security whose audit rows are not in their transaction: they wrote no row, or they, their savepoint or
//! their transaction was rolled back. They go on record through the queue.

use super::event::Event;
use super::queue;
use crate::pg;
use crate::pg::Backend;
use pgrx::pg_sys;
use std::ffi::c_void;

/// A write that has begun, or its rows; of one statement, or of many that are told apart no longer.
struct Attempt {
    event: Event,
    /// Of a write that has begun: what it may do, as ACL bits. Of its rows: none.
    begun: u64,
    rows: Option<u64>,
    statements: u64,
    subtransaction: pg_sys::SubTransactionId,
}

static ATTEMPTS: Backend<Vec<Attempt>> = Backend::new(Vec::new());

/// A transaction with more than this many different statements is remembered without their texts.
const MANY: usize = 1000;

pub fn init() {
    // SAFETY: registered once per backend, with functions that live as long as the library.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
    }
}

/// A statement that may write begins.
pub fn begin(event: Event, permissions: u64) {
    add(event, permissions, None);
}

/// A statement that has begun has written rows, which are on record in its transaction.
pub fn wrote(table_name: &str, operation: u64) {
    ATTEMPTS.with(|attempts| {
        let began = |a: &Attempt| a.begun & operation != 0 && a.event.table_name.as_deref() == Some(table_name);
        if let Some(i) = attempts.iter().rposition(began) {
            attempts[i].statements -= 1;
            if attempts[i].statements == 0 {
                attempts.remove(i);
            }
        }
    });
}

/// The statement is over and has written no row.
pub fn wrote_nothing(table_name: impl FnOnce() -> String, operation: u64) {
    if ATTEMPTS.with(|attempts| attempts.iter().all(|a| a.begun & operation == 0)) {
        return;
    }
    let name = table_name();
    let began = |a: &&mut Attempt| a.begun & operation != 0 && a.event.table_name.as_ref() == Some(&name);
    ATTEMPTS.with(|attempts| attempts.iter_mut().rev().find(began).map(|a| a.rows = Some(0)));
}

/// In case these rows are taken back.
pub fn remember(event: Event, rows: Option<u64>) {
    add(event, 0, rows);
}

fn add(event: Event, begun: u64, rows: Option<u64>) {
    // SAFETY: reads the current transaction's state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    ATTEMPTS.with(|attempts| {
        let event = if attempts.len() < MANY { event } else { Event { statement: None, ..event } };
        let same = |a: &&mut Attempt| a.subtransaction == subtransaction && a.begun == begun && a.event == event;
        match attempts.iter_mut().rev().find(same) {
            Some(attempt) => {
                attempt.statements += 1;
                attempt.rows = attempt.rows.map(|known| known + rows.unwrap_or(0)).or(rows);
            }
            None => attempts.push(Attempt { event, begun, rows, statements: 1, subtransaction }),
        }
    });
}

fn record_as_rolled_back(attempts: Vec<Attempt>) {
    record_as("rolled_back", attempts);
}

/// Of a prepared transaction: its rows come with COMMIT PREPARED, and not at all with ROLLBACK PREPARED, which may be another
/// session's.
fn record_in_doubt(attempts: Vec<Attempt>) {
    record_as("prepared", attempts);
}

fn record_as(what: &str, attempts: Vec<Attempt>) {
    for attempt in attempts {
        let event = Event { detail: Some(serde_json::json!({ what: true })), ..attempt.event };
        queue::push_many(&event, attempt.statements, attempt.rows);
    }
}

/// Those whose rows are on record in the transaction that has committed.
fn count_written(attempts: &[Attempt]) {
    let written: u64 = attempts.iter().filter(|a| a.begun == 0).map(|a| a.statements).sum();
    if written > 0 {
        let mut events = queue::ByKind::default();
        events[queue::kind_of("bypass_write")] = written;
        queue::count(&events);
    }
}

fn record_without_rows(attempts: Vec<Attempt>) {
    for attempt in attempts.iter().filter(|a| a.begun != 0) {
        queue::push_many(&attempt.event, attempt.statements, attempt.rows);
    }
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if !ATTEMPTS.with(|attempts| attempts.is_empty()) && pg::ends_transaction(event) {
        end_transaction(event);
    }
}

#[cold]
fn end_transaction(event: pg_sys::XactEvent::Type) {
    let attempts = ATTEMPTS.with(std::mem::take);
    match event {
        pg_sys::XactEvent::XACT_EVENT_ABORT => record_as_rolled_back(attempts),
        pg_sys::XactEvent::XACT_EVENT_PREPARE => record_in_doubt(attempts),
        _ => {
            count_written(&attempts);
            record_without_rows(attempts);
        }
    }
}

crate::subtransaction::at_subtransaction_end!(ATTEMPTS: Attempt, record_as_rolled_back);
