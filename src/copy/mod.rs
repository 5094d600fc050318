//! COPY ... FROM into a scoped table by a role that row security holds, which PostgreSQL refuses to every role under row
//! security.
//!
//! PostgreSQL's COPY reads the rows (`BeginCopyFrom`, `NextCopyFrom`: options, encodings, defaults), and
//! `INSERT INTO t (...) OVERRIDING SYSTEM VALUE SELECT ... FROM source` writes them: policies are the rewriter's, and
//! privileges, triggers, constraints and routing the executor's. The rows pass through one at a time; nothing is kept.
//!
//! All functions here are plain frames: COPY runs users' code at every step.

mod insert;
mod raw;
mod skipped;
mod source;
mod triggers;

use crate::audit::registry;
use crate::error::Error;
use crate::guard::ddl::nodes;
use crate::pg::{entry, raw as pg_raw};
use insert::Insert;
use pgrx::pg_sys;
use source::{Begin, Source};
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null_mut;

const ROW_EXCLUSIVE: c_int = pg_sys::RowExclusiveLock as c_int;
const NO_LOCK: c_int = pg_sys::NoLock as c_int;

/// Plain frame. Runs the statement if it is one of ours; PostgreSQL runs, or refuses, every other.
pub unsafe fn from(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    completion: *mut pg_sys::QueryCompletion,
) -> bool {
    // SAFETY: the statement is a CopyStmt, and it and its text outlive the call.
    unsafe {
        let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
        let table = target(&*copy);
        if table.is_null() {
            return false;
        }
        if freezes(&*copy) {
            entry(|| Err::<(), _>(Error::CopyFreeze));
        }
        let rows = run(statement, text, table);
        raw::table_close(table, NO_LOCK);
        if !completion.is_null() {
            (*completion).commandTag = pg_sys::CommandTag::CMDTAG_COPY;
            (*completion).nprocessed = rows;
        }
        true
    }
}

/// Plain frame. The scoped table that row security keeps PostgreSQL from copying into, open and locked as COPY does it;
/// NULL when the statement is PostgreSQL's. What it would refuse for another reason is left to it.
unsafe fn target(copy: &pg_sys::CopyStmt) -> pg_sys::Relation {
    // SAFETY: plain globals and this backend's state; an open relation's cache entry is valid while it is locked.
    unsafe {
        let ours = copy.is_from && !copy.relation.is_null() && pg_sys::row_security && may_read(copy);
        if !ours || raw::IsInParallelMode() || raw::RecoveryInProgress() {
            return null_mut();
        }
        let table = raw::table_openrv(copy.relation, ROW_EXCLUSIVE);
        let kind = (*(*table).rd_rel).relkind as u8;
        let enabled = pg_sys::CheckEnableRlsResult::RLS_ENABLED as c_int;
        if matches!(kind, pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE)
            && raw::check_enable_rls((*table).rd_id, pg_sys::InvalidOid, true) == enabled
            && !has_insert_rule(table)
            && entry(|| Ok(registry::is_registered((*table).rd_id)))
        {
            return table;
        }
        raw::table_close(table, NO_LOCK);
        null_mut()
    }
}

/// Plain frame. Whether the role may read the file or run the program: DoCopy's test.
unsafe fn may_read(copy: &pg_sys::CopyStmt) -> bool {
    if copy.filename.is_null() {
        return true;
    }
    let role = if copy.is_program { pg_sys::ROLE_PG_EXECUTE_SERVER_PROGRAM } else { pg_sys::ROLE_PG_READ_SERVER_FILES };
    // SAFETY: catalog look-ups.
    unsafe { raw::has_privs_of_role(pg_raw::GetUserId(), role.into()) }
}

/// Plain frame. COPY does not apply rules, an INSERT does.
unsafe fn has_insert_rule(table: pg_sys::Relation) -> bool {
    // SAFETY: as many rules as it says.
    unsafe {
        let rules = (*table).rd_rules;
        let count = if rules.is_null() { 0 } else { (*rules).numLocks as usize };
        (0..count).any(|i| (**(*rules).rules.add(i)).event == pg_sys::CmdType::CMD_INSERT)
    }
}

/// Plain frame. Rows that every transaction sees at once are nothing that an INSERT can write.
unsafe fn freezes(copy: &pg_sys::CopyStmt) -> bool {
    // SAFETY: a list of DefElem nodes.
    unsafe {
        nodes(copy.options).any(|option: *mut pg_sys::DefElem| {
            CStr::from_ptr((*option).defname) == c"freeze" && raw::defGetBoolean(option)
        })
    }
}

/// Plain frame. Returns how many rows were written.
unsafe fn run(statement: *mut pg_sys::PlannedStmt, text: *const c_char, table: pg_sys::Relation) -> u64 {
    // SAFETY: what BeginCopyTo and DoCopyTo do with a query, and DoCopy and CopyFrom with a table; an error leaves it to
    // the abort of the transaction, as theirs does.
    unsafe {
        let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
        let state = raw::make_parsestate(null_mut());
        (*state).p_sourcetext = text;
        let insert = Insert::prepare(statement, state, table);
        if pg_sys::XactReadOnly && !(*table).rd_islocaltemp {
            pg_raw::PreventCommandIfReadOnly(c"COPY FROM".as_ptr());
        }
        let query = insert.start(text);
        let source = Source::open(&insert, query, Begin { state, table, copy });
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        #[cfg(not(feature = "pg18"))]
        raw::ExecutorRun(query, forward, 0, true);
        #[cfg(feature = "pg18")]
        raw::ExecutorRun(query, forward, 0);
        let rows = (*(*query).estate).es_processed;
        skipped::tell((*source).copy());
        raw::ExecutorFinish(query);
        raw::ExecutorEnd(query);
        raw::FreeQueryDesc(query);
        pg_raw::PopActiveSnapshot();
        raw::EndCopyFrom((*source).copy());
        insert.end();
        rows
    }
}
