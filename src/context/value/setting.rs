//! The setting `orgscope.current_org`: what guc.c calls.

use super::{CONTEXT, Context, Extra, Org, Origin, changes_in_worker, changes_used_org, is_sealed_against};
use crate::context::break_glass::{self, Verdict};
use crate::context::lifetime::names;
use crate::context::signed::needs_token;
use crate::context::token::Fault;
use crate::error::{Error, Refused};
use crate::pg::{self, pstrdup};
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use uuid::Uuid;

/// Parses and judges a new value. Runs in every process, the postmaster included: no catalog, no transaction.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_current_org(
    new: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c passes a pointer to a NUL-terminated string or NULL.
    let text = unsafe { if (*new).is_null() { c"" } else { CStr::from_ptr(*new) } };
    let session = source >= pg_sys::GucSource::PGC_S_INTERACTIVE;
    CONTEXT.with(|c| c.touched |= session);
    if text.is_empty() {
        if session && is_sealed_against(None) {
            return refuse(&Error::ContextRefused(Refused::Sealed));
        }
        if session && changes_in_worker(None) {
            return refuse(&Error::ContextRefused(Refused::Changed));
        }
        let ends_token = session && CONTEXT.with(|c| c.token.is_some());
        // SAFETY: guc.c's place for it.
        return !ends_token || unsafe { keep(None, Origin::Session, extra) };
    }
    let org = match parse(text) {
        Ok(org) => org,
        Err(detail) => return refuse_text(detail),
    };
    if session && is_sealed_against(Some(org)) {
        return refuse(&Error::ContextRefused(Refused::Sealed));
    }
    if session && changes_in_worker(Some(org)) {
        return refuse(&Error::ContextRefused(Refused::Changed));
    }
    let stale = is_stale();
    let origin = match break_glass::judge(org) {
        Verdict::Kept => Origin::BreakGlass,
        _ if session && needs_token() && !pg::in_parallel_worker() => {
            return refuse(&Error::TokenRefused(Fault::Unsigned));
        }
        Verdict::Refused if session => return refuse(&Error::ContextRefused(Refused::BreakGlass)),
        _ if session && changes_used_org(org) => return refuse(&Error::ContextRefused(Refused::Changed)),
        _ if session && !stale => Origin::Session,
        _ => Origin::Connection,
    };
    // SAFETY: guc.c's place for it.
    unsafe { keep(Some(org), origin, extra) }
}

fn parse(text: &CStr) -> Result<Org, &'static str> {
    match text.to_str().ok().and_then(|t| Uuid::try_parse(t).ok()) {
        None => Err("The value is not a uuid."),
        Some(org) if org.is_nil() => Err("The nil uuid is no organization."),
        Some(org) => Ok(org.into_bytes()),
    }
}

/// Whether a value is the id of an organization, there or not.
pub fn is_organization(text: &str) -> bool {
    CString::new(text).is_ok_and(|text| parse(&text).is_ok())
}

/// SAFETY: guc.c's place for an extra.
unsafe fn keep(org: Option<Org>, origin: Origin, extra: *mut *mut c_void) -> bool {
    let copy = pg::guc_alloc(size_of::<Extra>()).cast::<Extra>();
    if copy.is_null() {
        return false;
    }
    let turn = CONTEXT.with(Context::next_turn);
    // SAFETY: memory for one Extra; guc.c takes it over and frees it with the value.
    unsafe {
        copy.write(Extra { org, origin, turn });
        *extra = copy.cast();
    }
    true
}

fn refuse_text(detail: &str) -> bool {
    let hint = "Use the id of an organization, for example '0190b3a4-7c1e-7b4e-9d53-0f4c2f6c9a10', or '' for none.";
    // SAFETY: guc.c reads these once, in the ereport that follows a check hook's false.
    unsafe {
        pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION as c_int);
        pg_sys::GUC_check_errdetail_string = pstrdup(detail);
        pg_sys::GUC_check_errhint_string = pstrdup(hint);
    }
    false
}

