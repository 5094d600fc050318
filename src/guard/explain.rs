//! EXPLAIN of a role that row security holds. A plan is made of the statistics of all rows, and EXPLAIN ANALYZE counts those
//! that the policy has left out; nothing else of PostgreSQL's takes that from one role. So does the setting debug_print_plan.

use crate::error::Error;
use crate::pg::entry;
use crate::settings::{EXPLAIN, Explain};
use pgrx::pg_sys;

/// Every EXPLAIN comes here, also one in a function and one of a prepared statement.
pub fn check() -> Result<(), Error> {
    if is_denied() { Err(Error::ExplainDenied) } else { Ok(()) }
}

fn is_denied() -> bool {
    // SAFETY: syscache look-up of the current user; a superuser has every attribute.
    EXPLAIN.get() == Explain::Deny && !unsafe { pg_sys::has_bypassrls_privilege(pg_sys::GetUserId()) }
}

/// After a plan is made, and before PostgreSQL prints it, which any role may ask for: not where the client would read it.
/// The setting stays off until it is set again. The server's log alone is its administrator's.
pub fn keep_to_itself() {
    // SAFETY: plain globals of guc.c's; LOG is below NOTICE for a client, whatever its number.
    unsafe {
        if pg_sys::Debug_print_plan && pg_sys::client_min_messages <= pg_sys::LOG as i32 && entry(|| Ok(is_denied())) {
            pg_sys::Debug_print_plan = false;
        }
    }
}
