//! Writes outside row security: counted row by row, written down at the end of the statement, in its transaction. There
//! is no committed bypassing write without its audit row.

use super::attempts;
use super::event as audit;
use super::queue::{self, ByKind};
use super::registry;
use crate::context::value::Org;
use crate::error::Error;
use crate::pg::{self, Backend};
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

/// Writes down and forgets what was counted for the table and what is below it: rows are counted in the partition or
/// child that holds them, and recorded for the table that the statement names. `counts`: the table's trigger that counts is
/// in force.
pub fn record(table: pg_sys::Oid, event: Event, counts: bool) -> Result<(), Error> {
    if COUNTS.with(|counts| counts.is_empty()) {
        if counts {
            attempts::wrote_nothing(|| qualified(table), event.privilege());
        }
        return Ok(());
    }
    let elsewhere = COUNTS.with(|counts| counts.iter().any(|c| c.table != table));
    let below = if elsewhere { below(table) } else { Vec::new() };
    let counted: Vec<Count> = COUNTS.with(|counts| {
        let (ours, others) =
            std::mem::take(counts).into_iter().partition(|c| c.table == table || below.contains(&c.table.to_u32()));
        *counts = others;
        ours
    });
    let rows = merge(&counted, event);
    if rows.is_empty() {
        return Ok(());
    }
    insert(table, event, rows.into_iter().map(|(event, org, rows)| (event, org, Some(rows))))
}

/// Partitions and children at every level.
fn below(table: pg_sys::Oid) -> Vec<u32> {
    const BELOW: &str = "WITH RECURSIVE below (oid) AS (SELECT $1::pg_catalog.oid UNION \
         SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) b.oid) \
         SELECT pg_catalog.string_agg(oid::pg_catalog.text, ',') FROM below";
    let list = pg::as_superuser(|| spi::query(BELOW, &[Some(&table.to_u32().to_string())]));
    list.iter().flat_map(|l| l.split(',')).filter_map(|oid| oid.parse().ok()).collect()
}

/// One number for each event and organization. To PostgreSQL an update that moves a row to another partition is a delete
/// and an insert; to whoever reads the log it is an update.
fn merge(counted: &[Count], statement: Event) -> Vec<(Event, Option<Org>, u64)> {
    let mut rows: Vec<(Event, Option<Org>, u64)> = Vec::new();
    for c in counted {
        match rows.iter_mut().find(|(event, org, _)| (*event, *org) == (c.event, c.org)) {
            Some((_, _, n)) => *n += c.rows,
            None => rows.push((c.event, c.org, c.rows)),
        }
    }
    if statement == Event::Update {
        fold_moves(&mut rows);
    }
    rows
}

fn fold_moves(rows: &mut Vec<(Event, Option<Org>, u64)>) {
    let organizations: Vec<_> = rows.iter().filter(|r| r.0 == Event::Delete).map(|r| r.1).collect();
    for org in organizations {
        let of = |rows: &[(Event, Option<Org>, u64)], event| rows.iter().position(|r| (r.0, r.1) == (event, org));
        let (Some(deleted), Some(inserted)) = (of(rows, Event::Delete), of(rows, Event::Insert)) else { continue };
        let moved = rows[deleted].2.min(rows[inserted].2);
        rows[deleted].2 -= moved;
        rows[inserted].2 -= moved;
        match of(rows, Event::Update) {
            Some(updated) => rows[updated].2 += moved,
            None => rows.push((Event::Update, org, moved)),
        }
    }
    rows.retain(|r| r.2 > 0);
}

/// TRUNCATE does not count rows and belongs to no single organization.
pub fn record_truncate(table: pg_sys::Oid) -> Result<(), Error> {
    insert(table, Event::Truncate, [(Event::Truncate, None, None)].into_iter())
}

const INSERT: &str = "INSERT INTO orgscope.audit_log (organization_id, action, table_name, operation, row_count, actor, \
     login_name, session_user_name, role_name, application_name, client_addr, txid, statement, reason) \
     SELECT $1::pg_catalog.uuid, 'bypass_write', $2, $3, $4::pg_catalog.int8, $5, COALESCE($6, session_user)::pg_catalog.name, \
     session_user, $7::pg_catalog.name, pg_catalog.current_setting('application_name'), pg_catalog.inet_client_addr(), \
     pg_catalog.pg_current_xact_id(), $8, $9";

