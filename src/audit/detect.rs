//! Accesses that row security does not cover, seen where the executor checks privileges: whoever makes them, directly,
//! through a view or a function, in a cursor, a prepared statement or COPY.
//!
//! A role that row security holds pays for a few compares.

use super::administration;
use super::attempts;
use super::entry::Entry as LogEntry;
use super::event::Event;
use super::queue;
use super::reads;
use super::registry;
use super::writes::qualified;
use crate::error::Error;
use crate::guard::ddl::nodes;
use crate::guard::{lent, table_name};
use crate::pg::{self, Backend, entry, raw};
use crate::scope::is_being_scoped;
use crate::settings::{AUDIT_DURABILITY, AUDIT_READS, AUDIT_TIMEOUT, BYPASS, Bypass, Durability};
use pgrx::pg_sys;
use std::collections::HashMap;
use std::time::Duration;

/// Whether row security does not hold these roles. Forgotten when any role changes.
static ROLES: Backend<Vec<(pg_sys::Oid, bool)>> = Backend::new(Vec::new());
/// Names of scoped tables, None for others. Forgotten when a table changes. Filled by accesses outside row security only.
static TABLES: Backend<Option<HashMap<u32, Option<String>>>> = Backend::new(None);
/// The range table of a statement that is explained and not run, or that a parallel worker runs for its leader, whose
/// access it is.
static UNCOUNTED: Backend<*mut pg_sys::List> = Backend::new(std::ptr::null_mut());

static mut NEXT: pg_sys::ExecutorCheckPerms_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called before ours. The
    // callbacks only forget.
    unsafe {
        NEXT = pg_sys::ExecutorCheckPerms_hook;
        pg_sys::ExecutorCheckPerms_hook = Some(check_permissions);
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            Some(forget_roles),
            pg_sys::Datum::null(),
        );
        pg_sys::CacheRegisterRelcacheCallback(Some(forget_table), pg_sys::Datum::null());
        // Names have their schema's in them.
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            Some(forget_names),
            pg_sys::Datum::null(),
        );
    }
}

unsafe extern "C-unwind" fn forget_roles(_: pg_sys::Datum, _: i32, _: u32) {
    ROLES.with(Vec::clear);
}

unsafe extern "C-unwind" fn forget_names(_: pg_sys::Datum, _: i32, _: u32) {
    TABLES.with(|tables| *tables = None);
}

unsafe extern "C-unwind" fn forget_table(_: pg_sys::Datum, table: pg_sys::Oid) {
    TABLES.with(|tables| match tables {
        Some(known) if table == pg_sys::InvalidOid => known.clear(),
        Some(known) => {
            known.remove(&table.to_u32());
        }
        None => {}
    });
}

/// Tells of each statement, before its privileges are checked, whether it is only explained.
///
/// Plain frame.
pub unsafe fn starts(statement: *const pg_sys::PlannedStmt, only_explained: bool) {
    // SAFETY: the executor's own description of a planned statement.
    let uncounted = unsafe { (only_explained || is_leaders(&*statement)).then(|| (*statement).rtable) };
    UNCOUNTED.with(|range_table| *range_table = uncounted.unwrap_or(std::ptr::null_mut()));
}

/// That statement has had its privileges checked.
pub fn started() {
    UNCOUNTED.with(|range_table| *range_table = std::ptr::null_mut());
}

/// Whether a parallel worker runs the plan of its leader, not that of a function which it calls: what the leader hands on
/// has lost the list of its tables.
pub fn is_leaders(statement: &pg_sys::PlannedStmt) -> bool {
    pg::in_parallel_worker() && statement.relationOids.is_null()
}

/// Plain frame.
#[cfg(feature = "pg15")]
unsafe extern "C-unwind" fn check_permissions(range_table: *mut pg_sys::List, raise: bool) -> bool {
    // SAFETY: as the hook found.
    if unsafe { NEXT.is_some_and(|next| !next(range_table, raise)) } {
        return false;
    }
    look(range_table, range_table, raise);
    true
}

/// Plain frame.
#[cfg(not(feature = "pg15"))]
unsafe extern "C-unwind" fn check_permissions(
    range_table: *mut pg_sys::List,
    permissions: *mut pg_sys::List,
    raise: bool,
) -> bool {
    // SAFETY: as the hook found.
    if unsafe { NEXT.is_some_and(|next| !next(range_table, permissions, raise)) } {
        return false;
    }
    look(range_table, permissions, raise);
    true
}

