//! Observe mode: what enforcing would have refused or hidden, counted in this backend and written down when its transaction
//! commits, or through the queue when that rolls back or cannot write.

use super::detect::scoped_name;
use super::entry::{self as log, Entry};
use super::event::Event;
use crate::context::value::Org;
use crate::pg::{self, Backend, entry};
use pgrx::pg_sys;
use std::ffi::c_void;
use uuid::Uuid;

/// Why enforcing would have stood in the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    NoContext,
    NullOrganization,
    WrongOrganization,
    Truncate,
    ContextChange,
    /// The organization is unknown or suspended.
    Unavailable,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::NoContext => "no context",
            Self::NullOrganization => "null organization",
            Self::WrongOrganization => "wrong organization",
            Self::Truncate => "truncate",
            Self::ContextChange => "context change",
            Self::Unavailable => "organization unavailable",
        }
    }
}

pub const READ: &str = "SELECT";

/// Equal observations of one client statement, or of many with the same text.
struct Note {
    table: pg_sys::Oid,
    operation: &'static str,
    why: Why,
    /// The context's.
    org: Option<Org>,
    role: pg_sys::Oid,
    event: Event,
    /// When the client statement began that was counted last.
    begun: pg_sys::TimestampTz,
    events: u64,
    rows: u64,
}

impl Note {
    fn is(&self, other: (pg_sys::Oid, &'static str, Why, Option<Org>, pg_sys::Oid)) -> bool {
        (self.table, self.operation, self.why, self.org, self.role) == other
    }
}

/// What enforcing would have raised.
fn sqlstate(why: Why, org: Option<Org>) -> &'static str {
    match why {
        Why::Truncate if org.is_none() => "OS001",
        Why::NoContext | Why::NullOrganization => "OS001",
        Why::WrongOrganization | Why::Truncate => "OS002",
        Why::ContextChange => "OS003",
        Why::Unavailable => "OS004",
    }
}

static NOTES: Backend<Vec<Note>> = Backend::new(Vec::new());

/// More different ones than this are told apart by their statement and actor no longer: a transaction must not grow without
/// end.
const MANY: usize = 1000;

pub fn init() {
    // SAFETY: registered once per backend, with a function that lives as long as the library.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
}

/// A read finds the table's write of the same statement noted already: its rows are read to be written.
pub fn read(table: pg_sys::Oid) {
    // SAFETY: reads a backend-local time.
    let begun = unsafe { pg_sys::GetCurrentStatementStartTimestamp() };
    let written = |n: &Note| n.begun == begun && n.table == table && n.why == Why::NoContext && n.operation != READ;
    if !NOTES.with(|notes| notes.iter().rev().any(written)) {
        note(table, READ, Why::NoContext, None, 0);
    }
}

pub fn note(table: pg_sys::Oid, operation: &'static str, why: Why, org: Option<Org>, rows: u64) {
    // SAFETY: backend-local state.
    let (role, begun) = unsafe { (pg_sys::GetUserId(), pg_sys::GetCurrentStatementStartTimestamp()) };
    let key = (table, operation, why, org, role);
    let counted = NOTES.with(|notes| match notes.iter_mut().rev().find(|n| n.begun == begun && n.is(key)) {
        Some(note) => {
            note.rows += rows;
            true
        }
        None => false,
    });
    if counted {
        return;
    }
    // Anybody may put our triggers on a table of their own.
    let Some(name) = scoped_name(table) else { return };
    let event = Event {
        organization_id: org.map(Uuid::from_bytes),
        sqlstate: Some(sqlstate(why, org).into()),
        detail: Some(serde_json::json!({ "why": why.text() })),
        ..Event::now("observed", Some(name), Some(operation))
    };
    NOTES.with(|notes| {
        let few = notes.len() < MANY;
        let event = if few { event } else { Event { statement: None, actor: None, reason: None, ..event } };
        if let Some(note) = notes.iter_mut().find(|n| n.is(key) && n.event == event) {
            (note.begun, note.events, note.rows) = (begun, note.events + 1, note.rows + rows);
            return;
        }
        notes.push(Note { table, operation, why, org, role, event, begun, events: 1, rows });
    });
}

fn take() -> impl Iterator<Item = Entry> {
    let notes = NOTES.with(std::mem::take).into_iter();
    notes.map(|note| Entry::many(note.event, note.events, (note.rows > 0).then_some(note.rows)))
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_PRE_COMMIT};
    if NOTES.with(|notes| notes.is_empty()) {
        return;
    }
    match event {
        XACT_EVENT_PRE_COMMIT if !pg::in_parallel_worker() => entry(|| {
            take().for_each(log::add);
            log::flush()
        }),
        XACT_EVENT_ABORT => take().for_each(Entry::push_rolled_back),
        _ if pg::ends_transaction(event) => take().for_each(|entry| entry.push()),
        _ => {}
    }
}
