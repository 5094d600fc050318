//! Rows of the log that belong to a transaction: administration, break-glass, DDL, what observe mode saw. They are written
//! in it. What it takes back, or could not write because it is read-only or prepared, goes on record through the queue.

use super::event::{Counts, Event, client_statement};
use super::queue;
use super::writes::note_own;
use crate::error::Error;
use crate::guard::ddl::extension_is_there;
use crate::pg::{self, Backend, boundary, raw};
use pgrx::pg_sys;
use serde_json::{Value, json};
use std::ffi::c_void;

/// One row of the log.
#[derive(Clone)]
pub struct Entry {
    event: Event,
    events: u64,
    rows: Option<u64>,
    at: pg_sys::TimestampTz,
    /// When the client's statement began that was counted last.
    begun: pg_sys::TimestampTz,
    subtransaction: pg_sys::SubTransactionId,
    /// By this transaction.
    written: bool,
}

impl Entry {
    pub fn new(event: Event) -> Self {
        Self::many(event, 1, None)
    }

    /// Events that were counted already.
    pub fn many(event: Event, events: u64, rows: Option<u64>) -> Self {
        // SAFETY: reads the clock and the current transaction's state.
        let (at, subtransaction) = unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetCurrentSubTransactionId()) };
        Self { event, events, rows, at, begun: 0, subtransaction, written: false }
    }

    /// Of the client's statement of now, for no organization.
    pub fn of_client(action: &str, operation: &str, detail: Option<Value>) -> Self {
        Self::new(Event { organization_id: None, detail, ..Event::now(action, None, Some(operation)) })
    }

    pub fn about(mut self, org: Option<crate::context::value::Org>) -> Self {
        self.event.organization_id = org.map(uuid::Uuid::from_bytes);
        self
    }

    pub fn of_table(mut self, name: Option<String>) -> Self {
        self.event.table_name = name;
        self
    }

    /// Its text holds what nobody may read.
    pub fn without_statement(mut self) -> Self {
        self.event.statement = None;
        self
    }

    /// Of the client's statement of now.
    pub fn used(mut self, begun: pg_sys::TimestampTz) -> Self {
        self.event.statement = client_statement();
        Self { begun, ..self }
    }

    /// Whatever becomes of the transaction, and without one.
    pub fn push(&self) {
        queue::push_many(&self.event, self.events, self.rows);
    }

    pub fn log(&self) {
        queue::log(&self.event.encode(queue::LONGEST), Counts::now(self.events, self.rows));
    }

    pub fn push_rolled_back(mut self) {
        let detail = self.event.detail.get_or_insert_with(|| json!({}));
        detail["rolled_back"] = true.into();
        self.push();
    }

    fn row(&self, transaction: u64) -> Value {
        let Value::Object(event) = json!(self.event) else { return Value::Null };
        let (events, rows, at) = (self.events, self.rows, self.at);
        let counts = Counts { events, rows, first: at, last: at, transaction: Some(transaction) };
        queue::writer::numbered(event, &counts)
    }
}

/// Of this transaction.
static ENTRIES: Backend<Vec<Entry>> = Backend::new(Vec::new());

/// More different ones than this are told apart no longer: a transaction must not grow without end.
const MANY: usize = 1000;

pub fn init() {
    // SAFETY: registered once per backend, with functions that live as long as the library.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
    }
}

/// To be written when the transaction ends. Equal ones are one row.
pub fn add(mut entry: Entry) {
    ENTRIES.with(|entries| {
        if entries.len() >= MANY {
            (entry.event.statement, entry.event.actor) = (None, None);
        }
        let same = |e: &&mut Entry| {
            e.subtransaction == entry.subtransaction && e.written == entry.written && e.event == entry.event
        };
        match entries.iter_mut().find(same) {
            Some(found) => {
                (found.begun, found.events) = (entry.begun, found.events + entry.events);
                found.rows = found.rows.map(|rows| rows + entry.rows.unwrap_or(0)).or(entry.rows);
            }
            None => entries.push(entry),
        }
    });
}

/// Counts a use: once for each of the client's statements, whatever it runs inside.
pub fn add_use(used: Entry) {
    if !ENTRIES.with(|entries| entries.iter().rev().any(|e| e.begun == used.begun)) {
        add(used);
    }
}

/// At once, and remembered in case it is taken back.
pub fn write_now(mut entry: Entry) -> Result<(), Error> {
    write(std::slice::from_ref(&entry))?;
    entry.written = true;
    add(entry);
    Ok(())
}

/// In this transaction.
pub fn write(entries: &[Entry]) -> Result<(), Error> {
    // SAFETY: gives the transaction its number, which it needs to write; on a standby it could not have one.
    let transaction = unsafe {
        boundary(|| raw::PreventCommandIfReadOnly(c"INSERT".as_ptr()));
        pg_sys::GetTopFullTransactionId().value
    };
    let rows = entries.iter().map(|e| e.row(transaction)).collect();
    pg::as_superuser(|| {
        entries.iter().for_each(|e| note_own(&e.event.action, e.events));
        queue::writer::insert(rows)
    })
}

pub fn is_waiting() -> bool {
    ENTRIES.with(|entries| entries.iter().any(|e| !e.written))
}

/// At the transaction's end, before it commits. Where the extension has been dropped, or hidden by a change of its catalog,
/// the server log is what is left.
pub fn flush() -> Result<(), Error> {
    // SAFETY: a backend-local flag.
    if unsafe { pg_sys::XactReadOnly } || !is_waiting() {
        return Ok(());
    }
    let unwritten: Vec<_> = ENTRIES.with(|entries| entries.iter().filter(|e| !e.written).cloned().collect());
    if extension_is_there() {
        // SAFETY: no statement lends a snapshot any more; an error is the transaction's, which releases it.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        write(&unwritten)?;
        // SAFETY: pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
    } else {
        unwritten.iter().for_each(Entry::log);
    }
    ENTRIES.with(|entries| entries.iter_mut().for_each(|e| e.written = true));
    Ok(())
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if ENTRIES.with(|entries| entries.is_empty()) || !pg::ends_transaction(event) {
        return;
    }
    let entries = ENTRIES.with(std::mem::take);
    match event {
        pg_sys::XactEvent::XACT_EVENT_ABORT => entries.into_iter().for_each(Entry::push_rolled_back),
        _ => entries.iter().filter(|e| !e.written).for_each(Entry::push),
    }
}

crate::subtransaction::at_subtransaction_end!(ENTRIES: Entry, |back: Vec<Entry>| back.into_iter().for_each(Entry::push_rolled_back));

/// As JSON has it.
pub fn time(time: pg_sys::TimestampTz) -> Option<String> {
    // SAFETY: timestamptz_to_str returns a buffer of its own.
    pg::text_of(unsafe { pg_sys::timestamptz_to_str(time) })
}