#[cfg(feature = "pg15")]
type Entry = pg_sys::RangeTblEntry;
#[cfg(not(feature = "pg15"))]
type Entry = pg_sys::RTEPermissionInfo;

fn permissions(entry: &Entry) -> u64 {
    #[cfg(feature = "pg15")]
    return entry.requiredPerms.into();
    #[cfg(not(feature = "pg15"))]
    return entry.requiredPerms;
}

/// Plain frame: nothing here needs dropping. Without `raise` somebody only asks.
fn look(range_table: *mut pg_sys::List, entries: *mut pg_sys::List, raise: bool) {
    if entries.is_null() || !raise {
        return;
    }
    // SAFETY: a list of nodes of this type.
    let length = unsafe { (*entries).length as usize };
    for i in 0..length {
        // SAFETY: as above; `i` is within it.
        let table = unsafe { &*(*(*entries).elements.add(i)).ptr_value.cast::<Entry>() };
        // Of PostgreSQL's own tables only those who write them are of interest.
        let of_interest = if is_catalog(table.relid) { WRITING } else { u64::MAX };
        if permissions(table) & of_interest != 0 && is_outside(table.checkAsUser) && !is_excluded(range_table, i, table)
        {
            let access = Access {
                table: table.relid,
                permissions: permissions(table),
                sets_columns: !table.updatedCols.is_null(),
                check_as: table.checkAsUser,
                range_table,
            };
            entry(|| access.record());
        }
    }
}

/// Whether it is the row that ON CONFLICT DO UPDATE calls EXCLUDED, which the statement has brought itself.
fn is_excluded(range_table: *mut pg_sys::List, i: usize, entry: &Entry) -> bool {
    // SAFETY: a list of nodes of this type.
    let mut items = nodes::<pg_sys::RangeTblEntry>(range_table).map(|item| unsafe { &*item });
    items.any(|item| item.relkind as u8 == pg_sys::RELKIND_COMPOSITE_TYPE && is_for(item, i, entry))
}

#[cfg(feature = "pg15")]
fn is_for(item: &pg_sys::RangeTblEntry, _: usize, entry: &Entry) -> bool {
    std::ptr::eq(item, entry)
}

/// Their numbers count from one.
#[cfg(not(feature = "pg15"))]
fn is_for(item: &pg_sys::RangeTblEntry, i: usize, _: &Entry) -> bool {
    item.perminfoindex as usize == i + 1
}

const WRITING: u64 = (pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE) as u64;

/// What a restore does not do to a table of ours.
const CHANGING: u64 = (pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE) as u64;

fn is_catalog(table: pg_sys::Oid) -> bool {
    table.to_u32() < pg_sys::FirstNormalObjectId
}

const WRITES: [(u64, &str); 3] = [
    (pg_sys::ACL_INSERT as u64, "INSERT"),
    (pg_sys::ACL_UPDATE as u64, "UPDATE"),
    (pg_sys::ACL_DELETE as u64, "DELETE"),
];

/// Whether row security does not hold the role that an access is checked for, by default the current one.
pub(super) fn is_outside(check_as: pg_sys::Oid) -> bool {
    // SAFETY: reads a plain global.
    let role = if check_as == pg_sys::InvalidOid { unsafe { raw::GetUserId() } } else { check_as };
    if let Some(known) = ROLES.with(|roles| roles.iter().find(|(r, _)| *r == role).map(|(_, outside)| *outside)) {
        return known;
    }
    // SAFETY: a catalog look-up; superusers have the privilege too.
    let outside = unsafe { pg_sys::has_bypassrls_privilege(role) };
    ROLES.with(|roles| roles.push((role, outside)));
    outside
}

struct Access {
    table: pg_sys::Oid,
    permissions: u64,
    sets_columns: bool,
    /// The owner of the view that it comes through.
    check_as: pg_sys::Oid,
    range_table: *mut pg_sys::List,
}