/// These events are written down by this transaction itself. Those of a savepoint that is taken back are counted too.
pub(super) fn note_own(action: &str, events: u64) {
    OWN.with(|own| own.get_or_insert_default()[queue::kind_of(action)] += events);
}

/// Adds a row for each event, organization and number of rows of one statement.
///
/// Only a superuser's writes are believed for a table that is not in the registry: anybody may put our triggers on a
/// table of their own, where they are outside row security too.
fn insert(
    table: pg_sys::Oid,
    statement_event: Event,
    written: impl Iterator<Item = (Event, Option<Org>, Option<u64>)>,
) -> Result<(), Error> {
    // SAFETY: a look-up of this backend's own role.
    if !unsafe { pg_sys::superuser() } && !registry::is_registered(table) {
        return Ok(());
    }
    let name = qualified(table);
    let attempt = audit::Event::now("bypass_write", Some(name.clone()), None);
    pg::as_superuser(|| {
        note_unsealed();
        attempts::wrote(&name, statement_event.privilege());
        for (event, org, rows) in written {
            let (operation, organization_id) = (Some(event.name().into()), org.map(Uuid::from_bytes));
            attempts::remember(audit::Event { operation, organization_id, ..attempt.clone() }, rows);
            let org = org.map(|o| Uuid::from_bytes(o).to_string());
            let rows = rows.map(|n| n.to_string());
            let args = [
                org.as_deref(),
                Some(name.as_str()),
                Some(event.name()),
                rows.as_deref(),
                attempt.actor.as_deref(),
                attempt.login_name.as_deref(),
                attempt.role_name.as_deref(),
                attempt.statement.as_deref(),
                attempt.reason.as_deref(),
            ];
            if spi::execute_planned(INSERT, &args) == 0 {
                return Err(Error::AuditSwallowed);
            }
        }
        Ok(())
    })
}

/// The table as regclass prints it with an empty search_path.
pub fn qualified(table: pg_sys::Oid) -> String {
    // SAFETY: syscache look-ups; NULL for a table that is gone.
    let names = unsafe { (pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table)), pg_sys::get_rel_name(table)) };
    let (Some(schema), Some(name)) = (pg::text_of(names.0), pg::text_of(names.1)) else { return String::new() };
    quoted(&schema, &name)
}

pub(super) fn quoted(schema: &str, table: &str) -> String {
    let (schema, table) = (pg::pstrdup(schema), pg::pstrdup(table));
    // SAFETY: takes NUL-terminated names and returns a palloc'd string.
    pg::text_of(unsafe { pg_sys::quote_qualified_identifier(schema, table) }).unwrap_or_default()
}

/// What is in the audit rows that this transaction has written itself, if it has written any. Bypassing writes are counted
/// where it is known which of them were taken back.
static OWN: Backend<Option<ByKind>> = Backend::new(None);

/// Audit rows are written, of events that are counted elsewhere.
fn note_unsealed() {
    OWN.with(|own| _ = own.get_or_insert_default());
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    let idle = COUNTS.with(|counts| counts.is_empty()) && OWN.with(|own| own.is_none());
    if !idle && pg::ends_transaction(event) {
        end_transaction(event);
    }
}

#[cold]
fn end_transaction(event: pg_sys::XactEvent::Type) {
    COUNTS.with(Vec::clear);
    let own = OWN.with(Option::take);
    if let Some(own) = own
        && event == pg_sys::XactEvent::XACT_EVENT_COMMIT
        && !queue::writer::is_this()
    {
        queue::note_unsealed(&own);
    }
}

crate::subtransaction::at_subtransaction_end!(COUNTS: Count, drop);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_moves_is_updated() {
        let count =
            |table: u32, event, rows| Count { table: table.into(), event, org: Some([1; 16]), rows, subtransaction: 1 };
        let counted = [count(1, Event::Delete, 3), count(2, Event::Insert, 2), count(2, Event::Update, 4)];
        let org = Some([1; 16]);
        assert_eq!(merge(&counted, Event::Update), [(Event::Delete, org, 1), (Event::Update, org, 6)]);
        assert_eq!(merge(&counted, Event::Delete).len(), 3);
        assert_eq!(merge(&counted[..2], Event::Insert), [(Event::Delete, org, 3), (Event::Insert, org, 2)]);
    }
}
