//! What PostgreSQL and the extension allow statements of their own is not lent to functions that run inside them.
//!
//! A foreign key's action reads and writes as the table's owner with FORCE ROW LEVEL SECURITY suspended, and the extension
//! puts neither its own look-ups nor the rows that scoping looks at on record. A BEFORE trigger, a default, a cast or an
//! event trigger of the application is called in the middle of these, and would see the rows of every organization, on
//! nobody's record. PostgreSQL asks, when it looks a function up, whether to tell of its calls: while something is lent, of
//! those that can run statements. It is taken back for the time of the call.
//!
//! PostgreSQL does not ask for its built-in functions. A few of those run a query that they are given as text, such as
//! `query_to_xml()`.

use crate::pg::{self, Backend, entry, raw};
use crate::scope;
use pgrx::pg_sys;
use std::ffi::{c_int, c_void};

static mut NEXT_NEEDS: pg_sys::needs_fmgr_hook_type = None;
static mut NEXT: pg_sys::fmgr_hook_type = None;

/// What held before a call.
struct Call {
    own: u32,
    is_users: bool,
    suspends_force: bool,
}

static CALLS: Backend<Vec<Call>> = Backend::new(Vec::new());

/// Whether a user's function runs inside a statement of PostgreSQL's or of the extension's.
static IS_USERS: Backend<bool> = Backend::new(false);

/// Whether FORCE stays suspended for functions: those of a backfill may read all organizations, as its expression may.
static KEEPS: Backend<bool> = Backend::new(false);

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the ones found are called too. The callback
    // lives as long as the library.
    unsafe {
        NEXT_NEEDS = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(needs);
        NEXT = pg_sys::fmgr_hook;
        pg_sys::fmgr_hook = Some(around);
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
    }
}

pub fn is_users_code() -> bool {
    IS_USERS.with(|is_users| *is_users)
}

/// Runs `f` with FORCE suspended for the caller's own tables, also in functions that it calls.
pub fn without_force_throughout<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    // Also when an error unwinds.
    impl Drop for Before {
        fn drop(&mut self) {
            KEEPS.with(|keeps| *keeps = self.0);
        }
    }
    let _before = Before(KEEPS.with(|keeps| std::mem::replace(keeps, true)));
    pg::without_force(f)
}

fn suspends_force() -> bool {
    // SAFETY: reads a backend-local flag.
    unsafe { raw::InNoForceRLSOperation() }
}

fn is_lent() -> bool {
    suspends_force() || pg::is_own_statement() || scope::is_any_being_scoped()
}

/// Plain frame, called whenever a function is looked up that is not built in.
unsafe extern "C-unwind" fn needs(function: pg_sys::Oid) -> bool {
    // SAFETY: as the hook found.
    is_lent() && entry(|| Ok(runs_statements(function))) || unsafe { NEXT_NEEDS.is_some_and(|next| next(function)) }
}

/// Not a function in C: those that run a user's code look up functions of their own.
fn runs_statements(function: pg_sys::Oid) -> bool {
    const INTERNAL: u32 = 12;
    const C: u32 = 13;
    let null = pg_sys::Datum::null();
    // SAFETY: a syscache look-up; InvalidOid for what is gone.
    let language = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCOID as c_int,
            pg_sys::Anum_pg_proc_prolang as i16,
            function.into(),
            null,
            null,
            null,
        )
    };
    ![INTERNAL, C].contains(&language.to_u32())
}

/// Plain frame: around a call of a function that was found to need it, that is a definer's or that has settings.
unsafe extern "C-unwind" fn around(
    event: pg_sys::FmgrHookEventType::Type,
    function: *mut pg_sys::FmgrInfo,
    private: *mut pg_sys::Datum,
) {
    let begins = event == pg_sys::FmgrHookEventType::FHET_START;
    if !begins {
        give_back();
    }
    // SAFETY: as the hook found, with its arguments.
    unsafe {
        if let Some(next) = NEXT {
            next(event, function, private);
        }
    }
    // Last: an error of the other's leaves the call without its end.
    if begins {
        take_back();
    }
}

fn take_back() {
    let is_lent = is_lent();
    let call = Call {
        own: pg::replace_own(0),
        is_users: IS_USERS.with(|is_users| std::mem::replace(is_users, *is_users || is_lent)),
        suspends_force: suspends_force() && !KEEPS.with(|keeps| *keeps),
    };
    if call.suspends_force {
        suspend_force(false);
    }
    CALLS.with(|calls| calls.push(call));
}

fn give_back() {
    let Some(call) = CALLS.with(Vec::pop) else { return };
    pg::replace_own(call.own);
    IS_USERS.with(|is_users| *is_users = call.is_users);
    if call.suspends_force {
        suspend_force(true);
    }
}

/// For the current user, whoever that is by now.
fn suspend_force(suspend: bool) {
    const FLAG: c_int = pg_sys::SECURITY_NOFORCE_RLS as c_int;
    // SAFETY: what PostgreSQL itself does around what suspends it; on error AbortTransaction resets both.
    unsafe {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(user, if suspend { context | FLAG } else { context & !FLAG });
    }
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if pg::ends_transaction(event) {
        CALLS.with(Vec::clear);
        IS_USERS.with(|is_users| *is_users = false);
    }
}