impl Access {
    fn record(self) -> Result<(), Error> {
        let Self { table, permissions, sets_columns, check_as, range_table } = self;
        if is_ours() || is_being_scoped(table) || UNCOUNTED.with(|uncounted| *uncounted == range_table) {
            return Ok(());
        }
        if is_catalog(table) {
            record_by_hand(table, permissions);
            return Ok(());
        }
        let table = toasted(table);
        let Some(name) = scoped_name(table) else {
            if registry::is(table) && permissions & CHANGING != 0 {
                record_by_hand(table, permissions);
            }
            return Ok(());
        };
        administration::look();
        if BYPASS.get() == Bypass::Deny {
            return Err(Error::BypassDenied { table: table_name(table, None) });
        }
        let checked_as = if check_as == pg_sys::InvalidOid { None } else { pg::role_name(check_as) };
        let detail = checked_as.map(|role| serde_json::json!({ "checked_as": role }));
        let event = |action, operation| Event {
            detail: detail.clone(),
            ..Event::now(action, Some(name.clone()), Some(operation))
        };
        let is_sync = AUDIT_DURABILITY.get() == Durability::Sync;
        // A write is recorded with its rows, in its own transaction, and here only if it comes to nothing.
        if let Some(operation) = written(permissions, sets_columns) {
            attempts::begin(event("bypass_write", operation), permissions);
            // What it returns is seen before its transaction ends.
            if !is_sync || permissions & pg_sys::ACL_SELECT as u64 == 0 {
                return Ok(());
            }
        }
        // What a function sets in a worker nobody takes note of.
        if !AUDIT_READS.get() && !pg::in_parallel_worker() {
            return Ok(());
        }
        let unrecordable = |standby| Err(Error::AuditImpossible { table: table_name(table, None), standby });
        if is_sync && queue::is_standby() {
            return unrecordable(true);
        }
        let read = event("bypass_read", "SELECT");
        let queued = queue::push(&read, None);
        reads::begin(range_table, read);
        match (is_sync, queued) {
            (false, _) => Ok(()),
            (true, true) => wait(table),
            (true, false) => unrecordable(false),
        }
    }
}

/// The table whose large values the table holds; itself if it holds none.
fn toasted(table: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: syscache look-ups by oid.
    let name = unsafe {
        if pg_sys::get_rel_relkind(table) as u8 != pg_sys::RELKIND_TOASTVALUE {
            return table;
        }
        pg::text_of(pg_sys::get_rel_name(table))
    };
    let owner = name.as_deref().and_then(|name| name.strip_prefix("pg_toast_")?.parse::<u32>().ok());
    owner.map_or(table, pg_sys::Oid::from)
}

/// A catalog is changed without the command for it: what no event trigger sees.
fn record_by_hand(catalog: pg_sys::Oid, permissions: u64) {
    if let Some(operation) = written(permissions, true) {
        let entry = LogEntry::of_client("ddl", operation, None).of_table(Some(qualified(catalog)));
        administration::note_by_hand(catalog, entry);
    }
}

/// How the access writes, if it does. SELECT ... FOR UPDATE asks for the privilege to update, and sets no column.
fn written(permissions: u64, sets_columns: bool) -> Option<&'static str> {
    let (bit, operation) = WRITES.iter().find(|(bit, _)| permissions & bit != 0)?;
    (sets_columns || *bit != pg_sys::ACL_UPDATE as u64 || permissions & pg_sys::ACL_DELETE as u64 != 0)
        .then_some(*operation)
}

/// Foreign keys' own look-ups, the writer's and the extension's statements; not what functions do that these call.
pub(super) fn is_ours() -> bool {
    // SAFETY: reads this backend's state.
    let checks_a_key = unsafe { raw::InNoForceRLSOperation() } && !lent::is_users_code();
    checks_a_key || pg::is_own_statement() || queue::writer::is_this()
}

/// No row is returned before its reader is on record.
fn wait(table: pg_sys::Oid) -> Result<(), Error> {
    // SAFETY: a plain global.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let limit = Duration::from_millis(AUDIT_TIMEOUT.get().unsigned_abs().into());
    if queue::wait_for_writer(database, Some(limit)) {
        return Ok(());
    }
    Err(Error::AuditTimeout { table: table_name(table, None) })
}

pub(super) fn scoped_name(table: pg_sys::Oid) -> Option<String> {
    let oid = table.to_u32();
    if let Some(known) = TABLES.with(|tables| tables.get_or_insert_default().get(&oid).cloned()) {
        return known;
    }
    let name = registry::has(table).then(|| qualified(table));
    TABLES.with(|tables| tables.get_or_insert_default().insert(oid, name.clone()));
    name
}
