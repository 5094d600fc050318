//! Writes outside row security: counted row by row, written down at the end of the statement, in its transaction. There
//! is no committed bypassing write without its audit row.

use crate::context::value::Org;
use crate::pg::{self, Backend};
use crate::settings::{self, ACTOR, REASON};
use crate::spi;
use crate::trigger::Event;
use pgrx::pg_sys;
use std::ffi::c_void;
use uuid::Uuid;

/// Rows one statement has written in one table for one organization.
struct Count {
    table: pg_sys::Oid,
    event: Event,
    org: Option<Org>,
    rows: u64,
    /// An aborted subtransaction takes its rows with it, and its counts.
    subtransaction: pg_sys::SubTransactionId,
}

static COUNTS: Backend<Vec<Count>> = Backend::new(Vec::new());

pub fn init() {
    // SAFETY: registered once per backend, with functions that live as long as the library.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
    }
}

/// Adds one row. Consecutive rows are mostly of one organization, so the last count is looked at first.
pub fn count(table: pg_sys::Oid, event: Event, org: Option<Org>) {
    // SAFETY: reads the current transaction state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    COUNTS.with(|counts| {
        let same =
            |c: &&mut Count| c.table == table && c.event == event && c.org == org && c.subtransaction == subtransaction;
        match counts.iter_mut().rev().find(same) {
            Some(found) => found.rows += 1,
            None => counts.push(Count { table, event, org, rows: 1, subtransaction }),
        }
    });
}

/// Writes down and forgets what was counted for the table.
pub fn record(table: pg_sys::Oid) {
    let counted: Vec<Count> = COUNTS.with(|counts| {
        let (ours, others) = std::mem::take(counts).into_iter().partition(|c| c.table == table);
        *counts = others;
        ours
    });
    if !counted.is_empty() {
        insert(table, counted.iter().map(|c| (c.event, c.org, Some(c.rows))));
    }
}

/// TRUNCATE does not count rows and belongs to no single organization.
pub fn record_truncate(table: pg_sys::Oid) {
    insert(table, [(Event::Truncate, None, None)].into_iter());
}

const INSERT: &str = "INSERT INTO orgscope.audit_log (organization_id, action, table_name, operation, row_count, actor, \
     login_name, session_user_name, role_name, application_name, client_addr, txid, statement, reason) \
     SELECT $1::pg_catalog.uuid, 'bypass_write', $2, $3, $4::pg_catalog.int8, $5, COALESCE($6, session_user)::pg_catalog.name, \
     session_user, $7::pg_catalog.name, pg_catalog.current_setting('application_name'), pg_catalog.inet_client_addr(), \
     pg_catalog.pg_current_xact_id(), $8, $9 \
     WHERE $10 OPERATOR(pg_catalog.=) 'true' OR EXISTS (SELECT FROM orgscope.scoped_table s \
         WHERE pg_catalog.format('%I.%I', s.schema_name, s.table_name) OPERATOR(pg_catalog.=) $2)";

/// A data-only restore loads audit rows before it sets their sequence: a row written meanwhile must not take an id that
/// is in use.
pub(super) const ADVANCE: &str = "SELECT pg_catalog.setval('orgscope.audit_log_id_seq', rows.last)::pg_catalog.text \
     FROM (SELECT pg_catalog.max(id) AS last FROM orgscope.audit_log) rows, orgscope.audit_log_id_seq sequence \
     WHERE sequence.last_value OPERATOR(pg_catalog.<) rows.last \
        OR sequence.last_value OPERATOR(pg_catalog.=) rows.last AND NOT sequence.is_called";

pub(super) fn advance() {
    spi::query(ADVANCE, &[]);
}

/// Adds a row for each event, organization and number of rows of one statement.
///
/// Only a superuser's writes are believed for a table that is not in the registry: anybody may put our triggers on a
/// table of their own, where they are outside row security too.
fn insert(table: pg_sys::Oid, written: impl Iterator<Item = (Event, Option<Org>, Option<u64>)>) {
    // SAFETY: look-ups of this backend's own identity; debug_query_string is NULL outside a client's statement.
    let (superuser, login, role, statement) = unsafe {
        (
            pg_sys::superuser(),
            pg::role_name(pg_sys::GetAuthenticatedUserId()),
            pg::role_name(pg_sys::GetUserId()),
            pg::text_of(pg_sys::debug_query_string),
        )
    };
    let name = qualified(table);
    let (actor, reason) = (settings::text(&ACTOR), settings::text(&REASON));
    pg::as_superuser(|| {
        advance();
        for (event, org, rows) in written {
            let org = org.map(|o| Uuid::from_bytes(o).to_string());
            let rows = rows.map(|n| n.to_string());
            let args = [
                org.as_deref(),
                Some(name.as_str()),
                Some(event.name()),
                rows.as_deref(),
                actor.as_deref(),
                login.as_deref(),
                role.as_deref(),
                statement.as_deref(),
                reason.as_deref(),
                Some(if superuser { "true" } else { "false" }),
            ];
            spi::execute(INSERT, &args);
        }
    });
}

/// The table as regclass prints it with an empty search_path.
pub(super) fn qualified(table: pg_sys::Oid) -> String {
    // SAFETY: quote_qualified_identifier takes NUL-terminated names and returns a palloc'd string.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        pg::text_of(pg_sys::quote_qualified_identifier(schema, pg_sys::get_rel_name(table))).unwrap_or_default()
    }
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if matches!(event, XACT_EVENT_ABORT | XACT_EVENT_COMMIT | XACT_EVENT_PREPARE) {
        COUNTS.with(Vec::clear);
    }
}

unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    COUNTS.with(|counts| match event {
        SUBXACT_EVENT_ABORT_SUB => counts.retain(|c| c.subtransaction != ended),
        SUBXACT_EVENT_COMMIT_SUB => {
            counts.iter_mut().filter(|c| c.subtransaction == ended).for_each(|c| c.subtransaction = parent);
        }
        _ => {}
    });
}
