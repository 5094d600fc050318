//! EXPLAIN of a role that row security holds. A plan is made of the statistics of all rows, and EXPLAIN ANALYZE counts those
//! that the policy has left out; nothing else of PostgreSQL's takes that from one role.

use crate::error::Error;
use crate::settings::{EXPLAIN, Explain};
use pgrx::pg_sys;

/// Every EXPLAIN comes here, also one in a function and one of a prepared statement.
pub fn check() -> Result<(), Error> {
    // SAFETY: syscache look-up of the current user; a superuser has every attribute.
    if EXPLAIN.get() == Explain::Deny && !unsafe { pg_sys::has_bypassrls_privilege(pg_sys::GetUserId()) } {
        return Err(Error::ExplainDenied);
    }
    Ok(())
}
