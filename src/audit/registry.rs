//! Whether a table is scoped, asked in the middle of anybody's statement. A statement that has nothing to do with
//! orgscope holds no lock on the registry.

use crate::guard::ddl::extension_is_there;
use crate::pg::{self, boundary, raw};
use crate::trigger::triggers_of;
use pgrx::pg_sys;
use std::ffi::{CStr, c_int};

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

fn oid() -> pg_sys::Oid {
    pg::own_table(c"scoped_table")
}

/// Anybody may put our triggers on a table of theirs.
pub fn is_registered(table: pg_sys::Oid) -> bool {
    fields(table, []).is_some()
}

/// Columns of the table's row as text, None when it has no row. A SERIALIZABLE transaction has not read it by that.
pub fn fields<const N: usize>(table: pg_sys::Oid, columns: [&CStr; N]) -> Option<[Option<String>; N]> {
    let registry = oid();
    // SAFETY: syscache look-ups; NULL for what is gone. Names are NUL-terminated, and the key's live as long as this frame.
    // The row is of the registry, whose description this is; a column that is not there is NULL.
    let texts = unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        let name = pg_sys::get_rel_name(table);
        if registry == pg_sys::InvalidOid || schema.is_null() || name.is_null() {
            return None;
        }
        let mut names = [pg_sys::NameData::default(); 2];
        pg_sys::namestrcpy(&mut names[0], schema);
        pg_sys::namestrcpy(&mut names[1], name);
        let mut key = [0, 1].map(|i| pg::equal(i as i16 + 1, pg_sys::F_NAMEEQ, (&raw const names[i]).into()));
        let columns = columns.map(|column| c_int::from(pg_sys::get_attnum(registry, column.as_ptr())));
        pg::find_row(registry, &mut key, |row, description| {
            columns.map(|column| raw::SPI_getvalue(row, description, column).cast_const())
        })?
    };
    Some(texts.map(pg::text_of))
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
