//! What SQL sees of the context. Declarations are in sql/install/10_context.sql.

use crate::context::available::require_made;
use crate::context::lifetime::{TOKEN_SETTING, assign, assign_to};
use crate::context::signed::{needs_token, watches_token};
use crate::context::token::Fault;
use crate::context::token::verify::LONGEST;
use crate::context::value::{Org, absence, current, is_session, ready, use_current};
use crate::error::{Error, Refused};
use crate::pg::{boundary, entry, raw, uuid_datum};
use crate::settings::{REQUIRE_CONTEXT, RequireContext};
use crate::{pg_finfo, pg_function};
use pgrx::pg_sys;
use pgrx::pg_sys::GucAction::{GUC_ACTION_LOCAL, GUC_ACTION_SET};
use std::ffi::CString;
use uuid::Uuid;

pg_finfo!(orgscope_current_org);
/// `orgscope.current_org() → uuid`: NULL without a context. A few nanoseconds a row.
///
/// Plain frame, no guard: nothing here panics, and only MemoryContextAlloc may raise.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn orgscope_current_org(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo and its flinfo are valid for the call.
    unsafe { return_org(fcinfo, current()) }
}

pg_finfo!(orgscope_require_org);
/// `orgscope.require_org() → uuid`: what every policy compares with. Raises OS001 without a context (see
/// `orgscope.require_context`), OS003 when the transaction has used another organization, and OS004 when this one is unknown
/// or suspended.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn orgscope_require_org(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo and its flinfo are valid for the call.
    unsafe {
        let org = ready();
        return_org(fcinfo, if org.is_some() { org } else { entry(first_use) })
    }
}

/// The first use in a transaction or after an organization was suspended, and every use without a context.
#[cold]
fn first_use() -> Result<Option<Org>, Error> {
    match use_current()? {
        None if REQUIRE_CONTEXT.get() == RequireContext::All => Err(Error::NoContext { table: None, why: absence() }),
        org => Ok(org),
    }
}

/// Plain frame. The result is kept in `fn_extra` and only replaced when the organization has changed, so a scan
/// allocates once. It is never overwritten: an earlier result of the same call site may still be in use.
#[inline]
unsafe fn return_org(fcinfo: pg_sys::FunctionCallInfo, org: Option<Org>) -> pg_sys::Datum {
    // SAFETY: fn_extra is ours, NULL at first; memory of fn_mcxt lives as long as flinfo.
    unsafe {
        let Some(org) = org else {
            (*fcinfo).isnull = true;
            return pg_sys::Datum::null();
        };
        let call = (*fcinfo).flinfo;
        let mut kept = (*call).fn_extra.cast::<Org>();
        if kept.is_null() || *kept != org {
            kept = raw::MemoryContextAlloc((*call).fn_mcxt, size_of::<Org>()).cast();
            *kept = org;
            (*call).fn_extra = kept.cast();
        }
        pg_sys::Datum::from(kept)
    }
}

pg_function! {
    /// `orgscope.set_current_org(org uuid, local boolean DEFAULT true) → uuid`: checks that the organization exists and
    /// is active (OS004), then sets the context. `local = false` needs `context_lifetime = session` (OS003).
    fn orgscope_set_current_org(call) {
        let org = call.uuid(0).ok_or(Error::NullOrganization)?;
        let local = call.bool(1).unwrap_or(true);
        if !local && !is_session() {
            return Err(Error::ContextRefused(Refused::SessionSetFunction));
        }
        if needs_token() {
            return Err(Error::TokenRefused(Fault::Unsigned));
        }
        require_made(org)?;
        let text = CString::new(Uuid::from_bytes(org).to_string()).unwrap_or_default();
        let action = if local { GUC_ACTION_LOCAL } else { GUC_ACTION_SET };
        boundary(|| assign(Some(&text), action));
        Ok(Some(uuid_datum(org)))
    }
}

/// The text of a token, of which nothing is left when it is dropped, by an error too.
struct Wiped(CString);

impl Drop for Wiped {
    fn drop(&mut self) {
        for byte in &mut std::mem::take(&mut self.0).into_bytes_with_nul() {
            // SAFETY: a place of ours. Volatile: nobody reads it any more, and yet it must be gone.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
    }
}

pg_function! {
    /// `orgscope.set_org_token(token text) → uuid`: verifies a signed token (OS003) and that its organization exists and is
    /// active (OS004), and sets the context to the end of the transaction.
    fn orgscope_set_org_token(call) {
        let text = call.text(0).ok_or(Error::NullToken)?;
        if text.is_empty() {
            return Err(Error::TokenRefused(Fault::Malformed));
        }
        if text.len() > LONGEST {
            return Err(Error::TokenRefused(Fault::TooLong));
        }
        let text = Wiped(CString::new(text).unwrap_or_default());
        boundary(|| assign_to(TOKEN_SETTING, Some(&text.0), GUC_ACTION_LOCAL));
        drop(text);
        let org = current().ok_or(Error::TokenRefused(Fault::Expired))?;
        require_made(org)?;
        Ok(Some(uuid_datum(org)))
    }
}

pg_function! {
    /// `orgscope.clear_current_org()`: no context until the end of the transaction, or until one is set.
    fn orgscope_clear_current_org(_call) {
        boundary(|| assign(Some(c""), GUC_ACTION_SET));
        if watches_token() {
            boundary(|| assign_to(TOKEN_SETTING, Some(c""), GUC_ACTION_SET));
        }
        Ok(None)
    }
}

pg_function! {
    /// `orgscope.uuid_v7() → uuid`: time-ordered, so that an index on it grows at one end.
    fn orgscope_uuid_v7(_call) {
        Ok(Some(uuid_datum(Uuid::now_v7().into_bytes())))
    }
}
