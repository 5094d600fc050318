//! SQL from inside: text in, text out. Never on the path of a normal role's statement.

use crate::pg::{Backend, boundary, pstrdup, raw, text_datum, text_of};
use pgrx::pg_sys;
use std::ffi::c_int;
use std::ptr::null_mut;

/// What a statement sees.
#[derive(Clone, Copy, PartialEq)]
pub enum View {
    /// What is committed now, and what this transaction has done.
    Latest,
    /// The snapshot in force, the calling statement's or that of [`with_one_snapshot`]: several agree.
    Statement,
}

/// Runs one statement and returns how many rows it touched.
pub fn execute(sql: &str, args: &[Option<&str>]) -> u64 {
    run(sql, args, View::Latest, || ()).0
}

/// First column of the first row, as text.
pub fn query(sql: &str, args: &[Option<&str>]) -> Option<String> {
    run(sql, args, View::Latest, first_field).1
}

/// The same by the snapshot in force.
pub fn query_within(sql: &str, args: &[Option<&str>]) -> Option<String> {
    run(sql, args, View::Statement, first_field).1
}

/// For several looks, and a change that goes by what they have found: a snapshot of now, with what this transaction has done.
pub fn with_one_snapshot<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the snapshot is copied; on an error AbortTransaction pops it.
    boundary(|| unsafe {
        raw::CommandCounterIncrement();
        raw::PushCopiedSnapshot(raw::GetLatestSnapshot());
        raw::UpdateActiveSnapshotCommandId();
    });
    let result = f();
    // SAFETY: pushed above.
    boundary(|| unsafe { raw::PopActiveSnapshot() });
    result
}

/// The same for a statement that runs with every DDL: it is planned once in a backend, because planning costs many times
/// what it does; left to itself PostgreSQL plans the first five runs anew, and more where that looks cheaper. Its
/// search_path is pinned, or its names are qualified.
pub fn query_planned(sql: &'static str, args: &[Option<&str>]) -> Option<String> {
    planned(sql, args, View::Latest, false).1
}

/// And for one that writes: how many rows it touched.
pub fn execute_planned(sql: &'static str, args: &[Option<&str>]) -> u64 {
    planned(sql, args, View::Latest, false).0
}

fn planned(sql: &'static str, args: &[Option<&str>], view: View, read_only: bool) -> (u64, Option<String>) {
    let (mut values, nulls) = datums(args);
    // SAFETY: as in run(); a kept plan lives as long as the backend, and PostgreSQL plans it again when a table that it
    // reads has changed.
    unsafe {
        boundary(|| raw::SPI_connect());
        let plan = PLANS.with(|plans| plans.iter().find(|(s, _)| std::ptr::eq(*s, sql)).map(|(_, plan)| *plan));
        let plan = plan.unwrap_or_else(|| keep(sql, args.len()));
        execute_plan(plan, &mut values, &nulls, view, read_only);
        let (processed, fetched) = (pg_sys::SPI_processed, first_field());
        boundary(|| raw::SPI_finish());
        (processed, fetched)
    }
}

/// SAFETY: inside an SPI connection; values and nulls are as many as the plan's arguments.
unsafe fn execute_plan(
    plan: pg_sys::SPIPlanPtr,
    values: &mut [pg_sys::Datum],
    nulls: &[u8],
    view: View,
    read_only: bool,
) {
    let (values, nulls) = (values.as_mut_ptr(), nulls.as_ptr().cast());
    // SAFETY: the caller's; SPI copies the snapshot.
    boundary(|| unsafe {
        let snapshot = match view {
            View::Latest => newest_snapshot(),
            View::Statement => raw::GetActiveSnapshot(),
        };
        raw::SPI_execute_snapshot(plan, values, nulls, snapshot, null_mut(), read_only, true, 0)
    });
}

/// Whether the transaction goes by one snapshot, since when others may have scoped, altered or audited.
pub fn has_own_snapshot() -> bool {
    // SAFETY: a plain global.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as c_int }
}

/// For such a transaction one of now, as PostgreSQL's own commands read its catalogs; NULL in READ COMMITTED, where each
/// statement takes one.
///
/// SAFETY: plain frame; to be copied at once.
unsafe fn newest_snapshot() -> pg_sys::Snapshot {
    // SAFETY: PostgreSQL's own, of a kind.
    if has_own_snapshot() { unsafe { raw::GetLatestSnapshot() } } else { null_mut() }
}

/// Reads for a statement that has taken no snapshot of the transaction yet: what follows LOCK TABLE must see what was
/// committed before it. Nothing is changed, also in parallel mode.
pub fn look(sql: &'static str, args: &[Option<&str>]) -> Option<String> {
    // SAFETY: a snapshot of the catalogs, which is copied when it becomes the active one; on an error AbortTransaction pops
    // it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid)) };
    let found = planned(sql, args, View::Statement, true).1;
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    found
}

static PLANS: Backend<Vec<(&'static str, pg_sys::SPIPlanPtr)>> = Backend::new(Vec::new());

unsafe fn keep(sql: &'static str, args: usize) -> pg_sys::SPIPlanPtr {
    let (text, mut types) = (pstrdup(sql), vec![pg_sys::TEXTOID; args]);
    // SAFETY: inside an SPI connection; SPI_prepare_cursor raises on an error in the statement.
    let plan = unsafe {
        let options = pg_sys::CURSOR_OPT_GENERIC_PLAN as c_int;
        let plan = boundary(|| raw::SPI_prepare_cursor(text, args as c_int, types.as_mut_ptr(), options));
        boundary(|| raw::SPI_keepplan(plan));
        plan
    };
    PLANS.with(|plans| plans.push((sql, plan)));
    plan
}

fn first_field() -> Option<String> {
    // SAFETY: SPI_tuptable belongs to the statement just run; SPI_getvalue returns a palloc'd string or NULL.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() || (*table).numvals == 0 {
            return None;
        }
        text_of(pg_sys::SPI_getvalue(*(*table).vals, (*table).tupdesc, 1))
    }
}

/// All arguments are passed as text; the statement casts them. Never `read_only`: a statement must see what this
/// transaction has done, and a SELECT takes no transaction id either way, so it works on a standby. One statement: of
/// several, all are parsed before the first runs.
fn run<R>(sql: &str, args: &[Option<&str>], view: View, fetch: impl FnOnce() -> R) -> (u64, R) {
    let sql = pstrdup(sql);
    let mut types = vec![pg_sys::TEXTOID; args.len()];
    let (mut values, nulls) = datums(args);
    // SAFETY: arrays have args.len() entries and outlive the call; the plan lives as long as the connection. A raise unwinds
    // through `boundary`, and the abort that follows closes the SPI connection.
    unsafe {
        boundary(|| raw::SPI_connect());
        // It runs once: a plan for these values, whatever plan_cache_mode says.
        let options = pg_sys::CURSOR_OPT_CUSTOM_PLAN as c_int;
        let plan = boundary(|| raw::SPI_prepare_cursor(sql, args.len() as c_int, types.as_mut_ptr(), options));
        execute_plan(plan, &mut values, &nulls, view, false);
        let processed = pg_sys::SPI_processed;
        let fetched = fetch();
        boundary(|| raw::SPI_finish());
        (processed, fetched)
    }
}

/// Values and, as SPI wants it, a letter for each: `n` for NULL.
pub(crate) fn datums(args: &[Option<&str>]) -> (Vec<pg_sys::Datum>, Vec<u8>) {
    args.iter().map(|a| (a.map_or(pg_sys::Datum::null(), text_datum), if a.is_some() { b' ' } else { b'n' })).unzip()
}
