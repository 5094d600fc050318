//! Statements of our own run with other rights than the caller's.

use super::*;
use std::ffi::c_int;

/// Runs `f` as the bootstrap superuser in a security-restricted operation, as the referential-integrity triggers run
/// as the table's owner: for our own tables, which no role may write.
pub fn as_superuser<R>(f: impl FnOnce() -> R) -> R {
    let _own = Own::begin();
    as_role(pg_sys::BOOTSTRAP_SUPERUSERID.into(), f)
}

/// Runs `f`, which may run a user's code, as the role in a security-restricted operation.
pub fn as_role<R>(role: pg_sys::Oid, f: impl FnOnce() -> R) -> R {
    let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    with_security(Some(role), restricted, f)
}

/// How deep in statements of our own this backend is.
static OWN: Backend<u32> = Backend::new(0);

struct Own;

impl Own {
    fn begin() -> Self {
        OWN.with(|depth| *depth += 1);
        Self
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        OWN.with(|depth| *depth -= 1);
    }
}

/// Whether the extension itself is reading: its own tables and the catalogs, for nobody.
pub fn is_own_statement() -> bool {
    OWN.with(|depth| *depth > 0)
}

/// Sets how deep it is, and returns how deep it was.
pub fn replace_own(depth: u32) -> u32 {
    OWN.with(|own| std::mem::replace(own, depth))
}

/// Runs `f` under the search_path that our functions have, for SQL that is not called through one of them.
pub fn with_pinned_search_path<R>(f: impl FnOnce() -> R) -> R {
    with_settings(&[(c"search_path", c"pg_catalog, pg_temp")], f)
}

/// Runs `f` under these settings, whatever the session's are.
pub fn with_settings<R>(settings: &[(&CStr, &CStr)], f: impl FnOnce() -> R) -> R {
    use pg_sys::{GucAction, GucContext, GucSource};
    // SAFETY: what a function's SET clause does; on error AbortTransaction restores the settings. All are PostgreSQL's own,
    // whose values are text of guc.c's.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            let (source, action) = (GucSource::PGC_S_SESSION, GucAction::GUC_ACTION_SAVE);
            if CStr::from_ptr(pg_sys::GetConfigOption(name.as_ptr(), false, false)) != *value {
                let (name, value) = (name.as_ptr(), value.as_ptr());
                boundary(|| {
                    raw::set_config_option(name, value, GucContext::PGC_USERSET, source, action, true, 0, false)
                });
            }
        }
        let result = f();
        pg_sys::AtEOXact_GUC(true, level);
        result
    }
}

/// Runs `f` with FORCE ROW LEVEL SECURITY suspended for the caller's own tables.
pub fn without_force<R>(f: impl FnOnce() -> R) -> R {
    with_security(None, pg_sys::SECURITY_NOFORCE_RLS, f)
}

/// An error restores the user with the transaction.
fn with_security<R>(user: Option<pg_sys::Oid>, flags: u32, f: impl FnOnce() -> R) -> R {
    // SAFETY: the pair of calls every definer context in PostgreSQL uses; on error AbortTransaction resets both.
    unsafe {
        let (mut before, mut context) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
        pg_sys::SetUserIdAndSecContext(user.unwrap_or(before), context | flags as c_int);
        let result = f();
        pg_sys::SetUserIdAndSecContext(before, context);
        result
    }
}
