//! Observe mode: what enforcing would have refused or hidden, counted in this backend and written down when a transaction
//! commits. What was seen in a transaction that rolled back, or could not write, is written by the session's next one
//! that commits and can; a session that has none any more takes it along.

use super::writes::{note_own, qualified};
use crate::context::value::Org;
use crate::pg::{self, Backend, entry};
use crate::settings::{self, ACTOR, REASON};
use crate::spi;
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
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::NoContext => "no context",
            Self::NullOrganization => "null organization",
            Self::WrongOrganization => "wrong organization",
            Self::Truncate => "truncate",
            Self::ContextChange => "context change",
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
    statement: Option<String>,
    name: String,
    role_name: Option<String>,
    actor: Option<String>,
    reason: Option<String>,
    /// When the client statement began that was counted last.
    begun: pg_sys::TimestampTz,
    events: u64,
    rows: u64,
    /// From an earlier transaction.
    carried: bool,
}

impl Note {
    /// What enforcing would have raised.
    fn sqlstate(&self) -> &'static str {
        match self.why {
            Why::Truncate if self.org.is_none() => "OS001",
            Why::NoContext | Why::NullOrganization => "OS001",
            Why::WrongOrganization | Why::Truncate => "OS002",
            Why::ContextChange => "OS003",
        }
    }

    fn is(&self, other: (pg_sys::Oid, &'static str, Why, Option<Org>, pg_sys::Oid)) -> bool {
        (self.table, self.operation, self.why, self.org, self.role) == other
    }
}

static NOTES: Backend<Vec<Note>> = Backend::new(Vec::new());

/// More different ones than this are told apart by their statement and actor no longer: a standby's session, which can
/// never write, must not grow without end.
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
    // SAFETY: NULL outside a client's statement.
    let statement = pg::text_of(unsafe { pg_sys::debug_query_string });
    let (name, role_name) = (qualified(table), pg::role_name(role));
    let (actor, reason) = (settings::text(&ACTOR), settings::text(&REASON));
    NOTES.with(|notes| {
        let few = notes.len() < MANY;
        let (statement, actor, reason) = (statement.filter(|_| few), actor.filter(|_| few), reason.filter(|_| few));
        let same = |n: &&mut Note| n.is(key) && n.statement == statement && n.actor == actor;
        if let Some(note) = notes.iter_mut().find(same) {
            (note.begun, note.events, note.rows) = (begun, note.events + 1, note.rows + rows);
            return;
        }
        notes.push(Note {
            table,
            operation,
            why,
            org,
            role,
            statement,
            name,
            role_name,
            actor,
            reason,
            begun,
            events: 1,
            rows,
            carried: false,
        });
    });
}

const INSERT: &str = "INSERT INTO orgscope.audit_log (organization_id, action, table_name, operation, row_count, event_count, \
     actor, login_name, session_user_name, role_name, application_name, client_addr, txid, statement, sqlstate, reason, detail) \
     SELECT $1::pg_catalog.uuid, 'observed', $2, $3, $4::pg_catalog.int8, $5::pg_catalog.int8, $6, \
     COALESCE($7, session_user)::pg_catalog.name, session_user, $8::pg_catalog.name, \
     pg_catalog.current_setting('application_name'), pg_catalog.inet_client_addr(), \
     CASE WHEN $9 IS NULL THEN pg_catalog.pg_current_xact_id() END, $10, $11, $12, \
     pg_catalog.jsonb_build_object('why', $13) \
     WHERE EXISTS (SELECT FROM orgscope.scoped_table s \
         WHERE pg_catalog.format('%I.%I', s.schema_name, s.table_name) OPERATOR(pg_catalog.=) $2)";

/// Writes down all notes, unless this transaction cannot.
fn flush() {
    // SAFETY: a backend-local flag.
    if unsafe { pg_sys::XactReadOnly } {
        return;
    }
    let notes = NOTES.with(std::mem::take);
    // SAFETY: a catalog look-up that tells an absent extension by InvalidOid.
    if unsafe { pg_sys::get_extension_oid(c"orgscope".as_ptr(), true) } == pg_sys::InvalidOid {
        return;
    }
    // SAFETY: this backend's own identity.
    let login = pg::role_name(unsafe { pg_sys::GetAuthenticatedUserId() });
    // SAFETY: no portal is left that lends its snapshot. An error is the transaction's, which releases it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    pg::as_superuser(|| {
        for note in &notes {
            note_own("observed", note.events);
            let org = note.org.map(|o| Uuid::from_bytes(o).to_string());
            let rows = (note.rows > 0).then(|| note.rows.to_string());
            let events = note.events.to_string();
            spi::execute(
                INSERT,
                &[
                    org.as_deref(),
                    Some(&note.name),
                    Some(note.operation),
                    rows.as_deref(),
                    Some(&events),
                    note.actor.as_deref(),
                    login.as_deref(),
                    note.role_name.as_deref(),
                    note.carried.then_some("carried"),
                    note.statement.as_deref(),
                    Some(note.sqlstate()),
                    note.reason.as_deref(),
                    Some(note.why.text()),
                ],
            );
        }
    });
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PRE_COMMIT, XACT_EVENT_PRE_PREPARE};
    if NOTES.with(|notes| notes.is_empty()) {
        return;
    }
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE if !pg::in_parallel_worker() => entry(|| {
            flush();
            Ok(())
        }),
        XACT_EVENT_COMMIT | XACT_EVENT_ABORT => NOTES.with(|notes| notes.iter_mut().for_each(|n| n.carried = true)),
        _ => {}
    }
}
