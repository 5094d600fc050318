//! How many rows a statement returned that has read outside row security. Its record is queued before it runs, so that
//! nothing takes it away; the number follows when the statement is over, and joins the record if that still waits.
//!
//! The hooks are set by a session's first such read: no other session pays for them.

use super::event::Event;
use super::queue;
use crate::pg::{self, Backend, entry};
use pgrx::pg_sys;
use std::ffi::c_void;

struct Read {
    /// Of the statement.
    range_table: *mut pg_sys::List,
    /// Once it runs: a statement that calls itself has the same range table each time.
    query: *mut pg_sys::QueryDesc,
    event: Event,
    rows: Option<u64>,
    subtransaction: pg_sys::SubTransactionId,
}

static READS: Backend<Vec<Read>> = Backend::new(Vec::new());
static IS_SET: Backend<bool> = Backend::new(false);

static mut NEXT_END: pg_sys::ExecutorEnd_hook_type = None;

/// A read that is on record already and is about to run.
pub fn begin(range_table: *mut pg_sys::List, event: Event) {
    set_hooks();
    // SAFETY: reads the current transaction's state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    READS
        .with(|reads| reads.push(Read { range_table, query: std::ptr::null_mut(), event, rows: None, subtransaction }));
}

fn set_hooks() {
    if IS_SET.with(|is_set| std::mem::replace(is_set, true)) {
        return;
    }
    pg::add_steps(runs, Some(ran));
    // SAFETY: once per backend; a hook is a plain pointer, read anew at each call, and the one found is called by ours. The
    // callbacks live as long as the library.
    unsafe {
        NEXT_END = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(executor_end);
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
    }
}

unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorEnd"]
    fn standard_end(query: *mut pg_sys::QueryDesc);
}

/// Plain frame.
unsafe fn runs(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the executor's own description of a statement that has started.
    let range_table = unsafe { (*(*query).plannedstmt).rtable };
    let begun = |r: &&mut Read| r.query.is_null() && r.range_table == range_table;
    READS.with(|reads| reads.iter_mut().filter(begun).for_each(|r| r.query = query));
}

/// Plain frame. A cursor runs as often as it is fetched from.
unsafe fn ran(query: *mut pg_sys::QueryDesc) {
    // SAFETY: as above.
    let rows = unsafe { (*(*query).estate).es_processed };
    let ours = |r: &&mut Read| r.query == query;
    READS.with(|reads| reads.iter_mut().filter(ours).for_each(|r| r.rows = Some(r.rows.unwrap_or(0) + rows)));
}

/// Plain frame.
unsafe extern "C-unwind" fn executor_end(query: *mut pg_sys::QueryDesc) {
    // SAFETY: as above.
    unsafe {
        if !READS.with(|reads| reads.is_empty()) {
            runs(query);
            entry(|| {
                end(query);
                Ok(())
            });
        }
        match NEXT_END {
            Some(next) => next(query),
            None => standard_end(query),
        }
    }
}

fn end(query: *mut pg_sys::QueryDesc) {
    let mut ended: Vec<Read> = READS.with(|reads| reads.extract_if(.., |r| r.query == query).collect());
    // A table that the statement names twice is read twice, and its rows are the statement's once.
    while let Some(read) = ended.pop() {
        if !ended.iter().any(|other| other.event == read.event) {
            read.push();
        }
    }
}

impl Read {
    fn push(&self) {
        if let Some(rows) = self.rows.filter(|rows| *rows > 0) {
            queue::push_rows(&self.event, rows);
        }
    }
}

pub fn begun() -> usize {
    READS.with(|reads| reads.len())
}

/// After COPY ... TO, which reads a table without the executor. `before` had begun before it.
pub fn copied(before: usize, rows: u64) {
    let copied = READS.with(|reads| reads.split_off(before.min(reads.len())));
    copied.into_iter().for_each(|read| Read { rows: Some(rows), ..read }.push());
}

/// What an error has ended is counted as far as it is known: cursors, mostly.
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if pg::ends_transaction(event) {
        READS.with(std::mem::take).iter().for_each(Read::push);
    }
}

crate::subtransaction::at_subtransaction_end!(READS: Read, |gone: Vec<Read>| gone.iter().for_each(Read::push));
