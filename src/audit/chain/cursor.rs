//! Rows read in order, in batches and in PostgreSQL's own binary form: a chain may have millions.

use crate::pg::{boundary, pstrdup, raw};
use crate::spi::{self, View, datums};
use pgrx::pg_sys;
use std::ffi::{c_int, c_long};

const BATCH: c_long = 1000;

pub struct Cursor {
    portal: pg_sys::Portal,
    batch: *mut pg_sys::SPITupleTable,
    next: usize,
    rows: usize,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

/// Runs `f`, in which cursors may be open.
pub fn connected<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: a pair; an error unwinds through `boundary`, and the abort closes connection and cursors.
    unsafe {
        boundary(|| raw::SPI_connect());
        let result = f();
        boundary(|| raw::SPI_finish());
        result
    }
}

impl Cursor {
    /// Arguments are passed as text; the statement casts them.
    pub fn open(sql: &str, args: &[Option<&str>], view: View) -> Self {
        if view == View::Latest && spi::has_own_snapshot() {
            return spi::with_one_snapshot(|| Self::open_under(sql, args, true));
        }
        Self::open_under(sql, args, view == View::Statement)
    }

    /// `read_only`: under the snapshot in force.
    fn open_under(sql: &str, args: &[Option<&str>], read_only: bool) -> Self {
        let (sql, mut types) = (pstrdup(sql), vec![pg_sys::TEXTOID; args.len()]);
        let (mut values, nulls) = datums(args);
        // SAFETY: arrays have args.len() entries and outlive the call; the portal copies what it keeps, the snapshot too.
        let portal = boundary(|| unsafe {
            raw::SPI_cursor_open_with_args(
                std::ptr::null(),
                sql,
                args.len() as c_int,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr().cast(),
                read_only,
                pg_sys::CURSOR_OPT_NO_SCROLL as c_int,
            )
        });
        Self { portal, batch: std::ptr::null_mut(), next: 0, rows: 0, values: Vec::new(), nulls: Vec::new() }
    }

    /// The next row, whose fields stay valid until the call after.
    pub fn next(&mut self) -> Option<Row<'_>> {
        if self.next == self.rows {
            self.fetch();
        }
        if self.rows == 0 {
            return None;
        }
        // SAFETY: the batch has `rows` tuples of its descriptor, whose attributes the vectors have room for. Deforming does
        // not raise, so it needs no guard, which would cost more than it does.
        unsafe {
            let tuple = *(*self.batch).vals.add(self.next);
            self.next += 1;
            let description = (*self.batch).tupdesc;
            raw::heap_deform_tuple(tuple, description, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        }
        Some(Row { values: &self.values, nulls: &self.nulls })
    }

    fn fetch(&mut self) {
        self.free();
        // SAFETY: an open portal; SPI_tuptable is the batch just fetched.
        unsafe {
            boundary(|| raw::SPI_cursor_fetch(self.portal, true, BATCH));
            self.batch = pg_sys::SPI_tuptable;
            self.rows = pg_sys::SPI_processed as usize;
            let columns = (*(*self.batch).tupdesc).natts as usize;
            self.values.resize(columns, pg_sys::Datum::null());
            self.nulls.resize(columns, true);
        }
    }

    fn free(&mut self) {
        if !self.batch.is_null() {
            // SAFETY: fetched by this cursor and not freed yet.
            unsafe { pg_sys::SPI_freetuptable(self.batch) };
            self.batch = std::ptr::null_mut();
        }
        (self.next, self.rows) = (0, 0);
    }

    pub fn close(mut self) {
        self.free();
        // SAFETY: an open portal, not used any more.
        boundary(|| unsafe { raw::SPI_cursor_close(self.portal) });
    }
}

/// Fields by position. Which type a field has says the statement that the cursor was opened with.
pub struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl Row<'_> {
    pub fn field(&self, n: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[n]).then(|| self.values[n])
    }

    /// bigint, timestamptz and xid8; 0 for NULL.
    pub fn int8(&self, n: usize) -> i64 {
        self.field(n).map_or(0, |d| d.value() as i64)
    }

    /// All zeros for NULL.
    pub fn uuid(&self, n: usize) -> [u8; 16] {
        // SAFETY: a uuid datum points to 16 bytes.
        self.field(n).map_or([0; 16], |d| unsafe { *d.cast_mut_ptr() })
    }

    /// bytea and text; empty for NULL.
    pub fn bytes(&self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(datum) = self.field(n) {
            with_bytes(datum, |b| bytes.extend_from_slice(b));
        }
        bytes
    }

    /// bytea of 32 bytes; zeros for any other length.
    pub fn digest(&self, n: usize) -> [u8; 32] {
        self.bytes(n).try_into().unwrap_or([0; 32])
    }

    /// bigint[] without NULLs; empty when it has some, or is NULL.
    pub fn int8s(&self, n: usize) -> Vec<i64> {
        let Some(datum) = self.field(n) else { return Vec::new() };
        // SAFETY: the field is a bigint[].
        let values = unsafe { <Vec<Option<i64>> as pgrx::FromDatum>::from_datum(datum, false) };
        values.into_iter().flatten().collect::<Option<Vec<i64>>>().unwrap_or_default()
    }
}

/// The content of a varlena, fetched and decompressed if it has to be.
pub fn with_bytes<R>(datum: pg_sys::Datum, f: impl FnOnce(&[u8]) -> R) -> R {
    let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: a varlena datum of a live tuple; a fetched copy is ours to free.
    unsafe {
        if !pgrx::varatt_is_1b_e(stored) && !pgrx::varatt_is_4b_c(stored) {
            return f(pgrx::varlena_to_byte_slice(stored));
        }
        let copy = pg_sys::pg_detoast_datum_packed(stored);
        let result = f(pgrx::varlena_to_byte_slice(copy));
        pg_sys::pfree(copy.cast());
        result
    }
}
