//! SQL from inside: text in, text out. Never on the path of a normal role's statement.

use crate::pg::{boundary, pstrdup, raw, text_datum, text_of};
use pgrx::pg_sys;
use std::ffi::c_int;

/// Runs one statement and returns how many rows it touched.
pub fn execute(sql: &str, args: &[Option<&str>]) -> u64 {
    run(sql, args, || ()).0
}

/// First column of the first row, as text.
pub fn query(sql: &str, args: &[Option<&str>]) -> Option<String> {
    run(sql, args, || unsafe {
        // SAFETY: SPI_tuptable belongs to the statement just run; SPI_getvalue returns a palloc'd string or NULL.
        let table = pg_sys::SPI_tuptable;
        if table.is_null() || (*table).numvals == 0 {
            return None;
        }
        text_of(pg_sys::SPI_getvalue(*(*table).vals, (*table).tupdesc, 1))
    })
    .1
}

/// All arguments are passed as text; the statement casts them. Never `read_only`: a statement must see what this
/// transaction has done, and a SELECT takes no transaction id either way, so it works on a standby.
fn run<R>(sql: &str, args: &[Option<&str>], fetch: impl FnOnce() -> R) -> (u64, R) {
    let sql = pstrdup(sql);
    let mut types = vec![pg_sys::TEXTOID; args.len()];
    let mut values: Vec<pg_sys::Datum> = args.iter().map(|a| a.map_or(pg_sys::Datum::null(), text_datum)).collect();
    let nulls: Vec<u8> = args.iter().map(|a| if a.is_some() { b' ' } else { b'n' }).collect();
    // SAFETY: arrays have args.len() entries and outlive the call; SPI copies what it keeps. A raise unwinds through
    // `boundary`, and the abort that follows closes the SPI connection.
    unsafe {
        boundary(|| raw::SPI_connect());
        boundary(|| {
            raw::SPI_execute_with_args(
                sql,
                args.len() as c_int,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr().cast(),
                false,
                0,
            )
        });
        let processed = pg_sys::SPI_processed;
        let fetched = fetch();
        boundary(|| raw::SPI_finish());
        (processed, fetched)
    }
}
