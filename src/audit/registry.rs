//! Whether a table is scoped, asked in the middle of anybody's statement. The registry is read as PostgreSQL reads its
//! catalogs, and its lock given back at once: a statement that has nothing to do with orgscope holds no lock on it.

use crate::guard::ddl::extension_is_there;
use crate::pg::{boundary, raw};
use crate::trigger::triggers_of;
use pgrx::pg_sys;
use std::ffi::CStr;

const SCHEMA: &CStr = c"orgscope";
const TABLE: &CStr = c"scoped_table";
const KEY: &CStr = c"scoped_table_pkey";

/// The guard that every scoped table has.
const GUARD: &CStr = c"~orgscope_guard";

/// By its row in the registry, or by its guard: a superuser can write into the registry as into any table.
pub fn has(table: pg_sys::Oid) -> bool {
    extension_is_there() && (is_registered(table) || is_guarded(table))
}

/// Whether the table is the registry.
pub fn is(table: pg_sys::Oid) -> bool {
    oid() == table
}

/// InvalidOid while the extension's script has not made it.
fn oid() -> pg_sys::Oid {
    // SAFETY: syscache look-ups by name.
    unsafe { pg_sys::get_relname_relid(TABLE.as_ptr(), pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true)) }
}

/// Anybody may put our triggers on a table of theirs.
pub fn is_registered(table: pg_sys::Oid) -> bool {
    // SAFETY: syscache look-ups; InvalidOid and NULL for what is gone.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        let name = pg_sys::get_rel_name(table);
        let ours = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true);
        let registry = oid();
        let key = pg_sys::get_relname_relid(KEY.as_ptr(), ours);
        let known = [ours, registry, key].iter().all(|oid| *oid != pg_sys::InvalidOid);
        known && !schema.is_null() && !name.is_null() && holds(registry, key, [schema, name])
    }
}

/// Only asked of tables that somebody outside row security uses.
fn is_guarded(table: pg_sys::Oid) -> bool {
    const LOCK: i32 = pg_sys::AccessShareLock as i32;
    // SAFETY: a syscache look-up; NULL for a table that is gone. The lock ends with the look.
    unsafe {
        let kind = pg_sys::get_rel_relkind(table) as u8;
        if ![pg_sys::RELKIND_RELATION, pg_sys::RELKIND_PARTITIONED_TABLE].contains(&kind) {
            return false;
        }
        let relation = boundary(|| raw::try_table_open(table, LOCK));
        if relation.is_null() {
            return false;
        }
        let is_guarded = guard_of(relation).is_some();
        boundary(|| raw::table_close(relation, LOCK));
        is_guarded
    }
}

/// The trigger of that name among a relation's.
///
/// # Safety
/// The descriptor of an open relation. Plain frame.
pub unsafe fn guard_of<'a>(relation: pg_sys::Relation) -> Option<&'a pg_sys::Trigger> {
    // SAFETY: the caller's; names are NUL-terminated.
    unsafe { triggers_of(relation).iter().find(|t| t.tgnargs == 1 && CStr::from_ptr(t.tgname) == GUARD) }
}

/// SAFETY: the registry and its primary key, which is of two names.
unsafe fn holds(registry: pg_sys::Oid, key: pg_sys::Oid, names: [*const std::ffi::c_char; 2]) -> bool {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    let mut values = [pg_sys::NameData::default(); 2];
    let mut keys = [pg_sys::ScanKeyData::default(); 2];
    // SAFETY: names are NUL-terminated; values and keys outlive the scan, and the lock its table. An error releases all at
    // the transaction's end.
    unsafe {
        for i in 0..2 {
            pg_sys::namestrcpy(&mut values[i], names[i]);
            let value = pg_sys::Datum::from(&raw mut values[i]);
            let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
            pg_sys::ScanKeyInit(&mut keys[i], i as i16 + 1, equal, pg_sys::F_NAMEEQ.into(), value);
        }
        boundary(|| raw::LockRelationOid(registry, lock));
        let relation = pg_sys::try_table_open(registry, pg_sys::NoLock as pg_sys::LOCKMODE);
        if relation.is_null() {
            return false;
        }
        let scan = pg_sys::systable_beginscan(relation, key, true, std::ptr::null_mut(), 2, keys.as_mut_ptr());
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        found
    }
}
