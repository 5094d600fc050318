//! What row security leaves open: NULL organizations, moves, TRUNCATE, and every write of a role that row security does
//! not cover.
//!
//! The trigger functions are called for every written row, so what they ask of the catalogs (which attribute is the
//! organization, does row security cover the writer) is asked once a statement.

pub mod began;
pub mod ddl;
pub mod explain;
pub mod floor;
pub mod lent;
pub mod observe;
pub mod row;
pub mod statement;
pub mod values;

use crate::error::TableName;
use crate::pg::{self, raw};
use pgrx::pg_sys;

pub fn init() {
    began::init();
    floor::init();
    lent::init();
    observe::init();
}

/// Whether the current user's statements on this table are outside its row security: superuser, BYPASSRLS, an owner
/// without FORCE, and the referential-integrity triggers, which act as the owner with FORCE suspended.
pub fn row_security_bypassed(table: pg_sys::Oid) -> bool {
    // SAFETY: with noError the function only reads catalogs; an invalid role means the current user.
    let state = unsafe { pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true) };
    state as u32 != pg_sys::CheckEnableRlsResult::RLS_ENABLED
}

/// Logical replication applies what the publisher has already checked, and has no context.
pub fn is_apply_worker() -> bool {
    // SAFETY: reads a backend-local pointer.
    unsafe { raw::IsLogicalWorker() }
}

pub fn table_name(table: pg_sys::Oid, column: Option<String>) -> Box<TableName> {
    // SAFETY: syscache look-ups that return palloc'd names, or NULL when the table is gone.
    unsafe {
        let schema = pg::text_of(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table)));
        let name = pg::text_of(pg_sys::get_rel_name(table));
        Box::new(TableName { schema: schema.unwrap_or_default(), table: name.unwrap_or_default(), column })
    }
}
