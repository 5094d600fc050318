//! Who acts while a token is in force.

use super::claims::LONGEST_ACTOR;
use super::fault::Fault;
use super::setting::TOKEN;
use crate::context::{signed, value};
use crate::error::Error;
use crate::pg::{self, Backend};
use crate::settings;
use pgrx::pg_sys;
use pgrx::pg_sys::GucSource::PGC_S_INTERACTIVE;
use std::ffi::{c_char, c_void};

/// Who acts, if the token in force says so.
pub fn actor() -> Option<String> {
    if signed::is_by_token() { TOKEN.with(|t| t.and_then(|t| t.actor())) } else { None }
}

/// The actor in force.
pub unsafe extern "C-unwind" fn show_actor() -> *const c_char {
    static SHOWN: Backend<[u8; LONGEST_ACTOR + 1]> = Backend::new([0; LONGEST_ACTOR + 1]);
    match actor() {
        Some(actor) => SHOWN.with(|shown| {
            shown[..actor.len()].copy_from_slice(actor.as_bytes());
            shown[actor.len()] = 0;
            shown.as_ptr().cast()
        }),
        // SAFETY: guc.c's own text, NULL before it has one.
        None => unsafe {
            let text: *const c_char = (*settings::ACTOR.as_ptr()).cast();
            if text.is_null() { c"".as_ptr() } else { text }
        },
    }
}

/// While a token says who acts, nobody else does.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_actor(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as in check_token.
    let text = unsafe { pg::text_of(*new) }.unwrap_or_default();
    let changes = source >= PGC_S_INTERACTIVE && !text.is_empty() && !pg::in_parallel_worker();
    match actor() {
        Some(actor) if changes && actor != text => value::refuse(&Error::TokenRefused(Fault::Actor)),
        _ => true,
    }
}
