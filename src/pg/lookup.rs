//! One row of a table of ours by its primary key, in the middle of anybody's statement.

use crate::pg::{boundary, raw};
use pgrx::pg_sys;
use std::ffi::{CStr, c_int};

const LOCK: c_int = pg_sys::AccessShareLock as c_int;

/// A table of ours by its name; InvalidOid while the extension's script has not made it.
pub fn own_table(name: &CStr) -> pg_sys::Oid {
    // SAFETY: syscache look-ups by name, with missing_ok.
    boundary(|| unsafe { raw::get_relname_relid(name.as_ptr(), raw::get_namespace_oid(c"orgscope".as_ptr(), true)) })
}

/// That a column equals a value, by the function of its type.
pub fn equal(attribute: i16, function: u32, value: pg_sys::Datum) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    let strategy = pg_sys::BTEqualStrategyNumber as u16;
    // SAFETY: fills the key; looks up a function of PostgreSQL's own, which is there.
    boundary(|| unsafe { raw::ScanKeyInit(&raw mut key, attribute, strategy, function.into(), value) });
    key
}

/// Gives the row to `read`: the newest committed one, or what this transaction has made of it, whatever its isolation level
/// and whoever asks; a parallel worker and a standby can look too. The lock on the table ends with the look.
///
/// As a catalog is read, but that a scan under an MVCC snapshot would leave predicate locks in a SERIALIZABLE transaction,
/// which would fail for what it has never read. So the scan takes every version, and the snapshot judges each.
///
/// # Safety
/// Values of the keys outlive the call; `read` is a plain frame that calls functions of [`raw`] only.
pub unsafe fn find_row<R>(
    table: pg_sys::Oid,
    keys: &mut [pg_sys::ScanKeyData],
    read: impl FnOnce(pg_sys::HeapTuple, pg_sys::TupleDesc) -> R,
) -> Option<R> {
    // SAFETY: each call is given what the one before has returned, and all is closed; an error closes it with the
    // transaction's resources. The snapshot is older than the scan, so of a row's versions it finds the one that is visible;
    // a version is judged while the scan's slot holds it and its page.
    boundary(|| unsafe {
        let relation = raw::try_table_open(table, LOCK);
        if relation.is_null() {
            return None;
        }
        raw::list_free(raw::RelationGetIndexList(relation));
        let index = (*relation).rd_pkindex;
        let snapshot = raw::RegisterSnapshot(raw::GetCatalogSnapshot(table));
        let scan = raw::systable_beginscan(
            relation,
            index,
            index != pg_sys::InvalidOid,
            &raw mut pg_sys::SnapshotAnyData,
            keys.len() as c_int,
            keys.as_mut_ptr(),
        );
        let is_visible = (*(*relation).rd_tableam).tuple_satisfies_snapshot;
        let row = loop {
            let row = raw::systable_getnext(scan);
            if row.is_null() || is_visible.is_some_and(|is_visible| is_visible(relation, (*scan).slot, snapshot)) {
                break row;
            }
        };
        let found = (!row.is_null()).then(|| read(row, (*relation).rd_att));
        raw::systable_endscan(scan);
        raw::UnregisterSnapshot(snapshot);
        raw::table_close(relation, LOCK);
        found
    })
}
