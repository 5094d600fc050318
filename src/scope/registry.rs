//! Keeps the registry with the tables: from event triggers, so that it holds whoever runs the DDL, and in C, so that the
//! extension depends on no procedural language that could be dropped with it.

use crate::pg::{Backend, as_superuser, boundary, own_table, raw};
use crate::spi;
use pgrx::pg_sys;
use std::ffi::c_int;

/// Whether the DDL that runs is a step of scoping: the registry is written when all are done.
static SCOPING: Backend<bool> = Backend::new(false);

/// Runs scoping's own DDL.
pub fn while_scoping<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    // Also when an error unwinds.
    impl Drop for Before {
        fn drop(&mut self) {
            SCOPING.with(|s| *s = self.0);
        }
    }
    let _before = Before(SCOPING.with(|s| std::mem::replace(s, true)));
    f()
}

pub fn is_scoping() -> bool {
    SCOPING.with(|s| *s)
}

/// Taken before a table's entry is looked up by its name to be changed. Renaming a schema locks no table in it, but this,
/// so that it is over then, and known.
pub const CHANGE: u32 = pg_sys::RowExclusiveLock;
/// For who renames a schema, or asks whether there is any entry: nobody changes one meanwhile.
pub const ALONE: u32 = pg_sys::ShareRowExclusiveLock;

/// Locks the registry, and that of the tables outside scoping, to the end of the transaction. Nothing without them.
pub fn lock(mode: u32) {
    for table in [c"scoped_table", c"unscoped_table"] {
        let table = own_table(table);
        if table != pg_sys::InvalidOid {
            // SAFETY: the lock ends with the transaction.
            boundary(|| unsafe { raw::LockRelationOid(table, mode as c_int) });
        }
    }
}

/// Changes an entry of a table, which the statement finds by the name that the table has then.
pub fn change(sql: &str, args: &[Option<&str>]) {
    lock(CHANGE);
    as_superuser(|| spi::execute(sql, args));
}

/// After a drop: a dropped table's name must not make a later table look scoped.
pub fn forget() {
    lock(CHANGE);
    as_superuser(|| spi::query_planned(FORGET, &[]));
}

/// After a rename, of a schema or of something in one.
pub fn follow(of_schema: bool) {
    lock(if of_schema { ALONE } else { CHANGE });
    as_superuser(|| spi::query_planned(FOLLOW, &[]));
}

const FORGET: &str = include_str!("forget.sql");
const FOLLOW: &str = include_str!("follow.sql");