/// For a check hook: what guc.c will raise.
pub fn refuse(error: &Error) -> bool {
    let report = error.report();
    // SAFETY: as in refuse_text.
    unsafe {
        pg_sys::GUC_check_errcode(pg::sqlstate(report.sqlstate));
        pg_sys::GUC_check_errmsg_string = pstrdup(&report.message);
        pg_sys::GUC_check_errdetail_string = pstrdup(&report.detail);
        pg_sys::GUC_check_errhint_string = pstrdup(&report.hint);
    }
    false
}

/// Runs `define` so that a value which was SET before the library was loaded, in an earlier transaction, does not count:
/// PostgreSQL assigns it again as if it were new. One of the current transaction is on the setting's stack, and counts.
pub fn define_over_placeholder(name: &CStr, define: impl FnOnce()) {
    // SAFETY: a plain global.
    let stale = unsafe { !pg_sys::process_shared_preload_libraries_in_progress }
        && pg::settings().any(|setting| names(setting.name, name) && setting.stack.is_null());
    CONTEXT.with(|c| (c.stale_placeholder, c.defining) = (stale, true));
    define();
    CONTEXT.with(|c| (c.stale_placeholder, c.defining) = (false, false));
}

/// Whether the value being checked is one of an earlier transaction, from before the library was loaded.
pub fn is_stale() -> bool {
    CONTEXT.with(|c| c.stale_placeholder)
}

/// Whether an error would stop the library half-way: settings are being defined, over values that were there before.
pub fn is_defining() -> bool {
    CONTEXT.with(|c| c.defining)
}

/// Must not fail: runs on SET, RESET, rollback and when a parallel worker starts.
pub unsafe extern "C-unwind" fn assign_current_org(_: *const c_char, extra: *mut c_void) {
    CONTEXT.with(|c| {
        // SAFETY: extra is NULL or what check_current_org left; guc.c keeps the pair together.
        c.set = (!extra.is_null()).then(|| unsafe { *extra.cast::<Extra>() });
        c.refresh();
    });
}

/// Must not fail. The new lifetime may change whether the value counts.
pub unsafe extern "C-unwind" fn assign_lifetime(new: c_int, _: *mut c_void) {
    // SAFETY: reads the transaction state; false while settings are put back at the end of a transaction.
    let in_transaction = unsafe { pg_sys::IsTransactionState() };
    CONTEXT.with(|c| {
        c.lifetime = new;
        c.lifetime_changed |= in_transaction;
        c.refresh();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Known, changed, changes, corpus, many, replay};
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::ffi::CString;

    /// The digits of a text, whatever stands around them; those of a prefix not.
    fn digits(text: &str) -> String {
        let bare = text.to_ascii_lowercase().replace("urn:uuid:", "");
        bare.chars().filter(char::is_ascii_hexdigit).collect()
    }

    fn judge(text: &[u8]) -> Option<Org> {
        CString::new(text).ok().and_then(|text| parse(&text).ok())
    }

    fn check(text: &[u8]) -> Result<(), TestCaseError> {
        if let Some(org) = judge(text) {
            let text = std::str::from_utf8(text).expect("only text is accepted");
            prop_assert_eq!(digits(text), Uuid::from_bytes(org).simple().to_string());
            prop_assert!(text.len() <= 45 && org != [0; 16]);
        }
        Ok(())
    }

    thread_local! {
        static KNOWN: Vec<Known> = corpus("organizations.jsonl");
    }

    #[test]
    fn known_texts_are_what_they_were() {
        replay("organizations.jsonl", |text| match judge(text.as_bytes()) {
            Some(org) => Uuid::from_bytes(org).to_string(),
            None => "refused".into(),
        });
    }

    proptest! {
        #![proptest_config(many())]

        #[test]
        fn any_bytes_are_an_organization_or_not(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            check(&bytes)?;
        }

        #[test]
        fn a_change_of_a_known_text_is_that_organization_or_none(which in any::<Index>(), changes in changes()) {
            KNOWN.with(|known| check(changed(&which.get(known).text, &changes).as_bytes()))?;
        }
    }
}
